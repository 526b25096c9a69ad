"""Monitors a database that several processes use: gives the tasks of dead workers to others, and has lost wakeups
resent.

A worker is dead when its heartbeats stop, measured on this process's own monotonic clock: no clock is compared with
another. A pause in the monitoring itself (the database was down, this machine slept) restarts the count. Any number of
monitors may run: of two that see the same, one wins the compare-and-set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from duikou.database.ids import now_ms
from duikou.tasks.states import Fault, TaskStatus
from duikou.tasks.store import Store

CHECK_EVERY_S = 1.0
DEAD_S = 8.0  # without a heartbeat, of which there is one every 2 s
PAUSE_S = 3.0  # between two checks, after which nothing is known

log = structlog.get_logger(__name__)


class HeartbeatHistory:
    """When each attempt's heartbeat last changed. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}
        self._checked = -PAUSE_S

    def dead(self, heartbeats: dict[tuple[str, int], int]) -> list[tuple[str, int]]:
        """Which attempts, by task id and number, were silent for too long. heartbeats: the current counters of all."""
        now = self._clock()
        if now - self._checked > PAUSE_S:
            self._seen = {}
        self._checked = now
        before = self._seen
        self._seen = {
            attempt: before[attempt] if attempt in before and before[attempt][0] == count else (count, now)
            for attempt, count in heartbeats.items()
        }
        return [attempt for attempt, (_, since) in self._seen.items() if now - since >= DEAD_S]


class StalledTaskMonitor:
    """A thread that checks every second. resend_lost_wakeups: called after each check."""

    def __init__(
        self, store: Store, resend_lost_wakeups: Callable[[], None], *, keep_ms: int, stopping: threading.Event
    ) -> None:
        self._store, self._resend, self._keep_ms, self._stopping = store, resend_lost_wakeups, keep_ms, stopping
        self._thread = threading.Thread(target=self._serve, name="duikou-monitor", daemon=True)

    def start(self) -> None:
        """Begin to monitor."""
        self._thread.start()

    def join(self) -> None:
        """Wait, after the stop was requested, until the last check is over."""
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        history, failing = HeartbeatHistory(), False
        while not self._stopping.wait(CHECK_EVERY_S):
            try:
                self._check(history)
                failing = False
            except Exception as error:
                if not failing:  # once for each outage
                    log.warning("the fleet cannot be watched", error=repr(error), exc_info=True)
                failing = True

    def _check(self, history: HeartbeatHistory) -> None:
        for task_id, attempt in history.dead(self._store.queue.heartbeats()):
            task = self._store.tasks.get(task_id)
            if task is not None and task.attempt == attempt and task.status is TaskStatus.PROCESSING:
                log.warning("a worker is gone", task_id=task_id, request_id=task.request_id, attempt=attempt)
                reason = "the worker stopped while it worked on it"
                self._store.tasks.retry(task, reason, Fault.WORKER, expires_at=now_ms() + self._keep_ms)
        self._resend()
