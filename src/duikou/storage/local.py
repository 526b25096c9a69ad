"""Files in a folder, of one machine or on a share that several machines mount."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duikou.errors import StorageError
from duikou.storage.base import (
    PIECE,
    PRIVATE,
    StoredFile,
    Workspace,
    disk_error,
    output_files,
    storage_errors,
    valid_key,
)


class LocalFiles:
    """Files in a folder, of one machine or on a share."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def put(self, path: Path, key: str) -> int:
        """Move a file into the folder; its size in bytes."""
        kept = self._path(key)
        with storage_errors():
            size = path.stat().st_size
            self._make_top_folder(key)
            kept.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
            try:
                path.rename(kept)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _move_across_disks(path, kept)
        return size

    def copy(self, key: str, to: Path) -> None:
        """Copy a stored file to a local path."""
        with storage_errors(key):
            shutil.copyfile(self._path(key), to)

    def copy_folder(self, key: str, to: str) -> int:
        """Copy every file below a folder to another folder, which is new; how many there were."""
        count = 0
        with storage_errors():
            for stored in _walk(self._path(key), key, time.time()):
                if not stat.S_ISREG(self._path(stored.key).lstat().st_mode):  # an empty folder
                    continue
                copy = self._path(to + stored.key.removeprefix(key))
                self._make_top_folder(to)
                copy.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
                shutil.copyfile(self._path(stored.key), copy, follow_symlinks=False)
                count += 1
        return count

    def remove(self, key: str) -> None:
        """Remove a file or a folder; a missing one is no error."""
        path = self._path(key)
        with storage_errors():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """The folder itself."""
        yield _InPlaceWorkspace(self)

    def list(self, top: str) -> Iterator[StoredFile]:
        """Every file below a top folder. An empty folder is listed with size 0, so that it can be found and removed."""
        with storage_errors():
            yield from _walk(self._path(top), top, time.time())

    def local_path(self, key: str) -> Path | None:
        """The file of a key."""
        return self._path(key)

    def size(self, key: str) -> int | None:
        """Size of a stored file in bytes; `None` where it is missing."""
        with storage_errors():
            try:
                found = self._path(key).lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end - 1` of a stored file, in pieces."""
        with storage_errors(key), self._path(key).open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(PIECE, end - start))):
                start += len(piece)
                yield piece

    def presigned_url(self, key: str, seconds: int, *, media_type: str, filename: str, download: bool) -> str | None:
        """None: the server serves these files itself."""

    def key_of(self, url: str) -> str | None:
        """None: no URL points here."""

    def ping(self) -> None:
        """Raise `StorageError` where the folder is missing or not writable."""
        with storage_errors():
            os.scandir(self._root).close()  # fails where a share is stale
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            raise StorageError("the file storage is not writable")

    @property
    def folder(self) -> Path | None:
        """The folder."""
        return self._root

    def _path(self, key: str) -> Path:
        return self._root / valid_key(key)

    def _make_top_folder(self, key: str) -> None:
        """Make `media`, `sessions` or `tasks`, but never the root: a missing share must not be replaced by a folder."""
        (self._root / key.partition("/")[0]).mkdir(PRIVATE, exist_ok=True)


class _InPlaceWorkspace:
    """A workspace that reads and writes stored files in place."""

    def __init__(self, files: LocalFiles) -> None:
        self._files = files

    def get(self, key: str) -> Path:
        path = self._files._path(key)
        with storage_errors(key):
            path.lstat()
        return path

    def new(self, key: str) -> Path:
        path = self._files._path(key)
        with storage_errors():
            self._files._make_top_folder(key)
        try:
            path.mkdir(PRIVATE)  # not its parents: they are missing where the task was deleted in between
        except FileNotFoundError:
            raise
        except OSError as error:
            raise disk_error(error) from error
        return path

    def put(self, key: str) -> int:
        return sum(size for _, size in output_files(self._files._path(key)))


def _move_across_disks(path: Path, kept: Path) -> None:
    """Move a file to another disk. It appears under its own name once it is complete."""
    part = kept.with_name(f"{kept.name}.part")
    try:
        shutil.copyfile(path, part)
        part.rename(kept)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    path.unlink()


def _walk(folder: Path, key: str, now: float) -> Iterator[StoredFile]:
    """The files below a folder; those removed meanwhile are left out."""
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
                    yield from _walk(Path(entry.path), below, now)
                    continue
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield StoredFile(below, found.st_size, max(now - found.st_mtime, 0.0))
    if empty and "/" in key:
        try:
            yield StoredFile(key, 0, max(now - folder.stat().st_mtime, 0.0))
        except FileNotFoundError:
            return
