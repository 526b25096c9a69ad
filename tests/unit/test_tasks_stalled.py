"""Who is dead is told by signs of life that stop, and what the dead had in hand is given to others."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_server import until
from rows import Clock, begun, rename_table, standing
from structlog.testing import capture_logs

from duikou.database.engine import Database
from duikou.database.ids import now_ms
from duikou.tasks import stalled
from duikou.tasks.models import Task
from duikou.tasks.stalled import DEAD_S, PAUSE_S, HeartbeatHistory, StalledTaskMonitor
from duikou.tasks.states import MAX_TRIES, RETRY_DELAY_MS, Fault, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.queue import Heartbeat
from duikou.tasks.store.tasks import TaskStore

ONE, OTHER = ("1", 1), ("2", 1)
DAY_MS = 86_400_000


class Seconds:
    """A clock that only rises, when it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def history(seconds: Seconds) -> HeartbeatHistory:
    return HeartbeatHistory(seconds)


# What is known of signs of life


def test_an_attempt_is_dead_once_its_signs_stopped_for_long_enough(history: HeartbeatHistory, seconds: Seconds) -> None:
    began = seconds.now
    while seconds.now - began < DEAD_S:
        assert history.dead({ONE: 7}) == []
        seconds.now += 1
    assert history.dead({ONE: 7}) == [ONE]


def test_a_sign_of_life_starts_the_count_anew(history: HeartbeatHistory, seconds: Seconds) -> None:
    for beat in range(30):
        assert history.dead({ONE: beat // 7}) == []
        seconds.now += 1


def test_nobody_is_dead_after_a_pause_in_watching(history: HeartbeatHistory, seconds: Seconds) -> None:
    for _ in range(int(DEAD_S)):
        history.dead({ONE: 7})
        seconds.now += 1
    seconds.now += PAUSE_S
    for _ in range(int(DEAD_S)):
        assert history.dead({ONE: 7}) == []
        seconds.now += 1
    assert history.dead({ONE: 7}) == [ONE]


def test_attempts_are_told_apart(history: HeartbeatHistory, seconds: Seconds) -> None:
    for second in range(int(DEAD_S)):
        assert history.dead({ONE: 7, OTHER: second}) == []
        seconds.now += 1
    assert history.dead({ONE: 7, OTHER: 99}) == [ONE]
    assert history.dead({("1", 2): 7, OTHER: 99}) == [], "another attempt at the same task is another one"
    assert history.dead({ONE: 7}) == [], "what was gone meanwhile is new"


LOOKS = st.lists(
    st.tuples(
        st.sampled_from([0.5, 1.0, 1.0, 1.5, PAUSE_S, PAUSE_S + 0.5]), st.sets(st.sampled_from([ONE, OTHER, ("1", 2)]))
    ),
    max_size=40,
)


@given(looks=LOOKS, there=st.sets(st.sampled_from([ONE, OTHER, ("1", 2)]), min_size=1))
def test_only_silence_that_was_watched_counts(
    looks: list[tuple[float, set[tuple[str, int]]]], there: set[tuple[str, int]]
) -> None:
    """The model adds up the seconds between looks at which nothing had changed."""
    clock = Seconds()
    history, beats, silent = HeartbeatHistory(clock), dict.fromkeys(there, 0), dict.fromkeys(there, 0.0)
    history.dead(beats)
    for step, alive in looks:
        clock.now += step
        for attempt in there:
            beats[attempt] += attempt in alive
            silent[attempt] = 0.0 if attempt in alive or step > PAUSE_S else silent[attempt] + step
        assert set(history.dead(beats)) == {attempt for attempt in there if silent[attempt] >= DEAD_S}


# The thread


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes forty times as fast, so that a machine that is busy still counts as watching."""
    monkeypatch.setattr(stalled, "CHECK_EVERY_S", 0.025)
    monkeypatch.setattr(stalled, "DEAD_S", 0.2)


def nothing() -> None:
    """No messages can be lost."""


def test_what_the_dead_had_in_hand_is_given_to_others(store: Store, hasty: None) -> None:
    alive, dead = begun(store, "1"), begun(store, "2")
    stopping, looks = threading.Event(), []

    def look() -> None:
        looks.append(1)
        store.queue.record_heartbeats([Heartbeat(alive, "rendering", 0.5)])

    watcher = StalledTaskMonitor(store, keep_ms=DAY_MS, stopping=stopping, resend_lost_wakeups=look)
    watcher.start()
    until(lambda: standing(store, "2").status is TaskStatus.SUBMITTED)
    seen = len(looks)
    until(lambda: len(looks) > seen + 2)
    stopping.set()
    watcher.join()
    given = standing(store, "2")
    assert (given.attempt, given.tries, given.reason) == (1, 1, "")
    assert given.not_before > dead.updated_at
    assert standing(store, "1").status is TaskStatus.PROCESSING


def test_a_task_that_killed_all_its_workers_fails(database: Database, hasty: None) -> None:
    clock = Clock()
    store = Store(database, clock=clock)
    claimed: Task = begun(store, "1")
    for tries in range(1, MAX_TRIES):
        store.tasks.retry(claimed, "the worker died", Fault.WORKER, expires_at=DAY_MS)
        clock.ms += RETRY_DELAY_MS * tries
        claimed = store.queue.claim() or claimed
    stopping = threading.Event()
    watcher = StalledTaskMonitor(store, keep_ms=DAY_MS, stopping=stopping, resend_lost_wakeups=nothing)
    watcher.start()
    until(lambda: standing(store, "1").finished)
    stopping.set()
    watcher.join()
    failed = standing(store, "1")
    assert (failed.status, failed.fault) == (TaskStatus.FAILED, Fault.WORKER)
    assert failed.reason == "the task was given up after 3 tries: the worker stopped while it worked on it"
    assert failed.expires_at is not None
    assert now_ms() <= failed.expires_at <= now_ms() + DAY_MS


def test_a_database_that_is_away_is_told_of_once_and_watched_again(
    database: Database, store: Store, hasty: None
) -> None:
    begun(store, "1")
    stopping = threading.Event()
    watcher = StalledTaskMonitor(store, keep_ms=DAY_MS, stopping=stopping, resend_lost_wakeups=nothing)
    with capture_logs() as lines:
        rename_table(database, "tasks", "hidden")
        watcher.start()
        until(lambda: len(lines) == 1)
        assert not stopping.wait(0.2), "several looks that fail"
        rename_table(database, "hidden", "tasks")
        until(lambda: standing(store, "1").status is TaskStatus.SUBMITTED)
        stopping.set()
        watcher.join()
    assert [line["event"] for line in lines] == ["the fleet cannot be watched", "a worker is gone", "task submitted"]


def test_a_broker_that_is_away_keeps_nobody_from_being_given_up(store: Store, hasty: None) -> None:
    begun(store, "1")
    stopping = threading.Event()

    def ring() -> None:
        raise OSError("the broker is away")

    with capture_logs() as lines:
        watcher = StalledTaskMonitor(store, keep_ms=DAY_MS, stopping=stopping, resend_lost_wakeups=ring)
        watcher.start()
        until(lambda: standing(store, "1").status is TaskStatus.SUBMITTED)
        stopping.set()
        watcher.join()
    assert sum(line["event"] == "the fleet cannot be watched" for line in lines) == 1


class LateTasks(TaskStore):
    """A worker hands its task back just after the monitor has read the heartbeats."""

    def get(self, task_id: str) -> Task | None:
        found = super().get(task_id)
        if found is not None and found.status is TaskStatus.PROCESSING:
            self.release(found)
        return super().get(task_id)


def test_a_task_that_was_handed_back_meanwhile_is_left_alone(database: Database, hasty: None) -> None:
    store = Store(database)
    store.tasks = LateTasks(database, now_ms)
    begun(store, "1")
    stopping, rung = threading.Event(), threading.Event()
    with capture_logs() as lines:
        watcher = StalledTaskMonitor(store, keep_ms=DAY_MS, stopping=stopping, resend_lost_wakeups=rung.set)
        watcher.start()
        until(lambda: not store.queue.heartbeats())
        rung.clear()
        assert rung.wait(60)
        stopping.set()
        watcher.join()
    assert [line["event"] for line in lines] == ["task submitted"]  # the release
    assert standing(store, "1").tries == 0
