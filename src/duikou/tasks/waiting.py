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
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def until_finished(self, task_id: str) -> None:
        """Return once a task is over or gone.

        Raises `StoppedError` where this process stops before, or where no worker takes any task.
        """
        future = self._waiting[task_id] = asyncio.get_running_loop().create_future()
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            await future
        finally:
            self._waiting.pop(task_id, None)

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
            for task_id in finished:
                future_of = self._waiting.get(task_id)
                if future_of is not None and not future_of.done():
                    future_of.set_result(None)

    def _give_up(self, task_ids: Iterable[str], reason: str) -> None:
        for task_id in task_ids:
            future = self._waiting.get(task_id)
            if future is not None and not future.done():
                future.set_exception(StoppedError(reason))
