"""The arithmetic of the load model."""

from __future__ import annotations

import pytest

from benchmarks.scale.model import Capacity, Demand, collisions_per_day, load

MILLION = Demand(1_000_000)


def test_a_million_tasks_a_day_are_twelve_a_second_and_thrice_that_at_the_peak() -> None:
    assert pytest.approx(MILLION.average_per_s, abs=0.01) == 11.57
    assert pytest.approx(MILLION.peak_per_s, abs=0.01) == 34.72


def test_workers_are_the_work_of_a_second_over_what_they_are_to_be_busy() -> None:
    demand = Demand(86_400, peak_factor=1, video_s=10, pace=4, look_pace=0.5)
    found = load(demand, Capacity(use=0.8))
    assert (found.render_workers, found.identify_workers) == (50, 7)
    assert found.render_workers == load(demand, Capacity(use=0.4)).render_workers / 2


def test_signs_of_life_are_one_in_two_seconds_for_each_busy_worker_and_one_for_each_stage() -> None:
    demand = Demand(86_400, peak_factor=1, video_s=10, pace=4, look_pace=0)
    assert load(demand).transactions_per_s["beats"] == 40 / 2 + 5


def test_more_tasks_ask_for_more_of_everything() -> None:
    small, large = (load(Demand(day)) for day in (100_000, 1_000_000))
    assert large.render_workers > small.render_workers
    assert large.servers > small.servers
    assert large.storage_tb == pytest.approx(10 * small.storage_tb)
    assert large.database_gb == pytest.approx(10 * small.database_gb)
    for kind, rate in large.transactions_per_s.items():
        assert rate >= small.transactions_per_s[kind], kind


def test_all_transactions_are_those_of_every_kind() -> None:
    found = load(MILLION)
    assert found.all_transactions_per_s == sum(found.transactions_per_s.values())
    assert found.database_cores == pytest.approx(found.all_transactions_per_s * Capacity().transaction_ms / 1000)


def test_servers_are_as_many_as_their_processors_or_their_network_need() -> None:
    by_calls = load(MILLION, Capacity(server_mb_per_s=1e9)).servers
    by_network = load(MILLION, Capacity(post_ms=0, poll_ms=0, server_mb_per_s=10)).servers
    assert 2 < by_calls < by_network
    assert load(Demand(100)).servers == 2


def test_callbacks_cost_what_their_share_says() -> None:
    none, all_told = (load(Demand(86_400, callback_share=share)).transactions_per_s["callbacks"] for share in (0, 1))
    assert all_told - none == pytest.approx(3 * 3 * 3)  # changes, transactions of each, peak


def test_one_sweeper_keeps_up_with_a_million_tasks_a_day() -> None:
    assert load(MILLION).sweep_share < 0.5
    assert load(Demand(10_000_000)).sweep_share > 1


def test_ids_meet_by_the_square_of_their_rate() -> None:
    assert collisions_per_day(20) == pytest.approx(4 * collisions_per_day(10))
    assert 1 / collisions_per_day(10) == pytest.approx(231, abs=1)  # days between two
