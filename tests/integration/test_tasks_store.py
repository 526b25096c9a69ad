"""The store over both databases: what is kept comes back, nobody sees what is another's or over, limits hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crowd import at_once
from rows import END, Clock, add_session, begun, identify_task, media, standing, task

from duikou.database.engine import Database
from duikou.database.ids import new_id
from duikou.faces.track import FaceWarning, Speaking
from duikou.media.sync_mode import SyncMode
from duikou.tasks.models import FaceRecord, IdentifyTask, MediaKind, QueueLoad, RenderTask, SessionRecord
from duikou.tasks.outbox import Outbox
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.errors import ExternalIdTaken, IdTakenError, TooManyTasksError
from duikou.tasks.store.queue import TaskLimits
from duikou.timebase import Interval


def test_what_is_kept_comes_back_as_it_was(store: Store) -> None:
    source = media()
    small, speaking = FaceWarning("small_face", "small", Interval(1, 2)), Speaking(Interval(0, 800), 0.31)
    faces = (FaceRecord("0", Interval(0, 9_000), (small,), (1, 2, 3, 4), (speaking,)),)
    rejected = (FaceWarning("turned_away", "a profile", Interval(2, 3)),)
    session = SessionRecord(new_id(), "", source, faces, 1, END, rejected)
    store.media.add(source)
    add_session(store, session)
    asked = store.tasks.add(
        task(
            external_id="mine",
            choices=(replace(task().choices[0], references=("tasks/1/reference_0_0", "tasks/1/reference_0_1")),),
            sync_mode=SyncMode.BOUNCE,
            watermark=True,
            request_id="r",
            trace="t",
            queue=Queue.GPU,
        )
    )
    assert (
        store.media.find("", source.id)
        == store.media.find_by_key("", source.key)
        == store.media.get(source.id)
        == source
    )
    assert store.sessions.find("", session.id) == store.sessions.get(session.id) == session
    assert (
        store.tasks.find("", asked.id)
        == store.tasks.find_by_external_id("", "mine")
        == store.tasks.get(asked.id)
        == asked
    )


def test_ids_have_19_digits_and_rise_with_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert all(len(value) == 19 and value.isdigit() for value in ids)
    assert [value[:13] for value in ids] == sorted(value[:13] for value in ids)
    assert len(set(ids)) == 100


def test_a_store_outlives_its_process(store: Store, database_url: str) -> None:
    store.tasks.add(task(id="1"))
    store.queue.claim()
    database = Database(database_url)
    assert [(found.id, found.status) for found in Store(database).tasks.unfinished()] == [("1", TaskStatus.PROCESSING)]
    database.close()


def test_nobody_sees_what_belongs_to_another_account(store: Store) -> None:
    source, asked = media(account="a"), task(account="a", external_id="x")
    store.media.add(source)
    store.tasks.add(asked)
    add_session(store, SessionRecord("7", "a", source, (), 1, END))
    assert store.media.find("b", source.id) is store.media.find_by_key("b", source.key) is None
    assert store.tasks.find("b", asked.id) is store.tasks.find_by_external_id("b", "x") is None
    assert store.sessions.find("b", "7") is None
    assert store.tasks.page("b", offset=0, limit=9) == []


def test_what_is_over_is_not_found(store: Store, clock: Clock) -> None:
    source, session_id = media(expires_at=2_000), new_id()
    store.media.add(source)
    add_session(store, SessionRecord(session_id, "", source, (), 1, 1_500))
    store.tasks.add(task(id="5", expires_at=3_000))
    clock.ms = 1_499
    assert store.sessions.find("", session_id)
    clock.ms = 1_500
    assert store.sessions.find("", session_id) is None
    assert store.media.find("", source.id)
    clock.ms = 2_000
    assert store.media.find("", source.id) is store.media.find_by_key("", source.key) is None
    assert store.tasks.find("", "5")
    clock.ms = 3_000
    assert store.tasks.find("", "5") is None
    assert store.tasks.page("", offset=0, limit=9) == []


def test_a_file_is_kept_for_longer_and_never_for_less(store: Store) -> None:
    upload = media(kind=MediaKind.UPLOAD)
    store.media.add(upload)
    store.media.extend(upload.id, END + 5)
    store.media.extend(upload.id, END + 4)
    found = store.media.find("", upload.id)
    assert found is not None
    assert found.expires_at == END + 5


def test_a_session_goes_with_its_source(store: Store) -> None:
    source = media()
    store.media.add(source)
    add_session(store, SessionRecord("7", "", source, (), 1, END))
    store.media.remove(source.id)
    assert store.sessions.find("", "7") is None


def test_tasks_come_newest_first_in_pages_and_searches_are_none_of_them(store: Store) -> None:
    for number in range(5):
        store.tasks.add(task(id=str(number), created_at=number))
    store.tasks.add(identify_task(id="9", created_at=9))
    assert [found.id for found in store.tasks.page("", offset=0, limit=3)] == ["4", "3", "2"]
    assert [found.id for found in store.tasks.page("", offset=3, limit=3)] == ["1", "0"]
    assert store.tasks.page("", offset=6, limit=3) == []
    assert store.tasks.find("", "9") is None
    assert store.tasks.get("9")


def test_a_dropped_task_leaves_neither_results_nor_callbacks(store: Store, database: Database) -> None:
    claimed = begun(store, "1", callback_url="http://127.0.0.1/", watermark=True)
    store.tasks.complete_render(claimed, media(id="2", kind=MediaKind.RESULT), media(id="3", kind=MediaKind.RESULT))
    done = store.tasks.find("", "1")
    assert done
    assert store.expiry.known(["1", "2", "3", "4"]) == {"1": 1, "2": 0, "3": 0}
    assert Outbox(database).waiting() == 3
    store.tasks.remove(done)
    assert store.expiry.known(["1", "2", "3", "4"]) == {}
    assert Outbox(database).waiting() == 0


def test_what_is_over_or_gone_has_ended(store: Store) -> None:
    for number in range(3):
        store.tasks.add(task(id=str(number)))
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    assert store.tasks.finished(["0", "1", "9"]) == {"9"}
    store.tasks.fail(claimed, "no", Fault.INPUT, expires_at=END)
    assert store.tasks.finished(["0", "1", "9"]) == {"0", "9"}
    assert store.tasks.finished([]) == set()


def test_a_queue_tells_what_it_holds(store: Store, clock: Clock) -> None:
    for number, made_at in enumerate((100, 400, 700)):
        store.tasks.add(task(id=str(number), created_at=made_at))
    store.tasks.add(identify_task(not_before=clock.ms + 1))
    store.queue.claim()
    clock.ms = 1_000
    nothing = QueueLoad(0, 0, 0)
    assert store.queue.loads() == {
        Queue.IDENTIFY: QueueLoad(1, 999, 0),
        Queue.RENDER: QueueLoad(2, 600, 1),
        Queue.GPU: nothing,
    }
    assert [store.queue.waiting(queue) for queue in (Queue.IDENTIFY, Queue.RENDER, Queue.GPU)] == [1, 2, 0]
    assert [store.queue.due(queue, 9) for queue in (Queue.IDENTIFY, Queue.RENDER, Queue.GPU)] == [0, 2, 0]
    assert store.queue.due(Queue.RENDER, 1) == 1, "no more are counted than asked for"


def test_a_session_whose_id_was_taken_by_chance_leaves_its_search_as_it_was(store: Store) -> None:
    source = media()
    store.media.add(source)
    add_session(store, SessionRecord("7", "", source, (), 1, END))
    store.tasks.add(identify_task())
    search = store.queue.claim(Queue.IDENTIFY)
    assert isinstance(search, IdentifyTask)
    with pytest.raises(IdTakenError):
        store.tasks.complete_identify(search, SessionRecord("7", "a", source, (), 1, END), expires_at=END)
    now = store.tasks.get(search.id)
    assert isinstance(now, IdentifyTask)
    assert (now.status, now.session_id) == (TaskStatus.PROCESSING, None)


def test_paces_are_seconds_of_work_for_each_second_of_the_last_results(store: Store, clock: Clock) -> None:
    for work_ms, until in ((20_000, 3 * END), (30_000, 4 * END), (40_000, 5 * END)):
        claimed = begun(store)
        clock.ms += work_ms
        store.tasks.complete_render(claimed, media(kind=MediaKind.RESULT, duration_ms=10_000, expires_at=until))
    assert store.queue.paces(2) == [4.0, 3.0]


# External ids


def test_an_external_id_is_unique_per_account_while_its_task_lives(store: Store, clock: Clock) -> None:
    store.tasks.add(task(external_id="x", expires_at=2_000))
    store.tasks.add(task(external_id="x", account="other"))
    store.tasks.add(task())
    store.tasks.add(task())
    with pytest.raises(ExternalIdTaken):
        store.tasks.add(task(external_id="x"))
    clock.ms = 2_000
    store.tasks.add(task(external_id="x"))


def test_of_many_calls_with_one_external_id_one_makes_a_task(store: Store) -> None:
    made = at_once(*[lambda: store.tasks.add(task(external_id="x"))] * 8)
    assert sum(isinstance(one, ExternalIdTaken) for one in made) == 7
    (kept,) = [one for one in made if not isinstance(one, Exception)]
    assert store.tasks.unfinished() == [kept]


def ended(store: Store, task_id: str, status: TaskStatus, **what: Any) -> None:
    """Add a task with the external id `x` that is over."""
    store.tasks.add(task(id=task_id, external_id="x", status=status, expires_at=END, **what))


@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELLED])
def test_the_id_of_a_task_without_a_result_is_taken_over(store: Store, status: TaskStatus) -> None:
    ended(store, "1", status)
    with pytest.raises(ExternalIdTaken):
        store.tasks.add(task(id="2", external_id="x"))
    with pytest.raises(ExternalIdTaken):
        store.tasks.add(task(id="2", external_id="x"), replaces="7")
    store.tasks.add(task(id="2", external_id="x"), replaces="1")
    found, former = store.tasks.find_by_external_id("", "x"), standing(store, "1")
    assert (found and found.id, found and found.former_external_id) == ("2", None)
    assert (former.external_id, former.former_external_id, former.status) == (None, "x", status)
    assert store.tasks.resubmit(former)
    assert store.tasks.find_by_external_id("", "x") == found


@pytest.mark.parametrize("status", [TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.SUCCEED])
def test_the_id_of_any_other_task_is_not(store: Store, status: TaskStatus) -> None:
    ended(store, "1", status)
    ended(store, "3", TaskStatus.FAILED, account="other")
    for replaces in ("1", "3"):
        with pytest.raises(ExternalIdTaken):
            store.tasks.add(task(external_id="x"), replaces=replaces)
    assert standing(store, "1").external_id == standing(store, "3").external_id == "x"


def test_of_many_calls_that_would_take_it_over_one_makes_a_task(store: Store) -> None:
    ended(store, "1", TaskStatus.FAILED)
    made = at_once(*[lambda: store.tasks.add(task(external_id="x"), replaces="1")] * 8)
    (kept,) = [one for one in made if not isinstance(one, Exception)]
    assert sum(isinstance(one, ExternalIdTaken) for one in made) == 7
    # even where the new task has failed by now, a late call takes nothing from it
    store.tasks.cancel(kept, "gone", expires_at=END)
    with pytest.raises(ExternalIdTaken):
        store.tasks.add(task(external_id="x"), replaces="1")


def test_each_kind_of_render_has_a_list_of_its_own(store: Store) -> None:
    store.tasks.add(task(id="1"))
    store.tasks.add(task(id="2", session_id=None))
    assert [found.id for found in store.tasks.page("", offset=0, limit=9)] == ["1"]
    (older,) = store.tasks.page("", on_sessions=False, offset=0, limit=9)
    assert (older.id, older.session_id) == ("2", None)
    assert store.tasks.find("", "2") == store.tasks.get("2") == older


# Limits


def test_an_account_has_as_many_unfinished_tasks_as_it_may(store: Store) -> None:
    limits = TaskLimits(account=2)
    for number in range(2):
        store.tasks.add(task(id=str(number)), limits)
    for refused in (
        lambda: store.tasks.add(task(), limits),
        lambda: store.queue.require_room("", Queue.RENDER, limits),
        lambda: store.queue.require_room("", Queue.GPU, limits),  # an account's limit is one for all its renders
    ):
        with pytest.raises(TooManyTasksError, match="This account has 2 unfinished tasks"):
            refused()
    store.tasks.add(task(account="b"), limits)
    store.tasks.add(identify_task(), limits)
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    store.tasks.fail(claimed, "no", Fault.INPUT, expires_at=END)
    store.tasks.add(task(), limits)


def test_a_full_queue_takes_nothing_more_of_anyone(store: Store) -> None:
    store.tasks.add(task(), TaskLimits(queue=2))
    store.tasks.add(task(account="b"), TaskLimits(queue=2))
    with pytest.raises(TooManyTasksError, match="The queue is full: 2 tasks"):
        store.tasks.add(task(account="c"), TaskLimits(queue=2))


def test_searches_count_while_they_wait(store: Store) -> None:
    limits = TaskLimits(account=2, queue=3)
    for _ in range(2):
        store.tasks.add(identify_task(account="a"), limits)
    with pytest.raises(TooManyTasksError, match=r"^2 videos of this account wait to be looked at, as many as may"):
        store.queue.require_room("a", Queue.IDENTIFY, limits)
    store.tasks.add(identify_task(account="b"), limits)
    with pytest.raises(TooManyTasksError, match=r"^3 videos of all accounts wait to be looked at, as many as the"):
        store.queue.require_room("c", Queue.IDENTIFY, limits)
    store.queue.claim(Queue.IDENTIFY)
    for account in "abc":
        store.queue.require_room(account, Queue.IDENTIFY, limits)


def test_a_call_that_joins_a_search_takes_no_place(store: Store) -> None:
    limits = TaskLimits(account=1, queue=1)
    first, *others = (store.tasks.share(identify_task(account="a", digest="d"), "v", limits) for _ in range(4))
    assert isinstance(first, IdentifyTask)
    assert others == [replace(first, callers=callers) for callers in (2, 3, 4)]
    with pytest.raises(TooManyTasksError):
        store.tasks.share(identify_task(account="a", digest="other"), "v", limits)


def test_calls_at_the_same_moment_do_not_pass_an_accounts_limit(store: Store) -> None:
    made = at_once(*[lambda: store.tasks.add(task(), TaskLimits(account=3))] * 8)
    assert sum(isinstance(one, TooManyTasksError) for one in made) == 5
    assert len(store.tasks.unfinished()) == 3
