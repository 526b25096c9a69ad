"""Opens, migrates, reads and writes the database. SQLite for one server, PostgreSQL for several."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy.exc import InterfaceError, InternalError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from duikou.database.migrations import migrate
from duikou.errors import StorageError
from duikou.settings import Settings
from duikou.storage.data_folder import DataFolder

BUSY_TIMEOUT_MS = 10_000  # that a SQLite writer waits for another one; writes here take milliseconds
CONNECT_S = 5  # for a connection to PostgreSQL
STATEMENT_MS = 30_000  # for one statement; they take milliseconds
SILENT_MS = 10_000  # after which a connection whose other end is silent counts as broken
POOL, POOL_MORE = 8, 24  # connections to PostgreSQL of one process, and additional ones at a peak
MIGRATION = "migration"


class Database:
    """Connections to one database. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open the database and migrate its tables. Raises `StorageError`."""
        try:
            parsed = sa.make_url(url)
            self.shared = parsed.get_backend_name() != "sqlite"
            """Whether other processes may use it at the same time, on other machines too."""
            # Errors show the statement only: its parameters include secrets and what callers sent.
            self._engine = sa.create_engine(parsed, hide_parameters=True, **(_POSTGRESQL if self.shared else {}))
        except ValueError as error:  # its text repeats what it could not parse, which may be part of a password
            raise StorageError("database_url: the database cannot be opened: its port is no number") from error
        except (SQLAlchemyError, ImportError) as error:
            missing = isinstance(error, ImportError | NoSuchModuleError)
            remedy = "; it needs duikou[fleet] and an address such as postgresql+psycopg://" if missing else ""
            raise StorageError(f"database_url: the database cannot be opened: {error}{remedy}") from error
        field = "database_url" if self.shared else "data"
        shown = parsed.set(query={})  # it may hold a password too; SQLAlchemy hides the one before the host
        try:
            if not self.shared:
                _configure_sqlite(self._engine)
            with self.writing() as connection:
                if self.shared:  # several servers may wait for the first, which may have columns to add
                    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                self.one_by_one(connection, MIGRATION)
                migrate(connection)
        except CommandError as error:
            self.close()
            raise StorageError(
                f"{field}: the database {shown} is of a version that this duikou does not know; run "
                "the one that wrote it, or a later one"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            self.close()
            raise StorageError(f"{field}: the database {shown} cannot be opened: {_reason(error)}") from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raise `StorageError` where it does not answer."""
        with self.reading() as connection:
            connection.execute(sa.select(sa.literal(1)))

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction; with SQLite the only one that writes.

        Raises `StorageError` where the database is full or does not answer.
        """
        with self._translated_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads. Raises `StorageError` where the database does not answer."""
        with self._translated_errors(), self._engine.connect().execution_options(reading=True) as connection:
            yield connection

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether this process holds the lock `name` until the block ends; false where another process holds it."""
        if not self.shared:
            yield True
            return
        with self.reading() as connection:
            connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_number(name)))))

    def one_by_one(self, connection: sa.Connection, name: str) -> None:
        """Take the lock `name` until the transaction ends, waiting for it. SQLite has one writer anyway."""
        if self.shared:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_number(name))))

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise StorageError("the database does not answer") from error
        except (OperationalError, InterfaceError, InternalError) as error:
            if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL":
                raise StorageError("the server's disk is full") from error
            if self.shared:  # refused, broken, restarting, read-only, disk full: it passes
                raise StorageError("the database does not answer") from error
            raise


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database of these settings, also while a server uses it. Raises `StorageError`."""
    folder = DataFolder(settings.data)
    if not settings.database_url:
        folder.make()
    database = Database(settings.database_url or folder.database_url)
    try:
        yield database
    finally:
        database.close()


_POSTGRESQL: dict[str, Any] = {
    "pool_size": POOL,
    "max_overflow": POOL_MORE,
    "pool_timeout": CONNECT_S,
    "pool_pre_ping": True,
    "connect_args": {
        "connect_timeout": CONNECT_S,
        "tcp_user_timeout": SILENT_MS,
        "application_name": "duikou",
        "options": f"-c statement_timeout={STATEMENT_MS} -c idle_in_transaction_session_timeout={2 * STATEMENT_MS}",
    },
}


def _reason(error: BaseException) -> str:
    """The driver's own message, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())


def _number(name: str) -> int:
    """The number of a PostgreSQL advisory lock, from its name."""
    return zlib.crc32(f"duikou {name}".encode())


def _configure_sqlite(engine: sa.Engine) -> None:
    """A private file, WAL, long waits for the lock, and transactions that SQLAlchemy begins.

    The driver's own begin comes too late for a compare-and-set.

    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#transactions-with-sqlite-and-the-sqlite3-driver
    """
    if engine.url.database:  # it holds signing secrets; SQLite gives its side files the same mode
        Path(engine.url.database).touch(0o600)

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once: two that read first and write later would deadlock.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
