"""Waiting for tasks to finish: one query for all callers of this process that wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import structlog

from duikou.sandbox.process import StoppedError
from duikou.tasks.neglect import PATIENCE_S, NeglectMonitor
from duikou.tasks.store import Store

POLL_S = 0.05  # what it adds to an identify task that takes seconds
OUTAGE_POLL_S = 1.0  # while the database does not answer

NEGLECTED = f"No worker has taken this video for {PATIENCE_S} s; try again later"

log = structlog.get_logger(__name__)


class CompletionWaiter:
    """Used from one event loop at a time."""

    def __init__(self, store: Store, stopping: threading.Event, neglect: NeglectMonitor) -> None:
        self._store, self._stopping, self._neglect = store, stopping, neglect
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def until_finished(self, task_id: str) -> None:
        """Return once a task is over or gone.

        Raises `StoppedError` where this process stops before, or where no worker takes any task.
        """
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
                self._give_up(self._waiting, "the server is stopping")
                return
            try:
                finished = await asyncio.to_thread(self._store.tasks.finished, list(self._waiting))
                self._give_up(await asyncio.to_thread(self._neglect.given_up, list(self._waiting)), NEGLECTED)
            except Exception:
                log.warning("what is waited for cannot be asked for", exc_info=True)
                await asyncio.sleep(OUTAGE_POLL_S)
                continue
            for future in self._pending(finished):
                future.set_result(None)

    def _give_up(self, task_ids: Iterable[str], reason: str) -> None:
        for future in self._pending(task_ids):
            future.set_exception(StoppedError(reason))

    def _pending(self, task_ids: Iterable[str]) -> list[asyncio.Future[None]]:
        return [one for task_id in task_ids for one in self._waiting.get(task_id, ()) if not one.done()]
