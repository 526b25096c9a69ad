"""The outbox of webhooks: written in the transaction that changes a task's status, deleted after delivery."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.tasks.models import RenderTask, Task
from duikou.tasks.places import Lane, Places, lane_of
from duikou.tasks.rows import render_task_from, task_row

ORDERED_TRIES = 4  # a receiver that refuses one change this often still gets the next ones
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 4 * 3600.0  # after a failure; doubles from the first to the longest
MAX_TRIES = 20  # with these waits nearly a day and a half
JITTER = 0.2  # of a wait, to either side: a receiver that comes back does not get everything at once
RECEIVERS = 256  # of one account that a claim looks at; the next claim goes on with those after them
MENDED = 1_000  # entries that are written at once when that happens
MEND_MS = 60_000  # between looks for entries that a clock which was set back since has put off


_C = tables.callbacks


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
    lane: Lane
    task: RenderTask
    tries: int


def add(connection: sa.Connection, task: Task, at: int) -> None:
    """Add a task's change, unless it has no callback or its receiver is gone. at: the time, Unix ms."""
    t = tables.tasks
    if not isinstance(task, RenderTask) or task.callback is None:
        return
    if connection.scalar(sa.select(t.c.callback_url).where(t.c.id == task.id)):
        lane = lane_of(task.account, task.callback.url)
        values = {"id": new_id(), "task_id": task.id, "task": task_row(task), "tries": 0, "not_before": at}
        values |= {"account": lane.account, "receiver": lane.receiver}
        connection.execute(sa.insert(tables.callbacks).values(values))


def forget(connection: sa.Connection, task_id: str) -> None:
    """Delete all undelivered changes of a task."""
    # The first one first, as all who write several: nobody waits for another in a circle.
    numbers = sa.select(_C.c.number).where(_C.c.task_id == task_id).order_by(_C.c.number)
    connection.execute(numbers.with_for_update()).all()
    connection.execute(sa.delete(_C).where(_C.c.task_id == task_id))


class Outbox:
    """Queries on undelivered webhooks.

    Those of one task are delivered in order: each waits until the one before it is over, or has failed so often that
    it no longer holds up the rest. Accounts take turns, and the receivers of each account.
    """

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database, self._clock = database, clock
        self._mended_at: int | None = None
        self._last_account = ""  # whose turn was the last
        self._last_receivers: dict[str, str] = {}  # and of each account, which receiver's

    def claim(self, places: Places, lease_ms: int) -> list[OutboxEntry]:
        """Entries that are due, one at most of each lane, leased for `lease_ms`: after that they are due again.

        Each has taken a place in `places`. An entry that is due is returned by one of the next claims, as soon as its
        lane may have a place: the cost of a claim does not depend on how many others wait before it.
        """
        self._mend(lease_ms)
        while True:
            due, claimed = self._claim(places, lease_ms)
            if claimed or not due:  # else another sender was faster each time
                return claimed

    def _claim(self, places: Places, lease_ms: int) -> tuple[int, list[OutboxEntry]]:
        """How many entries were due, and those that were leased."""
        taken: dict[int, Lane] = {}
        claimed: list[OutboxEntry] = []
        try:
            with self._database.reading() as connection:  # asked every second: only a due entry takes the write lock
                self._choose(connection, places, taken)
                # Still due: in PostgreSQL another sender may have leased some since.
                due = sa.select(_C).where(_C.c.number.in_(list(taken)), _C.c.not_before <= self._clock())
                rows = connection.execute(due.order_by(_C.c.number)).all() if taken else []
            if rows:
                with self._database.writing() as connection:
                    leased = [row for row in rows if self._lease(connection, row, lease_ms)]
                claimed = [_entry(row) for row in leased]
        finally:
            for number in taken.keys() - {entry.number for entry in claimed}:
                places.give(taken[number])
        return len(taken), claimed

    def _choose(self, connection: sa.Connection, places: Places, taken: dict[int, Lane]) -> None:
        """Take places for entries that are due: for the first of each lane, in turn."""
        now = self._clock()
        accounts = sorted(connection.scalars(_DUE_ACCOUNTS, {"now": now}))
        first = bisect_right(accounts, self._last_account)
        for account in accounts[first:] + accounts[:first]:
            if not places.has_room(account):
                continue
            last = self._last_receivers.get(account)
            heads = self._heads(connection, account, last, now)
            for receiver, number in heads:
                if number is not None and places.take(lane := Lane(account, receiver)):
                    taken[number] = lane
                    self._last_account, last = account, receiver
            if last == self._last_receivers.get(account) and len(heads) == RECEIVERS:
                last = heads[-1][0]  # none of them may have a place: on with those after them
            if last is not None:
                self._last_receivers[account] = last

    def _heads(
        self, connection: sa.Connection, account: str, last: str | None, now: int
    ) -> list[tuple[str, int | None]]:
        """Receivers of an account, beginning after `last`, each with the number of its first due entry, if any."""
        found: dict[str, int | None] = {}
        for after in (last, None) if last is not None else (None,):
            given = {"account": account, "now": now, "most": RECEIVERS - len(found)}
            query = _RECEIVERS if after is None else _RECEIVERS_AFTER
            for receiver, number in connection.execute(query, given if after is None else given | {"after": after}):
                found.setdefault(receiver, number)
            if len(found) >= RECEIVERS:
                break
        return list(found.items())

    def _lease(self, connection: sa.Connection, row: sa.Row[Any], lease_ms: int) -> bool:
        """Lease an entry, unless another sender was faster."""
        until = self._clock() + lease_ms
        lease = sa.update(_C).where(_C.c.number == row.number, _C.c.not_before == row.not_before)
        if not connection.execute(lease.values(tries=row.tries + 1, not_before=until)).rowcount:
            return False
        _hold_up(connection, row.number, row.task_id, row.tries + 1, until)
        return True

    def _mend(self, lease_ms: int) -> None:
        """Make entries due that a clock which was set back since has put off for longer than any wait can be."""
        now = self._clock()
        if self._mended_at is not None and 0 <= now - self._mended_at < MEND_MS:
            return
        longest = {tries: max(longest_wait_ms(tries), lease_ms) for tries in range(MAX_TRIES + 1)}
        wait = sa.case(longest, value=_C.c.tries, else_=max(longest.values()))
        too_far = sa.and_(_C.c.not_before > now + min(longest.values()), _C.c.not_before - wait > now)
        with self._database.reading() as connection:
            numbers = list(connection.scalars(sa.select(_C.c.number).where(too_far)))
        for first in range(0, len(numbers), MENDED):
            with self._database.writing() as connection:
                some = _C.c.number.in_(numbers[first : first + MENDED])
                connection.execute(sa.update(_C).where(some, too_far).values(not_before=now))
        self._mended_at = now

    def waiting(self) -> int:
        """How many changes are undelivered."""
        with self._database.reading() as connection:
            return connection.scalars(sa.select(sa.func.count()).select_from(tables.callbacks)).one()

    def remove(self, entry: OutboxEntry) -> None:
        """Delete an entry that was delivered, or is given up. The next of its task is due at once."""
        following = sa.select(sa.func.min(_C.c.number)).where(_C.c.task_id == entry.task.id, _C.c.number > entry.number)
        held_up = sa.update(_C).where(
            _C.c.number == following.scalar_subquery(), _C.c.tries == 0, _C.c.not_before > self._clock()
        )
        with self._database.writing() as connection:
            connection.execute(sa.delete(_C).where(_C.c.number == entry.number))
            connection.execute(held_up.values(not_before=self._clock()))

    def retry(self, entry: OutboxEntry, wait_ms: int) -> None:
        """Make an entry due again after a while."""
        until = self._clock() + wait_ms
        with self._database.writing() as connection:
            connection.execute(sa.update(_C).where(_C.c.number == entry.number).values(not_before=until))
            _hold_up(connection, entry.number, entry.task.id, entry.tries, until)

    def stop(self, entry: OutboxEntry) -> None:
        """Deliver nothing more of this task: its receiver is gone."""
        with self._database.writing() as connection:
            # The task first, as all who write both: a concurrent change is waited for and adds nothing afterwards.
            gone = sa.update(tables.tasks).where(tables.tasks.c.id == entry.task.id).values(callback_url="")
            connection.execute(gone)
            forget(connection, entry.task.id)


def _hold_up(connection: sa.Connection, number: int, task_id: str, tries: int, until: int) -> None:
    """Put off what waits for an entry of its task until that is due again: claims need not pass over it meanwhile."""
    if tries < ORDERED_TRIES:
        later = (_C.c.task_id == task_id, _C.c.number > number, _C.c.tries == 0)
        connection.execute(sa.update(_C).where(*later).values(not_before=until))


def _entry(row: sa.Row[Any]) -> OutboxEntry:
    return OutboxEntry(row.number, row.id, Lane(row.account, row.receiver), render_task_from(row.task), row.tries + 1)


def _due_accounts() -> sa.Select[str]:
    """The accounts of which an entry is due. Each is found by one look into an index, however many entries it has."""
    first = sa.select(sa.func.min(_C.c.account).label("account")).cte("held", recursive=True)
    after = sa.select(sa.func.min(_C.c.account)).where(_C.c.account > first.c.account).scalar_subquery()
    held = first.union_all(sa.select(after).where(first.c.account.is_not(None)))
    due = sa.exists().where(_C.c.account == held.c.account, _C.c.not_before <= sa.bindparam("now"))
    return sa.select(held.c.account).where(held.c.account.is_not(None), due)


def _receivers(*, after: bool) -> sa.Select[str, int]:
    """At most `most` receivers of an account, those after another one or from the first, each with its head.

    The head is the number of the first entry that is due and does not wait for another one; NULL where there is none.
    """
    of_account = _C.c.account == sa.bindparam("account")
    lowest = sa.select(sa.func.min(_C.c.receiver)).where(of_account)
    begin = lowest.where(_C.c.receiver > sa.bindparam("after")) if after else lowest
    first = sa.select(begin.scalar_subquery().label("receiver"), sa.literal(1).label("place"))
    lanes = first.cte("lanes", recursive=True)
    following = lowest.where(_C.c.receiver > lanes.c.receiver).scalar_subquery()
    more = (lanes.c.receiver.is_not(None), lanes.c.place < sa.bindparam("most"))
    lanes = lanes.union_all(sa.select(following, lanes.c.place + 1).where(*more))
    other = _C.alias()
    before = sa.exists().where(
        other.c.task_id == _C.c.task_id, other.c.number < _C.c.number, other.c.tries < ORDERED_TRIES
    )
    head = (
        sa.select(_C.c.number)
        .where(of_account, _C.c.receiver == lanes.c.receiver, _C.c.not_before <= sa.bindparam("now"))
        .where(sa.or_(_C.c.tries >= ORDERED_TRIES, ~before))
        .order_by(_C.c.not_before, _C.c.number)
        .limit(1)
    )
    return sa.select(lanes.c.receiver, head.scalar_subquery()).where(lanes.c.receiver.is_not(None))


_DUE_ACCOUNTS, _RECEIVERS, _RECEIVERS_AFTER = _due_accounts(), _receivers(after=False), _receivers(after=True)
