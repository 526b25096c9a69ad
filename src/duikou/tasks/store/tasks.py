"""Queries on tasks: creating, finding and listing them, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks import outbox
from duikou.tasks.models import Analysis, Attempt, IdentifyTask, Media, RenderTask, SessionRecord, Task, TaskResult
from duikou.tasks.rows import render_task_from, task_from, task_row
from duikou.tasks.states import (
    MAX_TRIES,
    RENDERING,
    RETRY_DELAY_MS,
    UNFINISHED,
    WITHOUT_RESULT,
    Fault,
    Queue,
    TaskStatus,
)
from duikou.tasks.store.errors import ExternalIdTaken, IdTakenError
from duikou.tasks.store.media import insert_media, keep_source
from duikou.tasks.store.queue import NO_LIMITS, TaskLimits, check_room, turn_of
from duikou.tasks.store.sessions import insert_session, kept_analysis
from duikou.tasks.store.transition import change_status

T = TypeVar("T", bound=Task)

log = structlog.get_logger(__name__)


class TaskStore:
    """Tasks of both types. `find`, `find_by_external_id` and `page` return unexpired renders of one account only."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def add(self, task: T, limits: TaskLimits = NO_LIMITS, *, replaces: str | None = None, source_until: int = 0) -> T:
        """Insert a new task and give it its turn. Raises `ExternalIdTaken`, `TooManyTasksError`.

        source_until: how long what it starts from is kept at least; the end of the task extends that.

        An external id is free where no task of the account has it, or an expired one, or the one called `replaces`,
        which failed or was cancelled. Of several that would replace the same task, one succeeds.

        Turns share a queue between accounts by priority, however often each of them asks: each task counts as many
        seconds as its video has, divided by the priority, and begins where the account's last one ends, or at the head
        of the queue (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996). A single task of one account comes
        right after the head, even behind 500 of another.
        """
        external_id = task.external_id if isinstance(task, RenderTask) else None
        try:
            with self._one_by_one(task) as connection:
                if external_id is not None:
                    self._free(connection, task.account, external_id, replaces)
                task = self._insert(connection, task, limits)
                keep_source(connection, task.source.id, source_until)
        except sa.exc.IntegrityError as error:
            if external_id is not None and self.find_by_external_id(task.account, external_id):
                raise ExternalIdTaken(external_id) from error
            raise
        _log_submitted(task)
        return task

    def share(self, task: IdentifyTask, analyser: str, limits: TaskLimits = NO_LIMITS) -> IdentifyTask | Analysis:
        """What finds, or has found, the faces of the same bytes for the same account; else the new task, inserted.

        Of calls at the same moment one inserts its task, and the others join it. Whoever gets a task that is not over
        waits for it, or has to `leave` it. Raises `TooManyTasksError` for a new task.
        """
        with self._one_by_one(task) as connection:
            # In this order: a task that ends in between has left its analysis.
            found = _joined(connection, task) or kept_analysis(
                connection, task.account, task.digest, analyser, now_ms=self._clock()
            )
            if found is not None:
                return found
            task = self._insert(connection, task, limits)
        _log_submitted(task)
        return task

    def leave(self, task: IdentifyTask, reason: str, *, expires_at: int) -> bool:
        """One caller waits no longer. Whether that ended the task: it was the last one, and the task had not begun."""
        t = tables.tasks
        fewer = sa.update(t).where(t.c.id == task.id, t.c.callers > 0).values(callers=t.c.callers - 1)
        with self._database.writing() as connection:
            connection.execute(fewer)
            return self._end_abandoned(connection, task, TaskStatus.SUBMITTED, reason, expires_at=expires_at)

    def abandon(self, task: IdentifyTask, reason: str, *, expires_at: int) -> bool:
        """End a running task for which no caller waits. False where one does, or for a late writer."""
        with self._database.writing() as connection:
            return self._end_abandoned(connection, task, TaskStatus.PROCESSING, reason, expires_at=expires_at)

    def get(self, task_id: str) -> Task | None:
        """A task of any account, expired or not; `None` where it is gone."""
        return next(iter(self._select(sa.select(tables.tasks).where(tables.tasks.c.id == task_id))), None)

    def called(self, name: str) -> list[Task]:
        """Tasks of any account by their id or by their caller's own id, newest first, expired or not."""
        t = tables.tasks
        return self._select(
            sa.select(t).where(sa.or_(t.c.id == name, t.c.external_id == name)).order_by(t.c.created_at.desc(), t.c.id)
        )

    def attempts(self, task_id: str) -> list[Attempt]:
        """Every attempt at a task, oldest first. Those of former versions were not kept."""
        a = tables.attempts
        columns = (a.c.number, a.c.worker, a.c.began_at, a.c.ended_at, a.c.outcome, a.c.reason)
        query = sa.select(*columns).where(a.c.task_id == task_id).order_by(a.c.number)
        with self._database.reading() as connection:
            return [Attempt(*row) for row in connection.execute(query)]

    def find(self, account: str, task_id: str) -> RenderTask | None:
        """A render of the account, or `None`."""
        return self._one_render(*self._unexpired(account), tables.tasks.c.id == task_id)

    def find_by_external_id(self, account: str, external_id: str) -> RenderTask | None:
        """The render of the account to which the caller gave that id, or `None`."""
        return self._one_render(*self._unexpired(account), tables.tasks.c.external_id == external_id)

    def page(self, account: str, *, on_sessions: bool = True, offset: int, limit: int) -> list[RenderTask]:
        """Renders of the account, newest first: those that start from a session, or those that find the face."""
        t = tables.tasks
        kind = t.c.session_id != "" if on_sessions else t.c.session_id == ""
        query = sa.select(t).where(*self._unexpired(account), kind).order_by(t.c.created_at.desc(), t.c.id.desc())
        with self._database.reading() as connection:
            return [render_task_from(row._mapping) for row in connection.execute(query.offset(offset).limit(limit))]

    def select(
        self, *, status: TaskStatus | None, account: str | None, queue: Queue | None, unfinished: bool, limit: int
    ) -> list[Task]:
        """Tasks of all accounts, newest first; `unfinished` leaves out finished ones where no status is given."""
        t = tables.tasks
        query = sa.select(t).order_by(t.c.created_at.desc(), t.c.id.desc()).limit(limit)
        for column, value in ((t.c.status, status), (t.c.account, account), (t.c.queue, queue)):
            query = query if value is None else query.where(column == value)
        if unfinished and status is None:
            query = query.where(t.c.status.in_(UNFINISHED))
        return self._select(query)

    def unfinished(self) -> list[Task]:
        """Every unfinished task of both types."""
        return self._select(sa.select(tables.tasks).where(tables.tasks.c.status.in_(UNFINISHED)))

    def finished(self, task_ids: Iterable[str]) -> set[str]:
        """Which of these tasks are over, or gone."""
        wanted = set(task_ids)
        t = tables.tasks
        query = sa.select(t.c.id).where(t.c.id.in_(wanted), t.c.status.in_(UNFINISHED))
        with self._database.reading() as connection:
            return wanted - set(connection.scalars(query))

    def marks(self, task_ids: Iterable[str]) -> dict[str, tuple[str, int, int, int]]:
        """Of those of these renders that are not expired: status, attempt, heartbeat and time of the last change."""
        t = tables.tasks
        query = sa.select(t.c.id, t.c.status, t.c.attempt, t.c.beat, t.c.updated_at)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(t.c.id.in_(list(task_ids)), *self._rendered()))
            return {row.id: (row.status, row.attempt, row.beat, row.updated_at) for row in rows}

    def renders(self, task_ids: Iterable[str]) -> list[RenderTask]:
        """Those of these renders that are not expired."""
        query = sa.select(tables.tasks).where(tables.tasks.c.id.in_(list(task_ids)), *self._rendered())
        with self._database.reading() as connection:
            return [render_task_from(row._mapping) for row in connection.execute(query)]

    def complete_identify(self, task: IdentifyTask, session: SessionRecord, *, expires_at: int) -> bool:
        """End an identify task with success and insert its session. False for a late writer.

        Raises `IdTakenError` where another session has that id.
        """
        changes = {"progress": 1.0, "stage": "done", "session_id": session.id, "expires_at": expires_at}
        try:
            with self._database.writing() as connection:
                done = change_status(connection, task, TaskStatus.SUCCEED, changes, at=self._clock())
                if done:
                    insert_session(connection, session)
        except sa.exc.IntegrityError as error:
            raise IdTakenError(session.id) from error
        return done is not None

    def complete_render(self, task: RenderTask, result: Media, marked: Media | None = None) -> bool:
        """End a render with success and insert its results, the second one visibly marked. False for a late writer."""
        changes = {
            "progress": 1.0,
            "stage": "done",
            "result": TaskResult(result.id, result.duration_ms, marked.id if marked else None),
            "expires_at": result.expires_at,
        }
        with self._database.writing() as connection:
            done = change_status(connection, task, TaskStatus.SUCCEED, changes, at=self._clock())
            if done:
                for media in (result, marked):
                    if media is not None:
                        insert_media(connection, media)
        return done is not None

    def cancel(self, task: T, reason: str, *, expires_at: int) -> T | None:
        """End an unfinished task, whoever works on it; a finished one stays as it is.

        Returns the task as it is then, or `None` where it is gone.
        """
        changes = {"reason": reason, "fault": Fault.CANCELLED, "expires_at": expires_at}
        now: T | None = task
        while now is not None and not now.finished:
            with self._database.writing() as connection:
                if ended := change_status(connection, now, TaskStatus.CANCELLED, changes, at=self._clock()):
                    return ended
            found = self.get(task.id)  # again, where a worker was faster
            now = found if isinstance(found, type(task)) else None
        return now

    def fail(self, task: Task, reason: str, fault: Fault, *, expires_at: int) -> bool:
        """End an attempt with a permanent failure. False for a late writer."""
        return self._change(task, TaskStatus.FAILED, {"reason": reason, "fault": fault, "expires_at": expires_at})

    def retry(self, task: Task, reason: str, fault: Fault, *, expires_at: int) -> bool:
        """End an attempt with a failure: the task waits again, or fails after `MAX_TRIES`. False for a late writer."""
        if task.tries >= MAX_TRIES:
            given_up = f"the task was given up after {task.tries} tries: {reason}"
            return self.fail(task, given_up, fault, expires_at=expires_at)
        changes = {"not_before": self._clock() + RETRY_DELAY_MS * task.tries, "progress": 0.0, "stage": ""}
        return self._change(task, TaskStatus.SUBMITTED, changes, why=reason)

    def release(self, task: Task) -> bool:
        """Hand an attempt back without charging a try (the server is stopping). False for a late writer."""
        changes = {"tries": task.tries - 1, "progress": 0.0, "stage": ""}
        return self._change(task, TaskStatus.SUBMITTED, changes, why="released")

    def resubmit(self, task: Task) -> bool:
        """Queue a failed or cancelled task again, with all its tries. False for a late writer."""
        changes = {
            "reason": "",
            "fault": None,
            "tries": 0,
            "progress": 0.0,
            "stage": "",
            "expires_at": None,
            "not_before": self._clock(),
        }
        return self._change(task, TaskStatus.SUBMITTED, changes, why="asked")

    def remove(self, task: Task) -> None:
        """Delete the rows of a task, its results and its undelivered webhooks."""
        result = task.result if isinstance(task, RenderTask) else None
        results = [one for one in (result.id, result.watermark_id) if one] if result else []
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.media).where(tables.media.c.id.in_(results)))
            connection.execute(sa.delete(tables.tasks).where(tables.tasks.c.id == task.id))
            connection.execute(sa.delete(tables.attempts).where(tables.attempts.c.task_id == task.id))
            outbox.forget(connection, task.id)

    def _free(self, connection: sa.Connection, account: str, external_id: str, replaces: str | None) -> None:
        """Take an external id from an expired task that is not swept yet, or from the one that is to be replaced."""
        t = tables.tasks
        expired = sa.and_(t.c.expires_at > 0, t.c.expires_at <= self._clock())
        replaced = sa.and_(t.c.id == replaces, t.c.status.in_(WITHOUT_RESULT))
        held = sa.update(t).where(t.c.account == account, t.c.external_id == external_id, sa.or_(expired, replaced))
        connection.execute(held.values(external_id=None, former_external_id=external_id))

    @contextmanager
    def _one_by_one(self, task: Task) -> Iterator[sa.Connection]:
        """A transaction that waits for those of other calls that create tasks of the same account."""
        with self._database.writing() as connection:
            self._database.one_by_one(connection, f"tasks of {task.account}")
            yield connection

    def _insert(self, connection: sa.Connection, task: T, limits: TaskLimits) -> T:
        check_room(connection, task.account, task.queue, limits)
        task = replace(task, turn=turn_of(connection, task))
        connection.execute(sa.insert(tables.tasks).values(task_row(task)))
        outbox.add(connection, task, self._clock())
        return task

    def _end_abandoned(
        self, connection: sa.Connection, task: IdentifyTask, status: TaskStatus, reason: str, *, expires_at: int
    ) -> bool:
        """End a task of that status for which no caller waits."""
        t = tables.tasks
        row = connection.execute(sa.select(t).where(t.c.id == task.id).with_for_update()).one_or_none()
        now = task_from(row._mapping) if row else None
        if not isinstance(now, IdentifyTask) or now.callers > 0 or now.status is not status:
            return False
        changes = {"reason": reason, "fault": Fault.CANCELLED, "expires_at": expires_at}
        return change_status(connection, now, TaskStatus.CANCELLED, changes, at=self._clock()) is not None

    def _change(self, task: Task, status: TaskStatus, changes: dict[str, Any], why: str = "") -> bool:
        with self._database.writing() as connection:
            return change_status(connection, task, status, changes, at=self._clock(), why=why) is not None

    def _select(self, query: sa.Select[Any]) -> list[Task]:
        with self._database.reading() as connection:
            return [task_from(row._mapping) for row in connection.execute(query)]

    def _one_render(self, *match: sa.ColumnElement[bool]) -> RenderTask | None:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tables.tasks).where(*match)).one_or_none()
        return render_task_from(row._mapping) if row else None

    def _unexpired(self, account: str) -> tuple[sa.ColumnElement[bool], ...]:
        return tables.tasks.c.account == account, *self._rendered()

    def _rendered(self) -> tuple[sa.ColumnElement[bool], ...]:
        t = tables.tasks
        return t.c.queue.in_(RENDERING), sa.or_(t.c.expires_at == 0, t.c.expires_at > self._clock())


def _joined(connection: sa.Connection, task: IdentifyTask) -> IdentifyTask | None:
    """The unfinished task on the same bytes, with one caller more; or `None`."""
    t = tables.tasks
    same = (t.c.account == task.account, t.c.queue == Queue.IDENTIFY, t.c.digest == task.digest)
    query = sa.select(t).where(*same, t.c.status.in_(UNFINISHED)).order_by(t.c.turn, t.c.id).limit(1)
    row = connection.execute(query.with_for_update()).one_or_none()
    joined = task_from(row._mapping) if row else None
    if not isinstance(joined, IdentifyTask):
        return None
    connection.execute(sa.update(t).where(t.c.id == joined.id).values(callers=t.c.callers + 1))
    log.info("task joined", task_id=joined.id, callers=joined.callers + 1)
    return replace(joined, callers=joined.callers + 1)


def _log_submitted(task: Task) -> None:
    session_id = task.session_id if isinstance(task, RenderTask) else ""
    log.info("task submitted", task_id=task.id, session_id=session_id, queue=str(task.queue))
