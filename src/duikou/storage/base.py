"""Where files are kept: one interface, with a folder (`storage.local`) or an object storage (`storage.s3`) behind it.

Everything kept has a key, a path made by us alone, such as `media/ID.mp4` or `tasks/ID/3/result.mp4`
(`duikou.storage.keys` names them all). Work on files happens in a `Workspace`: with a folder the files are read and
written in place, with an object storage they are downloaded before and uploaded after.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from duikou.errors import StorageError, WorkerError

PIECE = 256 << 10  # bytes handed on at once: one piece a stream is what a server holds of a file
PRIVATE = 0o700  # what callers sent is its owner's alone
FULL = (errno.ENOSPC, errno.EDQUOT)
KINDS = {"media": "the video", "sessions": "the session", "tasks": "the task's file"}


@dataclass(frozen=True)
class Stored:
    """A file that is kept. age_s: seconds since it was written, by the storage's own clock where it tells one."""

    key: str
    size: int
    age_s: float


class Workspace(Protocol):
    """A folder in which one piece of work finds what it reads and leaves what it makes."""

    def get(self, key: str) -> Path:
        """A kept file or folder as a local path. Raises `StorageError`, also where nothing is kept."""

    def new(self, key: str) -> Path:
        """A new, empty folder for what is made, whose files will be kept under `key`. Raises `StorageError`.

        Raises `FileNotFoundError` where the folder of the task was removed in between, as far as it can be told.
        """

    def keep(self, key: str) -> int:
        """Keep what was made, one file or a folder with everything in it; its size in bytes.

        Raises `WorkerError` for what is no plain file, such as a link, and `StorageError`.
        """


class Files(Protocol):
    """A storage of files. Every call may come from any thread and raises `StorageError` where the storage fails."""

    def keep(self, path: Path, key: str) -> int:
        """Take over a local file, which is gone afterwards; its size in bytes."""

    def copy(self, key: str, to: Path) -> None:
        """Copy a kept file to a local path."""

    def remove(self, key: str) -> None:
        """Remove a file, or everything below a folder; nothing happens where there is none."""

    def workspace(self) -> AbstractContextManager[Workspace]:
        """A place for one piece of work. What it keeps stays; a local copy of it does not."""

    def listed(self, place: str) -> Iterator[Stored]:
        """Every file below `media`, `sessions` or `tasks`, one after the other."""

    def local(self, key: str) -> Path | None:
        """Where a kept file can be read in place; `None` where it first has to be fetched."""

    def size(self, key: str) -> int | None:
        """Bytes of a kept file; `None` where there is none."""

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end - 1` of a kept file, in pieces."""

    def address(self, key: str, seconds: int, *, media_type: str, filename: str, download: bool) -> str | None:
        """An address from which anybody can read a kept file for so many seconds; `None` where we have to serve it."""

    def key_of(self, url: str) -> str | None:
        """The key that an address of this storage leads to, `None` for any other. It says nothing of who may read."""

    def ping(self) -> None:
        """Raise `StorageError` where the storage does not answer or may not be used."""


def checked(key: str) -> str:
    """The key itself. Raises `ValueError` for one that could lead out of the storage: we make no such keys."""
    if "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"{key!r} is no key")
    return key


def made(path: Path) -> Iterator[tuple[Path, int]]:
    """The files of what a worker made, with their bytes. Raises `WorkerError` for what is no plain file.

    A worker reads strangers' files: what it leaves may be theirs, and a link would publish what it leads to.
    """
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        raise WorkerError(f"the worker process left no {path.name}") from error
    if stat.S_ISDIR(found.st_mode):
        for below in sorted(path.iterdir()):
            yield from made(below)
        return
    require_plain(found, path.name)
    yield path, found.st_size


def require_plain(found: os.stat_result, name: str) -> None:
    """Raise `WorkerError` for what is no plain file, or has a second name elsewhere."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise WorkerError(f"the worker process left {name}, which is no plain file")


def gone(key: str) -> StorageError:
    """The error for a file that should be kept and is not."""
    return StorageError(f"{KINDS.get(key.partition('/')[0], 'the file')} is no longer kept")


def unusable(error: OSError) -> StorageError:
    """The error for a disk that refuses."""
    if error.errno in FULL:
        return StorageError("the server's disk is full")
    return StorageError(f"the file storage cannot be used: {error.strerror}")


@contextmanager
def plainly(key: str = "") -> Iterator[None]:
    """Raise the system's errors as `StorageError`; key: of the file whose absence is a missing file of ours."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        missing = bool(key) and isinstance(error, FileNotFoundError | NotADirectoryError)
        raise (gone(key) if missing else unusable(error)) from error
