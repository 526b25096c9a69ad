"""The outbox of webhooks: written in the transaction that changes a task's status, deleted after delivery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.tasks.models import RenderTask, Task
from duikou.tasks.rows import render_task_from, task_row

ORDERED_TRIES = 4  # a receiver that refuses one change this often still gets the next ones
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 4 * 3600.0  # after a failure; doubles from the first to the longest
MAX_TRIES = 20  # with these waits nearly a day and a half
JITTER = 0.2  # of a wait, to either side: a receiver that comes back does not get everything at once


def usual_wait_s(tries: int) -> float:
    """Seconds until the next try after so many, without jitter."""
    return min(FIRST_WAIT_S * 2.0 ** (tries - 1), LONGEST_WAIT_S)


def longest_wait_ms(tries: int) -> int:
    """The same with the most jitter, in ms."""
    return round(usual_wait_s(tries) * (1 + JITTER) * 1000)


@dataclass(frozen=True)
class OutboxEntry:
    """One change of status to be delivered. id: the same for every try. task: as it was after that change."""

    number: int
    id: str
    task: RenderTask
    tries: int


def add(connection: sa.Connection, task: Task, at: int) -> None:
    """Add a task's change, unless it has no callback or its receiver is gone. at: the time, Unix ms."""
    t = tables.tasks
    if not isinstance(task, RenderTask) or task.callback is None:
        return
    if connection.scalar(sa.select(t.c.callback_url).where(t.c.id == task.id)):
        values = {"id": new_id(), "task_id": task.id, "task": task_row(task), "tries": 0, "not_before": at}
        connection.execute(sa.insert(tables.callbacks).values(values))


def forget(connection: sa.Connection, task_id: str) -> None:
    """Delete all undelivered changes of a task."""
    connection.execute(sa.delete(tables.callbacks).where(tables.callbacks.c.task_id == task_id))


class Outbox:
    """Queries on undelivered webhooks.

    Those of one task are delivered in order: each waits until the one before it is over, or has failed so often that
    it no longer holds up the rest.
    """

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database, self._clock = database, clock

    def claim(self, limit: int, lease_ms: int) -> list[OutboxEntry]:
        """Entries that are due, leased for `lease_ms`: after that they are due again."""
        t, now = tables.callbacks, self._clock()
        longest = sa.case(
            {tries: max(longest_wait_ms(tries), lease_ms) for tries in range(MAX_TRIES + 1)}, value=t.c.tries
        )
        due_now = sa.or_(t.c.not_before <= now, t.c.not_before - longest > now)  # of a clock that was set back since
        other = t.alias()
        earlier = sa.exists().where(
            other.c.task_id == t.c.task_id, other.c.number < t.c.number, other.c.tries < ORDERED_TRIES
        )
        first = sa.or_(t.c.tries >= ORDERED_TRIES, ~earlier)
        query = sa.select(t).where(first, due_now).order_by(t.c.number)
        with self._database.reading() as connection:  # asked every second: only a due entry takes the write lock
            due = connection.execute(query.limit(limit)).all()
        claimed = []
        if due:
            with self._database.writing() as connection:
                for row in due:
                    lease = sa.update(t).where(t.c.number == row.number, t.c.not_before == row.not_before)
                    leased = connection.execute(
                        lease.values(tries=row.tries + 1, not_before=self._clock() + lease_ms)
                    ).rowcount
                    if leased:
                        claimed.append(OutboxEntry(row.number, row.id, render_task_from(row.task), row.tries + 1))
        return claimed

    def waiting(self) -> int:
        """How many changes are undelivered."""
        with self._database.reading() as connection:
            return connection.scalars(sa.select(sa.func.count()).select_from(tables.callbacks)).one()

    def remove(self, entry: OutboxEntry) -> None:
        """Delete an entry that was delivered, or is given up."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.callbacks).where(tables.callbacks.c.number == entry.number))

    def retry(self, entry: OutboxEntry, wait_ms: int) -> None:
        """Make an entry due again after a while."""
        t = tables.callbacks
        with self._database.writing() as connection:
            change = sa.update(t).where(t.c.number == entry.number).values(not_before=self._clock() + wait_ms)
            connection.execute(change)

    def stop(self, entry: OutboxEntry) -> None:
        """Deliver nothing more of this task: its receiver is gone."""
        with self._database.writing() as connection:
            # The task first, as all who write both: a concurrent change is waited for and adds nothing afterwards.
            gone = sa.update(tables.tasks).where(tables.tasks.c.id == entry.task.id).values(callback_url="")
            connection.execute(gone)
            forget(connection, entry.task.id)
