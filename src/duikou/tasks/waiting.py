"""Waiting for tasks to finish: one query for all callers of this process that wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import structlog

from duikou.sandbox.process import StoppedError
from duikou.tasks.store import Store

POLL_S = 0.05  # what it adds to an identify task that takes seconds
OUTAGE_POLL_S = 1.0  # while the database does not answer

log = structlog.get_logger(__name__)


class CompletionWaiter:
    """Used from one event loop at a time."""

    def __init__(self, store: Store, stopping: threading.Event) -> None:
        self._store, self._stopping = store, stopping
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def until_finished(self, task_id: str) -> None:
        """Return once a task is over or gone. Raises `StoppedError` where this process stops before."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task_id, []).append(future)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            await future
        finally:
            self._waiting[task_id].remove(future)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    async def _poll(self) -> None:
        while self._waiting:
            await asyncio.sleep(POLL_S)
            if self._stopping.is_set():
                for future in self._pending(list(self._waiting)):
                    future.set_exception(StoppedError("the server is stopping"))
                return
            try:
                finished = await asyncio.to_thread(self._store.tasks.finished, list(self._waiting))
            except Exception:
                log.warning("what is waited for cannot be asked for", exc_info=True)
                await asyncio.sleep(OUTAGE_POLL_S)
                continue
            for future in self._pending(finished):
                future.set_result(None)

    def _pending(self, task_ids: Iterable[str]) -> list[asyncio.Future[None]]:
        return [one for task_id in task_ids for one in self._waiting.get(task_id, ()) if not one.done()]
