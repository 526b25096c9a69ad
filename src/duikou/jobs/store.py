"""The database: one class that names every query. SQLite here; the schema and the queries are PostgreSQL's too.

The task row is the one truth. Every change of status is a compare-and-set on the status and the attempt number, so
that of two writers one wins and the other learns that it lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
import structlog

from duikou.jobs.ids import now_ms
from duikou.jobs.state import (
    UNFINISHED,
    ChoiceRecord,
    FaceNote,
    FaceSummary,
    Media,
    MediaKind,
    SessionRecord,
    Task,
    TaskStatus,
)
from duikou.timebase import Interval

MAX_TRIES = 3  # a task that killed three workers will kill the fourth
RETRY_DELAY_MS = 1_000  # times the number of tries: lets a passing fault (full disk, full memory) pass
BUSY_TIMEOUT_MS = 10_000  # how long a writer waits for another one; writes here take milliseconds

log = structlog.get_logger(__name__)
metadata = sa.MetaData()

media_table = sa.Table(
    "media",
    metadata,
    sa.Column("id", sa.String(19), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("suffix", sa.String(8), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Index("media_expiry", "kind", "expires_at"),
)
sessions_table = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(19), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("source_id", sa.String(19), nullable=False, index=True),
    sa.Column("faces", sa.JSON, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
tasks_table = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.String(19), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("external_id", sa.String(256)),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("session_id", sa.String(19), nullable=False, index=True),
    sa.Column("source_id", sa.String(19), nullable=False, index=True),
    sa.Column("source_suffix", sa.String(8), nullable=False),
    sa.Column("source_duration_ms", sa.BigInteger, nullable=False),
    sa.Column("choices", sa.JSON, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("stage", sa.String(64), nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("result_id", sa.String(19), nullable=False),
    sa.Column("result_duration_ms", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("account", "external_id"),
    sa.Index("tasks_queue", "status", "not_before", "created_at"),
    sa.Index("tasks_list", "account", "created_at"),
)


class ExternalIdTaken(Exception):  # noqa: N818 - a control signal between the rooms' insides, not a fault
    """Another task of the account already has this external id."""


class Store:
    """Every query on media, sessions and tasks. Safe to use from several threads."""

    def __init__(self, url: str, *, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            _tame_sqlite(self._engine)
        metadata.create_all(self._engine)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raise the database's own error where it does not answer."""
        with self._reading() as connection:
            connection.execute(sa.select(sa.literal(1)))

    # Media

    def add_media(self, media: Media) -> None:
        """Keep a new video."""
        with self._writing() as connection:
            _insert_media(connection, media)

    def media(self, account: str, media_id: str) -> Media | None:
        """An unexpired video of the account, or `None`."""
        t = media_table
        query = sa.select(t).where(t.c.id == media_id, t.c.account == account, t.c.expires_at > self._clock())
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return _media(row) if row else None

    def media_for_work(self, media_id: str) -> Media | None:
        """A video that a task needs, whoever's it is and expired or not; `None` where it is gone."""
        with self._reading() as connection:
            row = connection.execute(sa.select(media_table).where(media_table.c.id == media_id)).one_or_none()
        return _media(row) if row else None

    def drop_media(self, media_id: str) -> None:
        """Forget a video."""
        with self._writing() as connection:
            connection.execute(sa.delete(media_table).where(media_table.c.id == media_id))

    # Sessions

    def add_session(self, session: SessionRecord) -> None:
        """Keep a new session, whose source is kept already."""
        values = {
            "id": session.id,
            "account": session.account,
            "source_id": session.source.id,
            "faces": [asdict(face) for face in session.faces],
            "created_at": session.created_at,
            "expires_at": session.expires_at,
        }
        with self._writing() as connection:
            connection.execute(sa.insert(sessions_table).values(values))

    def session(self, account: str, session_id: str) -> SessionRecord | None:
        """An unexpired session of the account, or `None`."""
        t = sessions_table
        query = sa.select(t).where(t.c.id == session_id, t.c.account == account, t.c.expires_at > self._clock())
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            source = connection.execute(sa.select(media_table).where(media_table.c.id == row.source_id)).one_or_none()
        if source is None:
            return None
        faces = tuple(_face(face) for face in row.faces)
        return SessionRecord(row.id, row.account, _media(source), faces, row.created_at, row.expires_at)

    def drop_session(self, session_id: str) -> None:
        """Forget a session."""
        with self._writing() as connection:
            connection.execute(sa.delete(sessions_table).where(sessions_table.c.id == session_id))

    # Tasks

    def add_task(self, task: Task) -> None:
        """Keep a new task. Raises `ExternalIdTaken`."""
        t = tasks_table
        over = sa.and_(t.c.expires_at > 0, t.c.expires_at <= self._clock())
        free = sa.update(t).where(t.c.account == task.account, t.c.external_id == task.external_id, over)
        try:
            with self._writing() as connection:
                connection.execute(free.values(external_id=None))  # a task that is over but not swept yet
                connection.execute(sa.insert(tasks_table).values(asdict(task)))
        except sa.exc.IntegrityError as error:
            if task.external_id is not None and self.task_by_external_id(task.account, task.external_id):
                raise ExternalIdTaken(task.external_id) from error
            raise
        log.info("task submitted", task_id=task.id, session_id=task.session_id)

    def task(self, account: str, task_id: str) -> Task | None:
        """A task of the account, or `None`."""
        return self._one_task(account, tasks_table.c.id == task_id)

    def task_by_external_id(self, account: str, external_id: str) -> Task | None:
        """The task of the account to which the caller gave that id, or `None`."""
        return self._one_task(account, tasks_table.c.external_id == external_id)

    def tasks(self, account: str, *, offset: int, limit: int) -> list[Task]:
        """Tasks of the account, newest first."""
        t = tasks_table
        query = (
            sa.select(t)
            .where(t.c.account == account, self._task_lives())
            .order_by(t.c.created_at.desc(), t.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        with self._reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def claim(self) -> Task | None:
        """Take the oldest task that waits: it is processing now, under a new attempt. `None` where none waits."""
        t = tasks_table
        waiting = (
            sa.select(t)
            .where(t.c.status == TaskStatus.SUBMITTED, t.c.not_before <= self._clock())
            .order_by(t.c.created_at, t.c.id)
            .limit(1)
        )
        while True:
            with self._reading() as connection:  # idle workers ask every second: only a find takes the write lock
                row = connection.execute(waiting).one_or_none()
            if row is None:
                return None
            with self._writing() as connection:
                claimed = self._move(
                    connection,
                    _task(row),
                    TaskStatus.PROCESSING,
                    attempt=row.attempt + 1,
                    tries=row.tries + 1,
                    progress=0.0,
                    stage="",
                )
            if claimed:
                return claimed

    def advance(self, task: Task, stage: str, progress: float) -> bool:
        """Note how far an attempt is. False where the attempt is no longer the one that counts."""
        t = tasks_table
        change = (
            sa.update(t)
            .where(t.c.id == task.id, t.c.attempt == task.attempt, t.c.status == TaskStatus.PROCESSING)
            .values(stage=stage, progress=progress, updated_at=self._clock())
        )
        with self._writing() as connection:
            return connection.execute(change).rowcount == 1

    def publish(self, task: Task, result: Media) -> bool:
        """End an attempt well: its result is the task's. False for a late writer, whose result is nobody's."""
        with self._writing() as connection:
            done = self._move(
                connection,
                task,
                TaskStatus.SUCCEED,
                progress=1.0,
                stage="done",
                result_id=result.id,
                result_duration_ms=result.duration_ms,
                expires_at=result.expires_at,
            )
            if done:
                _insert_media(connection, result)
        return done is not None

    def fail(self, task: Task, reason: str, *, expires_at: int) -> bool:
        """End an attempt badly, for good. False for a late writer."""
        with self._writing() as connection:
            return self._move(connection, task, TaskStatus.FAILED, reason=reason, expires_at=expires_at) is not None

    def retry(self, task: Task, reason: str, *, expires_at: int) -> bool:
        """End an attempt badly: the task waits for another one, or fails after `MAX_TRIES`. False for a late writer."""
        if task.tries >= MAX_TRIES:
            return self.fail(task, f"the task was given up after {task.tries} tries: {reason}", expires_at=expires_at)
        not_before = self._clock() + RETRY_DELAY_MS * task.tries
        with self._writing() as connection:
            moved = self._move(
                connection, task, TaskStatus.SUBMITTED, not_before=not_before, progress=0.0, stage="", why=reason
            )
        return moved is not None

    def release(self, task: Task) -> bool:
        """Hand an attempt back through no fault of its own (the server is stopping). False for a late writer."""
        with self._writing() as connection:
            moved = self._move(
                connection, task, TaskStatus.SUBMITTED, tries=task.tries - 1, progress=0.0, stage="", why="released"
            )
        return moved is not None

    def processing(self) -> list[Task]:
        """Every task that some attempt holds."""
        query = sa.select(tasks_table).where(tasks_table.c.status == TaskStatus.PROCESSING)
        with self._reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def drop_task(self, task: Task) -> None:
        """Forget a task and its result."""
        with self._writing() as connection:
            connection.execute(sa.delete(media_table).where(media_table.c.id == task.result_id))
            connection.execute(sa.delete(tasks_table).where(tasks_table.c.id == task.id))

    # Retention

    def expired_sessions(self, limit: int) -> list[str]:
        """Ids of sessions that are over and that no unfinished task needs."""
        t = sessions_table
        needed = sa.exists().where(tasks_table.c.session_id == t.c.id, tasks_table.c.status.in_(UNFINISHED))
        query = sa.select(t.c.id).where(t.c.expires_at <= self._clock(), ~needed).limit(limit)
        with self._reading() as connection:
            return list(connection.scalars(query))

    def expired_sources(self, limit: int) -> list[Media]:
        """Source videos that are over and that no session needs."""
        t = media_table
        needed = sa.exists().where(sessions_table.c.source_id == t.c.id)
        query = sa.select(t).where(t.c.kind == MediaKind.SOURCE, t.c.expires_at <= self._clock(), ~needed).limit(limit)
        with self._reading() as connection:
            return [_media(row) for row in connection.execute(query)]

    def expired_tasks(self, limit: int) -> list[Task]:
        """Finished tasks that are over and whose result no session needs."""
        t = tasks_table
        needed = sa.exists().where(sessions_table.c.source_id == t.c.result_id)
        query = (
            sa.select(t)
            .where(t.c.status.not_in(UNFINISHED), t.c.expires_at <= self._clock(), ~needed)
            .order_by(t.c.created_at)
            .limit(limit)
        )
        with self._reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def known(self) -> set[str]:
        """Ids of everything kept: a file that belongs to none of them is an orphan."""
        ids = sa.union_all(*(sa.select(table.c.id) for table in (media_table, sessions_table, tasks_table)))
        with self._reading() as connection:
            return set(connection.scalars(ids))

    # Insides

    def _move(
        self, connection: sa.Connection, task: Task, status: TaskStatus, *, why: str = "", **values: Any
    ) -> Task | None:
        """The one place where a status changes: compare-and-set from what `task` says, and what comes with it."""
        t = tasks_table
        values |= {"status": status, "updated_at": self._clock()}
        change = (
            sa.update(t).where(t.c.id == task.id, t.c.attempt == task.attempt, t.c.status == task.status).values(values)
        )
        if connection.execute(change).rowcount != 1:
            log.info("late writer ignored", task_id=task.id, attempt=task.attempt, status=str(status))
            return None
        moved = replace(task, **values)
        log.info(
            f"task {status}", task_id=task.id, attempt=moved.attempt, tries=moved.tries, reason=moved.reason or why
        )
        return moved

    def _one_task(self, account: str, match: sa.ColumnElement[bool]) -> Task | None:
        query = sa.select(tasks_table).where(tasks_table.c.account == account, match, self._task_lives())
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return _task(row) if row else None

    def _task_lives(self) -> sa.ColumnElement[bool]:
        return sa.or_(tasks_table.c.expires_at == 0, tasks_table.c.expires_at > self._clock())

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._engine.connect().execution_options(reading=True) as connection:
            yield connection


def _tame_sqlite(engine: sa.Engine) -> None:
    """WAL, full waits, and transactions begun by us: the driver's own begin comes too late for a compare-and-set.

    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#transactions-with-sqlite-and-the-sqlite3-driver
    """

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


def _insert_media(connection: sa.Connection, media: Media) -> None:
    connection.execute(sa.insert(media_table).values(asdict(media)))


def _media(row: sa.Row[Any]) -> Media:
    return Media(**{**row._mapping, "kind": MediaKind(row.kind)})


def _face(value: dict[str, Any]) -> FaceSummary:
    notes = tuple(FaceNote(note["code"], note["message"], Interval(**note["interval"])) for note in value["notes"])
    return FaceSummary(value["id"], Interval(**value["interval"]), notes)


def _task(row: sa.Row[Any]) -> Task:
    choices = tuple(ChoiceRecord(**choice) for choice in row.choices)
    return Task(**{**row._mapping, "choices": choices, "status": TaskStatus(row.status)})
