"""The store over both databases: what is kept comes back, nobody sees what is another's or over, limits hold."""

from __future__ import annotations

import pytest
from crowd import at_once
from rows import END, Clock, identify_task, media, task

from duikou.database.engine import Database
from duikou.database.ids import new_id
from duikou.faces.track import FaceWarning
from duikou.media.timeline import SyncMode
from duikou.tasks.models import FaceRecord, IdentifyTask, MediaKind, QueueLoad, SessionRecord
from duikou.tasks.outbox import Outbox
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import ExternalIdTaken, IdTakenError, Store, TooManyTasksError
from duikou.timebase import Interval


def test_what_is_kept_comes_back_as_it_was(store: Store) -> None:
    source = media()
    faces = (FaceRecord("0", Interval(0, 9_000), (FaceWarning("small_face", "small", Interval(1, 2)),), (1, 2, 3, 4)),)
    session = SessionRecord(new_id(), "", source, faces, 1, END)
    store.add_media(source)
    store.add_session(session)
    asked = store.add_task(
        task(external_id="mine", sync_mode=SyncMode.BOUNCE, watermark=True, request_id="r", trace="t", queue=Queue.GPU)
    )
    assert store.media("", source.id) == store.media_at("", source.key) == store.media_of_anyone(source.id) == source
    assert store.session("", session.id) == store.session_of_anyone(session.id) == session
    assert store.task("", asked.id) == store.task_by_external_id("", "mine") == store.task_of_anyone(asked.id) == asked


def test_ids_have_19_digits_and_rise_with_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert all(len(value) == 19 and value.isdigit() for value in ids)
    assert [value[:13] for value in ids] == sorted(value[:13] for value in ids)
    assert len(set(ids)) == 100


def test_a_store_outlives_its_process(store: Store, database_url: str) -> None:
    store.add_task(task(id="1"))
    store.claim()
    database = Database(database_url)
    assert [(found.id, found.status) for found in Store(database).unfinished()] == [("1", TaskStatus.PROCESSING)]
    database.close()


def test_nobody_sees_what_belongs_to_another_account(store: Store) -> None:
    source, asked = media(account="a"), task(account="a", external_id="x")
    store.add_media(source)
    store.add_task(asked)
    store.add_session(SessionRecord("7", "a", source, (), 1, END))
    assert store.media("b", source.id) is store.media_at("b", source.key) is None
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
    assert store.media("", source.id) is store.media_at("", source.key) is None
    assert store.task("", "5")
    clock.ms = 3_000
    assert store.task("", "5") is None
    assert store.tasks("", offset=0, limit=9) == []


def test_a_file_is_kept_for_longer_and_never_for_less(store: Store) -> None:
    upload = media(kind=MediaKind.UPLOAD)
    store.add_media(upload)
    store.prolong(upload.id, END + 5)
    store.prolong(upload.id, END + 4)
    found = store.media("", upload.id)
    assert found
    assert found.expires_at == END + 5


def test_a_session_goes_with_its_source(store: Store) -> None:
    source = media()
    store.add_media(source)
    store.add_session(SessionRecord("7", "", source, (), 1, END))
    store.drop_media(source.id)
    assert store.session("", "7") is None


def test_tasks_come_newest_first_in_pages_and_searches_are_none_of_them(store: Store) -> None:
    for number in range(5):
        store.add_task(task(id=str(number), created_at=number))
    store.add_task(identify_task(id="9", created_at=9))
    assert [found.id for found in store.tasks("", offset=0, limit=3)] == ["4", "3", "2"]
    assert [found.id for found in store.tasks("", offset=3, limit=3)] == ["1", "0"]
    assert store.tasks("", offset=6, limit=3) == []
    assert store.task("", "9") is None
    assert store.task_of_anyone("9")


def test_a_dropped_task_leaves_neither_results_nor_callbacks(store: Store, database: Database) -> None:
    store.add_task(task(id="1", callback_url="http://127.0.0.1/", watermark=True))
    claimed = store.claim()
    assert claimed
    store.publish(claimed, media(id="2", kind=MediaKind.RESULT), media(id="3", kind=MediaKind.RESULT))
    done = store.task("", "1")
    assert done
    assert store.known(["1", "2", "3", "4"]) == {"1": 1, "2": 0, "3": 0}
    assert Outbox(database).waiting() == 3
    store.drop_task(done)
    assert store.known(["1", "2", "3", "4"]) == {}
    assert Outbox(database).waiting() == 0


def test_what_is_over_or_gone_has_ended(store: Store) -> None:
    for number in range(3):
        store.add_task(task(id=str(number)))
    claimed = store.claim()
    assert claimed
    assert store.ended(["0", "1", "9"]) == {"9"}
    store.fail(claimed, "no", Fault.INPUT, expires_at=END)
    assert store.ended(["0", "1", "9"]) == {"0", "9"}
    assert store.ended([]) == set()


def test_a_queue_tells_what_it_holds(store: Store, clock: Clock) -> None:
    for number, made_at in enumerate((100, 400, 700)):
        store.add_task(task(id=str(number), created_at=made_at))
    store.add_task(identify_task(not_before=clock.ms + 1))
    store.claim()
    clock.ms = 1_000
    nothing = QueueLoad(0, 0, 0)
    assert store.loads() == {
        Queue.ANALYSIS: QueueLoad(1, 999, 0),
        Queue.RENDER: QueueLoad(2, 600, 1),
        Queue.GPU: nothing,
    }
    assert [store.waiting(queue) for queue in (Queue.ANALYSIS, Queue.RENDER, Queue.GPU)] == [1, 2, 0]
    assert [store.due(queue, 9) for queue in (Queue.ANALYSIS, Queue.RENDER, Queue.GPU)] == [0, 2, 0]
    assert store.due(Queue.RENDER, 1) == 1, "no more are counted than asked for"


def test_a_session_whose_id_was_taken_by_chance_leaves_its_search_as_it_was(store: Store) -> None:
    source = media()
    store.add_media(source)
    store.add_session(SessionRecord("7", "", source, (), 1, END))
    store.add_task(identify_task())
    search = store.claim(Queue.ANALYSIS)
    assert isinstance(search, IdentifyTask)
    with pytest.raises(IdTakenError):
        store.found(search, SessionRecord("7", "a", source, (), 1, END), expires_at=END)
    now = store.task_of_anyone(search.id)
    assert isinstance(now, IdentifyTask)
    assert (now.status, now.session_id) == (TaskStatus.PROCESSING, None)


def test_paces_are_seconds_of_work_for_each_second_of_the_last_results(store: Store, clock: Clock) -> None:
    for work_ms, until in ((20_000, 3 * END), (30_000, 4 * END), (40_000, 5 * END)):
        store.add_task(task())
        claimed = store.claim()
        assert claimed
        clock.ms += work_ms
        store.publish(claimed, media(kind=MediaKind.RESULT, duration_ms=10_000, expires_at=until))
    assert store.paces(2) == [4.0, 3.0]


# External ids


def test_an_external_id_is_unique_per_account_while_its_task_lives(store: Store, clock: Clock) -> None:
    store.add_task(task(external_id="x", expires_at=2_000))
    store.add_task(task(external_id="x", account="other"))
    store.add_task(task())
    store.add_task(task())
    with pytest.raises(ExternalIdTaken):
        store.add_task(task(external_id="x"))
    clock.ms = 2_000
    store.add_task(task(external_id="x"))


def test_of_many_calls_with_one_external_id_one_makes_a_task(store: Store) -> None:
    made = at_once(*[lambda: store.add_task(task(external_id="x"))] * 8)
    assert sum(isinstance(one, ExternalIdTaken) for one in made) == 7
    (kept,) = [one for one in made if not isinstance(one, Exception)]
    assert store.unfinished() == [kept]


# Limits


def test_an_account_has_as_many_unfinished_tasks_as_it_may(store: Store) -> None:
    limits = {"account_limit": 2, "queue_limit": 0}
    for number in range(2):
        store.add_task(task(id=str(number)), **limits)
    for refused in (
        lambda: store.add_task(task(), **limits),
        lambda: store.require_room("", Queue.RENDER, **limits),
        lambda: store.require_room("", Queue.GPU, **limits),  # an account's limit is one for all its renders
    ):
        with pytest.raises(TooManyTasksError, match="This account has 2 unfinished tasks"):
            refused()
    store.add_task(task(account="b"), **limits)
    store.add_task(identify_task(), **limits)
    claimed = store.claim()
    assert claimed
    store.fail(claimed, "no", Fault.INPUT, expires_at=END)
    store.add_task(task(), **limits)


def test_a_full_queue_takes_nothing_more_of_anyone(store: Store) -> None:
    store.add_task(task(), queue_limit=2)
    store.add_task(task(account="b"), queue_limit=2)
    with pytest.raises(TooManyTasksError, match="The queue is full: 2 tasks"):
        store.add_task(task(account="c"), queue_limit=2)


def test_searches_count_while_they_wait(store: Store) -> None:
    for number in range(2):
        store.add_task(identify_task(id=str(number)), account_limit=1, queue_limit=2)
    with pytest.raises(TooManyTasksError, match="As many videos as may, 2, wait to be looked at"):
        store.require_room("", Queue.ANALYSIS, account_limit=0, queue_limit=2)
    store.claim(Queue.ANALYSIS)
    store.require_room("", Queue.ANALYSIS, account_limit=0, queue_limit=2)


def test_calls_at_the_same_moment_do_not_pass_an_accounts_limit(store: Store) -> None:
    made = at_once(*[lambda: store.add_task(task(), account_limit=3)] * 8)
    assert sum(isinstance(one, TooManyTasksError) for one in made) == 5
    assert len(store.unfinished()) == 3
