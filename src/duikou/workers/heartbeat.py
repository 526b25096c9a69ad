"""Heartbeats for the tasks that this process works on: one write for all of them, with the progress of each.

By missing heartbeats the fleet notices that nobody works on an attempt any more. The answer to a heartbeat says which
attempts no longer count, because their task was cancelled or given to another worker. It also says for which searches
for faces no caller waits any more; those are ended here, where their progress is known.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from duikou.database.ids import now_ms
from duikou.tasks.analyses import ABANDONED
from duikou.tasks.models import IDENTIFY_KEPT_MS, IdentifyTask, Task
from duikou.tasks.store import Store
from duikou.tasks.store.queue import Heartbeat
from duikou.telemetry import metrics
from duikou.telemetry.spans import Span
from duikou.telemetry.traces import traces

RETURN_S = 15.0  # that an abandoned search goes on: clients that give up try again, and send the video before they wait
LAST_THIRD = 2 / 3  # a search that is further is finished and kept, whoever waits

log = structlog.get_logger(__name__)


class Lease:
    """One claimed task. Written by the thread that works on it, read by the heartbeat's thread."""

    def __init__(self, task: Task, news: threading.Event) -> None:
        self.task = task
        self.wanted = True
        self._news = news
        self._stage, self._share, self._since = "", 0.0, time.monotonic()
        self._alone_since: float | None = None
        self._span = Span()

    def report(self, stage: str, share: float) -> None:
        """Set the progress; a new stage is written at once."""
        if stage != self._stage:
            self.close()
            self._since = time.monotonic()
            self._span = traces.begin(stage)
            self._stage, self._share = stage, share
            self._news.set()
        self._share = share

    def abandoned(self, *, unattended: bool) -> bool:
        """Whether to end a search for faces. unattended: no caller waits for it now."""
        if not unattended:
            self._alone_since = None
            return False
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        return self._share < LAST_THIRD and now - self._alone_since >= RETURN_S

    def close(self) -> None:
        """Count the time of the stage that has ended."""
        self._span.end()
        if self._stage:
            metrics.observe_stage(self._stage, time.monotonic() - self._since)

    def beat(self) -> Heartbeat:
        """The heartbeat to write."""
        return Heartbeat(self.task, self._stage, self._share)


class HeartbeatWriter:
    """A thread that writes every `every_s` seconds."""

    def __init__(self, store: Store, every_s: float) -> None:
        self._store, self._every_s = store, every_s
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="duikou-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """Stop the thread; call it once no lease is open."""
        self._over.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def busy(self) -> bool:
        """Whether any lease is open."""
        return bool(self._leases)

    @contextmanager
    def lease(self, task: Task) -> Iterator[Lease]:
        """Send heartbeats for a claimed task until the block ends."""
        lease = Lease(task, self._news)
        with self._lock:
            self._leases[task.id] = lease
            metrics.in_hand.set(len(self._leases))
        try:
            yield lease
        finally:
            lease.close()
            with self._lock:
                del self._leases[task.id]
                metrics.in_hand.set(len(self._leases))

    def _serve(self) -> None:
        failing = False
        while not self._over.is_set():
            self._news.wait(self._every_s)
            self._news.clear()
            with self._lock:
                leases = list(self._leases.values())
            try:
                self._beat(leases)
                failing = False
            except Exception as error:
                if not failing:  # logged once per outage of the database
                    log.warning("heartbeats cannot be written", error=repr(error), exc_info=True)
                failing = True

    def _beat(self, leases: list[Lease]) -> None:
        """Write one heartbeat for each, and stop what is not wanted."""
        if not leases:
            return
        attention = self._store.queue.record_heartbeats([lease.beat() for lease in leases])
        for lease in leases:
            task = lease.task
            lease.wanted = lease.wanted and task.id not in attention.lost
            unattended = lease.wanted and task.id in attention.unattended
            if isinstance(task, IdentifyTask) and lease.abandoned(unattended=unattended):
                lease.wanted = not self._store.tasks.abandon(task, ABANDONED, expires_at=now_ms() + IDENTIFY_KEPT_MS)
