"""Callbacks that wait: written in the transaction that changes a task's status, taken out once they are delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from duikou.jobs import tables
from duikou.jobs.database import Database
from duikou.jobs.ids import new_id, now_ms
from duikou.jobs.state import Task, task_from

ORDERED_TRIES = 4  # a receiver that refuses one change this often still hears of the next ones


@dataclass(frozen=True)
class Callback:
    """One change of status to be told. id: the same for every try. task: as it was then."""

    number: int
    id: str
    task: Task
    tries: int


def add(connection: sa.Connection, task: Task, at: int) -> None:
    """Note that a task has changed, where its caller asked to be told and did not take it back since."""
    t = tables.tasks
    if task.callback_url and connection.scalar(sa.select(t.c.callback_url).where(t.c.id == task.id)):
        values = {"id": new_id(), "task_id": task.id, "task": asdict(task), "tries": 0, "not_before": at}
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
        t = tables.callbacks
        patient = sa.select(sa.func.min(t.c.number)).where(t.c.tries < ORDERED_TRIES).group_by(t.c.task_id)
        turn = sa.or_(t.c.number.in_(patient), t.c.tries >= ORDERED_TRIES)
        query = sa.select(t).where(turn, t.c.not_before <= self._clock()).order_by(t.c.number)
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
                        claimed.append(Callback(row.number, row.id, task_from(row.task), row.tries + 1))
        return claimed

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
            forget(connection, callback.task.id)
            gone = sa.update(tables.tasks).where(tables.tasks.c.id == callback.task.id).values(callback_url="")
            connection.execute(gone)
