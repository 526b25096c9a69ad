"""Signs of life: written for all that is in hand, at once for a new stage, and they bring back who is not wanted."""

from __future__ import annotations

from live_server import until
from rows import END, begun, rename_table, standing
from structlog.testing import capture_logs

from duikou.database.engine import Database
from duikou.tasks.store import Store
from duikou.telemetry import metrics
from duikou.workers.heartbeat import HeartbeatWriter

SOON_S, NEVER_S = 0.02, 600.0


def test_all_that_is_in_hand_beats_until_it_is_done(store: Store) -> None:
    one, other = begun(store, "1"), begun(store, "2")
    heartbeat = HeartbeatWriter(store, SOON_S)
    heartbeat.start()
    assert not heartbeat.busy
    with heartbeat.lease(one):
        with heartbeat.lease(other):
            assert heartbeat.busy
            assert metrics.in_hand._value.get() == 2
            until(lambda: min(store.queue.heartbeats().values()) > 3)
        assert heartbeat.busy
    assert not heartbeat.busy
    assert metrics.in_hand._value.get() == 0
    heartbeat.join()
    beats = store.queue.heartbeats()
    assert beats[("1", 1)] > one.heartbeat + 2
    heartbeat.join()
    assert store.queue.heartbeats() == beats


def test_a_new_stage_is_written_at_once_and_progress_with_the_next_sign(store: Store) -> None:
    claimed = begun(store, "1")
    heartbeat = HeartbeatWriter(store, NEVER_S)
    heartbeat.start()
    with heartbeat.lease(claimed) as lease:
        for stage, share in (("reading", 0.1), ("rendering", 0.2)):
            lease.report(stage, share)
            until(lambda: standing(store, "1").stage == stage)  # noqa: B023
            assert standing(store, "1").progress == share
        lease.report("rendering", 0.9)
        assert standing(store, "1").progress == 0.2
        lease.report("signing", 0.95)
        until(lambda: standing(store, "1").progress == 0.95)
    heartbeat.join()


def test_the_time_of_each_stage_is_counted(store: Store) -> None:
    def counted(stage: str) -> float:
        return metrics.registry.get_sample_value("duikou_stage_seconds_count", {"stage": stage}) or 0.0

    before = {stage: counted(stage) for stage in ("heartbeat one", "heartbeat two")}
    heartbeat = HeartbeatWriter(store, NEVER_S)
    with heartbeat.lease(begun(store, "1")) as lease:
        for stage, share in (("heartbeat one", 0.1), ("heartbeat one", 0.2), ("heartbeat two", 0.3)):
            lease.report(stage, share)
    with heartbeat.lease(begun(store, "2")):
        pass
    assert {stage: counted(stage) - before[stage] for stage in before} == {"heartbeat one": 1, "heartbeat two": 1}


def test_what_counts_no_longer_is_not_wanted_and_stays_so(store: Store) -> None:
    kept, cancelled, gone = (begun(store, str(number)) for number in range(3))
    heartbeat = HeartbeatWriter(store, SOON_S)
    heartbeat.start()
    with heartbeat.lease(kept) as one, heartbeat.lease(cancelled) as two, heartbeat.lease(gone) as three:
        until(lambda: min(store.queue.heartbeats().values()) > 1)
        assert (one.wanted, two.wanted, three.wanted) == (True, True, True)
        store.tasks.cancel(cancelled, "no", expires_at=END)
        until(lambda: not two.wanted)
        store.tasks.remove(gone)
        until(lambda: not three.wanted)
        assert one.wanted
    heartbeat.join()


def test_a_database_that_is_away_is_told_of_once_and_nobody_stops_for_it(database: Database, store: Store) -> None:
    claimed = begun(store, "1")
    heartbeat = HeartbeatWriter(store, SOON_S)
    heartbeat.start()
    with capture_logs() as lines, heartbeat.lease(claimed) as lease:
        for outage in range(1, 3):
            rename_table(database, "tasks", "hidden")
            until(lambda: len(lines) == outage)  # noqa: B023
            for stage in "abc":
                lease.report(f"{stage} {outage}", 0.5)
                until(lambda: not heartbeat._news.is_set())
            rename_table(database, "hidden", "tasks")
            until(lambda: standing(store, "1").stage == f"c {outage}")  # noqa: B023
        assert lease.wanted
    heartbeat.join()
    assert [line["event"] for line in lines] == ["heartbeats cannot be written"] * 2
