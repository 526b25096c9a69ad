"""Does what waits in the store: claims a task, has it done in a child process, and writes how it ended.

Nothing here knows who dispatched the task: an embedded server and the workers of a fleet do the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from duikou.database.ids import new_id, now_ms
from duikou.errors import DuikouError, InputError, ModelError, StorageError, WorkerError
from duikou.provenance import certificates
from duikou.provenance.producer import Producer, configured
from duikou.sandbox.messages import UnexpectedError, plain_text
from duikou.sandbox.process import LimitError, StoppedError, Worker
from duikou.sandbox.restrictions import Limits, Places
from duikou.settings import Settings
from duikou.storage import keys
from duikou.storage.base import FULL, Files, unusable
from duikou.storage.data_folder import DataFolder
from duikou.tasks.accounts import Accounts
from duikou.tasks.models import (
    IDENTIFY_KEPT_MS,
    FaceRecord,
    IdentifyTask,
    Media,
    MediaKind,
    RenderTask,
    SessionRecord,
    Task,
)
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.errors import IdTakenError
from duikou.telemetry.spans import Span
from duikou.telemetry.traces import traces
from duikou.units import DAY_MS, HOUR_MS
from duikou.workers.heartbeat import Held, Pulse
from duikou.workers.work import RenderOrder, Work

INSIST_S = 1.0  # between attempts at writing an outcome while the database refuses
BEAT_S, SHARED_BEAT_S = 0.5, 2.0  # between signs of life: for eyes on one machine, bearable for a thousand of them

Outcome = Callable[[], object]
"""The write that ends an attempt, so that it can be insisted on."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Terms:
    """What holds for all work of a process. made_by: who answers for results. Times in ms, of what is kept."""

    limits: Mapping[Queue, Limits]
    made_by: Producer
    keep_ms: int
    session_ms: int

    @staticmethod
    def of(settings: Settings, folder: DataFolder, fleet: Accounts | None = None) -> Terms:
        """The terms of these settings. Raises `InputError` where the settings' certificate cannot sign results.

        fleet: where the self-signed certificate is kept that all machines sign with, unless one is configured.
        """
        if fleet is not None and settings.c2pa_certificate is None:
            made = certificates.export_self_signed(folder.root)
            shared = fleet.secret("certificate", made)
            if shared != made:
                certificates.import_self_signed(folder.root, shared)
        usual = Limits(settings.task_timeout_s, settings.task_memory_mb, settings.task_cpu_s, settings.task_file_mb)
        looking = replace(usual, wall_s=min(settings.identify_timeout_s, usual.wall_s))
        return Terms(
            {Queue.IDENTIFY: looking, Queue.RENDER: usual, Queue.GPU: usual},
            configured(settings, folder.root),
            settings.media_days * DAY_MS,
            settings.session_hours * HOUR_MS,
        )


class Executor:
    """What one process does of what waits. Used by several threads, each with a `Worker` of its own."""

    def __init__(
        self,
        store: Store,
        files: Files,
        folder: DataFolder,
        work: Work,
        terms: Terms,
        *,
        shared: bool,
        stopping: threading.Event,
    ) -> None:
        self._store, self._files, self._folder, self._work, self._terms = store, files, folder, work, terms
        self._stopping, self._full = stopping, False
        self._pulse = Pulse(store, SHARED_BEAT_S if shared else BEAT_S)

    def start(self) -> None:
        """Begin to give signs of life."""
        self._pulse.start()

    def join(self) -> None:
        """After the last thread is done."""
        self._pulse.join()

    @property
    def busy(self) -> bool:
        """Whether anything is in hand."""
        return self._pulse.busy

    def worker(self) -> Worker:
        """A worker for one thread."""
        return Worker(self._terms.limits[Queue.RENDER], self._stopping)

    def do_one(self, queue: Queue, worker: Worker) -> bool:
        """Do the task whose turn it is, to its end. False where none waits, or nothing can be begun at the moment."""
        if not self._has_room():
            return False
        try:
            task = self._store.queue.claim(queue)
        except Exception:
            log.exception("no task can be claimed")
            return False
        if task is None:
            return False
        context = {"request_id": task.request_id, "task_id": task.id, "attempt": task.attempt}
        known: dict[str, str | int] = {"task_id": task.id, "attempt": task.attempt, "queue": str(queue)}
        with (
            structlog.contextvars.bound_contextvars(**context),
            traces.span("attempt", known, parent=task.trace) as span,
            self._pulse.holding(task) as held,
        ):
            self._insist(self._attempt(task, worker, held, span))
        return True

    def _has_room(self) -> bool:
        """What waits goes on waiting while the disk is full: it is not the task's fault."""
        try:
            self._folder.require_room()
        except StorageError as error:
            if not self._full:
                log.warning("nothing is begun", reason=str(error))
            self._full = True
        else:
            self._full = False
        return not self._full

    def _insist(self, outcome: Outcome) -> None:
        """Write an outcome, however long the database refuses: else the task would hang until the next start."""
        while True:
            try:
                outcome()
                return
            except Exception:
                log.exception("the outcome of a task cannot be written")
                if self._stopping.wait(INSIST_S):
                    return

    def _attempt(self, task: Task, worker: Worker, held: Held, span: Span) -> Outcome:
        searching = isinstance(task, IdentifyTask)
        made = keys.session_key(new_id()) if searching else keys.attempt_key(task.id, task.attempt)
        try:
            outcome = self._do(task, made, worker, held)
            span.note({"outcome": "done"})
            return outcome
        except StoppedError:
            span.note({"outcome": "stopped"})
            self._files.remove(made)
            return lambda: self._store.tasks.release(task)
        except Exception as error:
            self._files.remove(made)
            fault, reason = _told(error)
            span.note({"outcome": str(fault)})
            span.fail(str(fault))
            expires_at = now_ms() + (IDENTIFY_KEPT_MS if searching else self._terms.keep_ms)
            # A second try could end otherwise where a process died; of a search whose caller waits nowhere else.
            hopeless = fault in (Fault.INPUT, Fault.MODEL, Fault.LIMIT)
            died = isinstance(error, WorkerError) and not isinstance(error, UnexpectedError)
            hopeless = hopeless or (searching and not died)
            end = self._store.tasks.fail if hopeless else self._store.tasks.retry
            return lambda: end(task, reason, fault, expires_at=expires_at)

    def _do(self, task: Task, made: str, worker: Worker, held: Held) -> Outcome:
        match task:
            case IdentifyTask():
                return self._search(task, made, worker, held)
            case RenderTask():
                return self._render(task, made, worker, held)
        raise AssertionError(f"no work for a {type(task).__name__}")

    def _render(self, task: RenderTask, made: str, worker: Worker, held: Held) -> Outcome:
        source = self._source(task)
        with self._files.workspace() as place:
            folder = place.new(made)
            order = RenderOrder(
                session=place.get(keys.session_key(task.session_id)),
                video=place.get(source.key),
                choices=task.choices,
                sounds=tuple(place.get(str(choice.audio)) for choice in task.choices),
                output=folder / keys.RESULT,
                made_by=self._terms.made_by,
                produce_id=task.id,
                watermark=folder / keys.MARKED if task.watermark else None,
                sync_mode=task.sync_mode,
            )
            duration_ms = int(self._run(worker, held, self._work.render, order, places=order.places))
            names = (keys.RESULT, keys.MARKED) if task.watermark else (keys.RESULT,)
            sizes = {key: place.keep(key) for key in (f"{made}/{name}" for name in names)}
        return lambda: self._publish(task, made, sizes, duration_ms)

    def _publish(self, task: RenderTask, made: str, sizes: Mapping[str, int], duration_ms: int) -> None:
        """Make what an attempt rendered the task's results. A late writer loses, and its files go."""
        at = now_ms()
        until = at + self._terms.keep_ms
        kept = [  # anew each time: where an id was taken by chance, the next one is not
            Media(new_id(), task.account, MediaKind.RESULT, key, ".mp4", size, duration_ms, at, until)
            for key, size in sizes.items()
        ]
        if not self._store.tasks.complete_render(task, *kept):
            now = self._store.tasks.get(task.id)
            ours = now is not None and now.status is TaskStatus.SUCCEED and now.attempt == task.attempt
            if not ours:  # else it was written, and the answer lost
                self._files.remove(made)

    def _search(self, task: IdentifyTask, made: str, worker: Worker, held: Held) -> Outcome:
        source = self._source(task)
        with self._files.workspace() as place:
            video, folder = place.get(source.key), place.new(made)
            places = Places((video,), (folder,))
            faces: tuple[FaceRecord, ...] = self._run(worker, held, self._work.identify, video, folder, places=places)
            if not all(face.id.isdecimal() for face in faces):  # they become names of files
                raise WorkerError("the worker process gave a face a name that is none")
            place.keep(made)
        at = now_ms()
        session_id = keys.session_of(made)
        session = SessionRecord(session_id, task.account, source, faces, at, at + self._terms.session_ms)
        return lambda: self._found(task, made, session)

    def _found(self, task: IdentifyTask, made: str, session: SessionRecord) -> None:
        """Make what an attempt found the session that was asked for. A late writer loses, and its files go."""
        expires_at = now_ms() + IDENTIFY_KEPT_MS
        try:
            found = self._store.tasks.complete_identify(task, session, expires_at=expires_at)
        except IdTakenError:
            self._store.tasks.retry(task, "the session's id was taken", Fault.WORKER, expires_at=expires_at)
            return
        if not found and self._store.sessions.get(session.id) is None:
            self._files.remove(made)

    def _run(self, worker: Worker, held: Held, function: Callable[..., Any], *args: object, places: Places) -> Any:
        limits = self._terms.limits[held.task.queue]
        return worker.run(function, *args, places=places, limits=limits, tell=held.tell, wanted=lambda: held.wanted)

    def _source(self, task: Task) -> Media:
        source = self._store.media.get(task.source.id)
        if source is None:
            raise InputError("the source video is no longer kept", field="session_id")
        return source


def _told(error: Exception) -> tuple[Fault, str]:
    """What an attempt's end is called, and the sentence for its caller."""
    if isinstance(error, OSError) and error.errno in FULL:  # wherever it showed
        error = unusable(error)
    match error:
        case InputError():
            fault = Fault.INPUT
        case LimitError():
            fault = Fault.LIMIT
        case ModelError():
            fault = Fault.MODEL
        case StorageError():
            fault = Fault.STORAGE
        case _:
            fault = Fault.WORKER
    if isinstance(error, InputError):  # without its field: a library parameter, which means nothing to the caller
        return fault, plain_text(error.reason)
    if isinstance(error, DuikouError):
        return fault, plain_text(str(error))
    log.warning("attempt failed", error=repr(error), exc_info=True)
    # What nobody foresaw may name files of ours: that is for the log.
    return fault, f"unexpected {type(error).__name__}; see the server's log"
