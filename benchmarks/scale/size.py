"""How long the store's calls take as its tables grow: medians, of calls one after the other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.scale.services import connected
from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.pipeline.choice import FaceChoice
from duikou.tasks.models import RenderTask, TaskSource
from duikou.tasks.outbox import Outbox
from duikou.tasks.places import Places
from duikou.tasks.retention import KEYS
from duikou.tasks.states import Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.queue import Heartbeat, TaskLimits
from duikou.units import DAY_MS, HOUR_MS

WARM_UP, CALLS = 3, 25
IN_HAND = 1000
TASKS, MEDIA = 10**18, 2 * 10**18  # first ids
VIDEO_MS = 10_000
CHOICES = (FaceChoice("tasks/1700000000000000000/sound_0", "0", 0, 5000, 1000, 1.0, 1.0),)
LIMITS = TaskLimits(1_000_000, 1_000_000)

FILL_TASKS = f"""
    INSERT INTO tasks (id, account, fingerprint, session_id, source_id, source_suffix, source_duration_ms, choices,
        status, reason, attempt, tries, progress, stage, not_before, result_id, result_duration_ms, created_at,
        updated_at, expires_at, began_at, turn)
    SELECT ({TASKS} + n)::text, 'account ' || n %% 100, repeat('f', 64), (3000000000000000000 + n)::text,
        ({MEDIA} + 2 * n)::text, '.mp4', 10000,
        '[{{"sound": "tasks/1700000000000000000/sound_0", "face_id": "0", "sound_start_ms": 0, "sound_end_ms": 5000,
        "insert_ms": 1000, "sound_volume": 1.0, "original_volume": 1.0}}]', %(status)s, '', 1, 1, 0, 'rendering', 0,
        ({MEDIA} + 2 * n + 1)::text, 10000, %(now)s - %(last)s + n, %(now)s, %(over)s,
        %(now)s, n
    FROM generate_series(%(first)s::bigint, %(last)s) AS n
"""
FILL_MEDIA = f"""
    INSERT INTO media (id, account, kind, key, suffix, size, duration_ms, created_at, expires_at)
    SELECT ({MEDIA} + n)::text, 'account ' || n %% 100, CASE n %% 2 WHEN 0 THEN 'source' ELSE 'result' END,
        'media/' || ({MEDIA} + n) || '.mp4', '.mp4', 5000000, 10000, %(now)s, %(over)s
    FROM generate_series(2 * %(first)s::bigint, 2 * %(last)s + 1) AS n
"""
BYTES = "SELECT pg_total_relation_size(%s)::float8 / greatest((SELECT count(*) FROM {table}), 1)"


@dataclass(frozen=True)
class Timed:
    """One call with tables of one size: its median, ms."""

    finished: int
    waiting: int
    call: str
    ms: float


def fill(url: str, status: TaskStatus, first: int, count: int) -> None:
    """Write so many tasks of that status, the finished ones with their videos."""
    if not count:
        return
    now = now_ms()
    values: dict[str, Any] = {"status": str(status), "now": now, "first": first, "last": first + count - 1}
    finished = status is TaskStatus.SUCCEED
    with connected(url) as connection:
        connection.execute(FILL_TASKS, values | {"over": now + 29 * DAY_MS if finished else 0})
        if finished:
            connection.execute(FILL_MEDIA, values | {"over": now + 29 * DAY_MS})
        connection.execute("VACUUM ANALYZE tasks")
        connection.execute("VACUUM ANALYZE media")


def row_bytes(url: str) -> dict[str, float]:
    """Of a row of each table with its share of the indexes."""
    with connected(url) as connection:
        found = {name: connection.execute(BYTES.format(table=name), (name,)).fetchone() for name in ("tasks", "media")}
    return {name: float(row[0]) for name, row in found.items() if row is not None}


def timed(url: str, finished: int, waiting: int) -> list[Timed]:
    """Every call that the load depends on, with these tables."""
    database = Database(url)
    store, outbox = Store(database), Outbox(database)
    with connected(url) as connection:
        rows = connection.execute("SELECT id FROM tasks WHERE status = 'submitted' ORDER BY turn DESC LIMIT 100")
        last = [row[0] for row in rows]
        held = connection.execute("SELECT id FROM tasks WHERE status = 'processing' LIMIT 1").fetchone()
    in_hand = store.tasks.get(held[0]) if held else None
    alive = [Heartbeat(in_hand, "rendering", 0.5)] if in_hand else []
    some = [str(TASKS + number) for number in range(KEYS)]
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: store.tasks.add(_task(), LIMITS),
        "room for one more": lambda: store.queue.require_room("account 1", Queue.RENDER, LIMITS),
        "claim": lambda: store.queue.claim(Queue.RENDER),
        "claim, nothing waits": lambda: store.queue.claim(Queue.GPU),
        "sign of life": lambda: store.queue.record_heartbeats(alive),
        "place of the last": lambda: store.queue.positions(last[:1]),
        "places of the last 100": lambda: store.queue.positions(last),
        "poll": lambda: store.tasks.find("account 1", str(TASKS + 1)),
        "page of 30": lambda: store.tasks.page("account 1", offset=0, limit=30),
        "watch: signs of life": store.queue.heartbeats,
        "watch and figures: queues": store.queue.loads,
        "callbacks that are due": lambda: outbox.claim(Places(16), HOUR_MS),
        "what is over": lambda: store.expiry.tasks(100),
        f"owners of {KEYS} files": lambda: store.expiry.known(some),
    }
    try:
        return [Timed(finished, waiting, name, _median_ms(call)) for name, call in calls.items()]
    finally:
        database.close()


def _median_ms(call: Callable[[], object]) -> float:
    for _ in range(WARM_UP):
        call()
    took = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def _task() -> RenderTask:
    now = now_ms()
    return RenderTask(
        id=new_id(),
        account="account 1",
        fingerprint="f" * 64,
        session_id=new_id(),
        source=TaskSource(new_id(), ".mp4", VIDEO_MS),
        choices=CHOICES,
        not_before=now,
        created_at=now,
        updated_at=now,
    )
