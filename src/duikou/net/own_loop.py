"""An event loop for whatever talks to hosts that callers name: in a thread of its own, so that no host delays answers.

Threads share Python's time, and a host can make work of a few bytes. So this loop also rests as long as it works.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import selectors
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

LEAST_REST_S: Final = 0.001  # before each wait: what arrives meanwhile, byte by byte, is read at once
MOST_WORK_S: Final = 0.005  # processor time without a rest, even where there is no need to wait
STOP_S: Final = 5.0  # for cancelled work at the end of the process
Result = TypeVar("Result")

_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


async def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work` in this loop of its own, from any other one. Raises what it raises.

    Where the caller is cancelled, so is the work, and its end is awaited: nothing of it happens afterwards.
    """
    here, there, ended = asyncio.get_running_loop(), _running(), asyncio.Event()
    begun: list[asyncio.Task[Result]] = []

    def begin() -> None:
        task = there.create_task(work)
        task.add_done_callback(end)
        begun.append(task)

    def end(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody waits
            here.call_soon_threadsafe(ended.set)

    def cancel() -> None:
        begun[0].cancel()

    there.call_soon_threadsafe(begin)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        there.call_soon_threadsafe(cancel)
        await ended.wait()
        raise
    return begun[0].result()


class _RestingSelector(selectors.DefaultSelector):
    """Has its loop rest as long as it worked, so that at least half of the time is left to other threads."""

    def __init__(self) -> None:
        super().__init__()
        self._rested_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        worked_s = time.thread_time() - self._rested_s
        if timeout != 0 or worked_s >= MOST_WORK_S:
            time.sleep(max(worked_s, LEAST_REST_S))
            self._rested_s = time.thread_time()
        return super().select(timeout)


def _running() -> asyncio.AbstractEventLoop:
    """The loop, which the first use starts."""
    global _loop
    with _starting:
        if _loop is None:
            started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
            thread = threading.Thread(target=_serve, args=(started,), name="duikou-net", daemon=True)
            thread.start()
            _loop, stopping = started.result()
            atexit.register(_stop, thread, _loop, stopping)
    return _loop


def _serve(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    async def serve() -> None:
        stopping = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stopping))
        await stopping.wait()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_RestingSelector())) as runner:
        runner.run(serve())


def _stop(thread: threading.Thread, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    loop.call_soon_threadsafe(stopping.set)
    thread.join(STOP_S)
