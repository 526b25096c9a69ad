"""Files in a folder: of this machine alone, or a share that several machines mount."""

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
from duikou.storage.base import PIECE, PRIVATE, Stored, Workspace, checked, made, plainly, unusable


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
