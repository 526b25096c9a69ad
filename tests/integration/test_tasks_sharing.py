"""Equal searches for faces share one task, over both databases; what was found is kept; what nobody waits for ends."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from crowd import at_once
from live_server import WAIT_S, until
from rows import END, Clock, add_session, begun, identify_task, media

from duikou.database import tables
from duikou.database.engine import Database
from duikou.storage.base import Files
from duikou.storage.factory import open_files
from duikou.tasks.analyses import Analyses, AnalysisPolicy
from duikou.tasks.models import (
    IDENTIFY_KEPT_MS,
    Analysis,
    FaceRecord,
    FoundFaces,
    IdentifyTask,
    Media,
    MediaKind,
    SessionRecord,
    Task,
)
from duikou.tasks.neglect import NeglectMonitor
from duikou.tasks.retention import drop_unanswered, sweep
from duikou.tasks.rows import task_from, task_row
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.errors import TooManyTasksError
from duikou.tasks.store.queue import Attention, Heartbeat, TaskLimits
from duikou.tasks.store.sessions import COPY_MS
from duikou.tasks.waiting import CompletionWaiter
from duikou.timebase import Interval
from duikou.workers import heartbeat as module
from duikou.workers.heartbeat import HeartbeatWriter

DIGEST, VERSION = "d" * 64, "v" * 64
FOUND = FoundFaces((FaceRecord("0", Interval(0, 9_000)),))
SOON_S = 0.02


def wanted(**what: Any) -> IdentifyTask:
    return replace(identify_task(digest=DIGEST), **what)


def shared(store: Store, **what: Any) -> IdentifyTask:
    """The task of a caller."""
    found = store.tasks.share(wanted(**what), VERSION)
    assert isinstance(found, IdentifyTask)
    return found


def claimed(store: Store) -> IdentifyTask:
    found = store.queue.claim(Queue.IDENTIFY)
    assert isinstance(found, IdentifyTask)
    return found


def now(store: Store, task: Task) -> IdentifyTask:
    found = store.tasks.get(task.id)
    assert isinstance(found, IdentifyTask)
    return found


def session(source: Media, **what: Any) -> SessionRecord:
    usual = SessionRecord("7", source.account, source, FOUND.faces, 1, END, digest=DIGEST, analyser=VERSION)
    return replace(usual, **what)


# One task for equal calls


def test_equal_calls_of_an_account_share_a_task_as_long_as_it_is_not_over(store: Store) -> None:
    first, second = shared(store), shared(store)
    assert (second.id, second.callers, now(store, first).callers) == (first.id, 2, 2)
    others = [shared(store, account="other"), shared(store, digest="e" * 64)]
    assert len({first.id, *(other.id for other in others)}) == 3
    running = claimed(store)
    assert running.id == first.id
    assert shared(store).id == first.id, "one that runs is joined too"
    store.tasks.fail(replace(running, callers=3), "no", Fault.INPUT, expires_at=END)
    assert shared(store).id != first.id, "what failed is tried again"


def test_of_calls_at_the_same_moment_one_adds_its_task_and_the_others_join(store: Store) -> None:
    tasks = [wanted() for _ in range(6)]
    found = at_once(*(partial(store.tasks.share, task, VERSION) for task in tasks))
    assert len({task.id for task in found}) == 1
    assert sorted(task.callers for task in found) == [1, 2, 3, 4, 5, 6]
    assert store.queue.waiting(Queue.IDENTIFY) == 1


def test_a_task_of_a_former_version_is_not_joined(store: Store) -> None:
    store.tasks.add(identify_task())
    assert shared(store).callers == 1
    row = task_row(wanted())
    former = task_from({name: value for name, value in row.items() if name not in ("digest", "callers")})
    assert isinstance(former, IdentifyTask)
    assert (former.digest, former.callers) == ("", 1)


def test_who_joins_is_not_refused_where_the_queue_is_full(store: Store) -> None:
    limits = TaskLimits(queue=1)
    first = store.tasks.share(wanted(), VERSION, limits)
    joined = store.tasks.share(wanted(), VERSION, limits)
    assert isinstance(first, IdentifyTask)
    assert isinstance(joined, IdentifyTask)
    assert joined.id == first.id
    with pytest.raises(TooManyTasksError):
        store.tasks.share(wanted(digest="e" * 64), VERSION, limits)


# What is kept


def test_what_was_found_answers_every_later_call_on_the_same_bytes(store: Store) -> None:
    source = media(id="m")
    store.media.add(source)
    first = shared(store)
    assert store.tasks.complete_identify(claimed(store), session(source), expires_at=END)
    analysis = Analysis("7", FOUND, DIGEST, VERSION)
    assert store.tasks.share(wanted(), VERSION) == analysis == store.sessions.analysis("7")
    assert store.sessions.get("7") == session(source)
    for different in (wanted(account="other"), wanted(digest="e" * 64)):
        found = store.tasks.share(different, VERSION)
        assert isinstance(found, IdentifyTask)
        assert found.id != first.id
    assert isinstance(store.tasks.share(wanted(), "another version"), IdentifyTask)


def test_an_analysis_ends_with_the_sessions_that_hold_it(store: Store, clock: Clock) -> None:
    source = media(id="m")
    store.media.add(source)
    add_session(store, session(source, id="7", expires_at=END))
    add_session(store, session(source, id="8", expires_at=END + 5))
    found = store.tasks.share(wanted(), VERSION)
    assert isinstance(found, Analysis)
    assert found.session_id == "8", "the one that lasts longest"
    store.sessions.disown(found)
    found = store.tasks.share(wanted(), VERSION)
    assert isinstance(found, Analysis)
    assert found.session_id == "7"
    clock.ms = END - COPY_MS  # soon swept, perhaps while it is copied
    assert isinstance(store.tasks.share(wanted(), VERSION), IdentifyTask)


def test_a_session_of_a_former_version_answers_for_nothing_else(store: Store) -> None:
    source = media(id="m")
    store.media.add(source)
    add_session(store, session(source, digest="", analyser=""))
    assert isinstance(store.tasks.share(wanted(), ""), IdentifyTask)


# Callers who leave


def test_a_task_that_waits_ends_with_its_last_caller(store: Store) -> None:
    task = shared(store)
    shared(store)
    assert not store.tasks.leave(task, "gone", expires_at=END)
    assert (now(store, task).callers, now(store, task).status) == (1, TaskStatus.SUBMITTED)
    assert store.tasks.leave(task, "gone", expires_at=END)
    ended = now(store, task)
    assert (ended.callers, ended.status, ended.fault, ended.reason) == (
        0,
        TaskStatus.CANCELLED,
        Fault.CANCELLED,
        "gone",
    )
    assert not store.tasks.leave(task, "gone", expires_at=END)
    assert now(store, task).callers == 0
    assert shared(store).id != task.id


def test_a_task_that_runs_goes_on_and_can_be_joined_until_it_is_abandoned(store: Store) -> None:
    task = shared(store)
    running = claimed(store)
    assert not store.tasks.abandon(running, "gone", expires_at=END), "somebody waits"
    assert not store.tasks.leave(task, "gone", expires_at=END)
    assert now(store, task).status is TaskStatus.PROCESSING
    assert shared(store).id == task.id
    assert not store.tasks.abandon(running, "gone", expires_at=END), "somebody waits again"
    store.tasks.leave(task, "gone", expires_at=END)
    assert store.tasks.abandon(running, "gone", expires_at=END)
    assert not store.tasks.abandon(running, "gone", expires_at=END)
    assert now(store, task).status is TaskStatus.CANCELLED
    store.tasks.remove(task)
    assert not store.tasks.leave(task, "gone", expires_at=END)


def test_a_caller_who_comes_as_the_last_one_leaves_has_a_task_that_goes_on(store: Store) -> None:
    for _ in range(10):
        task = shared(store)
        _, joined = at_once(partial(store.tasks.leave, task, "gone", expires_at=END), partial(shared, store))
        assert now(store, joined).status is TaskStatus.SUBMITTED
        assert now(store, joined).callers == 1
        store.tasks.leave(joined, "gone", expires_at=END)


def test_heartbeats_tell_for_what_nobody_waits(store: Store) -> None:
    render, task, other = begun(store), shared(store), shared(store, digest="e" * 64)
    beats = [Heartbeat(one, "", 0.0) for one in (render, claimed(store), claimed(store))]
    assert store.queue.record_heartbeats(beats) == Attention()
    store.tasks.leave(task, "gone", expires_at=END)
    assert store.queue.record_heartbeats(beats) == Attention(unattended=frozenset({task.id}))
    store.tasks.cancel(other, "no", expires_at=END)
    store.tasks.abandon(task, "gone", expires_at=END)
    assert store.queue.record_heartbeats(beats) == Attention(lost=frozenset({task.id, other.id}))


@pytest.mark.parametrize(("share", "ends"), [(0.0, True), (0.66, True), (0.67, False)])
def test_an_abandoned_search_ends_unless_its_last_third_has_begun(
    store: Store, monkeypatch: pytest.MonkeyPatch, share: float, ends: bool
) -> None:
    monkeypatch.setattr(module, "RETURN_S", 0.0)
    task, beat = shared(store), HeartbeatWriter(store, SOON_S)
    beat.start()
    with beat.lease(claimed(store)) as lease:
        lease.report("finding faces", share)
        until(lambda: now(store, task).progress == share)
        until(lambda: now(store, task).heartbeat > 3)
        assert lease.wanted
        store.tasks.leave(task, "gone", expires_at=END)
        if ends:
            until(lambda: not lease.wanted)
        else:
            beats = now(store, task).heartbeat
            until(lambda: now(store, task).heartbeat > beats + 3)
            assert lease.wanted
    beat.join()
    assert now(store, task).status is (TaskStatus.CANCELLED if ends else TaskStatus.PROCESSING)


def test_a_client_that_tries_again_in_time_finds_its_search_going_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 1.0)  # each look is a second later
    task = shared(store)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    lease = module.Lease(claimed(store), threading.Event())
    assert module.RETURN_S == 15
    assert [lease.abandoned(unattended=True) for _ in range(15)] == [False] * 15
    assert not lease.abandoned(unattended=False)
    assert [lease.abandoned(unattended=True) for _ in range(17)] == [False] * 15 + [True] * 2
    assert task.callers == 1


def test_a_caller_who_leaves_while_the_task_is_added_is_not_counted(
    store: Store, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, share = received(store, files, tmp_path), store.tasks.share
    added, left = threading.Event(), threading.Event()

    def slow(*given: Any) -> IdentifyTask | Analysis:
        found = share(*given)
        added.set()
        left.wait(WAIT_S)
        return found

    async def call() -> None:
        waiter = CompletionWaiter(store, threading.Event(), NeglectMonitor(store, threading.Event()))
        analyses = Analyses(store, files, waiter, lambda _: None, AnalysisPolicy(VERSION, 1, TaskLimits()))
        running = asyncio.create_task(analyses.session(video, DIGEST))
        await asyncio.to_thread(added.wait, WAIT_S)
        running.cancel()
        left.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    monkeypatch.setattr(store.tasks, "share", slow)
    asyncio.run(call())
    assert store.tasks.unfinished() == []
    assert store.media.get(video.id) is None


# The videos


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "data").mkdir()
    return open_files("", tmp_path / "data", tmp_path / "scratch", 1)


def received(store: Store, files: Files, tmp_path: Path, **what: Any) -> Media:
    """A received video whose faces are not known yet."""
    at = store.media._clock()
    video = media(id="m", key="media/m.mp4", created_at=at, expires_at=at + IDENTIFY_KEPT_MS)
    video = replace(video, **what)
    (tmp_path / "received").write_bytes(b"video")
    files.put(tmp_path / "received", video.key)
    store.media.add(video)
    return video


def test_a_video_that_came_to_nothing_is_removed(store: Store, files: Files, tmp_path: Path) -> None:
    video, task = received(store, files, tmp_path), shared(store)
    drop_unanswered(store, files, video.id)
    assert files.size(video.key) == 5, "its faces are looked for"
    store.tasks.leave(task, "gone", expires_at=END)
    drop_unanswered(store, files, video.id)
    assert (files.size(video.key), store.media.get(video.id)) == (None, None)
    drop_unanswered(store, files, video.id)


@pytest.mark.parametrize("why", ["a session has it", "it was answered before", "it is an upload"])
def test_a_video_that_somebody_knows_stays(store: Store, files: Files, tmp_path: Path, why: str) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "it was answered before": {"expires_at": END + 2 * IDENTIFY_KEPT_MS},
        "it is an upload": {"kind": MediaKind.UPLOAD},
    }
    video = received(store, files, tmp_path, **kinds.get(why, {}))
    if why == "a session has it":
        add_session(store, session(video))
    drop_unanswered(store, files, video.id)
    assert files.size(video.key) == 5


def test_a_sweep_leaves_a_video_that_is_worked_on(store: Store, files: Files, tmp_path: Path, clock: Clock) -> None:
    video, task = received(store, files, tmp_path), shared(store)
    clock.ms = video.expires_at
    assert sweep(store, files) == 0
    store.tasks.leave(task, "gone", expires_at=clock.ms + 1)
    assert sweep(store, files) == 1
    assert files.size(video.key) is None


def test_sessions_are_found_by_an_index(database: Database) -> None:
    t = tables.sessions
    with database.reading() as connection:
        names = {index["name"] for index in sa.inspect(connection).get_indexes(t.name)}
    assert "sessions_analysis" in names
