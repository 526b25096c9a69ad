"""The data folder of one server or worker: its lock, and its free space.

lock              held by the one server or worker that uses the folder
duikou.db         the embedded database
certificate/      the certificate that results are signed with, unless another is configured
incoming/         files that are being received; emptied at every start
scratch/          copies of files in an object storage, while they are worked on; emptied at every start

It also holds the stored files, unless they have a storage of their own: see `duikou.storage.base`.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from duikou.errors import StorageError
from duikou.units import MIB

DATABASE = "duikou.db"
PRIVATE = 0o700  # the folder holds callers' files and signing keys: only for its owner
AHEAD = 256 << 10  # bytes that a file reserves beyond those that have arrived
SPARE = 64 * MIB  # that large files leave above the floor, so that a disk that fills up stops them before small ones


class DataFolder:
    """A folder that one process uses at a time, and the disks that its work fills.

    min_free_mb: the floor, free MiB below which no work is accepted or started.
    """

    def __init__(self, root: Path, min_free_mb: int = 0) -> None:
        self.root = root.absolute()
        self._floor = min_free_mb * MIB
        self._stored_at: Path | None = None
        self._promised, self._incoming, self._reserving = 0, Counter[str](), threading.Lock()
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

    def watch(self, stored_at: Path | None) -> None:
        """Watch the disk of the stored files as well. stored_at: their folder; `None` where no disk here has them."""
        self._stored_at = stored_at

    def require_room(self) -> None:
        """Raise `StorageError` where too little space is free. Space reserved for incoming files counts as used."""
        free = self._free()
        if free < self._floor:
            raise StorageError(
                f"the server's disk is nearly full: {max(free, 0) // MIB} MB are free, and no work is accepted below "
                f"{self._floor // MIB} MB"
            )

    def scarce(self) -> int | None:
        """Bytes above the floor on the disk of the stored files, where that is less than the floor itself.

        `None` where more is left, or where no disk of this machine has the files.
        """
        if self._stored_at is None:
            return None
        left = self._free_at(self._stored_at) - self._floor
        return left if left < self._floor else None

    @contextmanager
    def reserve(self, account: str) -> Iterator[Room]:
        """Space for a file of an account that is being received. Raises `StorageError` where there is none."""
        self.require_room()
        room = Room(self, account)
        try:
            yield room
        finally:
            self._give_back(room)

    def _free(self) -> int:
        """Free bytes of the disk that has the least."""
        places = {self.root, *filter(None, [self._stored_at])}
        return min(self._free_at(place) for place in places)

    def _free_at(self, place: Path) -> int:
        return shutil.disk_usage(place).free - self._promised

    def _grow(self, room: Room, size: int) -> None:
        """Count `size` bytes that a file is about to have, and reserve a little more than that.

        Reserving twice what a small file has keeps a tiny one from asking for much.
        """
        with self._reserving:
            here, taken = room.taken, room.taken + size  # all that was taken before is on the disk by now
            granted = room.granted if taken <= room.granted else taken + min(taken, AHEAD)
            promised = (granted - here) - (room.granted - room.written)
            incoming = self._incoming[room.account] + size
            if granted > room.granted:
                free, must_stay = self._free() - promised, self._floor + min(incoming, SPARE)
                if free < must_stay:
                    raise StorageError(
                        f"the server's disk is nearly full: {max(free, 0) // MIB} MB are free, and files that are "
                        f"being received must leave {math.ceil(must_stay / MIB)} MB"
                    )
            room.written, room.taken, room.granted = here, taken, granted
            self._promised += promised
            self._incoming[room.account] = incoming

    def _give_back(self, room: Room) -> None:
        with self._reserving:
            self._promised -= room.granted - room.written
            self._incoming[room.account] -= room.taken
            if not self._incoming[room.account]:
                del self._incoming[room.account]


class Room:
    """Space for one file that is being received. It grows with the file, whatever size was announced.

    taken: bytes asked for. written: those of them that are on the disk. granted: bytes that the file may have by now.
    """

    def __init__(self, folder: DataFolder, account: str) -> None:
        self.account = account
        self.taken = self.written = self.granted = 0
        self._folder = folder

    def take(self, size: int) -> None:
        """Make room for bytes that are written next. Safe to call from any thread.

        Raises `StorageError` where the disk would come too near to its floor. A file must leave above the floor as much
        as all incoming files of its account have, up to `SPARE`: so the account that brings most is refused first.
        """
        self._folder._grow(self, size)
