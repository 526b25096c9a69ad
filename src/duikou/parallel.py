"""Work on several threads: NumPy, OpenCV and the model runtimes release the GIL while they compute."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

MAX_WORKERS: Final = 4  # with four threads, landmarks keep up with decoding
PENDING_PER_WORKER: Final = 2  # decoded frames queued for each thread: keeps it busy, limits the memory

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_share = 0  # of the usable cores, see `take_share`


def usable_cores() -> int:
    """Number of cores that the system lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_share(count: int) -> None:
    """Let the work of this process, from now on, use so many cores alone: others work on the rest. 0 is no limit.

    Threads that wait for each other's cores take a tenth more processor time. It holds for our threads, for those
    of the codecs, and for OpenCV's where it is loaded already.
    """
    global _share  # noqa: PLW0603 - a process has one share
    _share = count
    if count and (opencv := sys.modules.get("cv2")):
        opencv.setNumThreads(count)


def cores() -> int:
    """Number of threads for work in this process: a core each, at most `MAX_WORKERS`."""
    return min(_share or usable_cores(), usable_cores(), MAX_WORKERS)


def without_blas_threads(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, during which BLAS uses only the thread that calls it.

    BLAS threads that wait for each other halve the speed on small arrays: rendering took 0.10 s of CPU per frame with
    them, 0.05 s without.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with threadpool_limits(1):
            return function(*args, **kwargs)

    return limited


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` on several threads: results in order, few items in memory at once. Closing it early ends the threads."""
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= workers * PENDING_PER_WORKER:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
