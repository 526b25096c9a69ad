"""Who takes tasks from the store and does them: here the embedded dispatcher, threads that each own one worker.

The store's row is the truth; `wake` only says that there may be something to claim. What is done for one claimed task
(`perform`) does not know who dispatched it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from duikou.errors import DuikouError, InputError, ModelError
from duikou.jobs import folder as keys
from duikou.jobs.confine import Limits
from duikou.jobs.folder import DataFolder
from duikou.jobs.ids import new_id, now_ms
from duikou.jobs.state import Media, MediaKind, Task
from duikou.jobs.store import Store
from duikou.jobs.work import RenderOrder, Work
from duikou.jobs.worker import LimitError, StoppedError, Worker
from duikou.media.extend import SyncMode
from duikou.provenance.producer import Producer

IDLE_S = 1.0  # how long a retry that fell due may go unseen; new tasks wake the dispatcher at once
INSIST_S = 1.0  # between attempts at writing an outcome while the database refuses
NOTE_EVERY_S = 0.5  # progress is written at most this often, and whenever the stage changes

log = structlog.get_logger(__name__)


class Dispatcher(Protocol):
    """Whoever sees to it that submitted tasks are done."""

    def start(self) -> None:
        """Begin, with everything that is unfinished."""

    def wake(self) -> None:
        """A task was submitted."""

    def join(self) -> None:
        """After the stop was asked for: wait until no work is in hand."""


class LocalDispatcher:
    """Threads of this process, one child process each. From `draining` on they begin nothing new."""

    def __init__(
        self,
        store: Store,
        folder: DataFolder,
        work: Work,
        *,
        workers: int,
        limits: Limits,
        keep_ms: int,
        made_by: Producer,
        stopping: threading.Event,
        draining: threading.Event,
    ) -> None:
        self._store, self._folder, self._work = store, folder, work
        self._keep_ms, self._made_by = keep_ms, made_by
        self._stopping, self._draining = stopping, draining
        self._news = threading.Condition()
        self.workers = tuple(Worker(limits, stopping) for _ in range(workers))
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name=f"duikou-render-{number}", daemon=True)
            for number, worker in enumerate(self.workers)
        ]

    def start(self) -> None:
        """Take up what a former server left unfinished, then work."""
        for task in self._store.processing():
            self._folder.remove(keys.attempt_key(task.id, task.attempt))  # half a result, and temporary files
            self._store.retry(task, "the server stopped while it worked on it", expires_at=now_ms() + self._keep_ms)
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """A task was submitted."""
        with self._news:
            self._news.notify_all()

    def join(self) -> None:
        """Wait until every child is gone; what they had in hand waits for the next start."""
        self.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _serve(self, worker: Worker) -> None:
        worker.start()
        while not self._stopping.is_set():
            try:
                task = None if self._draining.is_set() else self._store.claim()
            except Exception:
                log.exception("no task can be claimed")
                task = None
            if task is None:
                with self._news:
                    self._news.wait(IDLE_S)
                continue
            with structlog.contextvars.bound_contextvars(task_id=task.id, attempt=task.attempt):
                self._insist(
                    perform(
                        task,
                        self._store,
                        self._folder,
                        self._work,
                        worker,
                        keep_ms=self._keep_ms,
                        made_by=self._made_by,
                    )
                )
        worker.stop()

    def _insist(self, outcome: Callable[[], object]) -> None:
        """Write an outcome, however long the database refuses: else the task would hang until the next start."""
        while True:
            try:
                outcome()
                return
            except Exception:
                log.exception("the outcome of a task cannot be written")
                if self._stopping.wait(INSIST_S):
                    return


def perform(
    task: Task, store: Store, folder: DataFolder, work: Work, worker: Worker, *, keep_ms: int, made_by: Producer
) -> Callable[[], object]:
    """Do a claimed task in `worker`. Returns the write that ends the attempt, so that it can be insisted on.

    keep_ms: how long the finished task and its result are kept. made_by: who answers for the result.
    """
    output = folder.path(keys.result_key(task.id, task.attempt))
    marked = folder.path(keys.marked_key(task.id, task.attempt)) if task.watermark else None
    try:
        folder.require_room()
        output.parent.mkdir()  # not its parents: they are gone where the task was deleted in between
        order = RenderOrder(
            session=folder.path(keys.session_key(task.session_id)),
            video=folder.path(_video_key(task, store)),
            choices=task.choices,
            sounds=tuple(folder.path(choice.sound) for choice in task.choices),
            output=output,
            made_by=made_by,
            produce_id=task.id,
            watermark=marked,
            sync_mode=SyncMode(task.sync_mode) if task.sync_mode else None,
        )
        duration_ms = int(worker.run(work.render, order, places=order.places, tell=_noter(store, task)))
        size = folder.size(keys.result_key(task.id, task.attempt))
        marked_size = folder.size(keys.marked_key(task.id, task.attempt)) if marked else 0
    except StoppedError:
        folder.remove(keys.attempt_key(task.id, task.attempt))
        return lambda: store.release(task)
    except (InputError, ModelError, LimitError) as error:  # these would end the same way again
        folder.remove(keys.attempt_key(task.id, task.attempt))
        reason = str(error)
        return lambda: store.fail(task, reason, expires_at=now_ms() + keep_ms)
    except Exception as error:
        log.warning("attempt failed", error=repr(error))
        folder.remove(keys.attempt_key(task.id, task.attempt))
        # What nobody foresaw may name files of ours: that is for the log.
        reason = (
            str(error)
            if isinstance(error, DuikouError)
            else f"unexpected {type(error).__name__}; the server's log tells more"
        )
        return lambda: store.retry(task, reason, expires_at=now_ms() + keep_ms)
    at = now_ms()

    def kept(key: str, size: int) -> Media:
        return Media(new_id(), task.account, MediaKind.RESULT, key, ".mp4", size, duration_ms, at, at + keep_ms)

    result = kept(keys.result_key(task.id, task.attempt), size)
    second = kept(keys.marked_key(task.id, task.attempt), marked_size) if marked else None
    return lambda: publish(task, result, second, store, folder)


def publish(task: Task, result: Media, marked: Media | None, store: Store, folder: DataFolder) -> bool:
    """Make what an attempt rendered the task's results. A late writer loses, and its files go."""
    if store.publish(task, result, marked) or store.media_of_anyone(result.id) is not None:
        return True
    folder.remove(keys.attempt_key(task.id, task.attempt))
    return False


def _video_key(task: Task, store: Store) -> str:
    source = store.media_of_anyone(task.source_id)
    if source is None:
        raise InputError("the source video is no longer kept", field="session_id")
    return source.key


def _noter(store: Store, task: Task) -> Callable[[str, float], bool]:
    last_stage, last_at = "", 0.0

    def note(stage: str, share: float) -> bool:
        nonlocal last_stage, last_at
        at = time.monotonic()
        if stage == last_stage and at - last_at < NOTE_EVERY_S:
            return True
        last_stage, last_at = stage, at
        return store.advance(task, stage, min(max(share, 0.0), 1.0))

    return note
