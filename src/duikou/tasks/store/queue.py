"""Queries on the queues: claims, heartbeats, room, load and positions."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.models import QueueLoad, Task
from duikou.tasks.rows import task_from
from duikou.tasks.states import MAX_TRIES, RENDERING, RETRY_DELAY_MS, UNFINISHED, Queue, TaskStatus
from duikou.tasks.store.errors import TooManyTasksError
from duikou.tasks.store.transition import change_status

LONGEST_DELAY_MS = RETRY_DELAY_MS * MAX_TRIES  # a longer one comes from a clock that was set back since
MAX_MACHINE = 64  # characters of a machine's name
QUEUES = tuple(Queue)  # named where all are meant: the index of unfinished tasks begins with the queue


@dataclass(frozen=True)
class Heartbeat:
    """One attempt is alive, and has come this far. progress: 0 to 1."""

    task: Task
    stage: str
    progress: float


@dataclass(frozen=True)
class Attention:
    """What the outside thinks of attempts, by task id. lost: those that are no longer current. unattended: identify
    tasks for which no caller waits.
    """

    lost: frozenset[str] = frozenset()
    unattended: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TaskLimits:
    """How many unfinished tasks an account, and the server as a whole, may have; 0 is no limit.

    Identify tasks count only while they wait.
    """

    account: int = 0
    queue: int = 0


NO_LIMITS = TaskLimits()


class QueueStore:
    """Tasks that wait or run."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def require_room(self, account: str, queue: Queue, limits: TaskLimits) -> None:
        """Raise `TooManyTasksError` where one more task would be refused."""
        with self._database.reading() as connection:
            check_room(connection, account, queue, limits)

    def claim(self, queue: Queue = Queue.RENDER, *, without: Collection[str] = ()) -> Task | None:
        """Take the next task of a queue: it is processing now, under a new attempt. `None` where none waits.

        without: accounts whose tasks are left out.
        """
        t = tables.tasks
        waiting = (
            sa.select(t)
            .where(t.c.queue == queue, t.c.status == TaskStatus.SUBMITTED, self._due())
            .where(t.c.account.not_in(without))
            .order_by(t.c.turn, t.c.id)
            .limit(1)
        )
        # Idle workers ask every second: only a waiting task takes the write lock.
        with self._database.reading() as connection:
            if connection.execute(waiting.with_only_columns(t.c.id)).first() is None:
                return None
        with self._database.writing() as connection:
            row = connection.execute(waiting.with_for_update(skip_locked=True)).one_or_none()
            if row is None:  # another worker was faster
                return None
            task, now = task_from(row._mapping), self._clock()
            changes: dict[str, Any] = {
                "attempt": task.attempt + 1,
                "tries": task.tries + 1,
                "heartbeat": task.heartbeat + 1,
                "progress": 0.0,
                "stage": "",
                "began_at": now,
            }
            claimed = change_status(connection, task, TaskStatus.PROCESSING, changes, at=now)
            if claimed is not None:
                began = {"task_id": task.id, "number": claimed.attempt, "worker": _process(), "began_at": now}
                connection.execute(sa.insert(tables.attempts).values(began))
            return claimed

    def record_heartbeats(self, heartbeats: Sequence[Heartbeat]) -> Attention:
        """Write that attempts are alive and how far they are."""
        t, lost, unattended = tables.tasks, set(), set()
        identifying = [one.task.id for one in heartbeats if one.task.queue is Queue.IDENTIFY]
        with self._database.writing() as connection:
            for one in heartbeats:
                change = (
                    sa.update(t)
                    .where(t.c.id == one.task.id, t.c.attempt == one.task.attempt)
                    .where(t.c.status == TaskStatus.PROCESSING)
                    .values(beat=t.c.beat + 1, stage=one.stage, progress=one.progress, updated_at=self._clock())
                )
                if connection.execute(change).rowcount != 1:
                    lost.add(one.task.id)
            if identifying:
                query = sa.select(t.c.id).where(t.c.id.in_(identifying), t.c.callers <= 0)
                unattended = set(connection.scalars(query))
        return Attention(frozenset(lost), frozenset(unattended - lost))

    def heartbeats(self) -> dict[tuple[str, int], int]:
        """The heartbeat counter of every running attempt, by task id and attempt number."""
        t = tables.tasks
        query = sa.select(t.c.id, t.c.attempt, t.c.beat)
        query = query.where(t.c.queue.in_(QUEUES), t.c.status == TaskStatus.PROCESSING)
        with self._database.reading() as connection:
            return {(row.id, row.attempt): row.beat for row in connection.execute(query)}

    def due(self, queue: Queue, limit: int) -> int:
        """How many tasks of a queue could be claimed now; counts no more than `limit`."""
        t = tables.tasks
        waiting = sa.select(t.c.id).where(t.c.queue == queue, t.c.status == TaskStatus.SUBMITTED, self._due())
        with self._database.reading() as connection:
            return _count(connection, sa.select(sa.func.count()).select_from(waiting.limit(limit).subquery()))

    def loads(self) -> dict[Queue, QueueLoad]:
        """The load of every queue."""
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

    def positions(self, task_ids: Iterable[str]) -> dict[str, int]:
        """The positions in their queues of those of these tasks that wait; the next task has position 1."""
        wanted = list(task_ids)
        query = _position(wanted[0]) if len(wanted) == 1 else _positions(wanted)
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def care(self, queue: Queue, ms: int) -> tuple[bool, bool]:
        """Whether somebody takes tasks of a queue, and whether one is neglected: due for `ms` while nobody took any."""
        t, now = tables.tasks, self._clock()
        of_queue = sa.select(t.c.id).where(t.c.queue == queue)
        overdue = of_queue.where(t.c.status == TaskStatus.SUBMITTED, t.c.not_before <= now - ms).exists()
        runs = of_queue.where(t.c.status == TaskStatus.PROCESSING).exists()
        began = of_queue.where(t.c.began_at > now - ms).exists()
        with self._database.reading() as connection:
            late, taken = connection.execute(sa.select(overdue, sa.or_(runs, began))).one()
        return bool(taken), bool(late and not taken)

    def late(self, task_ids: Iterable[str], ms: int) -> set[str]:
        """Which of these tasks still wait, and have been due for `ms`."""
        t = tables.tasks
        late = sa.and_(t.c.status == TaskStatus.SUBMITTED, t.c.not_before <= self._clock() - ms)
        with self._database.reading() as connection:
            return set(connection.scalars(sa.select(t.c.id).where(t.c.id.in_(list(task_ids)), late)))

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

    def _due(self) -> sa.ColumnElement[bool]:
        t, now = tables.tasks, self._clock()
        return sa.or_(t.c.not_before <= now, t.c.not_before > now + LONGEST_DELAY_MS)


def check_room(connection: sa.Connection, account: str, queue: Queue, limits: TaskLimits) -> None:
    """Raise `TooManyTasksError` where a limit is reached."""
    t = tables.tasks
    if queue is Queue.IDENTIFY:
        waiting = sa.select(sa.func.count()).where(t.c.queue == queue, t.c.status == TaskStatus.SUBMITTED)
        if limits.account > 0 and _count(connection, waiting.where(t.c.account == account)) >= limits.account:
            raise TooManyTasksError(
                f"{limits.account} videos of this account wait to be looked at, as many as may; try again in a few "
                "seconds."
            )
        if limits.queue > 0 and _count(connection, waiting) >= limits.queue:
            raise TooManyTasksError(
                f"{limits.queue} videos of all accounts wait to be looked at, as many as the server holds; try again "
                "in a few seconds."
            )
        return
    unfinished = sa.select(sa.func.count()).where(t.c.status.in_(UNFINISHED), t.c.queue.in_(RENDERING))
    if limits.account > 0 and _count(connection, unfinished.where(t.c.account == account)) >= limits.account:
        raise TooManyTasksError(f"This account has {limits.account} unfinished tasks, as many as it may at once.")
    if limits.queue > 0 and _count(connection, unfinished) >= limits.queue:
        raise TooManyTasksError(f"The queue is full: {limits.queue} tasks are unfinished, as many as it holds.")


def turn_of(connection: sa.Connection, task: Task) -> float:
    """The turn of a new task; `TaskStore.add` says by which rule."""
    t, a = tables.tasks, tables.accounts
    priority = connection.scalar(sa.select(a.c.priority).where(a.c.name == task.account)) or 1
    of_queue = t.c.queue == task.queue
    running = sa.select(sa.func.max(t.c.turn)).where(of_queue, t.c.status == TaskStatus.PROCESSING)
    first = sa.select(sa.func.min(t.c.turn)).where(of_queue, t.c.status == TaskStatus.SUBMITTED)
    last = sa.select(sa.func.max(t.c.turn)).where(t.c.queue == task.queue)
    # A sum, which keeps PostgreSQL from walking the queue's finished tasks backwards in search of one of the account's.
    ends = sa.func.max(t.c.turn + t.c.source_duration_ms / (1000.0 * priority))
    own = sa.select(ends).where(t.c.queue == task.queue, t.c.account == task.account, t.c.status.in_(UNFINISHED))
    found = [turn for turn in map(connection.scalar, (running, first)) if turn is not None]
    head = min(found) if found else connection.scalar(last)
    return max(head or 0.0, connection.scalar(own) or 0.0)


def _position(task_id: str) -> sa.Select[str, int]:
    """One task's position: counting the tasks before it is the fastest."""
    t, other = tables.tasks, tables.tasks.alias()
    earlier = sa.or_(other.c.turn < t.c.turn, sa.and_(other.c.turn == t.c.turn, other.c.id <= t.c.id))
    position = sa.select(sa.func.count()).where(
        other.c.queue == t.c.queue, other.c.status == TaskStatus.SUBMITTED, earlier
    )
    return sa.select(t.c.id, position.scalar_subquery()).where(t.c.id == task_id, t.c.status == TaskStatus.SUBMITTED)


def _positions(task_ids: list[str]) -> sa.Select[str, int]:
    """The positions of many: one pass numbers all tasks up to the last of them."""
    t = tables.tasks
    waits = sa.and_(t.c.queue.in_(QUEUES), t.c.status == TaskStatus.SUBMITTED)
    last = sa.select(sa.func.max(t.c.turn)).where(waits, t.c.id.in_(task_ids)).scalar_subquery()
    position = sa.func.row_number().over(partition_by=t.c.queue, order_by=(t.c.turn, t.c.id)).label("position")
    ahead = sa.select(t.c.id, position).where(waits, t.c.turn <= last).subquery()
    return sa.select(ahead.c.id, ahead.c.position).where(ahead.c.id.in_(task_ids))


def _process() -> str:
    """This machine and process, as operators know them."""
    return f"{platform.node()[:MAX_MACHINE]}:{os.getpid()}"


def _count(connection: sa.Connection, query: sa.Select[int]) -> int:
    return connection.scalars(query).one()
