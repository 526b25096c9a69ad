"""Waiting for tasks to finish or to change: one question to the database for all callers of this process that wait."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import structlog

from duikou.sandbox.process import StoppedError
from duikou.tasks.models import RenderTask
from duikou.tasks.neglect import PATIENCE_S, NeglectMonitor
from duikou.tasks.states import TaskStatus
from duikou.tasks.store import Store

POLL_S = 0.05  # what it adds to an identify task that takes seconds
CHANGES_POLL_S = 0.3  # between looks at the tasks that are watched
OUTAGE_POLL_S = 1.0  # while the database does not answer
ALIVE_S = 15.0  # after which watchers learn that nothing has changed
WOKEN = 32  # watchers that go on at once: between them others are served

NEGLECTED = f"No worker has taken this video for {PATIENCE_S} s; try again later"

W = TypeVar("W")
T = TypeVar("T")
_LOOKS = ThreadPoolExecutor(2, thread_name_prefix="duikou-look")  # one for each kind of waiting

log = structlog.get_logger(__name__)


class _Crowd(ABC, Generic[W]):
    """All who wait for tasks, and the look that is taken for all of them at intervals; none while nobody waits.

    Used from one event loop at a time. stop: ends it, after one more look.
    """

    every_s: float

    def __init__(self, store: Store, stop: threading.Event) -> None:
        self._store, self._stop = store, stop
        self._waiting: dict[str, list[W]] = {}
        self._polling: asyncio.Task[None] | None = None

    def _join(self, task_id: str, one: W) -> None:
        self._waiting.setdefault(task_id, []).append(one)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())

    def _leave(self, task_id: str, one: W) -> None:
        self._waiting[task_id].remove(one)
        if not self._waiting[task_id]:
            del self._waiting[task_id]

    async def _poll(self) -> None:
        while self._waiting:
            await asyncio.sleep(self.every_s)
            over, answered = self._stop.is_set(), True
            try:
                await self._look()
            except Exception:
                log.warning("what is waited for cannot be asked for", exc_info=True)
                answered = False
            if over:
                self._end()
                return
            if not answered:
                await asyncio.sleep(OUTAGE_POLL_S)

    @abstractmethod
    async def _look(self) -> None:
        """Ask the database once, and tell those whom the answer concerns."""

    @abstractmethod
    def _end(self) -> None:
        """Tell all that the waiting is over, since this process stops."""


class CompletionWaiter(_Crowd[asyncio.Future[None]]):
    """Waits for the end of tasks."""

    every_s = POLL_S

    def __init__(self, store: Store, stopping: threading.Event, neglect: NeglectMonitor) -> None:
        super().__init__(store, stopping)
        self._neglect = neglect

    async def until_finished(self, task_id: str) -> None:
        """Return once a task is over or gone.

        Raises `StoppedError` where this process stops before, or where no worker takes any task.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._join(task_id, future)
        try:
            await future
        finally:
            self._leave(task_id, future)

    async def _look(self) -> None:
        finished = await _in_thread(self._store.tasks.finished, list(self._waiting))
        self._give_up(await _in_thread(self._neglect.given_up, list(self._waiting)), NEGLECTED)
        for future in self._pending(finished):
            future.set_result(None)

    def _end(self) -> None:
        self._give_up(self._waiting, "the server is stopping")

    def _give_up(self, task_ids: Iterable[str], reason: str) -> None:
        for future in self._pending(task_ids):
            future.set_exception(StoppedError(reason))

    def _pending(self, task_ids: Iterable[str]) -> list[asyncio.Future[None]]:
        return [one for task_id in task_ids for one in self._waiting.get(task_id, ()) if not one.done()]


@dataclass(frozen=True, eq=False)
class Seen:
    """A task as one look saw it, the same object for all who watch it. position: in its queue, `None` once it runs."""

    task: RenderTask
    position: int | None

    def is_like(self, other: Seen) -> bool:
        """Whether nothing has changed between the two."""
        return self.position == other.position and mark_of(self.task) == mark_of(other.task)


Mark = tuple[str, int, int, int]


def mark_of(task: RenderTask) -> Mark:
    """What changes with every change of a task, as `TaskStore.marks` reads it."""
    return str(task.status), task.attempt, task.heartbeat, task.updated_at


class Watch:
    """One caller who watches a task: iterates over its changes, and begins with the task as it is.

    `None` stands for `ALIVE_S` without a change. Ends after the end of the task, and where it is gone or the server
    drains. Of changes that come faster than the caller takes them, the last one counts.
    """

    def __init__(self, seen: Seen) -> None:
        self.latest = seen
        self._news: Seen | None = seen
        self._ended = seen.task.finished
        self._woken = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Seen | None:
        if self._news is None and not self._ended:
            self._woken.clear()
            await self._woken.wait()
        news, self._news = self._news, None
        if news is None and self._ended:
            raise StopAsyncIteration
        return news

    @property
    def ended(self) -> bool:
        """Whether there will be no further change."""
        return self._ended

    def tell(self, seen: Seen) -> None:
        """A change."""
        self.latest = self._news = seen
        self._ended = seen.task.finished
        self._woken.set()

    def alive(self) -> None:
        """There was no change."""
        self._woken.set()

    def end(self) -> None:
        """There will be none."""
        self._ended = True
        self._woken.set()


class TaskWatcher(_Crowd[Watch]):
    """Tells every change of tasks to all who watch them: one look reads it for all."""

    every_s = CHANGES_POLL_S

    def __init__(self, store: Store, draining: threading.Event) -> None:
        super().__init__(store, draining)
        self._seen: dict[str, Seen] = {}
        self._alive_at = 0.0  # when watchers were last told that there is no change, by the monotonic clock

    def watch(self, task: RenderTask, position: int | None) -> Watch:
        """Watch a task, which was read just now, until `leave`."""
        if not self._waiting:
            self._alive_at = time.monotonic()
        fresh, known = Seen(task, position), self._seen.get(task.id)
        watch = Watch(known if known is not None and known.is_like(fresh) else fresh)
        self._seen.setdefault(task.id, watch.latest)
        self._join(task.id, watch)
        return watch

    def leave(self, watch: Watch) -> None:
        """The caller watches no longer."""
        task_id = watch.latest.task.id
        self._leave(task_id, watch)
        if task_id not in self._waiting:
            del self._seen[task_id]

    def _end(self) -> None:
        for watch in self._everyone():
            watch.end()

    async def _look(self) -> None:
        if time.monotonic() - self._alive_at >= ALIVE_S:
            self._alive_at = time.monotonic()
            for watch in self._everyone():
                watch.alive()
        # Those who are here now: whoever comes during the look has read the task later than the look.
        watches = [(task_id, one) for task_id, some in self._waiting.items() for one in some if not one.ended]
        if not watches:
            return
        known = {task_id: self._seen[task_id] for task_id, _ in watches}
        now = await _in_thread(self._read, known)
        self._seen |= {task_id: seen for task_id, seen in now.items() if task_id in self._seen}
        for number, (task_id, watch) in enumerate(watches, 1):
            if task_id not in now:
                watch.end()
            elif not now[task_id].is_like(watch.latest):
                watch.tell(now[task_id])
            if number % WOKEN == 0:
                await asyncio.sleep(0)

    def _everyone(self) -> list[Watch]:
        return [watch for some in self._waiting.values() for watch in some]

    def _read(self, known: dict[str, Seen]) -> dict[str, Seen]:
        """The tasks as they are now, without those that are gone; the same object where nothing has changed."""
        marks = self._store.tasks.marks(known)
        changed = [task_id for task_id, mark in marks.items() if mark != mark_of(known[task_id].task)]
        tasks = {task_id: known[task_id].task for task_id in marks}
        tasks |= {task.id: task for task in self._store.tasks.renders(changed)} if changed else {}
        waiting = [task.id for task in tasks.values() if task.status is TaskStatus.SUBMITTED]
        positions = self._store.queue.positions(waiting) if waiting else {}
        now = {task_id: Seen(task, positions.get(task_id)) for task_id, task in tasks.items()}
        return {task_id: known[task_id] if seen.is_like(known[task_id]) else seen for task_id, seen in now.items()}


async def _in_thread(function: Callable[..., T], *given: Any) -> T:
    """Run a look in a thread that nothing else uses: other work does not hold it up."""
    return await asyncio.get_running_loop().run_in_executor(_LOOKS, function, *given)
