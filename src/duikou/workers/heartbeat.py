"""Signs of life of what this process has in hand: written for all of it at once, with how far each is.

Whoever watches the fleet sees by them which attempts have nobody behind them any more. The answer tells an attempt that
it no longer counts: its task was cancelled, or was given to another one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from duikou.tasks.models import Task
from duikou.tasks.store import Store
from duikou.tasks.store.queue import Heartbeat
from duikou.telemetry import metrics
from duikou.telemetry.spans import Span
from duikou.telemetry.traces import traces

log = structlog.get_logger(__name__)


class Held:
    """One task in hand. Told by the thread that does the work, read by the one that beats."""

    def __init__(self, task: Task, news: threading.Event) -> None:
        self.task = task
        self.wanted = True
        self._news = news
        self._stage, self._share, self._since = "", 0.0, time.monotonic()
        self._span = Span()

    def tell(self, stage: str, share: float) -> None:
        """Note how far the work is; a new stage is written at once."""
        if stage != self._stage:
            self.close()
            self._since = time.monotonic()
            self._span = traces.begin(stage)
            self._stage, self._share = stage, share
            self._news.set()
        self._share = share

    def close(self) -> None:
        """Count the time of the stage that is over."""
        self._span.end()
        if self._stage:
            metrics.staged(self._stage, time.monotonic() - self._since)

    def beat(self) -> Heartbeat:
        """The sign of life to write."""
        return Heartbeat(self.task, self._stage, self._share)


class Pulse:
    """A thread of its own. every_s: between two signs of life."""

    def __init__(self, store: Store, every_s: float) -> None:
        self._store, self._every_s = store, every_s
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="duikou-pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def join(self) -> None:
        """Stop, once nothing is in hand any more."""
        self._over.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def busy(self) -> bool:
        """Whether anything is in hand."""
        return bool(self._held)

    @contextmanager
    def holding(self, task: Task) -> Iterator[Held]:
        """Beat for a claimed task until the block ends."""
        held = Held(task, self._news)
        with self._lock:
            self._held[task.id] = held
            metrics.in_hand.set(len(self._held))
        try:
            yield held
        finally:
            held.close()
            with self._lock:
                del self._held[task.id]
                metrics.in_hand.set(len(self._held))

    def _serve(self) -> None:
        failing = False
        while not self._over.is_set():
            self._news.wait(self._every_s)
            self._news.clear()
            with self._lock:
                in_hand = list(self._held.values())
            try:
                lost = self._store.queue.record_heartbeats([held.beat() for held in in_hand]) if in_hand else set()
                failing = False
            except Exception as error:
                if not failing:  # once for each time that the database is away
                    log.warning("no sign of life can be written", error=repr(error), exc_info=True)
                failing = True
                continue
            for held in in_hand:
                held.wanted = held.wanted and held.task.id not in lost
