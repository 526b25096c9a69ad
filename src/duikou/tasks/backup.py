"""A backup of one machine's data folder, taken while its server runs. The backup is itself a data folder.

The database is copied first and the files that its rows name after it, so that no row of the backup names a file that
came later. A file that the server removes in between is missed, and then both are done again. The new database takes
the place of the former one once all its files are there, so an interrupted backup leaves the former one whole.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from duikou.database import snapshot
from duikou.database.snapshot import Named
from duikou.errors import InputError, NotFoundError
from duikou.storage import keys
from duikou.storage.base import PRIVATE, Files, storage_errors
from duikou.storage.data_folder import DATABASE, DataFolder

ROUNDS: Final = 3
PAUSE_S: Final = 1.0  # between two rounds: the server removes the row a moment after its file
CERTIFICATE: Final = "certificate"  # the folder of the self-signed certificate
PART: Final = ".part"


@dataclass(frozen=True)
class Backup:
    """What a backup holds. files, bytes: all of it. copied: files that an earlier backup there did not hold.

    missing: keys of files that rows name and the server itself does not have.
    """

    files: int
    bytes: int
    copied: int
    missing: tuple[str, ...]


def back_up(source: DataFolder, files: Files, to: Path) -> Backup:
    """Copy a server's data folder and its files to the folder `to`, which may hold an earlier backup.

    Raises `NotFoundError` where there is no database, `InputError` where `to` lies in the source or the source in it,
    `StorageError` where something cannot be read or written, or a server or another backup uses `to`.
    """
    database = source.root / DATABASE
    if not database.is_file():
        raise NotFoundError(f"there is no database of duikou in the data folder {source.root}", field="data")
    to = to.absolute()
    if to.resolve().is_relative_to(source.root.resolve()) or source.root.resolve().is_relative_to(to.resolve()):
        raise InputError("must be a folder apart from the data folder", field="to")
    if to.is_dir() and any(to.iterdir()) and not (to / DATABASE).exists() and not (to / f"{DATABASE}{PART}").exists():
        raise InputError(f"{to} holds something that is no backup of duikou", field="to")
    target = DataFolder(to)
    target.open()  # locks it
    try:
        return _copy(database, source.root, files, to)
    finally:
        target.close()


def _copy(database: Path, source: Path, files: Files, to: Path) -> Backup:
    new, copied = to / f"{DATABASE}{PART}", 0
    for turn in range(ROUNDS):
        if turn:
            time.sleep(PAUSE_S)
        with storage_errors():
            snapshot.take(database, new)
        named, missing = snapshot.named(new), []
        sizes = _sizes(files, named)
        for key in sorted(named.files | sizes.keys()):
            if key not in sizes or not (done := _fetch(files, key, sizes[key], to)):
                missing.append(key)
            else:
                copied += done == "copied"
        if not missing:
            break
    with storage_errors():
        if (source / CERTIFICATE).is_dir():
            shutil.copytree(source / CERTIFICATE, to / CERTIFICATE, dirs_exist_ok=True)
        for log in ("-wal", "-shm"):  # of a server that has run on the backup: they belong to the former database
            (to / f"{DATABASE}{log}").unlink(missing_ok=True)
        new.replace(to / DATABASE)
        kept = {to / key for key in sizes}
        for path in _stored(to):
            if path not in kept:
                path.unlink()
    return Backup(len(sizes), sum(sizes.values()), copied, tuple(missing))


def _sizes(files: Files, named: Named) -> dict[str, int]:
    """The stored files that these rows name, with their sizes. Half a result of a running attempt is none of them."""
    return {
        stored.key: stored.size
        for place in keys.PLACES
        for stored in files.list(place)
        if stored.key in named.files or (place == "sessions" and stored.key.split("/")[1] in named.sessions)
    }


def _fetch(files: Files, key: str, size: int, to: Path) -> str:
    """Copy a file unless it is there: stored files never change. Returns `copied`, `kept`, or nothing if it is gone."""
    path = to / key
    with storage_errors():
        if path.is_file() and path.stat().st_size == size:
            return "kept"
        path.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}{PART}")
        try:
            files.copy(key, part)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            if files.size(key) is None:
                return ""
            raise
    return "copied"


def _stored(to: Path) -> Iterator[Path]:
    for place in keys.PLACES:
        yield from (path for path in (to / place).rglob("*") if path.is_file())
