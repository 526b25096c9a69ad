"""Callbacks that wait, over both databases: one for each change, in order, each in one courier's hands."""

from __future__ import annotations

from functools import partial

import pytest
import sqlalchemy as sa
from crowd import at_once
from rows import END, Clock, add_callbacks, begun, media, task

from duikou.database.engine import Database
from duikou.tasks import outbox as outbox_module
from duikou.tasks.models import MediaKind, RenderTask
from duikou.tasks.outbox import ORDERED_TRIES, Outbox, OutboxEntry
from duikou.tasks.places import SILENCES, Lane, Places, lane_of
from duikou.tasks.states import Fault, TaskStatus
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


def test_what_waits_for_another_is_due_as_soon_as_that_is_over(store: Store, outbox: Outbox, clock: Clock) -> None:
    store.tasks.add(task(callback_url=URL))
    store.queue.claim()
    (first,) = claim(outbox, 60_000)
    outbox.retry(first, wait_ms=5_000)
    assert claim(outbox, 60_000) == []
    clock.ms += 5_000
    (again,) = claim(outbox, 60_000)
    assert again.id == first.id
    outbox.remove(again)
    (following,) = claim(outbox, 60_000)
    assert following.task.status is TaskStatus.PROCESSING


def test_what_a_clock_that_was_set_back_has_put_off_is_due_again(store: Store, outbox: Outbox, clock: Clock) -> None:
    clock.ms = 7_200_000
    for number in range(3):
        store.tasks.add(task(id=str(number), callback_url=URL))
    entries = claim(outbox, 60_000)
    outbox.retry(entries[0], wait_ms=5_000)
    clock.ms -= 3_600_000
    assert {one.task.id for one in claim(outbox, 60_000)} == {"0", "1", "2"}


# Turns


def lanes(entries: list[OutboxEntry]) -> list[Lane]:
    return [one.lane for one in entries]


def test_accounts_take_turns(database: Database, outbox: Outbox) -> None:
    for account in ("a", "c"):
        add_callbacks(database, account, URL, tasks=100)
    add_callbacks(database, "b", URL, tasks=2)
    places = Places(64)
    first = outbox.claim(places, 60_000)
    assert {one.account for one in lanes(first)} == {"a", "b", "c"}
    rest = list[OutboxEntry]()
    while more := outbox.claim(places, 60_000):
        rest += more
    assert lanes(rest).count(Lane("b", "127.0.0.1:80")) == 1
    assert {lane.account for lane in lanes(rest)} == {"a", "b", "c"}
    add_callbacks(database, "late", URL)
    assert lanes(outbox.claim(places, 60_000)) == [Lane("late", "127.0.0.1:80")], "a place is left for others"


def test_receivers_of_an_account_take_turns(database: Database, outbox: Outbox) -> None:
    add_callbacks(database, "a", "http://silent.test/", tasks=100)
    places = Places(64)
    while outbox.claim(places, 60_000):
        pass
    add_callbacks(database, "a", "http://other.test:81/", tasks=2)
    assert lanes(outbox.claim(places, 60_000)) == [Lane("a", "other.test:81")]


def test_every_receiver_has_its_turn_though_a_claim_looks_at_a_few(
    database: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "RECEIVERS", 4)
    add_callbacks(database, "a", *(f"http://{number}.test/" for number in range(21)), tasks=3)
    places, told = Places(2), list[Lane]()
    for _ in range(4 * 21 * 3):
        for entry in outbox.claim(places, 60_000):
            told.append(entry.lane)
            outbox.remove(entry)
            places.give(entry.lane)
    assert len(told) == 63
    assert len(set(told[:21])) == 21, "nobody is second before everybody was first"


def test_receivers_that_rest_do_not_hide_those_after_them(
    database: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "RECEIVERS", 4)
    places = Places(64)
    silent = [f"http://{number:02}.test/" for number in range(21)]
    add_callbacks(database, "a", *silent, "http://99.test/")
    for url in silent * SILENCES:
        places.unanswered(lane_of("a", url), float("inf"))
    told = [entry.lane for _ in range(10) for entry in outbox.claim(places, 60_000)]
    assert told == [Lane("a", "99.test:80")]


@pytest.mark.parametrize("receivers", [1, 500], ids=["one receiver", "many receivers"])
def test_a_claim_costs_the_same_however_much_waits(database: Database, outbox: Outbox, receivers: int) -> None:
    """No statement reads a table from its beginning to its end, and their number stays the same."""
    urls = [f"http://{number}.test/" for number in range(receivers)]
    add_callbacks(database, "a", *urls, tasks=1_000 // receivers, changes=3)
    add_callbacks(database, "b", URL)
    statements = list[tuple[str, object]]()

    def note(_1: object, _2: object, statement: str, given: object, _5: object, many: bool) -> None:
        if not many and not statement.startswith(("EXPLAIN", "BEGIN", "ANALYZE")):
            statements.append((statement, given))

    engine = database._engine
    with engine.connect() as connection:
        connection.execute(sa.text("ANALYZE"))
        connection.commit()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        claimed = outbox.claim(Places(8), 60_000)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert {one.lane.account for one in claimed} == {"a", "b"}
    assert len(statements) <= 5 + 2 * len(claimed), statements
    explain = "EXPLAIN " if database.shared else "EXPLAIN QUERY PLAN "
    whole = "Seq Scan on callbacks" if database.shared else "SCAN callbacks"
    with database.reading() as connection:
        for statement, given in statements:
            plan = connection.exec_driver_sql(explain + statement, given)  # type: ignore[arg-type]
            lines = "\n".join(str(row[-1]) for row in plan)
            assert whole not in lines.replace("USING COVERING INDEX", ""), f"{statement}\n{lines}"


def test_a_task_is_deleted_while_it_is_claimed(store: Store, outbox: Outbox) -> None:
    for _ in range(ROUNDS):
        claimed = begun(store, callback_url=URL)
        store.tasks.complete_render(claimed, media(kind=MediaKind.RESULT))
        gave = at_once(partial(claim, outbox, 1), partial(store.tasks.remove, claimed), partial(claim, outbox, 1))
        assert not [one for one in gave if isinstance(one, Exception)]
        assert outbox.waiting() == 0
