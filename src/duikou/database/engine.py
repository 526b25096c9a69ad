"""The database: how it is opened, brought up to date, read and written. SQLite for one server, PostgreSQL for many."""

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

BUSY_TIMEOUT_MS = 10_000  # how long a SQLite writer waits for another one; writes here take milliseconds
CONNECT_S = 5  # to a PostgreSQL server that says nothing
STATEMENT_MS = 30_000  # of one statement; ours take milliseconds
SILENT_MS = 10_000  # after which a connection whose other end answers nothing counts as cut
POOL, POOL_MORE = 8, 24  # connections to PostgreSQL that one process keeps, and more at a peak
MIGRATION = "migration"


class Database:
    """Connections to one database. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open the database and bring its tables up to date. Raises `StorageError`."""
        try:
            parsed = sa.make_url(url)
            self.shared = parsed.get_backend_name() != "sqlite"
            """Whether other processes, on other machines too, may use it at the same time."""
            # Errors show the statement only: what goes into it are secrets and what callers sent.
            self._engine = sa.create_engine(parsed, hide_parameters=True, **(_POSTGRESQL if self.shared else {}))
        except ValueError as error:  # which repeats what it could not read, a part of a password perhaps
            raise StorageError("database_url: the database cannot be opened: its port is no number") from error
        except (SQLAlchemyError, ImportError) as error:
            missing = isinstance(error, ImportError | NoSuchModuleError)
            remedy = "; it needs duikou[fleet] and an address such as postgresql+psycopg://" if missing else ""
            raise StorageError(f"database_url: the database cannot be opened: {error}{remedy}") from error
        field = "database_url" if self.shared else "data"
        shown = parsed.set(query={})  # it may hold a password too; the one before the host is not shown anyway
        try:
            if not self.shared:
                _tame_sqlite(self._engine)
            with self.writing() as connection:
                if self.shared:  # many starters may wait for the first one, and an old database for its new columns
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
        """A transaction; with SQLite the only one to write. Raises `StorageError` where the database has no room or
        does not answer.
        """
        with self._told(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads. Raises `StorageError` where the database does not answer."""
        with self._told(), self._engine.connect().execution_options(reading=True) as connection:
            yield connection

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether no other process does what is called `name` until the block ends."""
        if not self.shared:
            yield True
            return
        with self.reading() as connection:
            connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_number(name)))))

    def one_by_one(self, connection: sa.Connection, name: str) -> None:
        """Wait until no other transaction that asked for the same name is under way. SQLite has one writer anyway."""
        if self.shared:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_number(name))))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise StorageError("the database does not answer") from error
        except (OperationalError, InterfaceError, InternalError) as error:
            if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL":
                raise StorageError("the server's disk is full") from error
            if self.shared:  # refused, cut, restarting, read-only, out of its own disk: it passes
                raise StorageError("the database does not answer") from error
            raise


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database of these settings, whether a server uses it or not. Raises `StorageError`."""
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
    """What the driver itself said, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())


def _number(name: str) -> int:
    """The number that stands for a name among PostgreSQL's advisory locks."""
    return zlib.crc32(f"duikou {name}".encode())


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
