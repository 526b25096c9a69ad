"""Whose turn it is, over both databases: accounts share a queue by priority and length, whoever asks how often."""

from __future__ import annotations

from collections import Counter
from typing import Any

from crowd import all_claims
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import Clock, identify_task, media, task

from duikou.database.engine import Database
from duikou.tasks.accounts import Accounts, KeyKind
from duikou.tasks.models import MediaKind, RenderTask, Task
from duikou.tasks.states import RETRY_DELAY_MS, Fault, Queue, TaskStatus
from duikou.tasks.store import Store


def ask(store: Store, account: str, count: int = 1, seconds: float = 10, **what: Any) -> list[Task]:
    """New tasks of an account on videos of that length."""
    length = int(seconds * 1000)
    return [store.tasks.add(task(account=account, source_duration_ms=length, **what)) for _ in range(count)]


def served(store: Store, count: int) -> str:
    """Whose tasks the next claims give, a letter each."""
    claimed = [store.queue.claim() for _ in range(count)]
    return "".join(one.account for one in claimed if one)


def do_all(store: Store) -> None:
    """Do all that waits, to its end."""
    while claimed := store.queue.claim():
        assert isinstance(claimed, RenderTask)
        store.tasks.complete_render(claimed, media(kind=MediaKind.RESULT))


def test_tasks_of_one_account_are_done_in_the_order_in_which_it_asked(store: Store) -> None:
    asked = [ask(store, "a", seconds=seconds)[0].id for seconds in (60, 1, 10, 30, 1)]
    assert all_claims(store) == asked


def test_a_single_task_comes_right_after_the_head_of_500(store: Store) -> None:
    ask(store, "a", 500)
    for seconds in (10, 60, 1):
        ask(store, "b", seconds=seconds)
        assert "b" in served(store, 2)
        do_all_of(store, "b")


def do_all_of(store: Store, account: str) -> None:
    """End what an account has in hand."""
    for one in store.tasks.unfinished():
        if one.account == account and one.status is TaskStatus.PROCESSING:
            assert isinstance(one, RenderTask)
            store.tasks.complete_render(one, media(kind=MediaKind.RESULT))


def test_a_single_search_of_an_account_comes_right_after_those_that_run(store: Store) -> None:
    for _ in range(12):
        store.tasks.add(identify_task(account="a"))
    running = store.queue.claim(Queue.IDENTIFY)
    store.tasks.add(identify_task(account="b"))
    following = store.queue.claim(Queue.IDENTIFY)
    assert running and running.account == "a"
    assert following and following.account == "b"


def test_accounts_can_be_left_out(store: Store) -> None:
    for account in "aab":
        store.tasks.add(identify_task(account=account))
    claimed = [store.queue.claim(Queue.IDENTIFY, without=without) for without in ([], ["a"], ["a"], ["b"])]
    assert [one.account if one else None for one in claimed] == ["a", "b", None, "a"]


def test_two_accounts_take_turns(store: Store) -> None:
    ask(store, "a", 20)
    ask(store, "b", 20)
    order = served(store, 40)
    assert all(abs(order[:count].count("a") - order[:count].count("b")) <= 1 for count in range(41))


def test_an_account_of_priority_four_gets_four_times_the_share(store: Store, database: Database) -> None:
    accounts = Accounts(database)
    accounts.make("a", KeyKind.PLAIN)
    accounts.set_priority("a", 4)
    ask(store, "b", 40)
    ask(store, "a", 100)
    share = Counter(served(store, 100))
    assert abs(share["a"] - 80) <= 2


def test_longer_videos_count_more(store: Store) -> None:
    ask(store, "a", 30, seconds=30)
    ask(store, "b", 40, seconds=10)
    share = Counter(served(store, 40))
    assert abs(share["b"] - 30) <= 2


def test_who_was_idle_gains_nothing_and_who_was_not_loses_nothing(store: Store) -> None:
    ask(store, "a", 30)
    do_all(store)
    for account in ("a", "b"):
        ask(store, account, 10)
    order = served(store, 20)
    assert all(abs(order[:count].count("a") - order[:count].count("b")) <= 1 for count in range(21))


def test_who_has_much_in_hand_does_not_wait_for_what_others_never_asked_for(store: Store) -> None:
    ask(store, "a", 30)
    served(store, 30)
    for account in ("b", "a"):
        ask(store, account, 10)
    order = served(store, 20)
    assert all(abs(order[:count].count("a") - order[:count].count("b")) <= 2 for count in range(21))


def test_who_asks_anew_after_each_task_starves_nobody(store: Store) -> None:
    ask(store, "a", 10)
    order = ""
    for _ in range(9):
        ask(store, "b", seconds=1)
        order += served(store, 2)
        do_all_of(store, "b")
    assert Counter(order) == {"a": 9, "b": 9}


def test_short_tasks_get_the_same_seconds_as_long_ones(store: Store) -> None:
    ask(store, "a", 5)
    ask(store, "b", 50, seconds=1)
    order = served(store, 50)
    assert all(abs(10 * order[:count].count("a") - order[:count].count("b")) <= 10 for count in range(51))


def test_every_queue_has_an_order_of_its_own(store: Store) -> None:
    ask(store, "a", 20)
    ask(store, "a", 1, queue=Queue.GPU)
    ask(store, "b", 1, queue=Queue.GPU)
    assert [one.account for one in (store.queue.claim(Queue.GPU), store.queue.claim(Queue.GPU)) if one] == ["a", "b"]
    assert store.queue.claim(Queue.GPU) is None
    assert store.queue.claim(Queue.IDENTIFY) is None


def test_a_task_that_is_tried_again_keeps_its_turn(store: Store, clock: Clock) -> None:
    first, second, third = ask(store, "a", 3)
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    store.tasks.retry(claimed, "died", Fault.WORKER, expires_at=1)
    following = store.queue.claim()
    assert following and following.id == second.id
    clock.ms += RETRY_DELAY_MS
    assert store.queue.positions([first.id, third.id]) == {first.id: 1, third.id: 2}
    assert all_claims(store) == [first.id, third.id]


def test_only_what_waits_has_a_place(store: Store) -> None:
    first, second = ask(store, "a", 2)
    store.queue.claim()
    assert store.queue.positions([first.id, second.id, "9"]) == {second.id: 1}
    assert store.queue.positions([]) == {}


STEPS = st.lists(
    st.one_of(
        st.none(),  # a claim
        st.tuples(st.sampled_from("abc"), st.integers(1, 120), st.sampled_from([Queue.RENDER, Queue.GPU])),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, priorities=st.tuples(st.integers(1, 100), st.integers(1, 100)))
def test_places_are_the_order_of_claims(steps: list[Any], priorities: tuple[int, int]) -> None:
    database = Database("sqlite://")
    store, accounts = Store(database, clock=Clock()), Accounts(database)
    for account, priority in zip("ab", priorities, strict=True):
        accounts.make(account, KeyKind.PLAIN)
        accounts.set_priority(account, priority)
    waiting: dict[Queue, set[str]] = {Queue.RENDER: set(), Queue.GPU: set()}
    for step in steps:
        if step is not None:
            account, seconds, queue = step
            waiting[queue] |= {one.id for one in ask(store, account, seconds=seconds, queue=queue)}
        elif claimed := store.queue.claim():
            waiting[Queue.RENDER].remove(claimed.id)
        else:
            assert not waiting[Queue.RENDER]
    for queue, ids in waiting.items():
        places = store.queue.positions(ids)
        assert sorted(places.values()) == list(range(1, len(ids) + 1)), "each waits in a place of its own"
        claims = []
        while claimed := store.queue.claim(queue):
            claims.append(claimed.id)
        assert claims == sorted(places, key=places.__getitem__)
    database.close()
