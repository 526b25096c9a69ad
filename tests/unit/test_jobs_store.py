"""The store: transitions are compare-and-set, late writers lose, and nothing that is over is found."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from duikou.jobs.database import Database
from duikou.jobs.dispatch import perform
from duikou.jobs.folder import DataFolder
from duikou.jobs.ids import new_id
from duikou.jobs.outbox import ORDERED_TRIES, Outbox
from duikou.jobs.state import (
    ChoiceRecord,
    FaceNote,
    FaceSummary,
    Media,
    MediaKind,
    SessionRecord,
    Task,
    TaskStatus,
)
from duikou.jobs.store import MAX_TRIES, RETRY_DELAY_MS, ExternalIdTaken, Store
from duikou.jobs.work import Work
from duikou.jobs.worker import Limits, Worker
from duikou.provenance.producer import producer
from duikou.timebase import Interval

END = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock):
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    yield Store(database, clock=clock)
    database.close()


def media(**what) -> Media:
    return replace(
        Media(new_id(), "", MediaKind.SOURCE, "media/x.mp4", ".mp4", 5, 10_000, created_at=1, expires_at=END), **what
    )


def task(**what) -> Task:
    choice = ChoiceRecord("tasks/1/sound_0", "0", 0, 3_000, 0, 1.0, 0.5)
    return replace(
        Task(
            id=new_id(),
            account="",
            external_id=None,
            fingerprint="f",
            session_id="s",
            source_id="m",
            source_suffix=".mp4",
            source_duration_ms=10_000,
            choices=(choice,),
            status=TaskStatus.SUBMITTED,
            reason="",
            attempt=0,
            tries=0,
            progress=0.0,
            stage="",
            not_before=0,
            result_id="",
            result_duration_ms=0,
            created_at=1,
            updated_at=1,
            expires_at=0,
        ),
        **what,
    )


def test_what_is_kept_comes_back_as_it_was(store: Store) -> None:
    source = media()
    faces = (FaceSummary("0", Interval(0, 9_000), (FaceNote("small_face", "small", Interval(1, 2)),)),)
    session = SessionRecord(new_id(), "", source, faces, 1, END)
    store.add_media(source)
    store.add_session(session)
    asked = task(external_id="mine")
    store.add_task(asked)
    assert store.media("", source.id) == source
    assert store.session("", session.id) == session
    assert store.task("", asked.id) == store.task_by_external_id("", "mine") == asked


def test_ids_have_19_digits_and_rise_with_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert all(len(value) == 19 and value.isdigit() for value in ids)
    assert [value[:13] for value in ids] == sorted(value[:13] for value in ids)
    assert len(set(ids)) == 100


def test_nobody_sees_what_belongs_to_another_account(store: Store) -> None:
    source, asked = media(account="a"), task(account="a", external_id="x")
    store.add_media(source)
    store.add_task(asked)
    store.add_session(SessionRecord("7", "a", source, (), 1, END))
    assert store.media("b", source.id) is None
    assert store.task("b", asked.id) is store.task_by_external_id("b", "x") is None
    assert store.session("b", "7") is None
    assert store.tasks("b", offset=0, limit=9) == []


def test_what_is_over_is_not_found(store: Store, clock: Clock) -> None:
    source, session_id = media(expires_at=2_000), new_id()
    store.add_media(source)
    store.add_session(SessionRecord(session_id, "", source, (), 1, 1_500))
    store.add_task(task(id="5", expires_at=3_000))
    clock.ms = 1_499
    assert store.session("", session_id)
    clock.ms = 1_500
    assert store.session("", session_id) is None
    assert store.media("", source.id)
    clock.ms = 2_000
    assert store.media("", source.id) is None
    assert store.task("", "5")
    clock.ms = 3_000
    assert store.task("", "5") is None
    assert store.tasks("", offset=0, limit=9) == []


def test_the_oldest_waiting_task_is_claimed_first_and_once(store: Store) -> None:
    store.add_task(task(id="2", created_at=20))
    store.add_task(task(id="1", created_at=10))
    first, second = store.claim(), store.claim()
    assert first and second
    assert (first.id, second.id) == ("1", "2")
    assert (first.status, first.attempt, first.tries) == (TaskStatus.PROCESSING, 1, 1)
    assert store.claim() is None


def test_many_claimers_never_get_the_same_task(store: Store) -> None:
    for number in range(40):
        store.add_task(task(id=str(number), created_at=number))
    claimed: list[str] = []

    def claim_all() -> None:
        while found := store.claim():
            claimed.append(found.id)

    threads = [threading.Thread(target=claim_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed, key=int) == [str(number) for number in range(40)]


def test_a_published_result_is_the_tasks_and_can_be_found(store: Store) -> None:
    store.add_task(task(id="1"))
    claimed = store.claim()
    assert claimed
    result = media(kind=MediaKind.RESULT, duration_ms=9_960)
    assert store.publish(claimed, result)
    done = store.task("", "1")
    assert done
    assert (done.status, done.result_id, done.result_duration_ms) == (TaskStatus.SUCCEED, result.id, 9_960)
    assert (done.progress, done.expires_at, done.finished) == (1.0, END, True)
    assert store.media("", result.id) == result


def test_a_late_writer_loses(store: Store, clock: Clock) -> None:
    store.add_task(task(id="1"))
    late = store.claim()
    assert late
    assert store.retry(late, "worker died", expires_at=END)
    clock.ms += RETRY_DELAY_MS
    current = store.claim()
    assert current
    assert current.attempt == 2
    lost = media(kind=MediaKind.RESULT)
    assert not store.advance(late, "rendering", 0.9)
    assert not store.publish(late, lost)
    assert not store.fail(late, "no", expires_at=END)
    assert not store.retry(late, "no", expires_at=END)
    assert not store.release(late)
    assert store.media_of_anyone(lost.id) is None
    assert store.task("", "1") == current
    assert store.publish(current, media(kind=MediaKind.RESULT))
    assert not store.publish(current, media(kind=MediaKind.RESULT))


def test_progress_is_kept_and_starts_anew_with_another_attempt(store: Store, clock: Clock) -> None:
    store.add_task(task(id="1"))
    claimed = store.claim()
    assert claimed
    clock.ms = 5_000
    assert store.advance(claimed, "rendering", 0.25)
    seen = store.task("", "1")
    assert seen
    assert (seen.stage, seen.progress, seen.updated_at) == ("rendering", 0.25, 5_000)
    store.retry(claimed, "died", expires_at=END)
    again = store.task("", "1")
    assert again
    assert (again.stage, again.progress, again.status) == ("", 0.0, TaskStatus.SUBMITTED)


def test_a_retry_waits_and_after_three_tries_the_task_fails_with_its_reason(store: Store, clock: Clock) -> None:
    store.add_task(task(id="1"))
    for tries in range(1, MAX_TRIES + 1):
        claimed = store.claim()
        assert claimed
        assert claimed.tries == tries
        assert store.retry(claimed, "the worker died", expires_at=END)
        assert store.claim() is None
        clock.ms += RETRY_DELAY_MS * tries
    failed = store.task("", "1")
    assert failed
    assert (failed.status, failed.expires_at) == (TaskStatus.FAILED, END)
    assert failed.reason == "the task was given up after 3 tries: the worker died"


def test_a_released_task_has_lost_no_try_and_its_attempt_is_over(store: Store) -> None:
    store.add_task(task(id="1"))
    for attempt in range(1, 6):
        claimed = store.claim()
        assert claimed
        assert (claimed.attempt, claimed.tries) == (attempt, 1)
        assert store.release(claimed)


def test_callbacks_of_a_task_go_in_order_until_one_has_failed_too_often(store: Store, tmp_path: Path, clock) -> None:
    store.add_task(task(callback_url="http://127.0.0.1/"))
    store.claim()
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    waiting = Outbox(database, clock=clock)
    for tries in range(1, ORDERED_TRIES + 1):
        (refused,) = waiting.claim(9, hold_ms=1)
        assert (refused.task.status, refused.tries) == (TaskStatus.SUBMITTED, tries)
        waiting.again(refused, wait_ms=0)
    assert [one.task.status for one in waiting.claim(9, hold_ms=1)] == [TaskStatus.SUBMITTED, TaskStatus.PROCESSING]
    database.close()


def test_a_task_that_was_deleted_after_its_claim_leaves_no_folder(store: Store, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.make()
    store.add_task(task(id="1"))
    claimed = store.claim()
    assert claimed
    store.drop_task(claimed)
    worker, made_by = Worker(Limits(1, 64), threading.Event()), producer(tmp_path / "certificate")
    outcome = perform(claimed, store, folder, Work(), worker, keep_ms=1, made_by=made_by)
    assert not outcome()
    assert not folder.path("tasks/1").exists()


def test_an_external_id_is_unique_per_account(store: Store, clock: Clock) -> None:
    store.add_task(task(external_id="x", expires_at=2_000))
    store.add_task(task(external_id="x", account="other"))
    store.add_task(task())
    store.add_task(task())
    with pytest.raises(ExternalIdTaken):
        store.add_task(task(external_id="x"))
    clock.ms = 2_000
    store.add_task(task(external_id="x"))


def test_tasks_come_newest_first_in_pages(store: Store) -> None:
    for number in range(5):
        store.add_task(task(id=str(number), created_at=number))
    assert [found.id for found in store.tasks("", offset=0, limit=3)] == ["4", "3", "2"]
    assert [found.id for found in store.tasks("", offset=3, limit=3)] == ["1", "0"]
    assert store.tasks("", offset=6, limit=3) == []


def test_a_store_outlives_its_process(store: Store, tmp_path: Path) -> None:
    store.add_task(task(id="1"))
    store.claim()
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    assert [found.id for found in Store(database).processing()] == ["1"]
    database.close()
