"""The threads in which calls block: all calls share them, and one account has a few of them at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from starlette import concurrency

THREADS = 8  # that one account may block at once, of the 40 of the pool (anyio's default)
LISTS = 2  # of one account that are made at once: a page of 500 tasks takes a tenth of a second of processor time

P = ParamSpec("P")
T = TypeVar("T")

_own: ContextVar[asyncio.Semaphore | None] = ContextVar("duikou_threads", default=None)


class Turns:
    """Accounts by how much of something each may do at once; more waits, and holds up nobody else."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, account: str) -> asyncio.Semaphore:
        """What the account's calls have to hold meanwhile."""
        turn = self._turns.get(account)
        if turn is None:
            turn = self._turns[account] = asyncio.Semaphore(self._each)
        return turn


@contextmanager
def bounded_by(turn: asyncio.Semaphore) -> Iterator[None]:
    """Within the block, and in the tasks that it starts, `run_in_threadpool` waits for this turn."""
    before = _own.set(turn)
    try:
        yield
    finally:
        _own.reset(before)


async def run_in_threadpool(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that blocks in a thread of the pool, in the turn of the account that calls."""
    turn = _own.get()
    if turn is None:
        return await concurrency.run_in_threadpool(function, *args, **kwargs)
    async with turn:
        return await concurrency.run_in_threadpool(function, *args, **kwargs)


async def read_in_threadpool(pieces: Iterator[bytes], turn: asyncio.Semaphore) -> AsyncIterator[bytes]:
    """The pieces of an iterator that blocks, each taken in a thread of the pool and in that turn."""
    while True:
        async with turn:
            piece = await concurrency.run_in_threadpool(next, pieces, None)
        if piece is None:
            return
        yield piece
