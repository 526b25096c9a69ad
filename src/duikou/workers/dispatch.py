"""Who sees to it that what waits in the store is done: here the embedded dispatcher, threads that each own one worker.

The store's rows are the truth; `wake` only says that there may be something to claim.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from duikou.sandbox.process import Worker
from duikou.tasks.states import Queue
from duikou.workers.executor import Executor

IDLE_S = 1.0  # how long a retry that fell due may go unseen; new tasks wake the dispatcher at once


class LocalDispatcher:
    """Threads of this process, one child process each; `sizes` says how many for each queue.

    From `draining` on no render is begun. Searches are: their callers were let in before and wait.
    """

    def __init__(
        self, executor: Executor, sizes: Mapping[Queue, int], *, stopping: threading.Event, draining: threading.Event
    ) -> None:
        self._executor = executor
        self._stopping, self._draining = stopping, draining
        self._news = threading.Condition()
        self.workers = {queue: tuple(executor.worker() for _ in range(size)) for queue, size in sizes.items()}
        self._threads = [
            threading.Thread(target=self._serve, args=(queue, worker), name=f"duikou-{queue}-{number}", daemon=True)
            for queue, workers in self.workers.items()
            for number, worker in enumerate(workers)
        ]

    def start(self) -> None:
        """Begin to work."""
        self._executor.start()
        for thread in self._threads:
            thread.start()

    def wake(self, queue: Queue) -> None:
        """A task was submitted."""
        with self._news:
            self._news.notify_all()

    def resend_lost_wakeups(self) -> None:
        """Nothing is lost between this process and its own threads."""

    def join(self) -> None:
        """Wait until every child is gone; what they had in hand waits for the next start."""
        with self._news:
            self._news.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._executor.join()

    @property
    def busy(self) -> bool:
        """Whether anything is in hand."""
        return self._executor.busy

    def ping(self) -> None:
        """They always answer."""

    def _serve(self, queue: Queue, worker: Worker) -> None:
        worker.start()
        while not self._stopping.is_set():
            begun = queue is Queue.IDENTIFY or not self._draining.is_set()
            if not (begun and self._executor.do_one(queue, worker)):
                with self._news:
                    self._news.wait(IDLE_S)
        worker.stop()
