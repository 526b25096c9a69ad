"""A fixed number of sandboxed children for short work whose caller waits for the result."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from duikou.errors import WorkerError
from duikou.sandbox import child
from duikou.sandbox.messages import UnexpectedError
from duikou.sandbox.process import LimitError, SandboxProcess, StoppedError
from duikou.sandbox.restrictions import AllowedPaths, Limits

TRIES = 2  # the caller waits for the result: one more attempt when a child died, no third


class SandboxPool:
    """Runs calls in the order in which they come, each in a child of its own.

    One pool serves one kind of work, so that long work never delays short work. preload: see `SandboxProcess`.
    """

    def __init__(
        self, name: str, size: int, limits: Limits, stopping: threading.Event, *, preload: str = child.__name__
    ) -> None:
        self._stopping = stopping
        self._processes: queue.SimpleQueue[SandboxProcess] = queue.SimpleQueue()  # those that no thread uses
        for _ in range(size):
            self._processes.put(SandboxProcess(limits, stopping, preload=preload))
        self._size = size
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=f"duikou-{name}")

    def start(self) -> None:
        """Make the children, so that the first calls need not wait for them; returns at once."""
        for _ in range(self._size):
            self._threads.submit(self._prepare)

    def submit(self, function: Callable[..., Any], *args: Any, allowed: AllowedPaths | None = None) -> Future[Any]:
        """Run `function(*args, progress)` in a child that sees only `allowed`, with the caller's context for log lines.

        The future holds the value or the error; `StoppedError` where the server is stopping.
        """
        if not self._stopping.is_set():
            try:
                return self._threads.submit(contextvars.copy_context().run, self._run, function, args, allowed)
            except RuntimeError:
                if not self._stopping.is_set():  # else the pool was shut down in between
                    raise
        refused: Future[Any] = Future()
        refused.set_exception(StoppedError("the server is stopping"))
        return refused

    def join(self) -> None:
        """After `stopping` was set: wait until no call is running or waiting, and end the children."""
        self._threads.shutdown()
        while not self._processes.empty():
            self._processes.get().stop()

    def _prepare(self) -> None:
        process = self._processes.get()
        if not self._stopping.is_set():
            process.start()
        self._processes.put(process)

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], allowed: AllowedPaths | None) -> Any:
        process, tries = self._processes.get(), 0
        try:
            while True:
                if self._stopping.is_set():
                    raise StoppedError("the server is stopping")
                tries += 1
                try:
                    return process.run(function, *args, allowed=allowed)
                except (LimitError, StoppedError, UnexpectedError):
                    raise
                except WorkerError:
                    if tries == TRIES:
                        raise
        finally:
            self._processes.put(process)
