"""The interface of a file storage: a folder (`storage.local`) or an object storage (`storage.s3`).

Every stored file has a key, a path such as `media/ID.mp4` or `tasks/ID/3/result.mp4` that only the server makes
(`duikou.storage.keys` names them all). Work on files happens in a `Workspace`: with a folder, files are read and
written in place; with an object storage, they are downloaded before and uploaded after.
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

PIECE = 256 << 10  # bytes sent at once: a server holds one piece of a file per stream
PRIVATE = 0o700  # callers' files are readable by their owner only
FULL = (errno.ENOSPC, errno.EDQUOT)  # error numbers of a full disk
KINDS = {"media": "the video", "sessions": "the session", "tasks": "the task's file"}


@dataclass(frozen=True)
class StoredFile:
    """A stored file. age_s: seconds since it was written, by the storage's own clock where it has one."""

    key: str
    size: int
    age_s: float


class Workspace(Protocol):
    """A folder in which one piece of work reads its input and writes its output."""

    def get(self, key: str) -> Path:
        """A stored file or folder as a local path. Raises `StorageError`, also where the key is missing."""

    def new(self, key: str) -> Path:
        """A new, empty folder for output that will be stored under `key`. Raises `StorageError`.

        Raises `FileNotFoundError` where the task's folder was removed in between, if the storage can tell.
        """

    def put(self, key: str) -> int:
        """Store the output of that key, a file or a folder with its contents; its size in bytes.

        Raises `WorkerError` for anything but regular files, such as links, and `StorageError`.
        """


class Files(Protocol):
    """A file storage. Every method may be called from any thread and raises `StorageError` where the storage fails."""

    def put(self, path: Path, key: str) -> int:
        """Move a local file into the storage; its size in bytes."""

    def copy(self, key: str, to: Path) -> None:
        """Copy a stored file to a local path."""

    def copy_folder(self, key: str, to: str) -> int:
        """Copy every file below a folder to another folder, which is new; how many there were.

        Where it fails, part of the copy may be left.
        """

    def remove(self, key: str) -> None:
        """Remove a file, or everything below a folder; a missing one is no error."""

    def workspace(self) -> AbstractContextManager[Workspace]:
        """A folder for one piece of work. Stored output stays; local copies are removed."""

    def list(self, top: str) -> Iterator[StoredFile]:
        """Every file below `media`, `sessions` or `tasks`."""

    def local_path(self, key: str) -> Path | None:
        """The local path of a stored file; `None` where it has to be fetched first."""

    def size(self, key: str) -> int | None:
        """Size of a stored file in bytes; `None` where it is missing."""

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end - 1` of a stored file, in pieces."""

    def presigned_url(self, key: str, seconds: int, *, media_type: str, filename: str, download: bool) -> str | None:
        """A URL from which anyone can read a stored file for `seconds`; `None` where the server has to serve it."""

    def key_of(self, url: str) -> str | None:
        """The key that a URL of this storage points to, `None` for any other. It does not check who may read."""

    def ping(self) -> None:
        """Raise `StorageError` where the storage does not answer or denies access."""

    @property
    def folder(self) -> Path | None:
        """The local folder that holds the files, whose disk they fill; `None` where there is none."""


def valid_key(key: str) -> str:
    """The key itself. Raises `ValueError` for one that could lead out of the storage; the server makes no such keys."""
    if "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"{key!r} is no key")
    return key


def output_files(path: Path) -> Iterator[tuple[Path, int]]:
    """The files of a worker's output, with their sizes. Raises `WorkerError` for anything but regular files.

    A worker reads untrusted files and may be taken over: a link in its output would publish what it points to.
    """
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        raise WorkerError(f"the worker process left no {path.name}") from error
    if stat.S_ISDIR(found.st_mode):
        for below in sorted(path.iterdir()):
            yield from output_files(below)
        return
    require_regular(found, path.name)
    yield path, found.st_size


def require_regular(found: os.stat_result, name: str) -> None:
    """Raise `WorkerError` for anything but a regular file with a single name."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise WorkerError(f"the worker process left {name}, which is not a regular file")


def missing(key: str) -> StorageError:
    """The error for a stored file that is missing."""
    return StorageError(f"{KINDS.get(key.partition('/')[0], 'the file')} is no longer kept")


def disk_error(error: OSError) -> StorageError:
    """The error for a failing disk."""
    if error.errno in FULL:
        return StorageError("the server's disk is full")
    return StorageError(f"the file storage cannot be used: {error.strerror}")


@contextmanager
def storage_errors(key: str = "") -> Iterator[None]:
    """Raise `OSError` as `StorageError`. key: of a stored file, whose absence is reported as such."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        absent = bool(key) and isinstance(error, FileNotFoundError | NotADirectoryError)
        raise (missing(key) if absent else disk_error(error)) from error
