"""Media, sessions and tasks: one class that names every query on them.

The task row is the one truth. Every change of status is a compare-and-set on the status and the attempt number, so
that of two writers one wins and the other learns that it lost. No comparison here trusts two machines' clocks to agree:
who is alive is told by `beat`, and a task waits no longer than it may, however a clock was set back meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from duikou.database import tables
from duikou.database.engine import Database
from duikou.database.ids import now_ms
from duikou.errors import DuikouError
from duikou.tasks import metrics, outbox
from duikou.tasks.models import IdentifyTask, Media, MediaKind, QueueLoad, RenderTask, SessionRecord, Task, TaskResult
from duikou.tasks.rows import (
    media_from,
    media_row,
    render_task_from,
    session_from,
    session_row,
    task_columns,
    task_from,
    task_row,
)
from duikou.tasks.states import RENDERING, TRANSITIONS, UNFINISHED, Fault, Queue, TaskStatus

MAX_TRIES = 3  # a task that killed three workers will kill the fourth
RETRY_DELAY_MS = 1_000  # times the number of tries: lets a passing fault (full disk, full memory) pass
QUEUES = tuple(Queue)  # named where all are meant: the index of what is unfinished begins with the queue
LONGEST_DELAY_MS = RETRY_DELAY_MS * MAX_TRIES  # one that lasts longer comes from a clock that was set back since

T = TypeVar("T", bound=Task)

log = structlog.get_logger(__name__)


class ExternalIdTaken(Exception):  # noqa: N818 - a control signal between the rooms' insides, not a fault
    """Another task of the account already has this external id."""


class IdTakenError(Exception):
    """A new id was taken by chance: what was made under it has to be made again."""


class TooManyTasksError(DuikouError):
    """The account, or the server as a whole, has as many unfinished tasks as it may. The text says so in a sentence."""


@dataclass(frozen=True)
class Beat:
    """A sign of life of one attempt: how far it is."""

    task: Task
    stage: str
    progress: float


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
        return self._one_media(*self._media_lives(account), tables.media.c.id == media_id)

    def media_at(self, account: str, key: str) -> Media | None:
        """An unexpired file of the account by where it is kept, or `None`."""
        return self._one_media(*self._media_lives(account), tables.media.c.key == key)

    def media_of_anyone(self, media_id: str) -> Media | None:
        """A file, whoever's it is and expired or not; `None` where it is gone."""
        return self._one_media(tables.media.c.id == media_id)

    def prolong(self, media_id: str, expires_at: int) -> None:
        """Keep a file until then, unless it is kept for longer anyway."""
        t = tables.media
        with self._database.writing() as connection:
            change = sa.update(t).where(t.c.id == media_id, t.c.expires_at < expires_at)
            connection.execute(change.values(expires_at=expires_at))

    def drop_media(self, media_id: str) -> None:
        """Forget a video."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.media).where(tables.media.c.id == media_id))

    # Sessions

    def add_session(self, session: SessionRecord) -> None:
        """Keep a new session, whose source is kept already."""
        with self._database.writing() as connection:
            _insert_session(connection, session)

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
        return session_from(row._mapping, media_from(source._mapping))

    def drop_session(self, session_id: str) -> None:
        """Forget a session."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.sessions).where(tables.sessions.c.id == session_id))

    # Tasks

    def add_task(self, task: T, *, account_limit: int = 0, queue_limit: int = 0) -> T:
        """Keep a new task, with its turn. Raises `ExternalIdTaken`, `TooManyTasksError`; a limit of 0 is none.

        Turns share a queue out between accounts by their priority, whoever asks how often: each task counts as many
        seconds as its video has, divided by the priority, and begins where the account's last one ends, or at the head
        of the queue (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996). A single task of one account comes
        right after the head, were there 500 of another.
        """
        t = tables.tasks
        over = sa.and_(t.c.expires_at > 0, t.c.expires_at <= self._clock())
        external_id = task.external_id if isinstance(task, RenderTask) else None
        free = sa.update(t).where(t.c.account == task.account, t.c.external_id == external_id, over)
        try:
            with self._database.writing() as connection:
                self._database.one_by_one(connection, f"tasks of {task.account}")
                connection.execute(free.values(external_id=None))  # a task that is over but not swept yet
                _check_room(connection, task.account, task.queue, account_limit, queue_limit)
                task = replace(task, turn=_turn(connection, task))
                connection.execute(sa.insert(t).values(task_row(task)))
                outbox.add(connection, task, self._clock())
        except sa.exc.IntegrityError as error:
            if external_id is not None and self.task_by_external_id(task.account, external_id):
                raise ExternalIdTaken(external_id) from error
            raise
        session_id = task.session_id if isinstance(task, RenderTask) else ""
        log.info("task submitted", task_id=task.id, session_id=session_id, queue=str(task.queue))
        return task

    def require_room(self, account: str, queue: Queue, *, account_limit: int, queue_limit: int) -> None:
        """Raise `TooManyTasksError` where one more task would be refused; a limit of 0 is none."""
        with self._database.reading() as connection:
            _check_room(connection, account, queue, account_limit, queue_limit)

    def task_of_anyone(self, task_id: str) -> Task | None:
        """A task, whoever's it is and expired or not; `None` where it is gone."""
        return self._one_task(tables.tasks.c.id == task_id)

    def ended(self, task_ids: Iterable[str]) -> set[str]:
        """Which of these tasks are over, or gone."""
        asked = set(task_ids)
        t = tables.tasks
        query = sa.select(t.c.id).where(t.c.id.in_(asked), t.c.status.in_(UNFINISHED))
        with self._database.reading() as connection:
            return asked - set(connection.scalars(query))

    def task(self, account: str, task_id: str) -> RenderTask | None:
        """A task of the account, or `None`."""
        return self._one_render(*self._task_lives(account), tables.tasks.c.id == task_id)

    def task_by_external_id(self, account: str, external_id: str) -> RenderTask | None:
        """The task of the account to which the caller gave that id, or `None`."""
        return self._one_render(*self._task_lives(account), tables.tasks.c.external_id == external_id)

    def tasks(self, account: str, *, offset: int, limit: int) -> list[RenderTask]:
        """Tasks of the account, newest first."""
        t = tables.tasks
        query = (
            sa.select(t)
            .where(*self._task_lives(account))
            .order_by(t.c.created_at.desc(), t.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [render_task_from(row._mapping) for row in connection.execute(query)]

    def select(
        self, *, status: TaskStatus | None, account: str | None, queue: Queue | None, unfinished: bool, limit: int
    ) -> list[Task]:
        """Tasks of all accounts, newest first; `unfinished` leaves out what is over where no status is given."""
        t = tables.tasks
        query = sa.select(t).order_by(t.c.created_at.desc(), t.c.id.desc()).limit(limit)
        for column, value in ((t.c.status, status), (t.c.account, account), (t.c.queue, queue)):
            query = query if value is None else query.where(column == value)
        if unfinished and status is None:
            query = query.where(t.c.status.in_(UNFINISHED))
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def claim(self, queue: Queue = Queue.RENDER) -> Task | None:
        """Take the task whose turn it is: it is processing now, under a new attempt. `None` where none waits."""
        t = tables.tasks
        waiting = (
            sa.select(t)
            .where(t.c.queue == queue, t.c.status == TaskStatus.SUBMITTED, self._due())
            .order_by(t.c.turn, t.c.id)
            .limit(1)
        )
        # Idle workers ask every second: only a find takes the write lock.
        with self._database.reading() as connection:
            if connection.execute(waiting.with_only_columns(t.c.id)).first() is None:
                return None
        with self._database.writing() as connection:
            row = connection.execute(waiting.with_for_update(skip_locked=True)).one_or_none()
            if row is None:  # others were quicker
                return None
            return self._move(
                connection,
                _task(row),
                TaskStatus.PROCESSING,
                attempt=row.attempt + 1,
                tries=row.tries + 1,
                heartbeat=row.beat + 1,
                progress=0.0,
                stage="",
                began_at=self._clock(),
            )

    def beat(self, beats: Iterable[Beat]) -> set[str]:
        """Note that attempts are alive, and how far they are. Ids of those that are no longer the ones that count."""
        t, lost = tables.tasks, set()
        with self._database.writing() as connection:
            for beat in beats:
                change = (
                    sa.update(t)
                    .where(t.c.id == beat.task.id, t.c.attempt == beat.task.attempt)
                    .where(t.c.status == TaskStatus.PROCESSING)
                    .values(beat=t.c.beat + 1, stage=beat.stage, progress=beat.progress, updated_at=self._clock())
                )
                if connection.execute(change).rowcount != 1:
                    lost.add(beat.task.id)
        return lost

    def beats(self) -> dict[tuple[str, int], int]:
        """Of every attempt that holds a task, by id and number: its last sign of life."""
        t = tables.tasks
        query = sa.select(t.c.id, t.c.attempt, t.c.beat)
        query = query.where(t.c.queue.in_(QUEUES), t.c.status == TaskStatus.PROCESSING)
        with self._database.reading() as connection:
            return {(row.id, row.attempt): row.beat for row in connection.execute(query)}

    def due(self, queue: Queue, most: int) -> int:
        """How many tasks of a queue could be claimed now; no more than `most` are counted."""
        t = tables.tasks
        waiting = sa.select(t.c.id).where(t.c.queue == queue, t.c.status == TaskStatus.SUBMITTED, self._due())
        with self._database.reading() as connection:
            return _count(connection, sa.select(sa.func.count()).select_from(waiting.limit(most).subquery()))

    def loads(self) -> dict[Queue, QueueLoad]:
        """What every queue holds."""
        t, now = tables.tasks, self._clock()
        waits = t.c.status == TaskStatus.SUBMITTED
        query = (
            sa.select(
                t.c.queue,
                sa.func.count().filter(waits).label("waiting"),
                sa.func.min(t.c.created_at).filter(waits).label("oldest"),
                sa.func.count().filter(~waits).label("running"),
            )
            .where(t.c.queue.in_(QUEUES), t.c.status.in_(UNFINISHED))
            .group_by(t.c.queue)
        )
        with self._database.reading() as connection:
            rows = {row.queue: row for row in connection.execute(query)}
        return {
            queue: QueueLoad(row.waiting, max(now - (row.oldest or now), 0), row.running)
            if (row := rows.get(queue))
            else QueueLoad(0, 0, 0)
            for queue in Queue
        }

    def found(self, task: IdentifyTask, session: SessionRecord, *, expires_at: int) -> bool:
        """End a search for faces well: the session is there to be used. False for a late writer.

        Raises `IdTakenError` where another session has that id.
        """
        ending: dict[str, Any] = {"progress": 1.0, "stage": "done", "session_id": session.id, "expires_at": expires_at}
        try:
            with self._database.writing() as connection:
                done = self._move(connection, task, TaskStatus.SUCCEED, **ending)
                if done:
                    _insert_session(connection, session)
        except sa.exc.IntegrityError as error:
            raise IdTakenError(session.id) from error
        return done is not None

    def publish(self, task: RenderTask, result: Media, marked: Media | None = None) -> bool:
        """End an attempt well: what it made, `marked` or not, is the task's. False for a late writer."""
        with self._database.writing() as connection:
            done = self._move(
                connection,
                task,
                TaskStatus.SUCCEED,
                progress=1.0,
                stage="done",
                result=TaskResult(result.id, result.duration_ms, marked.id if marked else None),
                expires_at=result.expires_at,
            )
            if done:
                for media in (result, marked):
                    if media is not None:
                        _insert_media(connection, media)
        return done is not None

    def cancel(self, task: T, reason: str, *, expires_at: int) -> T | None:
        """End an unfinished task, whoever works on it; a finished one stays as it is. The task as it is then, or
        `None` where it is gone.
        """
        now: T | None = task
        while now is not None and not now.finished:
            with self._database.writing() as connection:
                ending: dict[str, Any] = {"reason": reason, "fault": Fault.CANCELLED, "expires_at": expires_at}
                if ended := self._move(connection, now, TaskStatus.CANCELLED, **ending):
                    return ended
            found = self.task_of_anyone(task.id)  # once more where a worker was quicker
            now = found if isinstance(found, type(task)) else None
        return now

    def again(self, task: Task) -> bool:
        """Have a task that failed or was cancelled tried again, from the first try on. False for a late writer."""
        fresh: dict[str, Any] = {
            "reason": "",
            "fault": None,
            "tries": 0,
            "progress": 0.0,
            "stage": "",
            "expires_at": None,
        }
        with self._database.writing() as connection:
            moved = self._move(connection, task, TaskStatus.SUBMITTED, not_before=self._clock(), why="asked", **fresh)
        return moved is not None

    def positions(self, task_ids: Iterable[str]) -> dict[str, int]:
        """Of those of these tasks that wait: the place in the queue, the next one's is 1."""
        asked = list(task_ids)
        query = _place(asked[0]) if len(asked) == 1 else _places(asked)
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def waiting(self, queue: Queue) -> int:
        """How many tasks wait in a queue."""
        t = tables.tasks
        query = sa.select(sa.func.count()).where(t.c.queue == queue, t.c.status == TaskStatus.SUBMITTED)
        with self._database.reading() as connection:
            return _count(connection, query)

    def paces(self, limit: int) -> list[float]:
        """Seconds of work for each second of video, of the last tasks that succeeded."""
        t = tables.tasks
        query = (
            sa.select(t.c.began_at, t.c.updated_at, t.c.result_duration_ms)
            .where(t.c.status == TaskStatus.SUCCEED, t.c.began_at > 0, t.c.result_duration_ms > 0)
            .order_by(t.c.expires_at.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [(row.updated_at - row.began_at) / row.result_duration_ms for row in connection.execute(query)]

    def fail(self, task: Task, reason: str, fault: Fault, *, expires_at: int) -> bool:
        """End an attempt badly, for good. False for a late writer."""
        with self._database.writing() as connection:
            moved = self._move(connection, task, TaskStatus.FAILED, reason=reason, fault=fault, expires_at=expires_at)
        return moved is not None

    def retry(self, task: Task, reason: str, fault: Fault, *, expires_at: int) -> bool:
        """End an attempt badly: the task waits for another one, or fails after `MAX_TRIES`. False for a late writer."""
        if task.tries >= MAX_TRIES:
            given_up = f"the task was given up after {task.tries} tries: {reason}"
            return self.fail(task, given_up, fault, expires_at=expires_at)
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

    def unfinished(self) -> list[Task]:
        """Every task that is not over, searches for faces too. For an embedded server's start."""
        query = sa.select(tables.tasks).where(tables.tasks.c.status.in_(UNFINISHED))
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def drop_task(self, task: Task) -> None:
        """Forget a task, its results and what was still to be told of it."""
        result = task.result if isinstance(task, RenderTask) else None
        results = (result.id, result.watermark_id) if result else ()
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
            .where(t.c.expires_at > 0, t.c.expires_at <= self._clock(), ~needed)
            .order_by(t.c.expires_at)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def known(self, ids: Iterable[str]) -> dict[str, int]:
        """Those of these ids that are kept, as media, session or task, and of tasks the attempt that counts, else 0."""
        asked = list(ids)
        places = (
            (tables.media, sa.literal(0)),
            (tables.sessions, sa.literal(0)),
            (tables.tasks, tables.tasks.c.attempt),
        )
        query = sa.union_all(*(sa.select(t.c.id, number).where(t.c.id.in_(asked)) for t, number in places))
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    # Insides

    def _move(
        self, connection: sa.Connection, task: T, status: TaskStatus, *, why: str = "", **values: Any
    ) -> T | None:
        """The one place where a status changes: compare-and-set from what `task` says, and what comes with it."""
        assert status in TRANSITIONS[task.status], f"no task goes from {task.status} to {status}"
        t = tables.tasks
        values |= {"status": status, "updated_at": self._clock()}
        change = (
            sa.update(t)
            .where(t.c.id == task.id, t.c.attempt == task.attempt, t.c.status == task.status)
            .values(task_columns(values))
        )
        if connection.execute(change).rowcount != 1:
            log.info("late writer ignored", task_id=task.id, attempt=task.attempt, status=str(status))
            return None
        moved = replace(task, **values)
        outbox.add(connection, moved, moved.updated_at)
        log.info(
            f"task {status}",
            task_id=task.id,
            request_id=task.request_id,
            queue=str(task.queue),
            attempt=moved.attempt,
            tries=moved.tries,
            reason=moved.reason or why,
        )
        metrics.count_transition(task, moved)
        return moved

    def _due(self) -> sa.ColumnElement[bool]:
        t, now = tables.tasks, self._clock()
        return sa.or_(t.c.not_before <= now, t.c.not_before > now + LONGEST_DELAY_MS)

    def _one_media(self, *match: sa.ColumnElement[bool]) -> Media | None:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tables.media).where(*match)).one_or_none()
        return _media(row) if row else None

    def _media_lives(self, account: str) -> tuple[sa.ColumnElement[bool], ...]:
        t = tables.media
        return t.c.account == account, t.c.expires_at > self._clock()

    def _one_task(self, *match: sa.ColumnElement[bool]) -> Task | None:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tables.tasks).where(*match)).one_or_none()
        return _task(row) if row else None

    def _one_render(self, *match: sa.ColumnElement[bool]) -> RenderTask | None:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tables.tasks).where(*match)).one_or_none()
        return render_task_from(row._mapping) if row else None

    def _task_lives(self, account: str) -> tuple[sa.ColumnElement[bool], ...]:
        """An account's lip syncs that are not over."""
        t = tables.tasks
        kept = sa.or_(t.c.expires_at == 0, t.c.expires_at > self._clock())
        return t.c.account == account, t.c.queue.in_(RENDERING), kept


def _check_room(connection: sa.Connection, account: str, queue: Queue, account_limit: int, queue_limit: int) -> None:
    """Raise `TooManyTasksError` where as many tasks are unfinished as may be; searches only count while they wait."""
    t = tables.tasks
    if queue is Queue.ANALYSIS:
        waiting = sa.select(sa.func.count()).where(t.c.queue == queue, t.c.status == TaskStatus.SUBMITTED)
        if queue_limit > 0 and _count(connection, waiting) >= queue_limit:
            raise TooManyTasksError(
                f"As many videos as may, {queue_limit}, wait to be looked at; try again in a few seconds."
            )
        return
    unfinished = sa.select(sa.func.count()).where(t.c.status.in_(UNFINISHED), t.c.queue.in_(RENDERING))
    if account_limit > 0 and _count(connection, unfinished.where(t.c.account == account)) >= account_limit:
        raise TooManyTasksError(f"This account has {account_limit} unfinished tasks, as many as it may at once.")
    if queue_limit > 0 and _count(connection, unfinished) >= queue_limit:
        raise TooManyTasksError(f"The queue is full: {queue_limit} tasks are unfinished, as many as it holds.")


def _turn(connection: sa.Connection, task: Task) -> float:
    t, a = tables.tasks, tables.accounts
    priority = connection.scalar(sa.select(a.c.priority).where(a.c.name == task.account)) or 1
    here = sa.select(sa.func.min(t.c.turn)).where(t.c.queue == task.queue, t.c.status == TaskStatus.SUBMITTED)
    last = sa.select(sa.func.max(t.c.turn)).where(t.c.queue == task.queue)
    # A sum, which keeps PostgreSQL from walking the queue's finished tasks backwards in search of one of the account's.
    ends = sa.func.max(t.c.turn + t.c.source_duration_ms / (1000.0 * priority))
    own = sa.select(ends).where(t.c.queue == task.queue, t.c.account == task.account, t.c.status.in_(UNFINISHED))
    head = connection.scalar(here)
    head = connection.scalar(last) if head is None else head
    return max(head or 0.0, connection.scalar(own) or 0.0)


def _place(task_id: str) -> sa.Select[str, int]:
    """One task's place: those before it are counted, which is the quickest."""
    t, other = tables.tasks, tables.tasks.alias()
    earlier = sa.or_(other.c.turn < t.c.turn, sa.and_(other.c.turn == t.c.turn, other.c.id <= t.c.id))
    place = sa.select(sa.func.count()).where(
        other.c.queue == t.c.queue, other.c.status == TaskStatus.SUBMITTED, earlier
    )
    return sa.select(t.c.id, place.scalar_subquery()).where(t.c.id == task_id, t.c.status == TaskStatus.SUBMITTED)


def _places(task_ids: list[str]) -> sa.Select[str, int]:
    """The places of many: all up to the last of them are numbered at one go."""
    t = tables.tasks
    waits = sa.and_(t.c.queue.in_(QUEUES), t.c.status == TaskStatus.SUBMITTED)
    last = sa.select(sa.func.max(t.c.turn)).where(waits, t.c.id.in_(task_ids)).scalar_subquery()
    place = sa.func.row_number().over(partition_by=t.c.queue, order_by=(t.c.turn, t.c.id)).label("place")
    ahead = sa.select(t.c.id, place).where(waits, t.c.turn <= last).subquery()
    return sa.select(ahead.c.id, ahead.c.place).where(ahead.c.id.in_(task_ids))


def _count(connection: sa.Connection, query: sa.Select[int]) -> int:
    return connection.scalars(query).one()


def _insert_media(connection: sa.Connection, media: Media) -> None:
    connection.execute(sa.insert(tables.media).values(media_row(media)))


def _insert_session(connection: sa.Connection, session: SessionRecord) -> None:
    connection.execute(sa.insert(tables.sessions).values(session_row(session)))


def _media(row: sa.Row[Any]) -> Media:
    return media_from(row._mapping)


def _task(row: sa.Row[Any]) -> Task:
    return task_from(row._mapping)
