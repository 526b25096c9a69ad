"""The data folder: this machine's own place, who may use it, and whether it has room.

lock              held by the one server or worker that uses the folder
duikou.db         the embedded database
certificate/      what results are signed with, where no other is configured
incoming/         what is being received; emptied at every start
scratch/          copies of what lies in an object storage, while work is done on it; emptied at every start

Files that stay lie in it too, unless they have a storage of their own: see `duikou.storage.base`.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from duikou.errors import StorageError
from duikou.sandbox.restrictions import MIB

DATABASE = "duikou.db"
PRIVATE = 0o700  # the folder holds what callers sent and what signs for them: its owner's alone


class DataFolder:
    """A folder with one owner.

    min_free_mb: free MiB below which no work is taken or begun.
    """

    def __init__(self, root: Path, min_free_mb: int = 0) -> None:
        self.root = root.absolute()
        self._min_free_mb = min_free_mb
        self._promised_mb, self._promising = 0, threading.Lock()
        self._lock: IO[str] | None = None

    def make(self) -> None:
        """Make the folder where there is none, without taking it. Raises `StorageError`."""
        try:
            self.root.mkdir(PRIVATE, parents=True, exist_ok=True)
            for name in ("incoming", "scratch"):
                (self.root / name).mkdir(PRIVATE, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def open(self) -> None:
        """Make the folder and take it. Raises `StorageError` where it cannot be used or another server has it."""
        self.make()
        try:
            lock = (self.root / "lock").open("a+")
        except OSError as error:
            raise self._unusable(error) from error
        try:
            # The kernel drops this lock when its holder dies, however it dies. Children do not inherit it.
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
        """Let another server have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def database_url(self) -> str:
        """Where the embedded database is."""
        return f"sqlite:///{self.root / DATABASE}"

    def former_secret(self) -> bytes | None:
        """What signed the addresses of files before the database held that, so that those handed out stay valid."""
        path = self.root / "secret"
        return path.read_bytes() if path.exists() else None

    @property
    def scratch(self) -> Path:
        """Where work on copies is done."""
        return self.root / "scratch"

    def incoming(self) -> Path:
        """A new place to receive a file at."""
        return self.root / "incoming" / secrets.token_hex(8)

    def require_room(self) -> None:
        """Raise `StorageError` where too little is free, what is promised to files on their way counted as taken."""
        free_mb = max(shutil.disk_usage(self.root).free // MIB - self._promised_mb, 0)
        if free_mb < self._min_free_mb:
            raise StorageError(
                f"the server's disk is nearly full: {free_mb} MB are free, and no work is taken below "
                f"{self._min_free_mb} MB"
            )

    @contextmanager
    def promised(self, megabytes: int) -> Iterator[None]:
        """Keep room for a file that is being received. Raises `StorageError` where there is none."""
        with self._promising:
            self._promised_mb += megabytes
        try:
            self.require_room()
            yield
        finally:
            with self._promising:
                self._promised_mb -= megabytes
