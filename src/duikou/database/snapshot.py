"""A consistent copy of an embedded database while a server writes to it, and the files that its rows name."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from duikou.errors import StorageError

BUSY_S = 10.0  # that a writer may hold the file


@dataclass(frozen=True)
class Named:
    """What the rows of a database name. files: keys of files. sessions: ids, each of a folder of its own."""

    files: frozenset[str]
    sessions: frozenset[str]


def take(database: Path, to: Path) -> None:
    """Copy a database by SQLite's online backup; `to` is private to its owner. Raises `StorageError`.

    https://www.sqlite.org/backup.html
    """
    with _sqlite_errors(database), closing(_read_only(database)) as source:
        to.unlink(missing_ok=True)
        to.touch(0o600)
        with closing(sqlite3.connect(to)) as target:
            source.backup(target)
            # A copy in one file, without a log beside it; a server that opens it chooses for itself.
            target.execute("PRAGMA journal_mode=DELETE").close()
    with to.open("rb") as written:
        os.fsync(written.fileno())


def named(database: Path) -> Named:
    """What the rows of a copy name. Raises `StorageError`."""
    with _sqlite_errors(database), closing(_read_only(database)) as source:
        files = {key for (key,) in source.execute("SELECT key FROM media")}
        for (choices,) in source.execute("SELECT choices FROM tasks"):
            for choice in json.loads(choices):
                files |= {choice["sound"], *choice.get("references", ())}
        sessions = frozenset(found for (found,) in source.execute("SELECT id FROM sessions"))
    return Named(frozenset(files), sessions)


def _read_only(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)


@contextmanager
def _sqlite_errors(database: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"the database {database} cannot be copied: {error}") from error
