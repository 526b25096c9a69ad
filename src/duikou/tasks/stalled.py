"""Watches a database that many use: attempts with nobody behind them any more are given to others, and queues whose
messages were lost are rung again.

Who is dead is told by signs of life that stop, counted on this process's own clock that never jumps: no clock is
compared with another. A pause in the watching itself (the database was away, this machine slept) starts the count anew.
Any number of watchers may watch: of two that see the same, one wins the compare-and-set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from duikou.database.ids import now_ms
from duikou.tasks.states import Fault, TaskStatus
from duikou.tasks.store import Store

WATCH_EVERY_S = 1.0
DEAD_S = 8.0  # without a sign of life, of which there is one every 2 s
PAUSE_S = 3.0  # between two looks, after which nothing is known

log = structlog.get_logger(__name__)


class Pulses:
    """What is known of signs of life. clock: seconds that only rise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}
        self._looked = -PAUSE_S

    def dead(self, beats: dict[tuple[str, int], int]) -> list[tuple[str, int]]:
        """Which attempts, by task and number, gave no sign for too long; `beats` is what all of them say now."""
        now = self._clock()
        if now - self._looked > PAUSE_S:
            self._seen = {}
        self._looked = now
        before = self._seen
        self._seen = {
            attempt: before[attempt] if attempt in before and before[attempt][0] == beat else (beat, now)
            for attempt, beat in beats.items()
        }
        return [attempt for attempt, (_, since) in self._seen.items() if now - since >= DEAD_S]


class Watch:
    """A thread of its own. ring: called after each look, for messages that were lost."""

    def __init__(self, store: Store, ring: Callable[[], None], *, keep_ms: int, stopping: threading.Event) -> None:
        self._store, self._ring, self._keep_ms, self._stopping = store, ring, keep_ms, stopping
        self._thread = threading.Thread(target=self._serve, name="duikou-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def join(self) -> None:
        """After the stop was asked for: wait until the last look is over."""
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        pulses, failing = Pulses(), False
        while not self._stopping.wait(WATCH_EVERY_S):
            try:
                self._look(pulses)
                failing = False
            except Exception as error:
                if not failing:  # once for each time that something is away
                    log.warning("the fleet cannot be watched", error=repr(error), exc_info=True)
                failing = True

    def _look(self, pulses: Pulses) -> None:
        for task_id, attempt in pulses.dead(self._store.queue.heartbeats()):
            task = self._store.tasks.get(task_id)
            if task is not None and task.attempt == attempt and task.status is TaskStatus.PROCESSING:
                log.warning("a worker is gone", task_id=task_id, request_id=task.request_id, attempt=attempt)
                reason = "the worker stopped while it worked on it"
                self._store.tasks.retry(task, reason, Fault.WORKER, expires_at=now_ms() + self._keep_ms)
        self._ring()
