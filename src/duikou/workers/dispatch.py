"""Who gets waiting tasks done. Here the embedded dispatcher: threads of this process, each with its own child process.

The rows of the store are the truth; `wake` only says that there may be something to claim.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from duikou.tasks.states import Queue
from duikou.workers.executor import Executor

IDLE_S = 1.0  # how long a due retry may go unnoticed; new tasks wake the dispatcher at once


class LocalDispatcher:
    """Threads of this process with one child process each; `sizes` says how many for each queue.

    No account has all of several threads that search for faces: the callers of others wait for their answers.
    Once `draining` is set no render is started. Searches for faces still are: their callers were admitted before and
    wait for the answer.
    """

    elsewhere = False

    def __init__(
        self, executor: Executor, sizes: Mapping[Queue, int], *, stopping: threading.Event, draining: threading.Event
    ) -> None:
        self._executor = executor
        self._stopping, self._draining = stopping, draining
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, args=(queue, size), name=f"duikou-{queue}-{number}", daemon=True)
            for queue, size in sizes.items()
            for number in range(size)
        ]

    def start(self) -> None:
        """Start working."""
        self._executor.start()
        for thread in self._threads:
            thread.start()

    def wake(self, queue: Queue) -> None:
        """A task was submitted."""
        with self._news:
            self._news.notify_all()

    def resend_lost_wakeups(self) -> None:
        """Nothing is lost between the threads of one process."""

    def join(self) -> None:
        """Wait until every child has ended; unfinished tasks wait for the next start."""
        with self._news:
            self._news.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._executor.join()

    @property
    def busy(self) -> bool:
        """Whether any task is running."""
        return self._executor.busy

    def ping(self) -> None:
        """Threads of this process always answer."""

    def _serve(self, queue: Queue, size: int) -> None:
        most = max(size - 1, 1) if queue is Queue.IDENTIFY else 0
        process = self._executor.new_process()
        process.start()
        while not self._stopping.is_set():
            may_start = queue is Queue.IDENTIFY or not self._draining.is_set()
            if not (may_start and self._executor.run_next(queue, process, most)):
                with self._news:
                    self._news.wait(IDLE_S)
        process.stop()
