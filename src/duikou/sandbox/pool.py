"""A fixed number of sandboxed children for short work whose caller waits for the result."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from duikou.errors import WorkerError
from duikou.sandbox import child
from duikou.sandbox.messages import UnexpectedError
from duikou.sandbox.process import LimitError, SandboxProcess, StoppedError
from duikou.sandbox.restrictions import AllowedPaths, Limits

TRIES = 2  # the caller waits for the result: one more attempt when a child died, no third

_Call = tuple[Future[Any], Callable[[], Any]]


class SandboxPool:
    """Runs calls, each in a child of its own.

    Accounts take turns, and none has all of several children at once: however slow and many its calls are, they keep
    nobody else's waiting. Calls of one account begin in the order in which they come. One pool serves one kind of work,
    so that long work never delays short work. preload: see `SandboxProcess`.
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
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Call]] = {}  # by account, in the order of their turns
        self._running: Counter[str] = Counter()

    def start(self) -> None:
        """Make the children, so that the first calls need not wait for them; returns at once."""
        for _ in range(self._size):
            self._threads.submit(self._prepare)

    def submit(
        self, account: str, function: Callable[..., Any], *args: Any, allowed: AllowedPaths | None = None
    ) -> Future[Any]:
        """Run `function(*args, progress)` in a child that sees only `allowed`, with the caller's context for log lines.

        account: whose turn it takes. The future holds the value or the error; `StoppedError` where the server is
        stopping.
        """
        found: Future[Any] = Future()
        context = contextvars.copy_context()
        with self._lock:
            calls = self._waiting.setdefault(account, deque())
            calls.append((found, lambda: context.run(self._run, function, args, allowed)))
        try:
            self._threads.submit(self._serve)
        except RuntimeError:  # the pool was shut down
            self._refuse_all()
        return found

    def join(self) -> None:
        """After `stopping` was set: wait until no call is running or waiting, and end the children."""
        self._threads.shutdown()
        self._refuse_all()
        while not self._processes.empty():
            self._processes.get().stop()

    def _prepare(self) -> None:
        process = self._processes.get()
        if not self._stopping.is_set():
            process.start()
        self._processes.put(process)

    def _serve(self) -> None:
        """Run what waits until nothing more may run. A call that may not runs when one of its account has ended."""
        while (taken := self._take()) is not None:
            account, (found, run) = taken
            if found.set_running_or_notify_cancel():
                try:
                    found.set_result(run())
                except BaseException as error:
                    found.set_exception(error)
            with self._lock:
                self._running -= Counter((account,))

    def _take(self) -> tuple[str, _Call] | None:
        """The next call: of the account with the fewest that run, of several of the one that has waited for longest.

        `None` where no call waits, or only of accounts that have as many children as they may.
        """
        most = max(self._size - 1, 1)
        with self._lock:
            may = [account for account in self._waiting if self._running[account] < most]
            if not may:
                return None
            account = min(may, key=self._running.__getitem__)
            calls = self._waiting.pop(account)
            call = calls.popleft()
            if calls:
                self._waiting[account] = calls  # behind all others
            self._running[account] += 1
            return account, call

    def _refuse_all(self) -> None:
        """Tell those whose calls still wait that the server is stopping."""
        with self._lock:
            calls = [call for waiting in self._waiting.values() for call in waiting]
            self._waiting.clear()
        for found, _ in calls:
            if found.set_running_or_notify_cancel():
                found.set_exception(StoppedError("the server is stopping"))

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
