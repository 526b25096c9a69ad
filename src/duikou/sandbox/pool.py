"""A lane: work that is done in the order in which it came, by a fixed number of child processes, and awaited."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog

from duikou.errors import WorkerError
from duikou.sandbox.messages import UnexpectedError
from duikou.sandbox.process import LimitError, StoppedError, Worker
from duikou.sandbox.restrictions import Limits, Places

TRIES = 2  # a caller waits for the answer: one more try where a worker died, no third


@dataclass(frozen=True)
class _Item:
    """Work that waits; `context` is what the caller's log lines carry."""

    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    places: Places | None
    context: dict[str, Any]


class Lane:
    """Short work whose caller waits for it. Lanes are apart so that long work never delays short work."""

    def __init__(self, name: str, size: int, limits: Limits, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self.workers = tuple(Worker(limits, stopping) for _ in range(size))
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), name=f"duikou-{name}-{number}", daemon=True)
            for number, worker in enumerate(self.workers)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How much work waits for a child."""
        return self._queue.qsize()

    def submit(self, function: Callable[..., Any], *args: Any, places: Places | None = None) -> Future[Any]:
        """`function(*args, progress)` in a child that sees `places`; the future holds its value or what it raised."""
        future: Future[Any] = Future()
        if self._stopping.is_set():
            future.set_exception(StoppedError("the server is stopping"))
        else:
            self._queue.put(_Item(future, function, args, places, structlog.contextvars.get_contextvars()))
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
                item.future.set_exception(StoppedError("the server is stopping"))

    def _work(self, worker: Worker) -> None:
        worker.start()
        while (item := self._queue.get()) is not None:
            if not item.future.set_running_or_notify_cancel():
                continue
            try:
                with structlog.contextvars.bound_contextvars(**item.context):
                    value = _run(worker, item)
            except BaseException as error:
                item.future.set_exception(error)
            else:
                item.future.set_result(value)
        worker.stop()


def _run(worker: Worker, item: _Item) -> Any:
    for left in reversed(range(TRIES)):
        try:
            return worker.run(item.function, *item.args, places=item.places)
        except (LimitError, StoppedError, UnexpectedError):
            raise
        except WorkerError:
            if not left:
                raise
    raise AssertionError("unreachable")
