"""What a simulated fleet does under a load, as its own database tells it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.performance.processes import cpu_s
from benchmarks.scale.crowd import Calls, Fleet
from benchmarks.scale.services import Services, connected
from duikou.database.ids import now_ms

SAMPLE_S = 1.0
BROKER_S = 6.0  # RabbitMQ counts every 5 s
END_S = 180.0  # after the last call, in which all must have ended
SMALL, FLOOD = "small", "flood"
ACCOUNTS = tuple(f"account {number}" for number in range(100))

UNFINISHED = "SELECT count(*) FROM tasks WHERE queue = 'render' AND status IN ('submitted', 'processing')"
WAITING = """
    SELECT count(*), coalesce(max(%s - created_at), 0) FROM tasks WHERE queue = 'render' AND status = 'submitted'
"""
ENDED = """
    SELECT status, attempt, began_at - created_at AS waited_ms, updated_at, account FROM tasks WHERE created_at >= %s
"""
WORK = """
    SELECT sum(xact_commit + xact_rollback), sum(tup_updated) FROM pg_stat_database WHERE datname = current_database()
"""
UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'tasks'"


@dataclass(frozen=True)
class Row:
    """One load. Waits are from the submission to the beginning of the first attempt; ms of parts are processor time for
    each task, which says more than rates where machines are shared.

    transactions, messages: for each task. hot: share of the updates of task rows that touched no index. again: attempts
    beyond one. waits_s: medians of single accounts.
    """

    name: str
    tasks: int
    succeeded: int
    again: int
    asked_per_s: float
    submitted_per_s: float
    ended_per_s: float
    submit_p50_ms: float
    submit_p99_ms: float
    late_s: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    most_waiting: int
    oldest_s: float
    transactions_per_s: float
    transactions: float
    messages: float
    hot: float
    database_ms: float
    broker_ms: float
    server_ms: float
    workers_ms: float
    waits_s: dict[str, float] = field(default_factory=dict)


@dataclass
class Seen:
    """The queue as it was sampled."""

    most_waiting: int = 0
    oldest_ms: int = 0


def measured(
    name: str, fleet: Fleet, services: Services, calls: Calls, *more: Calls, figures_s: float = SAMPLE_S
) -> Row:
    """Have the fleet do these calls, and `more` of them one after the other, and tell how it went.

    figures_s: how long to wait for the services' own figures. Those of messages are complete after `BROKER_S`.
    """
    with connected(fleet.place.database_url) as database:
        since, began = now_ms(), time.monotonic()
        before = _counters(database, fleet, services)
        with _sampled(fleet.place.database_url) as seen:
            tolds = []
            for some in (calls, *more):
                fleet.begin(some)
                tolds.append(fleet.told())
            deadline = time.monotonic() + END_S
            while database.execute(UNFINISHED).fetchone()[0] and time.monotonic() < deadline:  # type: ignore[index]
                time.sleep(SAMPLE_S / 4)
        seconds = time.monotonic() - began
        time.sleep(figures_s)
        after = _counters(database, fleet, services)
        rows = database.execute(ENDED, (since,)).fetchall()
    done = {key: after[key] - before[key] for key in after}
    count = len(rows)
    waits = sorted(row[2] / 1000 for row in rows if row[1])
    took = sorted(second * 1000 for told in tolds for second in told.took_s)
    ends = [row[3] for row in rows if row[0] == "succeed"]
    return Row(
        name=name,
        tasks=count,
        succeeded=len(ends),
        again=sum(row[1] - 1 for row in rows if row[1]),
        asked_per_s=calls.per_s,
        submitted_per_s=count / sum(told.wall_s for told in tolds),
        ended_per_s=len(ends) * 1000 / max(max(ends, default=since) - since, 1),
        submit_p50_ms=statistics.median(took),
        submit_p99_ms=_at(took, 0.99),
        late_s=max(told.late_s for told in tolds),
        wait_p50_s=_at(waits, 0.5),
        wait_p95_s=_at(waits, 0.95),
        wait_p99_s=_at(waits, 0.99),
        most_waiting=seen.most_waiting,
        oldest_s=seen.oldest_ms / 1000,
        transactions_per_s=done["transactions"] / seconds,
        transactions=done["transactions"] / max(count, 1),
        messages=done["messages"] / max(count, 1),
        hot=done["hot"] / max(done["updates"], 1),
        database_ms=done["database"] * 1000 / max(count, 1),
        broker_ms=done["broker"] * 1000 / max(count, 1),
        server_ms=done["server"] * 1000 / max(count, 1),
        workers_ms=done["workers"] * 1000 / max(count, 1),
        waits_s={
            account: statistics.median(row[2] / 1000 for row in rows if row[4] == account and row[1])
            for account in (SMALL, FLOOD)
            if any(row[4] == account and row[1] for row in rows)
        },
    )


def idle(fleet: Fleet, services: Services, seconds: float) -> dict[str, float]:
    """Of a fleet that has nothing to do: transactions in a second, and processor s per s of each part."""
    with connected(fleet.place.database_url) as database:
        before = _counters(database, fleet, services)
        time.sleep(seconds)
        after = _counters(database, fleet, services)
    return {key: (after[key] - before[key]) / seconds for key in after if key not in ("hot", "updates", "messages")}


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def _counters(database: Any, fleet: Fleet, services: Services) -> dict[str, float]:
    transactions, _ = database.execute(WORK).fetchone()
    updates, hot = database.execute(UPDATES).fetchone()
    return {
        "transactions": float(transactions),
        "updates": updates,
        "hot": hot,
        "messages": services.published(fleet.place.broker_url),
        "database": services.database_cpu_s(),
        "broker": services.broker_cpu_s(),
        "server": cpu_s(fleet.server.pid or 0),
        "workers": sum(cpu_s(process.pid or 0) for process in fleet.workers),
    }


@contextmanager
def _sampled(url: str) -> Iterator[Seen]:
    """Look at the queue every `SAMPLE_S` until the block ends."""
    seen, over = Seen(), threading.Event()

    def look() -> None:
        with connected(url) as database:
            while not over.wait(SAMPLE_S):
                found = database.execute(WAITING, (now_ms(),)).fetchone()
                if found is not None:
                    seen.most_waiting = max(seen.most_waiting, found[0])
                    seen.oldest_ms = max(seen.oldest_ms, found[1])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
