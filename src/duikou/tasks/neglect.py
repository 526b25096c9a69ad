"""Notices that nobody takes the tasks of a queue that a caller waits for, so that the caller gets an answer in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from duikou.tasks.states import Queue
from duikou.tasks.store import Store

CHECK_EVERY_S = 1.0
PATIENCE_S = 10  # after which a waiting task counts as neglected: clients give up after 30 s
REMEMBERED_S = 60.0  # how long operators are told after the last neglected task was given up

log = structlog.get_logger(__name__)


class NeglectMonitor:
    """A thread that looks every second whether other processes take the tasks of a queue."""

    def __init__(self, store: Store, stopping: threading.Event, queue: Queue = Queue.IDENTIFY) -> None:
        self._store, self._stopping, self._queue = store, stopping, queue
        self._seen = 0.0  # when a neglected task was last seen, by the monotonic clock; 0 for never
        self._neglected = False  # at the last look
        self._thread = threading.Thread(target=self._serve, name="duikou-neglect", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def join(self) -> None:
        """Wait, after the stop was requested, until the last look is over."""
        if self._thread.is_alive():
            self._thread.join()

    def given_up(self, task_ids: Sequence[str]) -> set[str]:
        """Which of these tasks a caller should wait for no longer, since nobody takes any."""
        return self._store.queue.late(task_ids, PATIENCE_S * 1000) if self._neglected else set()

    def warnings(self) -> list[str]:
        """A sentence for operators while tasks are, or lately were, neglected."""
        if not self._seen or time.monotonic() - self._seen > REMEMBERED_S:
            return []
        return [
            f"No worker takes {self._queue} tasks, though some have waited for {PATIENCE_S} s; "
            f"start `duikou worker --queues {self._queue}`, or look at its log."
        ]

    def _serve(self) -> None:
        while not self._stopping.wait(CHECK_EVERY_S):
            try:
                taken, self._neglected = self._store.queue.care(self._queue, PATIENCE_S * 1000)
            except Exception:  # the database is away, which others tell
                self._neglected = False
                continue
            if self._neglected:
                if not self.warnings():
                    log.warning("no worker takes tasks", queue=str(self._queue), seconds=PATIENCE_S)
                self._seen = time.monotonic()
            elif taken and self._seen:
                log.info("a worker takes tasks again", queue=str(self._queue))
                self._seen = 0.0
