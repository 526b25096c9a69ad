"""The data folder of one server or worker: its lock, and its free space.

lock              held by the one server or worker that uses the folder
duikou.db         the embedded database
certificate/      the certificate that results are signed with, unless another is configured
incoming/         files that are being received; emptied at every start
scratch/          copies of files in an object storage, while they are worked on; emptied at every start

It also holds the stored files, unless they have a storage of their own: see `duikou.storage.base`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from duikou.errors import StorageError
from duikou.units import MIB

DATABASE = "duikou.db"
PRIVATE = 0o700  # the folder holds callers' files and signing keys: only for its owner


class DataFolder:
    """A folder that one process uses at a time.

    min_free_mb: free MiB below which no work is accepted or started.
    """

    def __init__(self, root: Path, min_free_mb: int = 0) -> None:
        self.root = root.absolute()
        self._min_free_mb = min_free_mb
        self._reserved_mb, self._reserving = 0, threading.Lock()
        self._lock: IO[str] | None = None

    def make(self) -> None:
        """Make the folder where it is missing, without locking it. Raises `StorageError`."""
        try:
            self.root.mkdir(PRIVATE, parents=True, exist_ok=True)
            for name in ("incoming", "scratch"):
                (self.root / name).mkdir(PRIVATE, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def open(self) -> None:
        """Make the folder and lock it. Raises `StorageError` where it cannot be used or another process holds it."""
        try:
            import fcntl
        except ImportError as error:  # Windows
            raise StorageError("data: servers and workers need file locks of Unix (fcntl)") from error
        self.make()
        try:
            lock = (self.root / "lock").open("a+")
        except OSError as error:
            raise self._unusable(error) from error
        try:
            # The kernel releases this lock when its holder dies in any way. Children do not inherit it.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StorageError(
                f"data: the folder {self.root} is in use by another duikou server or worker; stop it or choose another "
                "folder"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        for left_over in (self.root / "incoming").iterdir():
            left_over.unlink()
        for left_over in self.scratch.iterdir():
            shutil.rmtree(left_over, ignore_errors=True)

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(f"data: the folder {self.root} cannot be used: {error.strerror}")

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def database_url(self) -> str:
        """URL of the embedded database."""
        return f"sqlite:///{self.root / DATABASE}"

    def former_secret(self) -> bytes | None:
        """The secret that signed file URLs before the database held it, so that URLs from that time stay valid."""
        path = self.root / "secret"
        return path.read_bytes() if path.exists() else None

    @property
    def scratch(self) -> Path:
        """Folder for workspaces of copies."""
        return self.root / "scratch"

    def incoming(self) -> Path:
        """A new path for a file that is being received."""
        return self.root / "incoming" / secrets.token_hex(8)

    def require_room(self) -> None:
        """Raise `StorageError` where too little space is free. Space reserved for incoming files counts as used."""
        free_mb = max(shutil.disk_usage(self.root).free // MIB - self._reserved_mb, 0)
        if free_mb < self._min_free_mb:
            raise StorageError(
                f"the server's disk is nearly full: {free_mb} MB are free, and no work is accepted below "
                f"{self._min_free_mb} MB"
            )

    @contextmanager
    def reserve(self, megabytes: int) -> Iterator[None]:
        """Reserve space for a file that is being received. Raises `StorageError` where there is none."""
        with self._reserving:
            self._reserved_mb += megabytes
        try:
            self.require_room()
            yield
        finally:
            with self._reserving:
                self._reserved_mb -= megabytes
