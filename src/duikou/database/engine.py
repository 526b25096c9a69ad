"""Opens, migrates, reads and writes the database. SQLite for one server, PostgreSQL for several."""

from __future__ import annotations

import re
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import InterfaceError, InternalError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from duikou.database.migrations import UnknownVersionError, migrate, version_of
from duikou.errors import NotFoundError, StorageError
from duikou.settings import Settings
from duikou.storage.data_folder import DataFolder

BUSY_TIMEOUT_MS = 10_000  # that a SQLite writer waits for another one; writes here take milliseconds
CONNECT_S = 5  # for a connection to PostgreSQL
STATEMENT_MS = 30_000  # for one statement; they take milliseconds
SILENT_MS = 10_000  # after which a connection whose other end is silent counts as broken
POOL, POOL_MORE = 8, 24  # connections to PostgreSQL of one process, and additional ones at a peak
MIGRATION = "migration"
_AGAIN_S = 0.01
_CANNOT = "database_url: the database cannot be opened"


class Database:
    """Connections to one database. Safe to use from several threads."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Open the database and migrate its tables. Raises `StorageError`.

        create: whether to create what is missing; else a database without duikou's tables raises `NotFoundError`.
        """
        self._engine = _engine(url)
        self.shared = self._engine.url.get_backend_name() != "sqlite"
        """Whether other processes may use it at the same time, on other machines too."""
        self.shown = _shown(self._engine.url)
        """What people call it: the file, or the name and the host; neither user nor password."""
        self._field = "database_url" if self.shared else "data"
        if not create and not self.shared and not Path(self._engine.url.database or "").is_file():
            raise self._nothing()
        try:
            if not self.shared:
                _configure_sqlite(self._engine)
            with self.writing() as connection:
                if not create and not sa.inspect(connection).has_table("tasks"):
                    raise self._nothing()
                if self.shared:  # several servers may wait for the first, which may have columns to add
                    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                self.one_by_one(connection, MIGRATION)
                migrate(connection)
        except UnknownVersionError:
            self.close()
            raise StorageError(
                f"{self._field}: {self.shown} has a database of a version that this duikou does not know; run the one "
                "that wrote it, or a later one"
            ) from None
        except (SQLAlchemyError, StorageError) as error:
            self.close()
            # Not as the cause: what drivers say repeats parts of the address.
            raise StorageError(f"{self._field}: {self.shown} cannot be opened: {_reason(error)}") from None
        except OSError as error:
            self.close()
            raise StorageError(f"{self._field}: {self.shown} cannot be opened: {error.strerror or error}") from None
        except NotFoundError:
            self.close()
            raise

    def _nothing(self) -> NotFoundError:
        made = "`duikou keys make` and `duikou serve` make one"
        return NotFoundError(f"there is no database of duikou in {self.shown}; {made}", field=self._field)

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
def opened(settings: Settings, *, create: bool = False) -> Iterator[Database]:
    """The database of these settings, also while a server uses it. Raises `StorageError`.

    create: whether to make a data folder and tables; else `NotFoundError` where there are none.
    """
    folder = DataFolder(settings.data)
    if create and not settings.database_url:
        folder.make()
    database = Database(settings.database_url or folder.database_url, create=create)
    try:
        yield database
    finally:
        database.close()


def look(url: str) -> str:
    """What a database is and which tables it has, for people. Nothing is created or changed. Raises `StorageError`."""
    engine = _engine(url)
    shown, file = _shown(engine.url), Path(engine.url.database or "")
    shared = engine.url.get_backend_name() != "sqlite"
    if not shared and not file.exists():
        return f"none yet in {shown}: the first server or key makes it"
    try:
        with engine.connect() as connection:
            versions = version_of(connection)
            if shared and not versions and not connection.scalar(sa.text(_MAY_CREATE)):
                raise StorageError(f"{shown} is empty, and its user may not create tables in it")
    except SQLAlchemyError as error:
        raise StorageError(f"{shown} cannot be opened: {_reason(error)}") from None
    finally:
        engine.dispose()
    return f"{shown}, " + (f"tables of version {versions}" if versions else "empty: the first server makes its tables")


def may_pass(error: Exception) -> bool:
    """Whether the same write may succeed later: the database is away, busy or full. Else it refuses what is written."""
    return isinstance(error, StorageError | OperationalError | InterfaceError | InternalError | PoolTimeoutError)


_MAY_CREATE = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
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


_REASONS = (
    (r"password authentication failed|no password supplied", "its user or password is wrong"),
    (r'role ".*" does not exist', "it has no such user"),
    (r'database ".*" does not exist', "its server has no database of that name"),
    (r"no pg_hba\.conf entry", "its server takes no connections of this user from this machine (pg_hba.conf)"),
    (r"permission denied|must be owner", "its user may not create tables"),
    (r"[Cc]onnection refused", "nothing listens at its host and port"),
    (r"resolve|translate host name|[Nn]ame or service not known", "its host has no address"),
    (r"time(d )?out", f"it does not answer within {CONNECT_S} s"),
    (r"unreachable|[Nn]o route", "its host cannot be reached from here"),
    (r"too many (clients|connections)|remaining connection slots", "it has no connection left"),
    (r"starting up|shutting down|not yet accepting", "it is starting or stopping"),
    (r"\bSSL\b|certificate|\bsslmode\b", "it cannot be reached by TLS as the address asks"),
    (r"unable to open database file|readonly database", "its file duikou.db cannot be written here"),
    (r"not a database|malformed", "its file duikou.db is no database, or it is damaged"),
    (r"database is locked", f"another process has locked it for {BUSY_TIMEOUT_MS // 1000} s"),
)
"""What a driver says and what it means. Its own words repeat parts of the address, so they are never shown."""


def _engine(url: str) -> sa.Engine:
    """Connections to a database, none of which is made yet. Raises `StorageError` without any part of the URL."""
    try:
        parsed = sa.make_url(url)
        if "@" in (parsed.host or ""):
            raise StorageError(f"{_CANNOT}: write an @ in its password as %40")
        postgresql = parsed.get_backend_name() == "postgresql"
        if not postgresql and parsed.get_backend_name() != "sqlite":
            raise StorageError(f"{_CANNOT}: it must begin with postgresql+psycopg://")
        # Errors show the statement only: its parameters include secrets and what callers sent.
        return sa.create_engine(parsed, hide_parameters=True, **(_POSTGRESQL if postgresql else {}))
    except ValueError:
        raise StorageError(f"{_CANNOT}: its port is no number") from None
    except (ImportError, NoSuchModuleError):
        raise StorageError(
            f"{_CANNOT}: it must begin with postgresql+psycopg://, and the package psycopg must be there; "
            "install duikou[fleet]"
        ) from None
    except SQLAlchemyError:
        raise StorageError(
            f"{_CANNOT}: it is no address such as postgresql+psycopg://user:password@host/name"
        ) from None


def _shown(url: sa.URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"the data folder {Path(url.database or '').parent}"
    return f"the PostgreSQL database {url.database or ''} at {url.host or 'this machine'}:{url.port or 5432}"


def _use_wal(connection: Any) -> None:
    """Keep the write-ahead log. Several processes may try on a new file, and SQLite does not wait for this lock.

    https://www.sqlite.org/c3ref/busy_handler.html
    """
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _reason(error: BaseException) -> str:
    """Why a database cannot be opened, without any part of its address."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return next((meaning for said, meaning in _REASONS if re.search(said, text)), type(error).__name__)


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
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}").close()
        _use_wal(connection)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once: two that read first and write later would deadlock.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
