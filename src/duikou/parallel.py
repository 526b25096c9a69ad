"""Work on several threads: NumPy, OpenCV and the models' runtimes let go of the interpreter while they compute."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

MAX_WORKERS = 4  # landmarks are never slower than decoding with more
WAITING_PER_WORKER = 2  # decoded frames held for each worker: keeps it busy, bounds the memory

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Cores this process may use, at most `MAX_WORKERS`."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MAX_WORKERS)


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` on several threads: results in order, few items held at once. Closing it early leaves no thread behind.

    Meanwhile the numeric libraries keep to the thread that calls them: BLAS threads that wait for each other halve the
    speed of small arrays (rendering measured 0.10 s of CPU per frame with them, 0.05 s without).
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    with threadpool_limits(1):
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= workers * WAITING_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
