"""The database: how it is opened, brought up to date, read and written. SQLite; all queries are PostgreSQL's too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from duikou.errors import StorageError
from duikou.jobs.migrations import migrate

BUSY_TIMEOUT_MS = 10_000  # how long a writer waits for another one; writes here take milliseconds


class Database:
    """Connections to one database. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open the database and bring its tables up to date. Raises `StorageError`."""
        # Errors show the statement only: what goes into it are secrets and what callers sent.
        self._engine = sa.create_engine(url, hide_parameters=True)
        try:
            if self._engine.dialect.name == "sqlite":
                _tame_sqlite(self._engine)
            with self.writing() as connection:
                migrate(connection)
        except CommandError as error:
            self.close()
            raise StorageError(
                f"data: the database {self._engine.url} is of a version that this duikou does not know; run "
                "the one that wrote it, or a later one"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            self.close()
            raise StorageError(
                f"data: the database {self._engine.url} cannot be opened: {error.__cause__ or error}"
            ) from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raise the database's own error where it does not answer."""
        with self.reading() as connection:
            connection.execute(sa.select(sa.literal(1)))

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is the only one to write. Raises `StorageError` where the disk is full."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL":
                raise StorageError("the server's disk is full") from error
            raise

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads."""
        with self._engine.connect().execution_options(reading=True) as connection:
            yield connection


def _tame_sqlite(engine: sa.Engine) -> None:
    """A file for its owner alone, WAL, full waits, and transactions begun by us.

    The driver's own begin comes too late for a compare-and-set.

    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#transactions-with-sqlite-and-the-sqlite3-driver
    """
    if engine.url.database:  # it holds signing secrets; SQLite gives the files beside it the same mode
        Path(engine.url.database).touch(0o600)

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once: two that read first and write later would block each other for good.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
