"""Callbacks that wait: written in the transaction that changes a task's status, taken out once they are delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.tasks.models import RenderTask, Task
from duikou.tasks.rows import render_task_from, task_row

ORDERED_TRIES = 4  # a receiver that refuses one change this often still hears of the next ones
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 4 * 3600.0  # after a failure; doubles from the first to the longest
MAX_TRIES = 20  # with these waits nearly a day and a half
JITTER = 0.2  # of a wait, to either side: receivers that come back are not met by everything at once


def usual_wait_s(tries: int) -> float:
    """Seconds until the next try after so many, without the jitter."""
    return min(FIRST_WAIT_S * 2.0 ** (tries - 1), LONGEST_WAIT_S)


def longest_wait_ms(tries: int) -> int:
    """The same with it, at its longest."""
    return round(usual_wait_s(tries) * (1 + JITTER) * 1000)


@dataclass(frozen=True)
class Callback:
    """One change of status to be told. id: the same for every try. task: as it was then."""

    number: int
    id: str
    task: RenderTask
    tries: int


def add(connection: sa.Connection, task: Task, at: int) -> None:
    """Note that a task has changed, where its caller asked to be told and did not take it back since."""
    t = tables.tasks
    if not isinstance(task, RenderTask) or task.callback is None:
        return
    if connection.scalar(sa.select(t.c.callback_url).where(t.c.id == task.id)):
        values = {"id": new_id(), "task_id": task.id, "task": task_row(task), "tries": 0, "not_before": at}
        connection.execute(sa.insert(tables.callbacks).values(values))


def forget(connection: sa.Connection, task_id: str) -> None:
    """Drop all that is still to be told of a task."""
    connection.execute(sa.delete(tables.callbacks).where(tables.callbacks.c.task_id == task_id))


class Outbox:
    """Every query on callbacks. Those of one task are told in order: each waits until the one before it is over, or
    has failed so often that it holds up the rest no longer."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database, self._clock = database, clock

    def claim(self, limit: int, hold_ms: int) -> list[Callback]:
        """Callbacks that are due and whose turn it is, held for `hold_ms`: then they are due again."""
        t, now = tables.callbacks, self._clock()
        longest = sa.case(
            {tries: max(longest_wait_ms(tries), hold_ms) for tries in range(MAX_TRIES + 1)}, value=t.c.tries
        )
        due_now = sa.or_(t.c.not_before <= now, t.c.not_before - longest > now)  # of a clock that was set back since
        other = t.alias()
        earlier = sa.exists().where(
            other.c.task_id == t.c.task_id, other.c.number < t.c.number, other.c.tries < ORDERED_TRIES
        )
        turn = sa.or_(t.c.tries >= ORDERED_TRIES, ~earlier)
        query = sa.select(t).where(turn, due_now).order_by(t.c.number)
        with self._database.reading() as connection:  # asked every second: only a find takes the write lock
            due = connection.execute(query.limit(limit)).all()
        claimed = []
        if due:
            with self._database.writing() as connection:
                for row in due:
                    hold = sa.update(t).where(t.c.number == row.number, t.c.not_before == row.not_before)
                    held = connection.execute(
                        hold.values(tries=row.tries + 1, not_before=self._clock() + hold_ms)
                    ).rowcount
                    if held:
                        claimed.append(Callback(row.number, row.id, render_task_from(row.task), row.tries + 1))
        return claimed

    def waiting(self) -> int:
        """How many changes are still to be told."""
        with self._database.reading() as connection:
            return connection.scalars(sa.select(sa.func.count()).select_from(tables.callbacks)).one()

    def delivered(self, callback: Callback) -> None:
        """It was told, or never will be."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.callbacks).where(tables.callbacks.c.number == callback.number))

    def again(self, callback: Callback, wait_ms: int) -> None:
        """Try once more after a while."""
        t = tables.callbacks
        with self._database.writing() as connection:
            change = sa.update(t).where(t.c.number == callback.number).values(not_before=self._clock() + wait_ms)
            connection.execute(change)

    def stop(self, callback: Callback) -> None:
        """Tell nothing more of this task: its receiver is gone."""
        with self._database.writing() as connection:
            # The task first, as all who write both: whoever changes it meanwhile is waited for and adds nothing after.
            gone = sa.update(tables.tasks).where(tables.tasks.c.id == callback.task.id).values(callback_url="")
            connection.execute(gone)
            forget(connection, callback.task.id)
