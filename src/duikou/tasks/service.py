"""The service behind the server's routes: sessions, tasks and files of accounts."""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.errors import DuikouError, WorkerError
from duikou.media.probe import VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import FaceChoice
from duikou.sandbox.process import StoppedError
from duikou.settings import Settings
from duikou.storage import keys
from duikou.storage.base import Files
from duikou.storage.data_folder import DataFolder, Room
from duikou.tasks.analyses import ABANDONED, Analyses, AnalysisPolicy, digest_of
from duikou.tasks.dispatcher import Dispatcher
from duikou.tasks.models import (
    AUDIO_SUFFIXES,
    IDENTIFY_KEPT_MS,
    PHOTO_SUFFIXES,
    VIDEO_SUFFIXES,
    IdentifyTask,
    Media,
    MediaKind,
    RenderTask,
    SessionRecord,
    TaskCallback,
)
from duikou.tasks.neglect import NeglectMonitor
from duikou.tasks.new import new_task
from duikou.tasks.retention import drop_unanswered, remove_unused
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.queue import TaskLimits
from duikou.tasks.store.usage import StorageLimits
from duikou.tasks.waiting import CompletionWaiter, TaskWatcher
from duikou.units import DAY_MS, HOUR_MS, MIB

RECENT_PACES = 20  # the median of that many recent tasks predicts the next one
FIRST_PACE = 4.0  # seconds of work for each second of video before there is any: 1080p on two cores (make bench)

CANCELLED = "The task was cancelled by its caller."
UNEXPECTED = "something unexpected is wrong; the server's log has the details"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class NewRender:
    """A lip sync to be created.

    session_id: the session that it starts from; `None` where the task finds the faces of `source` itself.
    audio, references: local files, of each choice; they replace the choices' own. Several choices may have the same
        file, which is stored once. No references at all may be `()`.
    replaces: id of a task that failed or was cancelled, whose external id this one takes over.
    """

    source: Media
    session_id: str | None
    choices: tuple[FaceChoice, ...]
    audio: tuple[Path, ...]
    fingerprint: str
    references: tuple[tuple[Path, ...], ...] = ()
    external_id: str | None = None
    replaces: str | None = None
    sync_mode: SyncMode | None = None
    watermark: bool = False
    callback: TaskCallback | None = None


@dataclass(frozen=True)
class NewMedia:
    """A received local file that is to be stored. suffix: see `Media`."""

    path: Path
    kind: MediaKind
    suffix: str
    duration_ms: int


@dataclass(frozen=True)
class Estimate:
    """What a render would wait for. position: in the queue, 1 is next. seconds: until it would be done."""

    position: int
    seconds: float


@dataclass(frozen=True)
class ServicePolicy:
    """Limits and lifetimes. render_queue: of new renders. workers: renders that this server runs at once.

    analyser: the version of what finds faces.
    """

    keep_ms: int
    session_ms: int
    upload_ms: int
    analyser: str
    render_queue: Queue
    render_limits: TaskLimits
    identify_limits: TaskLimits
    storage_limits: StorageLimits
    workers: int

    @staticmethod
    def of(settings: Settings, analyser: str = "") -> ServicePolicy:
        """The policy of these settings."""
        return ServicePolicy(
            keep_ms=settings.media_days * DAY_MS,
            session_ms=settings.session_hours * HOUR_MS,
            upload_ms=settings.upload_hours * HOUR_MS,
            analyser=analyser,
            render_queue=Queue(settings.render_queue),
            render_limits=TaskLimits(settings.tasks_at_once, settings.queue_limit),
            identify_limits=TaskLimits(settings.identify_limit, settings.queue_limit),
            storage_limits=StorageLimits(settings.account_mb * MIB, settings.unused_mb * MIB),
            workers=settings.workers,
        )


@dataclass(frozen=True)
class ServiceParts:
    """What a service is made of, all of it open. stopping, draining: set once, when the server stops."""

    database: Database
    store: Store
    files: Files
    folder: DataFolder
    dispatcher: Dispatcher
    neglect: NeglectMonitor
    stopping: threading.Event
    draining: threading.Event


class TaskService:
    """Sessions, tasks and files. Methods block for a short time only, unless they are coroutines."""

    def __init__(self, parts: ServiceParts, policy: ServicePolicy) -> None:
        self._parts, self._policy = parts, policy
        self._store, self._files, self._folder = parts.store, parts.files, parts.folder
        self.watcher = TaskWatcher(parts.store, parts.draining)
        self._analyses = Analyses(
            parts.store,
            parts.files,
            CompletionWaiter(parts.store, parts.stopping, parts.neglect),
            parts.dispatcher.wake,
            AnalysisPolicy(policy.analyser, policy.session_ms, policy.identify_limits),
        )

    # State

    def drain(self) -> None:
        """Accept no new work and start none that waits: it is left to the next server."""
        self._parts.draining.set()

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        return self._parts.draining.is_set()

    @property
    def busy(self) -> bool:
        """Whether a task runs in this process."""
        return self._parts.dispatcher.busy

    def missing(self) -> list[str]:
        """A sentence for each thing that new work needs and that is unavailable."""
        found = []
        checks = (self.require_disk, self._parts.database.ping, self._files.ping, self._parts.dispatcher.ping)
        for check in checks:
            try:
                check()
            except Exception as error:
                if not isinstance(error, DuikouError):
                    log.exception("cannot tell what is missing")
                found.append(str(error) if isinstance(error, DuikouError) else UNEXPECTED)
        return found

    def warnings(self) -> list[str]:
        """A sentence for operators on each thing that keeps accepted work from being done."""
        return self._parts.neglect.warnings()

    def require_disk(self) -> None:
        """Raise `StorageError` where the disk is too full for new work, `StoppedError` where the server drains."""
        if self.draining:
            raise StoppedError("the server is about to stop and takes no new work")
        self._folder.require_room()

    def require_storage(self, account: str, *, upload: bool = False) -> None:
        """The same for new work of an account, which stores something. Raises `QuotaError`, too.

        Where the disk nears its floor, unused uploads go: the oldest of whoever has most of them. upload: whether the
        work is to receive one, for which the account's own go.
        """
        if (left := self._folder.scarce()) is not None:
            remove_unused(self._files, self._store.usage.take_unused(account, left), "disk")
        if (left := self._folder.scarce()) is not None:
            gone = self._store.usage.require_share(account, left, replaces=upload)
            remove_unused(self._files, gone, "disk")
        self.require_disk()
        self._store.usage.require_room(account, self._policy.storage_limits)

    def require_identify_slot(self, account: str) -> None:
        """Raise `TooManyTasksError` where too many videos wait for their faces: callers do not wait for long."""
        self._store.queue.require_room(account, Queue.IDENTIFY, self._policy.identify_limits)

    def require_render_slot(self, account: str) -> None:
        """Raise `TooManyTasksError` where the account or the server has no room for another render."""
        self._store.queue.require_room(account, self._policy.render_queue, self._policy.render_limits)

    # Files

    def incoming(self) -> Path:
        """A path for a new file that is received."""
        return self._folder.incoming()

    def reserve(self, account: str) -> AbstractContextManager[Room]:
        """Disk space for a file that is received for an account. Raises `StorageError` where there is too little."""
        return self._folder.reserve(account)

    def add_media(self, account: str, new: NewMedia) -> Media:
        """Store a received file; its local copy is taken over. A source is kept for long once its faces are found.

        Unused uploads of the account go where it would store too much with it. Raises `QuotaError` where that is not
        enough, and then keeps nothing.
        """
        if new.suffix not in (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES, *PHOTO_SUFFIXES):
            raise WorkerError(f"the worker process reported an unknown kind of file, {new.suffix!r}")
        media_id, at = new_id(), now_ms()
        key = keys.source_key(media_id, new.suffix)
        size = self._files.put(new.path, key)
        until = at + (self._policy.upload_ms if new.kind is MediaKind.UPLOAD else IDENTIFY_KEPT_MS)
        media = Media(media_id, account, new.kind, key, new.suffix, size, new.duration_ms, at, until)
        try:
            gone = self._store.usage.add(media, self._policy.storage_limits)
        except BaseException:
            self._files.remove(key)
            raise
        remove_unused(self._files, gone, "account")
        return media

    def add_source(self, account: str, received: Path, info: VideoInfo) -> Media:
        """Store a received video, which is taken over; info: its probe."""
        return self.add_media(account, NewMedia(received, MediaKind.SOURCE, f".{info.container}", info.duration_ms))

    def keep_source(self, source: Media) -> None:
        """Keep a received video for as long as any, because something came of it."""
        self._store.media.extend(source.id, now_ms() + self._policy.keep_ms)

    def remove_source(self, source: Media) -> None:
        """Remove a received video, unless something came of it. Where that fails it is swept later."""
        try:
            drop_unanswered(self._store, self._files, source.id)
        except Exception:
            log.warning("a video cannot be removed", exc_info=True)

    def media(self, account: str, media_id: str) -> Media | None:
        """An unexpired file of the account, or `None`."""
        return self._store.media.find(account, media_id)

    def media_by_key(self, account: str, key: str) -> Media | None:
        """An unexpired file of the account by its key in the file storage, or `None`."""
        return self._store.media.find_by_key(account, key)

    def public_media(self, media_id: str) -> Media | None:
        """An unexpired file of any account, for callers with a signed address; or `None`."""
        media = self._store.media.get(media_id)
        return media if media and media.expires_at > now_ms() else None

    def extend_upload(self, media: Media, *, as_source: bool) -> bool:
        """Keep an upload longer because a call uses it: a source for as long as any, else as if it had just come.

        False where it is gone: it had to make room.
        """
        more = self._policy.keep_ms if as_source else self._policy.upload_ms
        return media.kind is not MediaKind.UPLOAD or self._store.media.use(media.id, now_ms() + more)

    def renew_upload(self, media: Media) -> None:
        """Keep an upload as if it had just come."""
        if media.kind is MediaKind.UPLOAD:
            self._store.media.extend(media.id, now_ms() + self._policy.upload_ms)

    def local_file(self, key: str) -> Path | None:
        """Where a stored file can be read in place, or `None`."""
        return self._files.local_path(key)

    def copy_file(self, key: str, to: Path) -> None:
        """Copy a stored file to a local path."""
        self._files.copy(key, to)

    def file_size(self, key: str) -> int | None:
        """Bytes of a stored file, or `None`."""
        return self._files.size(key)

    def read_file(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end - 1` of a stored file, in pieces."""
        return self._files.read(key, start, end)

    # Sessions

    def session(self, account: str, session_id: str) -> SessionRecord | None:
        """An unexpired session of the account, or `None`."""
        return self._store.sessions.find(account, session_id)

    def public_session(self, session_id: str) -> SessionRecord | None:
        """An unexpired session of any account, for callers with a signed address; or `None`."""
        return self._store.sessions.get(session_id)

    async def identify(self, account: str, received: Path, info: VideoInfo) -> SessionRecord:
        """Find the faces of a received video, which is taken over; info: its probe.

        Raises those of `identify_source`, and then keeps nothing, unless the search goes on: see `Analyses`.
        """
        digest = await asyncio.to_thread(digest_of, received)
        source = await asyncio.to_thread(self.add_source, account, received, info)
        try:
            session = await self._analyses.session(source, digest)
            await asyncio.to_thread(self.keep_source, source)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self.remove_source, source))
            raise
        return session

    async def identify_source(self, source: Media, digest: str) -> SessionRecord:
        """Find the faces of a stored video; digest: of its bytes. Raises those of `Analyses.session`."""
        return await self._analyses.session(source, digest)

    # Tasks

    def task(self, account: str, task_id: str) -> RenderTask | None:
        """A task of the account by its id or by the caller's own id, or `None`."""
        return self._store.tasks.find(account, task_id) or self.task_by_external_id(account, task_id)

    def task_by_external_id(self, account: str, external_id: str) -> RenderTask | None:
        """A task of the account by the caller's own id, or `None`."""
        return self._store.tasks.find_by_external_id(account, external_id)

    def tasks(self, account: str, *, on_sessions: bool, offset: int, limit: int) -> list[tuple[RenderTask, int | None]]:
        """Tasks of the account, newest first, each with its position in the queue while it waits.

        on_sessions: those that start from a session, else those that find the face themselves.
        """
        page = self._store.tasks.page(account, on_sessions=on_sessions, offset=offset, limit=limit)
        positions = self._store.queue.positions(task.id for task in page)
        return [(task, positions.get(task.id)) for task in page]

    def position(self, task: RenderTask) -> int | None:
        """The task's position in its queue, 1 is next; `None` where it does not wait."""
        if task.status is not TaskStatus.SUBMITTED:
            return None
        return self._store.queue.positions([task.id]).get(task.id)

    def submit(self, account: str, new: NewRender) -> RenderTask:
        """Store a render and have it run; the audio files and references are taken over, and its source is kept.

        Raises `ExternalIdTaken`, `TooManyTasksError`, and then keeps nothing.
        """
        common = new_task(account, new.source)
        choices, stored, size = [], dict[Path, str](), 0
        for number, (choice, audio, references) in enumerate(
            zip(new.choices, new.audio, new.references or [()] * len(new.choices), strict=True)
        ):
            lent = tuple(keys.reference_key(common["id"], number, place) for place in range(len(references)))
            for path, to in zip((audio, *references), (keys.audio_key(common["id"], number), *lent), strict=True):
                if path not in stored:
                    size += self._files.put(path, to)
                    stored[path] = to
            choices.append(replace(choice, audio=stored[audio], references=tuple(stored[path] for path in references)))
        task = RenderTask(
            **common,
            queue=self._policy.render_queue,
            session_id=new.session_id,
            choices=tuple(choices),
            fingerprint=new.fingerprint,
            external_id=new.external_id,
            sync_mode=new.sync_mode,
            watermark=new.watermark,
            callback=new.callback,
            size=size,
        )
        try:
            task = self._store.tasks.add(
                task,
                self._policy.render_limits,
                replaces=new.replaces,
                source_until=now_ms() + self._policy.keep_ms,
            )
        except BaseException:
            self._files.remove(keys.task_key(task.id))
            raise
        self._parts.dispatcher.wake(task.queue)
        return task

    def estimate(self, video_ms: int) -> Estimate:
        """What a new render on a video of that length would wait for, by the pace of recent ones."""
        pace = statistics.median(self._store.queue.paces(RECENT_PACES) or [FIRST_PACE])
        waiting = self._store.queue.waiting(self._policy.render_queue)
        return Estimate(waiting + 1, pace * video_ms / 1000 * (1 + waiting // self._policy.workers))

    def cancel(self, task: RenderTask) -> RenderTask | None:
        """End an unfinished task; its worker is stopped. A finished one stays as it is. `None` where it is gone."""
        return self._store.tasks.cancel(task, CANCELLED, expires_at=now_ms() + self._policy.keep_ms)

    def delete(self, task: RenderTask) -> None:
        """End a task where it is unfinished and delete it with its results."""
        if (ended := self.cancel(task)) is not None:
            self._files.remove(keys.task_key(ended.id))
            self._store.tasks.remove(ended)


def resume(store: Store, files: Files, *, keep_ms: int) -> None:
    """Take over what the last server of this folder left: cancel identify tasks (no caller is left), retry renders.

    keep_ms: lifetime of a render that has no tries left.
    """
    for task in store.tasks.unfinished():
        if isinstance(task, IdentifyTask):
            store.tasks.cancel(task, ABANDONED, expires_at=now_ms() + IDENTIFY_KEPT_MS)
            drop_unanswered(store, files, task.source.id)
        elif task.status is TaskStatus.PROCESSING:
            files.remove(keys.attempt_key(task.id, task.attempt))  # half a result, and temporary files
            reason = "the server stopped while it worked on it"
            store.tasks.retry(task, reason, Fault.WORKER, expires_at=now_ms() + keep_ms)
