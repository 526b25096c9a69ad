"""Runs waiting tasks: claims one, does the work in a child process and writes the outcome.

It does not depend on who dispatched the task: an embedded server and the workers of a fleet run the same code.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from duikou.database.engine import may_pass
from duikou.database.ids import new_id, now_ms
from duikou.errors import DuikouError, InputError, ModelError, StorageError, WorkerError
from duikou.media.sync_mode import SyncMode, extended_duration_ms
from duikou.parallel import usable_cores
from duikou.provenance import certificates
from duikou.provenance.notary import Notary
from duikou.provenance.producer import Producer, configured
from duikou.sandbox.messages import InvalidMessageError, UnexpectedError, plain_text
from duikou.sandbox.process import LimitError, SandboxProcess, StoppedError
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.settings import Settings
from duikou.storage import keys
from duikou.storage.base import FULL, Files, disk_error
from duikou.storage.data_folder import DataFolder
from duikou.tasks.accounts import Accounts
from duikou.tasks.models import (
    IDENTIFY_KEPT_MS,
    FoundFaces,
    IdentifyTask,
    Media,
    MediaKind,
    RenderTask,
    SessionRecord,
    Task,
)
from duikou.tasks.retention import drop_unanswered
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.errors import IdTakenError
from duikou.telemetry.spans import Span
from duikou.telemetry.traces import traces
from duikou.timebase import Interval
from duikou.units import DAY_MS, HOUR_MS
from duikou.workers.heartbeat import HeartbeatWriter, Lease
from duikou.workers.work import RenderJob, SignJob, Work

OUTCOME_RETRY_S = 1.0  # between attempts at writing an outcome while the database refuses
FILES_OF_A_FACE, MORE_FILES = 3, 16  # of a session: a face has a track, its usable frames and a picture
HEARTBEAT_S = 0.5  # of an embedded server, whose user watches the progress
SHARED_HEARTBEAT_S = 2.0  # in a fleet: a database bears a thousand workers at this pace

Outcome = Callable[[], object]
"""The write that ends an attempt; it is repeated until it succeeds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkPolicy:
    """What applies to all work of a process.

    made_by: who is named as the producer of results. keep_ms, session_ms: how long results and sessions are kept.
    heartbeat_s: seconds between two heartbeats.
    """

    limits: Mapping[Queue, Limits]
    made_by: Producer
    keep_ms: int
    session_ms: int
    heartbeat_s: float = HEARTBEAT_S

    @staticmethod
    def of(settings: Settings, folder: DataFolder, fleet: Accounts | None = None) -> WorkPolicy:
        """The policy of these settings.

        Raises `InputError` where the settings' certificate cannot sign results, or another encoder than x264 is set.

        fleet: the accounts of a database that several machines share, `None` for an embedded server. The database also
        holds the self-signed certificate that all machines sign with, unless one is configured.
        """
        if fleet is not None and settings.c2pa_certificate is None:
            made = certificates.export_self_signed(folder.root)
            shared = fleet.secret("certificate", made)
            if shared != made:
                certificates.import_self_signed(folder.root, shared)
        if settings.encoder != "x264":
            raise InputError("the sandbox of tasks has no access to devices; only x264 works", field="DUIKOU_ENCODER")
        usual = Limits(settings.task_timeout_s, settings.task_memory_mb, settings.task_cpu_s, settings.task_file_mb)
        identifying = replace(usual, wall_s=min(settings.identify_timeout_s, usual.wall_s))
        share = settings.worker_cores or (max(usable_cores() // settings.workers, 1) if settings.workers > 1 else 0)
        rendering = replace(usual, niceness=settings.render_niceness, cores=share)
        return WorkPolicy(
            {Queue.IDENTIFY: identifying, Queue.RENDER: rendering, Queue.GPU: rendering},
            configured(settings, folder.root),
            settings.media_days * DAY_MS,
            settings.session_hours * HOUR_MS,
            HEARTBEAT_S if fleet is None else SHARED_HEARTBEAT_S,
        )


class Executor:
    """Runs tasks. Used by several threads, each with a `SandboxProcess` of its own."""

    def __init__(
        self,
        store: Store,
        files: Files,
        folder: DataFolder,
        work: Work,
        policy: WorkPolicy,
        *,
        stopping: threading.Event,
    ) -> None:
        self._store, self._files, self._folder, self._work, self._policy = store, files, folder, work, policy
        self._stopping, self._full = stopping, False
        self._heartbeat = HeartbeatWriter(store, policy.heartbeat_s)
        self._claiming, self._in_hand = threading.Lock(), Counter[tuple[Queue, str]]()

    def start(self) -> None:
        """Start sending heartbeats."""
        self._heartbeat.start()

    def join(self) -> None:
        """Stop sending heartbeats, after the last thread has ended."""
        self._heartbeat.join()

    @property
    def busy(self) -> bool:
        """Whether any task is running."""
        return self._heartbeat.busy

    def new_process(self) -> SandboxProcess:
        """A sandbox for one thread."""
        return SandboxProcess(self._policy.limits[Queue.RENDER], self._stopping, preload=self._work.preload)

    def run_next(self, queue: Queue, process: SandboxProcess, most: int = 0) -> bool:
        """Run the next task to its end. False where no task waits or none can be started at the moment.

        most: how many tasks of one account may run here at once; 0 is no limit.
        """
        if not self._has_room():
            return False
        with self._claimed(queue, most) as task:
            if task is not None:
                self._run_claimed(task, process)
            return task is not None

    @contextmanager
    def _claimed(self, queue: Queue, most: int) -> Iterator[Task | None]:
        """The next task of a queue, in hand until the block ends; `None` where none can be claimed."""
        with self._claiming:
            full = [account for (of, account), count in self._in_hand.items() if of is queue and count >= most > 0]
            try:
                task = self._store.queue.claim(queue, without=full)
            except Exception:
                log.exception("cannot claim a task")
                task = None
            whose = Counter([(queue, task.account)] if task else [])
            self._in_hand += whose
        try:
            yield task
        finally:
            with self._claiming:
                self._in_hand -= whose

    def _run_claimed(self, task: Task, process: SandboxProcess) -> None:
        context = {"request_id": task.request_id, "task_id": task.id, "attempt": task.attempt}
        known: dict[str, str | int] = {"task_id": task.id, "attempt": task.attempt, "queue": str(task.queue)}
        with (
            structlog.contextvars.bound_contextvars(**context),
            traces.span("attempt", known, parent=task.trace) as span,
            self._heartbeat.lease(task) as lease,
        ):
            self._write_outcome(self._attempt(task, process, lease, span), task)
            if isinstance(task, IdentifyTask):
                self._drop_unanswered(task)

    def _has_room(self) -> bool:
        """Whether the disk has space. While it is full tasks wait rather than fail."""
        try:
            self._folder.require_room()
        except StorageError as error:
            if not self._full:
                log.warning("no task is started", reason=str(error))
            self._full = True
        else:
            self._full = False
        return not self._full

    def _write_outcome(self, outcome: Outcome, task: Task) -> None:
        """Write an outcome, however long the database is away: without it the task would hang until a restart.

        An outcome that the database will never take, because of what is in it, ends the task with a fault.
        """
        refused = False
        while True:
            try:
                outcome()
                return
            except Exception as error:
                log.exception("cannot write the outcome of a task")
                if not refused and not may_pass(error):
                    refused, outcome = True, self._unwritable(task)
                elif self._stopping.wait(OUTCOME_RETRY_S):
                    return

    def _unwritable(self, task: Task) -> Outcome:
        """The outcome of a task whose own one cannot be stored."""
        expires_at = now_ms() + (IDENTIFY_KEPT_MS if isinstance(task, IdentifyTask) else self._policy.keep_ms)
        reason = "the outcome cannot be stored; see the server's log"
        return lambda: self._store.tasks.fail(task, reason, Fault.WORKER, expires_at=expires_at)

    def _drop_unanswered(self, task: IdentifyTask) -> None:
        """Remove the video of a search that has ended without a session: its caller may be gone."""
        try:
            drop_unanswered(self._store, self._files, task.source.id)
        except Exception:  # it is swept later
            log.warning("a video cannot be removed", exc_info=True)

    def _attempt(self, task: Task, process: SandboxProcess, lease: Lease, span: Span) -> Outcome:
        identifying = isinstance(task, IdentifyTask)
        made = keys.session_key(new_id()) if identifying else keys.attempt_key(task.id, task.attempt)
        try:
            outcome = self._do(task, made, process, lease)
            span.note({"outcome": "done"})
            return outcome
        except StoppedError:
            span.note({"outcome": "stopped"})
            self._files.remove(made)
            return lambda: self._store.tasks.release(task)
        except Exception as error:
            self._files.remove(made)
            fault, reason = _fault(error)
            span.note({"outcome": str(fault)})
            span.fail(str(fault))
            expires_at = now_ms() + (IDENTIFY_KEPT_MS if identifying else self._policy.keep_ms)
            # Another attempt may succeed where a process died. An identify task is retried only then: its caller waits.
            hopeless = fault in (Fault.INPUT, Fault.MODEL, Fault.LIMIT)
            died = isinstance(error, WorkerError) and not isinstance(error, UnexpectedError)
            hopeless = hopeless or (identifying and not died)
            end = self._store.tasks.fail if hopeless else self._store.tasks.retry
            return lambda: end(task, reason, fault, expires_at=expires_at)

    def _do(self, task: Task, made: str, process: SandboxProcess, lease: Lease) -> Outcome:
        match task:
            case IdentifyTask():
                return self._identify(task, made, process, lease)
            case RenderTask():
                return self._render(task, made, process, lease)
        raise AssertionError(f"no work for a {type(task).__name__}")

    def _render(self, task: RenderTask, made: str, process: SandboxProcess, lease: Lease) -> Outcome:
        source = self._source(task)
        with self._files.workspace() as workspace:
            folder = workspace.new(made)
            sounds = {key: workspace.get(key) for key in {str(choice.audio) for choice in task.choices}}
            job = RenderJob(
                session=None if task.session_id is None else workspace.get(keys.session_key(task.session_id)),
                video=workspace.get(source.key),
                choices=tuple(
                    replace(choice, references=tuple(workspace.get(str(key)) for key in choice.references))
                    for choice in task.choices
                ),
                audio=tuple(sounds[str(choice.audio)] for choice in task.choices),
                output=folder / keys.RESULT,
                producer=self._policy.made_by.name,
                produce_id=task.id,
                watermark=folder / keys.MARKED if task.watermark else None,
                sync_mode=task.sync_mode,
            )
            duration_ms = int(self._run(process, lease, self._work.render, job, allowed=job.allowed_paths))
            self._sign(task, source, job, process, lease)
            names = (keys.RESULT, keys.MARKED) if task.watermark else (keys.RESULT,)
            sizes = {key: workspace.put(key) for key in (f"{made}/{name}" for name in names)}
        return lambda: self._publish(task, made, sizes, duration_ms)

    def _sign(self, task: RenderTask, source: Media, job: RenderJob, process: SandboxProcess, lease: Lease) -> None:
        """Sign the files of a finished render, in a second child: the one that wrote them is never near the key.

        What they say is what was ordered. Nothing that the child says is shown to the caller, since it is not asked for
        more than that the files are signed.
        """
        certificate = self._policy.made_by.certificate
        assert certificate is not None  # a server's producer has one
        results = [(job.output, False), *([(job.watermark, True)] if job.watermark else [])]
        lease.report("signing", 1.0)
        try:
            order = SignJob(job.video, tuple(results), *_ordered(task, source), *certificate.public())
            process.run(
                self._work.sign,
                order,
                allowed=order.allowed_paths,
                limits=self._policy.limits[task.queue],
                wanted=lambda: lease.wanted,
                answer=Notary(certificate, [path.name for path, _ in results]).sign,
            )
        except (LimitError, StoppedError):
            raise
        except StorageError as error:
            log.warning("a result cannot be signed", error=repr(error))
            raise StorageError("the signed result cannot be written") from error
        except DuikouError as error:
            log.error("a result cannot be signed", error=repr(error))
            raise WorkerError("the result cannot be signed; see the server's log") from error

    def _publish(self, task: RenderTask, made: str, sizes: Mapping[str, int], duration_ms: int) -> None:
        """Publish an attempt's files as the task's results. A late attempt loses and its files are removed."""
        at = now_ms()
        until = at + self._policy.keep_ms
        kept = [  # new ids for each call: one may be taken by chance
            Media(new_id(), task.account, MediaKind.RESULT, key, ".mp4", size, duration_ms, at, until)
            for key, size in sizes.items()
        ]
        if not self._store.tasks.complete_render(task, *kept):
            now = self._store.tasks.get(task.id)
            ours = now is not None and now.status is TaskStatus.SUCCEED and now.attempt == task.attempt
            if not ours:  # else the write succeeded and only its answer was lost
                self._files.remove(made)

    def _identify(self, task: IdentifyTask, made: str, process: SandboxProcess, lease: Lease) -> Outcome:
        source = self._source(task)
        with self._files.workspace() as workspace:
            video, folder = workspace.get(source.key), workspace.new(made)
            allowed = AllowedPaths((video,), (folder,))
            found: FoundFaces = self._run(process, lease, self._work.identify, video, folder, allowed=allowed)
            _require_few_files(folder, found)
            size = workspace.put(made)
        at = now_ms()
        session_id = keys.session_of(made)
        expires_at = at + self._policy.session_ms
        session = SessionRecord(
            id=session_id,
            account=task.account,
            source=source,
            faces=found.faces,
            created_at=at,
            expires_at=expires_at,
            rejected=found.rejected,
            digest=task.digest,
            analyser=self._work.analyser,
            size=size,
        )
        return lambda: self._found(task, made, session)

    def _found(self, task: IdentifyTask, made: str, session: SessionRecord) -> None:
        """Store the session that an attempt found. A late attempt loses and its files are removed."""
        expires_at = now_ms() + IDENTIFY_KEPT_MS
        try:
            found = self._store.tasks.complete_identify(task, session, expires_at=expires_at)
        except IdTakenError:
            self._store.tasks.retry(task, "the session's id was taken", Fault.WORKER, expires_at=expires_at)
            return
        if not found and self._store.sessions.get(session.id) is None:
            self._files.remove(made)

    def _run(
        self, process: SandboxProcess, lease: Lease, function: Callable[..., Any], *args: object, allowed: AllowedPaths
    ) -> Any:
        limits = self._policy.limits[lease.task.queue]
        return process.run(
            function, *args, allowed=allowed, limits=limits, report=lease.report, wanted=lambda: lease.wanted
        )

    def _source(self, task: Task) -> Media:
        source = self._store.media.get(task.source.id)
        if source is None:
            raise InputError("the source video is no longer kept", field="session_id")
        return source


def _require_few_files(folder: Path, found: FoundFaces) -> None:
    """Raise `InvalidMessageError` where a search has left more files than a session has: each of them is stored."""
    most = FILES_OF_A_FACE * len(found.faces) + MORE_FILES
    with os.scandir(folder) as entries:
        count = sum(1 for _ in islice(entries, most + 1))
    if count > most:
        raise InvalidMessageError(f"the worker process left more than {most} files")


def _ordered(
    task: RenderTask, source: Media
) -> tuple[tuple[tuple[str, Interval], ...], tuple[Interval, SyncMode] | None]:
    """Which face speaks when, and the part by which the video becomes longer, as a task orders it."""
    spoken = []
    for choice in task.choices:
        end_ms = choice.insert_ms + (choice.trim_end_ms or 0) - choice.trim_start_ms
        spoken.append((choice.face_id, Interval(choice.insert_ms, end_ms)))
    length_ms = extended_duration_ms(task.sync_mode, source.duration_ms, max(when.end_ms for _, when in spoken))
    added = None
    if task.sync_mode is not None and length_ms > source.duration_ms:
        added = Interval(source.duration_ms, length_ms), task.sync_mode
    return tuple(sorted(spoken, key=lambda one: one[1])), added


def _fault(error: Exception) -> tuple[Fault, str]:
    """The fault of a failed attempt, and the sentence for its caller."""
    if isinstance(error, OSError) and error.errno in FULL:  # whichever file it was
        error = disk_error(error)
    match error:
        case InputError() | InvalidMessageError():  # honest work sends none: a file has taken it over
            fault = Fault.INPUT
        case LimitError():
            fault = Fault.LIMIT
        case ModelError():
            fault = Fault.MODEL
        case StorageError():
            fault = Fault.STORAGE
        case _:
            fault = Fault.WORKER
    if isinstance(error, InputError):
        # The field is a library parameter. Of a choice, the server knows what its caller calls it; others mean nothing.
        return fault, plain_text(str(error) if error.field.startswith("choices[") else error.reason)
    if isinstance(error, InvalidMessageError):  # its text repeats a child's words
        log.error("attempt failed", error=repr(error))
        return fault, "a file of it cannot be read; see the server's log"
    if isinstance(error, DuikouError):
        return fault, plain_text(str(error))
    log.warning("attempt failed", error=repr(error), exc_info=True)
    # The text of an unexpected error may name private files: it goes only into the log.
    return fault, f"unexpected {type(error).__name__}; see the server's log"
