"""Signs of life: written for all that is in hand, at once for a new stage, and they bring back who is not wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from live_server import until
from rows import END, begun, standing
from structlog.testing import capture_logs

from duikou.database.engine import Database
from duikou.tasks.store import Store
from duikou.telemetry import metrics
from duikou.workers.heartbeat import Pulse

SOON_S, NEVER_S = 0.02, 600.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def test_all_that_is_in_hand_beats_until_it_is_done(store: Store) -> None:
    one, other = begun(store, "1"), begun(store, "2")
    pulse = Pulse(store, SOON_S)
    pulse.start()
    assert not pulse.busy
    with pulse.holding(one):
        with pulse.holding(other):
            assert pulse.busy
            assert metrics.in_hand._value.get() == 2
            until(lambda: min(store.beats().values()) > 3)
        assert pulse.busy
    assert not pulse.busy
    assert metrics.in_hand._value.get() == 0
    pulse.join()
    beats = store.beats()
    assert beats[("1", 1)] > one.beat + 2
    pulse.join()
    assert store.beats() == beats


def test_a_new_stage_is_written_at_once_and_progress_with_the_next_sign(store: Store) -> None:
    claimed = begun(store, "1")
    pulse = Pulse(store, NEVER_S)
    pulse.start()
    with pulse.holding(claimed) as held:
        for stage, share in (("reading", 0.1), ("rendering", 0.2)):
            held.tell(stage, share)
            until(lambda: standing(store, "1").stage == stage)  # noqa: B023
            assert standing(store, "1").progress == share
        held.tell("rendering", 0.9)
        assert standing(store, "1").progress == 0.2
        held.tell("signing", 0.95)
        until(lambda: standing(store, "1").progress == 0.95)
    pulse.join()


def test_the_time_of_each_stage_is_counted(store: Store) -> None:
    def counted(stage: str) -> float:
        return metrics.registry.get_sample_value("duikou_stage_seconds_count", {"stage": stage}) or 0.0

    before = {stage: counted(stage) for stage in ("pulse one", "pulse two")}
    pulse = Pulse(store, NEVER_S)
    with pulse.holding(begun(store, "1")) as held:
        for stage, share in (("pulse one", 0.1), ("pulse one", 0.2), ("pulse two", 0.3)):
            held.tell(stage, share)
    with pulse.holding(begun(store, "2")):
        pass
    assert {stage: counted(stage) - before[stage] for stage in before} == {"pulse one": 1, "pulse two": 1}


def test_what_counts_no_longer_is_not_wanted_and_stays_so(store: Store) -> None:
    kept, cancelled, gone = (begun(store, str(number)) for number in range(3))
    pulse = Pulse(store, SOON_S)
    pulse.start()
    with pulse.holding(kept) as one, pulse.holding(cancelled) as two, pulse.holding(gone) as three:
        until(lambda: min(store.beats().values()) > 1)
        assert (one.wanted, two.wanted, three.wanted) == (True, True, True)
        store.cancel(cancelled, "no", expires_at=END)
        until(lambda: not two.wanted)
        store.drop_task(gone)
        until(lambda: not three.wanted)
        assert one.wanted
    pulse.join()


def test_a_database_that_is_away_is_told_of_once_and_nobody_stops_for_it(database: Database, store: Store) -> None:
    claimed = begun(store, "1")
    pulse = Pulse(store, SOON_S)
    pulse.start()
    with capture_logs() as lines, pulse.holding(claimed) as held:
        for outage in range(1, 3):
            rename(database, "tasks", "hidden")
            until(lambda: len(lines) == outage)  # noqa: B023
            for stage in "abc":
                held.tell(f"{stage} {outage}", 0.5)
                until(lambda: not pulse._news.is_set())
            rename(database, "hidden", "tasks")
            until(lambda: standing(store, "1").stage == f"c {outage}")  # noqa: B023
        assert held.wanted
    pulse.join()
    assert [line["event"] for line in lines] == ["no sign of life can be written"] * 2


def rename(database: Database, table: str, to: str) -> None:
    with database.writing() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {to}"))
