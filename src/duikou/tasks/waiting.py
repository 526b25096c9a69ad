"""Waiting for tasks to end: one question to the database for all who wait in this process."""

from __future__ import annotations

import asyncio
import threading

import structlog

from duikou.sandbox.process import StoppedError
from duikou.tasks.store import Store

POLL_S = 0.05  # what it adds to a search that takes seconds

log = structlog.get_logger(__name__)


class Waiting:
    """Used from one event loop at a time."""

    def __init__(self, store: Store, stopping: threading.Event) -> None:
        self._store, self._stopping = store, stopping
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def until_ended(self, task_id: str) -> None:
        """Return once a task is over or gone. Raises `StoppedError` where this process stops before."""
        future = self._asked[task_id] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            await future
        finally:
            self._asked.pop(task_id, None)

    async def _ask(self) -> None:
        while self._asked:
            await asyncio.sleep(POLL_S)
            if self._stopping.is_set():
                for future in self._asked.values():
                    if not future.done():
                        future.set_exception(StoppedError("the server is stopping"))
                return
            try:
                ended = await asyncio.to_thread(self._store.tasks.finished, list(self._asked))
            except Exception:
                log.warning("what is waited for cannot be asked for", exc_info=True)
                await asyncio.sleep(1)
                continue
            for task_id in ended:
                known = self._asked.get(task_id)
                if known is not None and not known.done():
                    known.set_result(None)
