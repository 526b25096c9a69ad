"""Where bytes stay: one port, with a folder behind it here and an object storage in `duikou.jobs.objects`.

Everything kept has a key, a path made by us alone, such as `media/ID.mp4` or `tasks/ID/3/result.mp4`
(`duikou.jobs.folder` names them all). What works on files does so in a `Workspace`: with a folder the files are read
and made where they stay, with an object storage they are fetched before and sent after.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

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


def open_files(url: str, root: Path, scratch: Path, patience_s: float) -> Files:
    """The storage that `storage_url` names, the folder `root` where it names none. Raises `StorageError`.

    scratch: where files that lie elsewhere are worked on. patience_s: how long a storage that does not answer is
    asked again, in seconds.
    """
    if not url:
        return LocalFiles(root)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme == "file" and not (parts.netloc or parts.query or parts.fragment) and parts.path.startswith("/"):
        return LocalFiles(Path(unquote(parts.path)))
    if parts.scheme == "s3" and not parts.fragment:
        try:
            from duikou.jobs.objects import ObjectFiles
        except ModuleNotFoundError as error:
            raise StorageError("storage_url: s3 needs the package obstore; install duikou[fleet]") from error
        return ObjectFiles(url, scratch, patience_s)
    raise StorageError("storage_url: must be empty, file:///folder or s3://bucket/prefix?endpoint=...&region=...")


class LocalFiles:
    """Files in a folder: of this machine alone, or a share of several machines."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def keep(self, path: Path, key: str) -> int:
        """Move a file to where it stays; its size in bytes."""
        kept = self._path(key)
        with plainly():
            size = path.stat().st_size
            self._make_place(key)
            kept.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
            try:
                path.rename(kept)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _carry(path, kept)
        return size

    def copy(self, key: str, to: Path) -> None:
        """Copy a kept file to a local path."""
        with plainly(key):
            shutil.copyfile(self._path(key), to)

    def remove(self, key: str) -> None:
        """Remove a file or a folder; nothing happens where there is none."""
        path = self._path(key)
        with plainly():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """The folder itself."""
        yield _InPlace(self)

    def listed(self, place: str) -> Iterator[Stored]:
        """Every file below a place. A folder without files is one of no bytes: nobody else would ever find it."""
        with plainly():
            yield from _walked(self._path(place), place, time.time())

    def local(self, key: str) -> Path | None:
        """The file of a key."""
        return self._path(key)

    def size(self, key: str) -> int | None:
        """Bytes of a kept file; `None` where there is none."""
        with plainly():
            try:
                found = self._path(key).lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end - 1` of a kept file, in pieces."""
        with plainly(key), self._path(key).open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(PIECE, end - start))):
                start += len(piece)
                yield piece

    def address(self, key: str, seconds: int, *, media_type: str, filename: str, download: bool) -> str | None:
        """None: the server itself gives these files out."""

    def key_of(self, url: str) -> str | None:
        """None: no address leads here."""

    def ping(self) -> None:
        """Raise `StorageError` where the folder is missing or may not be written."""
        with plainly():
            os.scandir(self._root).close()  # fails where a share is stale
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            raise StorageError("the file storage may not be written")

    def _path(self, key: str) -> Path:
        return self._root / checked(key)

    def _make_place(self, key: str) -> None:
        """Make `media`, `sessions` or `tasks`, but never the root: a share that is missing must not become a folder."""
        (self._root / key.partition("/")[0]).mkdir(PRIVATE, exist_ok=True)


class _InPlace:
    """A workspace where files are read and made where they stay."""

    def __init__(self, files: LocalFiles) -> None:
        self._files = files

    def get(self, key: str) -> Path:
        path = self._files._path(key)
        with plainly(key):
            path.lstat()
        return path

    def new(self, key: str) -> Path:
        path = self._files._path(key)
        with plainly():
            self._files._make_place(key)
        try:
            path.mkdir(PRIVATE)  # not its parents: they are gone where the task was deleted in between
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unusable(error) from error
        return path

    def keep(self, key: str) -> int:
        return sum(size for _, size in made(self._files._path(key)))


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


def _carry(path: Path, kept: Path) -> None:
    """Move a file to another disk. Under its own name it appears when it is whole."""
    part = kept.with_name(f"{kept.name}.part")
    try:
        shutil.copyfile(path, part)
        part.rename(kept)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    path.unlink()


def _walked(folder: Path, key: str, now: float) -> Iterator[Stored]:
    """What lies below a folder; what is removed meanwhile is left out."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    empty = True
    with entries:
        for entry in entries:
            empty = False
            below = f"{key}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walked(Path(entry.path), below, now)
                    continue
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Stored(below, found.st_size, max(now - found.st_mtime, 0.0))
    if empty and "/" in key:
        try:
            yield Stored(key, 0, max(now - folder.stat().st_mtime, 0.0))
        except FileNotFoundError:
            return
