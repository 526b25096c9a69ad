"""A lane: work that is done in the order in which it came, by a fixed number of child processes, and awaited."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from duikou.errors import WorkerError
from duikou.jobs.worker import LimitError, Limits, StoppedError, Worker

TRIES = 2  # a caller waits for the answer: one more try where a worker died, no third


class Lane:
    """Short work whose caller waits for it. Lanes are apart so that long work never delays short work."""

    def __init__(self, name: str, size: int, limits: Limits, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self.workers = tuple(Worker(limits, stopping) for _ in range(size))
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), name=f"duikou-{name}-{number}", daemon=True)
            for number, worker in enumerate(self.workers)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """`function(*args, progress)` in a child; the future holds its value or what it raised."""
        future: Future[Any] = Future()
        if self._stopping.is_set():
            future.set_exception(StoppedError("the server is stopping"))
        else:
            self._queue.put((future, function, args))
        return future

    def join(self) -> None:
        """After `stopping` was set: wait until every child is gone and nobody waits any more."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        while not self._queue.empty():
            item = self._queue.get()
            if item is not None:
                item[0].set_exception(StoppedError("the server is stopping"))

    def _work(self, worker: Worker) -> None:
        worker.start()
        while (item := self._queue.get()) is not None:
            future, function, args = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(_run(worker, function, args))
            except BaseException as error:
                future.set_exception(error)
        worker.stop()


def _run(worker: Worker, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    for left in reversed(range(TRIES)):
        try:
            return worker.run(function, *args)
        except (LimitError, StoppedError):
            raise
        except WorkerError:
            if not left:
                raise
    raise AssertionError("unreachable")
