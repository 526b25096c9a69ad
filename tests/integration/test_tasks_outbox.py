"""Callbacks that wait, over both databases: one for each change, in order, each in one courier's hands."""

from __future__ import annotations

from functools import partial

import pytest
from crowd import at_once
from rows import END, Clock, begun, media, task

from duikou.database.engine import Database
from duikou.tasks.models import Fault, MediaKind, RenderTask, TaskStatus
from duikou.tasks.outbox import ORDERED_TRIES, Outbox, OutboxEntry
from duikou.tasks.places import Places
from duikou.tasks.store import Store

URL = "http://127.0.0.1/"
ROUNDS = 20


@pytest.fixture
def outbox(database: Database, clock: Clock) -> Outbox:
    return Outbox(database, clock=clock)


def claim(outbox: Outbox, lease_ms: int, most: int = 64) -> list[OutboxEntry]:
    """Everything that is due, as far as there are places: claims until one finds nothing."""
    places, found = Places(most), list[OutboxEntry]()
    while more := outbox.claim(places, lease_ms):
        found += more
    return found


def statuses(callbacks: list[OutboxEntry]) -> list[str]:
    return [str(one.task.status) for one in callbacks]


def test_every_change_is_told_as_it_was_then(store: Store, outbox: Outbox, clock: Clock) -> None:
    asked = store.tasks.add(task(callback_url=URL))
    store.tasks.add(task(id="9"))  # nobody asked to be told of this one
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    store.tasks.release(claimed)
    again = store.queue.claim()
    assert isinstance(again, RenderTask)
    store.tasks.complete_render(again, media(kind=MediaKind.RESULT))
    told = []
    while callbacks := claim(outbox, 1):
        (callback,) = callbacks
        told.append(callback)
        outbox.remove(callback)
    assert statuses(told) == ["submitted", "processing", "submitted", "processing", "succeed"]
    assert (told[0].task, told[1].task, told[3].task) == (asked, claimed, again)
    assert len({one.id for one in told}) == 5
    assert outbox.waiting() == 0


def test_a_change_that_lost_is_not_told(store: Store, outbox: Outbox) -> None:
    claimed = begun(store, callback_url=URL)
    store.tasks.complete_render(claimed, media(kind=MediaKind.RESULT))
    assert not store.tasks.fail(claimed, "no", Fault.MODEL, expires_at=END)
    assert outbox.waiting() == 3


def test_callbacks_of_a_task_go_in_order_until_one_has_failed_too_often(store: Store, outbox: Outbox) -> None:
    store.tasks.add(task(callback_url=URL))
    store.queue.claim()
    for tries in range(1, ORDERED_TRIES + 1):
        (refused,) = outbox.claim(Places(64), 1)
        assert (refused.task.status, refused.tries) == (TaskStatus.SUBMITTED, tries)
        outbox.retry(refused, wait_ms=0)
    assert statuses(claim(outbox, 1)) == ["submitted", "processing"]


def test_tasks_do_not_wait_for_each_other(store: Store, outbox: Outbox) -> None:
    for number in range(3):
        store.tasks.add(task(id=str(number), callback_url=URL))
    assert [one.task.id for one in claim(outbox, 1, most=8)] == ["0", "1"]
    assert [one.task.id for one in claim(outbox, 1)] == ["2"]


def test_what_is_in_hand_is_due_again_after_a_while(store: Store, outbox: Outbox, clock: Clock) -> None:
    store.tasks.add(task(callback_url=URL))
    (first,) = claim(outbox, 500)
    clock.ms += 499
    assert claim(outbox, 500) == []
    clock.ms += 1
    (second,) = claim(outbox, 500)
    assert (second.id, second.tries) == (first.id, 2)
    outbox.retry(second, wait_ms=2_000)
    clock.ms += 1_999
    assert claim(outbox, 500) == []
    clock.ms += 1
    assert len(claim(outbox, 500)) == 1


def test_couriers_never_have_the_same_callback(store: Store, outbox: Outbox) -> None:
    for number in range(40):
        store.tasks.add(task(id=str(number), callback_url=URL))
    claimed = at_once(*[partial(claim, outbox, 1_000, most=400)] * 8)
    assert sorted(int(one.task.id) for some in claimed for one in some) == list(range(40))


def test_a_receiver_that_is_gone_hears_nothing_more(store: Store, outbox: Outbox) -> None:
    claimed = begun(store, "1", callback_url=URL)
    (callback,) = claim(outbox, 1)
    outbox.stop(callback)
    store.tasks.complete_render(claimed, media(kind=MediaKind.RESULT))
    assert outbox.waiting() == 0


def test_of_a_task_that_changes_while_its_receiver_goes_nothing_more_is_told(store: Store, outbox: Outbox) -> None:
    for _ in range(ROUNDS):
        claimed = begun(store, callback_url=URL)
        (callback,) = claim(outbox, 1)
        gave = at_once(
            partial(outbox.stop, callback), partial(store.tasks.complete_render, claimed, media(kind=MediaKind.RESULT))
        )
        assert gave == [None, True]
        assert outbox.waiting() == 0


def test_a_task_is_deleted_while_its_receiver_goes(store: Store, outbox: Outbox) -> None:
    for _ in range(ROUNDS):
        claimed = begun(store, callback_url=URL)
        (callback,) = claim(outbox, 1)
        assert at_once(partial(outbox.stop, callback), partial(store.tasks.remove, claimed)) == [None, None]
        assert outbox.waiting() == 0
