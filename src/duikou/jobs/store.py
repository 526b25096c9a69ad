"""Media, sessions and tasks: one class that names every query on them.

The task row is the one truth. Every change of status is a compare-and-set on the status and the attempt number, so
that of two writers one wins and the other learns that it lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
import structlog

from duikou.errors import DuikouError
from duikou.jobs import outbox, tables
from duikou.jobs.database import Database
from duikou.jobs.ids import now_ms
from duikou.jobs.state import (
    UNFINISHED,
    FaceNote,
    FaceSummary,
    Media,
    MediaKind,
    SessionRecord,
    Task,
    TaskStatus,
    task_from,
)
from duikou.timebase import Interval

MAX_TRIES = 3  # a task that killed three workers will kill the fourth
RETRY_DELAY_MS = 1_000  # times the number of tries: lets a passing fault (full disk, full memory) pass

log = structlog.get_logger(__name__)


class ExternalIdTaken(Exception):  # noqa: N818 - a control signal between the rooms' insides, not a fault
    """Another task of the account already has this external id."""


class TooManyTasksError(DuikouError):
    """The account, or the server as a whole, has as many unfinished tasks as it may. The text says so in a sentence."""


class Store:
    """Every query on media, sessions and tasks. Safe to use from several threads."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database, self._clock = database, clock

    # Media

    def add_media(self, media: Media) -> None:
        """Keep a new video."""
        with self._database.writing() as connection:
            _insert_media(connection, media)

    def media(self, account: str, media_id: str) -> Media | None:
        """An unexpired file of the account, or `None`."""
        t = tables.media
        query = sa.select(t).where(t.c.id == media_id, t.c.account == account, t.c.expires_at > self._clock())
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return _media(row) if row else None

    def media_of_anyone(self, media_id: str) -> Media | None:
        """A file, whoever's it is and expired or not; `None` where it is gone."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tables.media).where(tables.media.c.id == media_id)).one_or_none()
        return _media(row) if row else None

    def drop_media(self, media_id: str) -> None:
        """Forget a video."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.media).where(tables.media.c.id == media_id))

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
        with self._database.writing() as connection:
            connection.execute(sa.insert(tables.sessions).values(values))

    def session(self, account: str, session_id: str) -> SessionRecord | None:
        """An unexpired session of the account, or `None`."""
        session = self.session_of_anyone(session_id)
        return session if session and session.account == account else None

    def session_of_anyone(self, session_id: str) -> SessionRecord | None:
        """An unexpired session, whoever's it is, or `None`."""
        t = tables.sessions
        query = sa.select(t).where(t.c.id == session_id, t.c.expires_at > self._clock())
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            source = connection.execute(sa.select(tables.media).where(tables.media.c.id == row.source_id)).one_or_none()
        if source is None:
            return None
        faces = tuple(_face(face) for face in row.faces)
        return SessionRecord(row.id, row.account, _media(source), faces, row.created_at, row.expires_at)

    def drop_session(self, session_id: str) -> None:
        """Forget a session."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.sessions).where(tables.sessions.c.id == session_id))

    # Tasks

    def add_task(self, task: Task, *, account_limit: int = 0, queue_limit: int = 0) -> None:
        """Keep a new task. Raises `ExternalIdTaken`, `TooManyTasksError`; a limit of 0 is none."""
        t = tables.tasks
        over = sa.and_(t.c.expires_at > 0, t.c.expires_at <= self._clock())
        free = sa.update(t).where(t.c.account == task.account, t.c.external_id == task.external_id, over)
        try:
            with self._database.writing() as connection:
                connection.execute(free.values(external_id=None))  # a task that is over but not swept yet
                _check_room(connection, task.account, account_limit, queue_limit)
                connection.execute(sa.insert(t).values(asdict(task)))
                outbox.add(connection, task, self._clock())
        except sa.exc.IntegrityError as error:
            if task.external_id is not None and self.task_by_external_id(task.account, task.external_id):
                raise ExternalIdTaken(task.external_id) from error
            raise
        log.info("task submitted", task_id=task.id, session_id=task.session_id)

    def require_room(self, account: str, *, account_limit: int, queue_limit: int) -> None:
        """Raise `TooManyTasksError` where one more task would be refused; a limit of 0 is none."""
        with self._database.reading() as connection:
            _check_room(connection, account, account_limit, queue_limit)

    def task(self, account: str, task_id: str) -> Task | None:
        """A task of the account, or `None`."""
        return self._one_task(account, tables.tasks.c.id == task_id)

    def task_by_external_id(self, account: str, external_id: str) -> Task | None:
        """The task of the account to which the caller gave that id, or `None`."""
        return self._one_task(account, tables.tasks.c.external_id == external_id)

    def tasks(self, account: str, *, offset: int, limit: int) -> list[Task]:
        """Tasks of the account, newest first."""
        t = tables.tasks
        query = (
            sa.select(t)
            .where(t.c.account == account, self._task_lives())
            .order_by(t.c.created_at.desc(), t.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def claim(self) -> Task | None:
        """Take the oldest task that waits: it is processing now, under a new attempt. `None` where none waits."""
        t = tables.tasks
        waiting = (
            sa.select(t)
            .where(t.c.status == TaskStatus.SUBMITTED, t.c.not_before <= self._clock())
            .order_by(t.c.created_at, t.c.id)
            .limit(1)
        )
        while True:
            # Idle workers ask every second: only a find takes the write lock.
            with self._database.reading() as connection:
                row = connection.execute(waiting).one_or_none()
            if row is None:
                return None
            with self._database.writing() as connection:
                claimed = self._move(
                    connection,
                    _task(row),
                    TaskStatus.PROCESSING,
                    attempt=row.attempt + 1,
                    tries=row.tries + 1,
                    progress=0.0,
                    stage="",
                    began_at=self._clock(),
                )
            if claimed:
                return claimed

    def advance(self, task: Task, stage: str, progress: float) -> bool:
        """Note how far an attempt is. False where the attempt is no longer the one that counts."""
        t = tables.tasks
        change = (
            sa.update(t)
            .where(t.c.id == task.id, t.c.attempt == task.attempt, t.c.status == TaskStatus.PROCESSING)
            .values(stage=stage, progress=progress, updated_at=self._clock())
        )
        with self._database.writing() as connection:
            return connection.execute(change).rowcount == 1

    def publish(self, task: Task, result: Media, marked: Media | None = None) -> bool:
        """End an attempt well: what it made, `marked` or not, is the task's. False for a late writer."""
        with self._database.writing() as connection:
            done = self._move(
                connection,
                task,
                TaskStatus.SUCCEED,
                progress=1.0,
                stage="done",
                result_id=result.id,
                result_duration_ms=result.duration_ms,
                watermark_id=marked.id if marked else "",
                expires_at=result.expires_at,
            )
            if done:
                for media in (result, marked):
                    if media is not None:
                        _insert_media(connection, media)
        return done is not None

    def cancel(self, account: str, task_id: str, reason: str, *, expires_at: int) -> Task | None:
        """End an unfinished task as failed, whoever works on it; a finished one stays as it is. `None` for no task."""
        while (task := self.task(account, task_id)) is not None and not task.finished:
            self.fail(task, reason, expires_at=expires_at)  # once more where a worker was quicker
        return task

    def positions(self) -> dict[str, int]:
        """Of every task that waits: its place in the queue, the next one's is 1."""
        t = tables.tasks
        query = sa.select(t.c.id).where(t.c.status == TaskStatus.SUBMITTED).order_by(t.c.created_at, t.c.id)
        with self._database.reading() as connection:
            return {task_id: place for place, task_id in enumerate(connection.scalars(query), 1)}

    def paces(self, limit: int) -> list[float]:
        """Seconds of work for each second of video, of the last tasks that succeeded."""
        t = tables.tasks
        query = (
            sa.select(t.c.began_at, t.c.updated_at, t.c.result_duration_ms)
            .where(t.c.status == TaskStatus.SUCCEED, t.c.began_at > 0, t.c.result_duration_ms > 0)
            .order_by(t.c.updated_at.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [(row.updated_at - row.began_at) / row.result_duration_ms for row in connection.execute(query)]

    def fail(self, task: Task, reason: str, *, expires_at: int) -> bool:
        """End an attempt badly, for good. False for a late writer."""
        with self._database.writing() as connection:
            return self._move(connection, task, TaskStatus.FAILED, reason=reason, expires_at=expires_at) is not None

    def retry(self, task: Task, reason: str, *, expires_at: int) -> bool:
        """End an attempt badly: the task waits for another one, or fails after `MAX_TRIES`. False for a late writer."""
        if task.tries >= MAX_TRIES:
            return self.fail(task, f"the task was given up after {task.tries} tries: {reason}", expires_at=expires_at)
        not_before = self._clock() + RETRY_DELAY_MS * task.tries
        with self._database.writing() as connection:
            moved = self._move(
                connection, task, TaskStatus.SUBMITTED, not_before=not_before, progress=0.0, stage="", why=reason
            )
        return moved is not None

    def release(self, task: Task) -> bool:
        """Hand an attempt back through no fault of its own (the server is stopping). False for a late writer."""
        with self._database.writing() as connection:
            moved = self._move(
                connection, task, TaskStatus.SUBMITTED, tries=task.tries - 1, progress=0.0, stage="", why="released"
            )
        return moved is not None

    def processing(self) -> list[Task]:
        """Every task that some attempt holds."""
        query = sa.select(tables.tasks).where(tables.tasks.c.status == TaskStatus.PROCESSING)
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def drop_task(self, task: Task) -> None:
        """Forget a task, its results and what was still to be told of it."""
        results = (task.result_id, task.watermark_id)
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.media).where(tables.media.c.id.in_(results)))
            connection.execute(sa.delete(tables.tasks).where(tables.tasks.c.id == task.id))
            outbox.forget(connection, task.id)

    # Retention

    def expired_sessions(self, limit: int) -> list[str]:
        """Ids of sessions that are over and that no unfinished task needs."""
        t = tables.sessions
        needed = sa.exists().where(tables.tasks.c.session_id == t.c.id, tables.tasks.c.status.in_(UNFINISHED))
        query = sa.select(t.c.id).where(t.c.expires_at <= self._clock(), ~needed).limit(limit)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def expired_sources(self, limit: int) -> list[Media]:
        """Sources and uploads that are over and that no session needs."""
        t = tables.media
        needed = sa.exists().where(tables.sessions.c.source_id == t.c.id)
        query = sa.select(t).where(t.c.kind != MediaKind.RESULT, t.c.expires_at <= self._clock(), ~needed).limit(limit)
        with self._database.reading() as connection:
            return [_media(row) for row in connection.execute(query)]

    def expired_tasks(self, limit: int) -> list[Task]:
        """Finished tasks that are over and whose result no session needs."""
        t = tables.tasks
        needed = sa.exists().where(tables.sessions.c.source_id.in_((t.c.result_id, t.c.watermark_id)))
        query = (
            sa.select(t)
            .where(t.c.status.not_in(UNFINISHED), t.c.expires_at <= self._clock(), ~needed)
            .order_by(t.c.created_at)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def known(self) -> set[str]:
        """Ids of everything kept: a file that belongs to none of them is an orphan."""
        ids = sa.union_all(*(sa.select(table.c.id) for table in (tables.media, tables.sessions, tables.tasks)))
        with self._database.reading() as connection:
            return set(connection.scalars(ids))

    # Insides

    def _move(
        self, connection: sa.Connection, task: Task, status: TaskStatus, *, why: str = "", **values: Any
    ) -> Task | None:
        """The one place where a status changes: compare-and-set from what `task` says, and what comes with it."""
        t = tables.tasks
        values |= {"status": status, "updated_at": self._clock()}
        change = (
            sa.update(t).where(t.c.id == task.id, t.c.attempt == task.attempt, t.c.status == task.status).values(values)
        )
        if connection.execute(change).rowcount != 1:
            log.info("late writer ignored", task_id=task.id, attempt=task.attempt, status=str(status))
            return None
        moved = replace(task, **values)
        outbox.add(connection, moved, moved.updated_at)
        log.info(
            f"task {status}", task_id=task.id, attempt=moved.attempt, tries=moved.tries, reason=moved.reason or why
        )
        return moved

    def _one_task(self, account: str, match: sa.ColumnElement[bool]) -> Task | None:
        query = sa.select(tables.tasks).where(tables.tasks.c.account == account, match, self._task_lives())
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return _task(row) if row else None

    def _task_lives(self) -> sa.ColumnElement[bool]:
        return sa.or_(tables.tasks.c.expires_at == 0, tables.tasks.c.expires_at > self._clock())


def _check_room(connection: sa.Connection, account: str, account_limit: int, queue_limit: int) -> None:
    """Raise `TooManyTasksError` where as many tasks are unfinished as may be."""
    t = tables.tasks
    unfinished = sa.select(sa.func.count()).where(t.c.status.in_(UNFINISHED))
    if account_limit > 0 and _count(connection, unfinished.where(t.c.account == account)) >= account_limit:
        raise TooManyTasksError(f"This account has {account_limit} unfinished tasks, as many as it may at once.")
    if queue_limit > 0 and _count(connection, unfinished) >= queue_limit:
        raise TooManyTasksError(f"The queue is full: {queue_limit} tasks are unfinished, as many as it holds.")


def _count(connection: sa.Connection, query: sa.Select[int]) -> int:
    return connection.scalars(query).one()


def _insert_media(connection: sa.Connection, media: Media) -> None:
    connection.execute(sa.insert(tables.media).values(asdict(media)))


def _media(row: sa.Row[Any]) -> Media:
    return Media(**{**row._mapping, "kind": MediaKind(row.kind)})


def _face(value: dict[str, Any]) -> FaceSummary:
    notes = tuple(FaceNote(note["code"], note["message"], Interval(**note["interval"])) for note in value["notes"])
    x, y, width, height = value.get("box", (0, 0, 0, 0))  # sessions made before it was kept have none
    return FaceSummary(value["id"], Interval(**value["interval"]), notes, (x, y, width, height))


def _task(row: sa.Row[Any]) -> Task:
    return task_from(dict(row._mapping))
