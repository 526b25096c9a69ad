"""A small run of the simulation, on real PostgreSQL and RabbitMQ, and what it says of the load model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest
from services import Postgres, Rabbit

from benchmarks.scale import model, simulate, size
from benchmarks.scale.crowd import Calls, Fleet, Place, running
from benchmarks.scale.services import Services
from duikou.database.engine import Database
from duikou.tasks.models import TaskStatus
from duikou.tasks.store import Store

pytestmark = pytest.mark.long

WORKERS, PROCESSES = 20, 1


@pytest.fixture(scope="module")
def some(postgres: Postgres, rabbit: Rabbit) -> Services:
    return Services(postgres, rabbit)


@pytest.fixture(scope="module")
def fleet(some: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    place = Place(some.postgres.fresh(), some.rabbit.fresh(), tmp_path_factory.mktemp("fleet"))
    with running(place, WORKERS, PROCESSES) as members:
        yield members


def test_every_task_of_a_paced_load_ends_once(fleet: Fleet, some: Services) -> None:
    row = simulate.measured("paced", fleet, some, Calls(60, 15.0, 200, simulate.ACCOUNTS))
    assert (row.tasks, row.succeeded, row.again) == (60, 60, 0)
    assert 0 <= row.wait_p50_s <= row.wait_p95_s <= row.wait_p99_s
    assert all(value >= 0 for value in asdict(row).values() if isinstance(value, float))


def test_a_task_costs_the_database_what_the_model_says(fleet: Fleet, some: Services) -> None:
    row = simulate.measured("at once", fleet, some, Calls(200, 0, 0, simulate.ACCOUNTS))
    row_with_its_turn = 1
    least = row_with_its_turn + model.CLAIM + model.SOURCE + model.PUBLISH
    asked_alive = 2  # each transaction is preceded by an empty one, which asks whether the connection lives
    assert least * asked_alive <= row.transactions <= 2 * (least + model.STAGES) * asked_alive


def test_a_small_account_does_not_wait_behind_a_flood(fleet: Fleet, some: Services) -> None:
    flood = Calls(120, 0, 1_500, (simulate.FLOOD,))
    row = simulate.measured("flood", fleet, some, flood, Calls(2, 2.0, 100, (simulate.SMALL,), callers=1))
    assert row.succeeded == row.tasks == 122
    assert row.waits_s[simulate.SMALL] < row.waits_s[simulate.FLOOD]


def test_a_fleet_with_nothing_to_do_asks_little(fleet: Fleet, some: Services) -> None:
    quiet = simulate.idle(fleet, some, 2.0)
    assert quiet["transactions"] < 2 * WORKERS


def test_one_place_is_the_same_among_many(some: Services) -> None:
    url = some.postgres.fresh()
    database = Database(url)
    size.fill(url, TaskStatus.SUBMITTED, 0, 20)
    store, tasks = Store(database), [str(size.TASKS + number) for number in range(20)]
    assert store.positions(tasks) == {task: store.positions([task])[task] for task in tasks}
    database.close()


def test_calls_are_timed_with_full_tables(some: Services) -> None:
    url = some.postgres.fresh()
    Database(url).close()
    size.fill(url, TaskStatus.PROCESSING, 0, 10)
    size.fill(url, TaskStatus.SUCCEED, 10, 100)
    size.fill(url, TaskStatus.SUBMITTED, 110, 20)
    rows = size.timed(url, 100, 20)
    assert all(row.ms > 0 for row in rows)
    assert 200 < size.row_bytes(url)["tasks"] < 20_000
