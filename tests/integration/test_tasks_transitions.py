"""How tasks change, over both databases: by the table of transitions alone, by compare-and-set, one writer of many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
import sqlalchemy as sa
from crowd import all_claims, at_once, claim_all, processes_at_once
from rows import END, Clock, identify_task, media, task

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.models import IdentifyTask, Media, MediaKind, RenderTask, SessionRecord, Task, TaskResult
from duikou.tasks.states import MAX_TRIES, RETRY_DELAY_MS, TRANSITIONS, UNFINISHED, Fault, Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.queue import LONGEST_DELAY_MS, Attention, Heartbeat

ROUNDS = 20  # of a race: enough for each side to win


def result(**what: Any) -> Media:
    return media(kind=MediaKind.RESULT, **what)


def session() -> SessionRecord:
    return SessionRecord("77", "", media(), (), 1, END)


def publish(store: Store, task: Task) -> bool:
    """End any task as a render; an identify task is told from one by its row alone."""
    return store.tasks.complete_render(cast(RenderTask, task), result())


def find(store: Store, task: Task) -> bool:
    """End any task as one that identified faces."""
    return store.tasks.complete_identify(cast(IdentifyTask, task), session(), expires_at=END)


WAYS: dict[str, tuple[TaskStatus, Callable[[Store, Task], bool]]] = {
    "publish": (TaskStatus.SUCCEED, publish),
    "found": (TaskStatus.SUCCEED, find),
    "fail": (TaskStatus.FAILED, lambda store, task: store.tasks.fail(task, "no", Fault.MODEL, expires_at=END)),
    "retry": (TaskStatus.SUBMITTED, lambda store, task: store.tasks.retry(task, "no", Fault.WORKER, expires_at=END)),
    "release": (TaskStatus.SUBMITTED, lambda store, task: store.tasks.release(task)),
    "again": (TaskStatus.SUBMITTED, lambda store, task: store.tasks.resubmit(task)),
}


def begun(store: Store, **what: Any) -> RenderTask:
    """A new task in hand."""
    made = store.tasks.add(task(callback_url="http://127.0.0.1/", **what))
    claimed = store.queue.claim(made.queue)
    assert isinstance(claimed, RenderTask)
    assert claimed.id == made.id
    return claimed


def standing(store: Store, status: TaskStatus) -> Task:
    """A task that came to stand there."""
    if status is TaskStatus.SUBMITTED:
        return store.tasks.add(task(callback_url="http://127.0.0.1/"))
    claimed = begun(store)
    match status:
        case TaskStatus.SUCCEED:
            store.tasks.complete_render(claimed, result())
        case TaskStatus.FAILED:
            store.tasks.fail(claimed, "no", Fault.INPUT, expires_at=END)
        case TaskStatus.CANCELLED:
            store.tasks.cancel(claimed, "no", expires_at=END)
    return now(store, claimed)


def now(store: Store, task: Task) -> Task:
    found = store.tasks.get(task.id)
    assert found is not None
    return found


def everything(database: Database) -> dict[str, list[Any]]:
    """Every row there is."""
    with database.reading() as connection:
        return {name: list(connection.execute(sa.select(table))) for name, table in tables.metadata.tables.items()}


# What may become of what


@pytest.mark.parametrize("start", TaskStatus)
def test_a_status_becomes_what_the_table_allows_and_nothing_else(
    store: Store, database: Database, start: TaskStatus
) -> None:
    for end, go in WAYS.values():
        at = standing(store, start)
        before = everything(database)
        if end in TRANSITIONS[start]:
            assert go(store, at)
            assert now(store, at).status is end
            assert len(everything(database)["callbacks"]) == len(before["callbacks"]) + 1
        else:
            with pytest.raises(AssertionError, match=f"no task goes from {start} to {end}"):
                go(store, at)
            assert everything(database) == before
        store.tasks.remove(at)


@pytest.mark.parametrize("start", TaskStatus)
def test_only_what_waits_is_claimed(store: Store, start: TaskStatus) -> None:
    at = standing(store, start)
    claimed = store.queue.claim()
    assert (claimed is not None) == (TaskStatus.PROCESSING in TRANSITIONS[start]) == (start is TaskStatus.SUBMITTED)
    if claimed is not None:
        assert claimed == now(store, at) == replace(at, **changes(claimed))
        assert (claimed.status, claimed.attempt, claimed.tries) == (TaskStatus.PROCESSING, 1, 1)


def changes(claimed: Task) -> dict[str, Any]:
    """What a claim may change."""
    names = ("status", "attempt", "tries", "heartbeat", "began_at", "updated_at")
    return {name: getattr(claimed, name) for name in names}


@pytest.mark.parametrize("start", TaskStatus)
def test_what_is_unfinished_can_be_cancelled_and_what_is_over_stays_as_it_is(store: Store, start: TaskStatus) -> None:
    at = standing(store, start)
    ended = store.tasks.cancel(at, "by its caller", expires_at=END)
    assert ended == now(store, at)
    if start in UNFINISHED:
        assert (ended.status, ended.reason, ended.fault) == (TaskStatus.CANCELLED, "by its caller", Fault.CANCELLED)
        assert ended.expires_at == END
    else:
        assert ended == at


def test_what_is_gone_cannot_be_cancelled(store: Store) -> None:
    claimed = begun(store)
    store.tasks.remove(claimed)
    assert store.tasks.cancel(claimed, "no", expires_at=END) is None


# Ends


def test_a_published_result_is_the_tasks_and_can_be_found(store: Store) -> None:
    claimed = begun(store)
    made, marked = result(duration_ms=9_960), result(duration_ms=9_960, key="media/y.mp4")
    assert store.tasks.complete_render(claimed, made, marked)
    done = now(store, claimed)
    assert isinstance(done, RenderTask)
    assert (done.status, done.result) == (TaskStatus.SUCCEED, TaskResult(made.id, 9_960, marked.id))
    assert (done.progress, done.expires_at, done.finished) == (1.0, END, True)
    assert (store.media.find("", made.id), store.media.find("", marked.id)) == (made, marked)


def test_a_search_that_found_faces_gives_a_session(store: Store) -> None:
    store.tasks.add(identify_task())
    claimed = store.queue.claim(Queue.IDENTIFY)
    assert isinstance(claimed, IdentifyTask)
    found = session()
    store.media.add(found.source)
    assert store.tasks.complete_identify(claimed, found, expires_at=END)
    done = now(store, claimed)
    assert isinstance(done, IdentifyTask)
    assert (done.status, done.session_id, done.expires_at) == (TaskStatus.SUCCEED, found.id, END)
    assert store.sessions.find("", found.id) == found


def test_a_failure_keeps_its_sentence_and_its_word(store: Store) -> None:
    claimed = begun(store)
    assert store.tasks.fail(claimed, "the video is dark", Fault.INPUT, expires_at=END)
    failed = now(store, claimed)
    assert (failed.reason, failed.fault, failed.expires_at) == ("the video is dark", "input", END)


def test_a_retry_waits_and_after_three_tries_the_task_fails_with_its_reason(store: Store, clock: Clock) -> None:
    store.tasks.add(task(id="1"))
    for tries in range(1, MAX_TRIES + 1):
        claimed = store.queue.claim()
        assert isinstance(claimed, RenderTask)
        assert claimed.tries == tries
        assert store.tasks.retry(claimed, "the worker died", Fault.WORKER, expires_at=END)
        clock.ms += RETRY_DELAY_MS * tries - 1
        assert store.queue.claim() is None
        clock.ms += 1
    failed = store.tasks.find("", "1")
    assert failed
    assert (failed.status, failed.fault, failed.expires_at) == (TaskStatus.FAILED, Fault.WORKER, END)
    assert failed.reason == "the task was given up after 3 tries: the worker died"


def test_a_task_that_is_tried_again_has_all_its_tries(store: Store, clock: Clock) -> None:
    claimed: Task = begun(store)
    for tries in range(1, MAX_TRIES + 1):
        assert store.tasks.retry(claimed, "died", Fault.WORKER, expires_at=END)
        clock.ms += RETRY_DELAY_MS * tries
        claimed = store.queue.claim() or claimed
    failed = now(store, claimed)
    clock.ms = END - 1
    assert store.tasks.resubmit(failed)
    assert not store.tasks.resubmit(failed), "another one was quicker"
    waits = now(store, claimed)
    assert (waits.status, waits.reason, waits.fault, waits.tries) == (TaskStatus.SUBMITTED, "", None, 0)
    assert (waits.progress, waits.stage, waits.expires_at) == (0.0, "", None)
    clock.ms = 2 * END
    begins = store.queue.claim()
    assert begins
    assert (begins.id, begins.attempt, begins.tries) == (failed.id, failed.attempt + 1, 1)


def test_a_released_task_has_lost_no_try_and_its_attempt_is_over(store: Store) -> None:
    store.tasks.add(task(id="1"))
    for attempt in range(1, 6):
        claimed = store.queue.claim()
        assert isinstance(claimed, RenderTask)
        assert (claimed.attempt, claimed.tries) == (attempt, 1)
        assert store.tasks.release(claimed)


@pytest.mark.parametrize("back_ms", [0, 1, RETRY_DELAY_MS, LONGEST_DELAY_MS, 3_600_000])
def test_a_clock_that_is_set_back_delays_no_task_for_long(store: Store, clock: Clock, back_ms: int) -> None:
    clock.ms = 7_200_000
    store.tasks.add(task(not_before=clock.ms))
    for _ in range(MAX_TRIES - 1):
        clock.ms += LONGEST_DELAY_MS
        claimed = store.queue.claim()
        assert isinstance(claimed, RenderTask)
        store.tasks.retry(claimed, "died", Fault.WORKER, expires_at=2 * clock.ms)
    clock.ms -= back_ms
    waited = 0
    while store.queue.claim() is None:
        clock.ms += 100
        waited += 100
    assert waited <= LONGEST_DELAY_MS


# Signs of life


def test_progress_is_kept_and_starts_anew_with_another_attempt(store: Store, clock: Clock) -> None:
    claimed = begun(store)
    clock.ms = 5_000
    assert store.queue.record_heartbeats([Heartbeat(claimed, "rendering", 0.25)]) == Attention()
    seen = now(store, claimed)
    assert (seen.stage, seen.progress, seen.updated_at, seen.heartbeat) == (
        "rendering",
        0.25,
        5_000,
        claimed.heartbeat + 1,
    )
    store.tasks.retry(claimed, "died", Fault.WORKER, expires_at=END)
    again = now(store, claimed)
    assert (again.stage, again.progress, again.status) == ("", 0.0, TaskStatus.SUBMITTED)


def test_a_sign_of_life_tells_which_attempts_count_no_longer(store: Store, clock: Clock) -> None:
    kept, released, cancelled, gone, given = (begun(store, id=str(number)) for number in range(5))
    store.tasks.release(released)
    store.tasks.cancel(cancelled, "no", expires_at=END)
    store.tasks.remove(gone)
    store.tasks.retry(given, "died", Fault.WORKER, expires_at=END)
    clock.ms += RETRY_DELAY_MS
    for _ in range(2):
        store.queue.claim()
    assert store.queue.heartbeats() == {
        ("0", 1): kept.heartbeat,
        ("1", 2): released.heartbeat + 1,
        ("4", 2): given.heartbeat + 1,
    }
    attention = store.queue.record_heartbeats(
        [Heartbeat(one, "rendering", 0.5) for one in (kept, released, cancelled, gone, given)]
    )
    assert attention == Attention(lost=frozenset("1234"))
    assert store.queue.heartbeats() == {
        ("0", 1): kept.heartbeat + 1,
        ("1", 2): released.heartbeat + 1,
        ("4", 2): given.heartbeat + 1,
    }
    assert store.queue.record_heartbeats([]) == Attention()


# Several at once


def test_a_late_writer_loses(store: Store, database: Database, clock: Clock) -> None:
    late = begun(store)
    assert store.tasks.retry(late, "worker died", Fault.WORKER, expires_at=END)
    clock.ms += RETRY_DELAY_MS
    current = store.queue.claim()
    assert isinstance(current, RenderTask)
    assert current.attempt == 2
    before = everything(database)
    for _, go in WAYS.values():
        if go is not WAYS["again"][1]:
            assert not go(store, late)
    assert store.queue.record_heartbeats([Heartbeat(late, "rendering", 0.9)]).lost == {late.id}
    assert everything(database) == before
    assert store.tasks.complete_render(current, result())
    assert not store.tasks.complete_render(current, result())


def test_threads_never_claim_the_same_task(store: Store) -> None:
    for number in range(80):
        store.tasks.add(task(id=str(number), account=str(number % 3)))
    claimed = at_once(*[partial(all_claims, store)] * 8)
    assert sorted(int(task_id) for some in claimed for task_id in some) == list(range(80))
    assert all(one.attempt == 1 and one.status is TaskStatus.PROCESSING for one in store.tasks.unfinished())


def test_processes_never_claim_the_same_task(store: Store, database_url: str) -> None:
    for number in range(80):
        store.tasks.add(task(id=str(number), account=str(number % 3)))
    claimed = processes_at_once(8, claim_all, database_url)
    assert sorted(int(task_id) for some in claimed for task_id in some) == list(range(80))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_whoever_claims_passes_by_what_another_is_just_claiming(store: Store, database: Database) -> None:
    first, second = (store.tasks.add(task(id=str(number))) for number in range(2))
    with database.writing() as connection:
        connection.execute(sa.select(tables.tasks).where(tables.tasks.c.id == first.id).with_for_update())
        claimed = store.queue.claim()
        assert isinstance(claimed, RenderTask)
        assert claimed.id == second.id
        assert store.queue.claim() is None
    assert store.queue.claim()


def test_an_attempt_is_published_once(store: Store) -> None:
    for _ in range(ROUNDS):
        claimed = begun(store)
        made = [result() for _ in range(2)]
        done = at_once(*(partial(store.tasks.complete_render, claimed, one) for one in made))
        assert sorted(done) == [False, True]
        kept = [store.media.get(one.id) is not None for one in made]
        assert kept == done
        ended = now(store, claimed)
        assert isinstance(ended, RenderTask)
        assert ended.result and ended.result.id == made[done.index(True)].id


def test_of_publishing_and_cancelling_one_happens(store: Store) -> None:
    for _ in range(ROUNDS):
        claimed, made = begun(store), result()
        published, ended = at_once(
            partial(store.tasks.complete_render, claimed, made),
            partial(store.tasks.cancel, claimed, "no", expires_at=END),
        )
        assert ended == now(store, claimed)
        assert ended.status is (TaskStatus.SUCCEED if published else TaskStatus.CANCELLED)
        assert (store.media.get(made.id) is not None) == published


def test_of_publishing_and_trying_again_one_happens(store: Store, clock: Clock) -> None:
    for _ in range(ROUNDS):
        claimed, made = begun(store), result()
        published, retried = at_once(
            partial(store.tasks.complete_render, claimed, made),
            partial(store.tasks.retry, claimed, "no", Fault.WORKER, expires_at=END),
        )
        assert published is not retried
        assert now(store, claimed).status is (TaskStatus.SUCCEED if published else TaskStatus.SUBMITTED)
        assert (store.media.get(made.id) is not None) == published
        store.tasks.cancel(claimed, "no", expires_at=END)


def test_what_is_cancelled_while_it_is_claimed_is_over(store: Store) -> None:
    for _ in range(ROUNDS):
        made = store.tasks.add(task())
        claimed, ended = at_once(store.queue.claim, partial(store.tasks.cancel, made, "no", expires_at=END))
        assert now(store, made) == ended
        assert ended.status is TaskStatus.CANCELLED
        assert claimed is None or store.queue.record_heartbeats([Heartbeat(claimed, "", 0.0)]).lost == {made.id}


def test_a_watcher_beside_a_worker_that_lives_gives_a_task_to_one(store: Store) -> None:
    for _ in range(ROUNDS):
        claimed = begun(store)
        beside = [partial(store.tasks.retry, claimed, "no", Fault.WORKER, expires_at=END)] * 2
        done = at_once(*beside, partial(store.queue.record_heartbeats, [Heartbeat(claimed, "rendering", 0.5)]))
        assert sorted(done[:2]) == [False, True]
        assert now(store, claimed).tries == 1
        store.tasks.cancel(claimed, "no", expires_at=END)
