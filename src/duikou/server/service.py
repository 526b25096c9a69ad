"""The desk at which the server asks for work: sessions and tasks, and whoever does what they need."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.errors import DuikouError, InputError, ModelError, StorageError, WorkerError
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.net.addresses import AddressPolicy
from duikou.sandbox import restrictions
from duikou.sandbox.pool import SandboxPool
from duikou.sandbox.process import LimitError, StoppedError
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.settings import Settings
from duikou.storage import keys
from duikou.storage.base import Files
from duikou.storage.data_folder import DataFolder
from duikou.storage.factory import open_files
from duikou.tasks import metrics, retention
from duikou.tasks.accounts import Accounts
from duikou.tasks.models import (
    AUDIO_SUFFIXES,
    VIDEO_SUFFIXES,
    ChoiceRecord,
    Fault,
    Media,
    MediaKind,
    Queue,
    SessionRecord,
    Task,
    TaskStatus,
)
from duikou.tasks.outbox import Outbox
from duikou.tasks.stalled import Watch
from duikou.tasks.store import ExternalIdTaken, Store, TooManyTasksError
from duikou.tasks.waiting import Waiting
from duikou.tasks.webhooks import Courier
from duikou.telemetry.traces import traces
from duikou.units import DAY_MS, HOUR_MS
from duikou.workers.dispatch import Dispatcher, LocalDispatcher
from duikou.workers.executor import SEARCH_KEPT_MS, Executor, WorkPolicy
from duikou.workers.work import UploadInfo, Work

PROBE_WORKERS = 1  # reading headers takes milliseconds
ANALYSIS_WORKERS = 1  # of an embedded server: apart, so that no render delays an answer that a caller waits for
PROBE_LIMITS = Limits(wall_s=30, memory_mb=1024, cpu_s=20, file_mb=0)  # headers that take more are an attack
PATIENCE_S = 10.0  # with a file storage that does not answer, while a caller waits
KNOWN_PACES = 20  # of that many last tasks the usual one says how long the next will take
FIRST_PACE = 4.0  # seconds of work for each second of video before there is any: 1080p on two cores (make bench)
SECRET_BYTES = 32

CANCELLED = "The task was cancelled by its caller."
UNWATCHED = "nobody waits for it any more"
ERRORS: dict[str, type[DuikouError]] = {
    Fault.LIMIT: LimitError,
    Fault.MODEL: ModelError,
    Fault.STORAGE: StorageError,
    Fault.WORKER: WorkerError,
    Fault.CANCELLED: StoppedError,
}
"""What the caller of a search is told; a fault of the input is one of the video."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Order:
    """A lip sync to be made. `sounds` are received files, one for each choice; choices' own `sound` is filled in."""

    session: SessionRecord
    choices: tuple[ChoiceRecord, ...]
    sounds: tuple[Path, ...]
    external_id: str | None
    fingerprint: str
    sync_mode: str = ""
    watermark: bool = False
    callback_url: str = ""
    files_url: str = ""


class _Part(Protocol):
    """A thread, or several, that the jobs start and wait for at their end."""

    def start(self) -> None: ...

    def join(self) -> None: ...


class Jobs:
    """Sessions and tasks. `start` takes the data folder, `stop` gives it back; both block, all else is quick.

    callback_body: what is posted of a task to the caller who asked to be told.
    reach: where strangers may send us; who listens on another port than the settings' puts that in before the start.
    secret: random bytes that all servers of a fleet share, made at the first start.
    """

    def __init__(self, settings: Settings, work: Work | None, callback_body: Callable[[Task], bytes]) -> None:
        self._settings = settings
        self._keep_ms = settings.media_days * DAY_MS
        self._render_queue = Queue(settings.render_queue)
        self._limits = {"account_limit": settings.tasks_at_once, "queue_limit": settings.queue_limit}
        self._work = work or Work()
        self._callback_body = callback_body
        self._stopping, self._draining = threading.Event(), threading.Event()
        self.reach = AddressPolicy.of(settings)
        self.folder = DataFolder(settings.data, settings.min_free_mb)
        self.files: Files
        self.store: Store
        self.accounts: Accounts
        self.secret: bytes
        self.dispatcher: Dispatcher
        self._parts: list[_Part] = []

    def start(self) -> None:
        """Take the folder, forget what is over, take up what is unfinished.

        Raises `StorageError`, and `InputError` where the settings' certificate cannot sign results.
        """
        settings, folder = self._settings, self.folder
        with ExitStack() as opened:
            folder.open()
            opened.callback(folder.close)
            self._database = Database(settings.database_url or folder.database_url)
            opened.callback(self._database.close)
            self.files = open_files(settings.storage_url, folder.root, folder.scratch, PATIENCE_S)
            self.files.ping()
            self.store, self.accounts = Store(self._database), Accounts(self._database)
            self.secret = self.accounts.secret("addresses", folder.former_secret() or secrets.token_bytes(SECRET_BYTES))
            self.dispatcher = self._dispatcher()
            traces.start(settings.otel_endpoint, "server")
            opened.callback(traces.stop)
            outbox = Outbox(self._database)
            self.fleet = metrics.QueueCollector(self.store.loads, outbox.waiting)
            self._waiting = Waiting(self.store, self._stopping)
            self._probing = SandboxPool("probe", PROBE_WORKERS, PROBE_LIMITS, self._stopping)
            courier = Courier(outbox, self.accounts, self._callback_body, reach=self.reach, stopping=self._stopping)
            sweeper = retention.Sweeper(self._database, self.store, self.files, stopping=self._stopping)
            self._parts = [self.dispatcher, self._probing, courier, sweeper]
            if self._database.shared:
                ring = self.dispatcher.resend_lost_wakeups
                self._parts.append(Watch(self.store, ring, keep_ms=self._keep_ms, stopping=self._stopping))
            else:
                self._take_up()
                retention.remove_orphans(self.store, self.files)
            self._opened = opened.pop_all()
        for part in self._parts:
            part.start()
        caged = {"network_taken": restrictions.seccomp_available(), "files_taken": restrictions.landlock_version() > 0}
        log.info("jobs started", data=str(folder.root), fleet=bool(settings.broker_url), **caged)

    def _dispatcher(self) -> Dispatcher:
        settings = self._settings
        if settings.broker_url:
            from duikou.workers.celery_app import FleetDispatcher  # Celery is for those who have a fleet

            return FleetDispatcher(settings, self.store, stopping=self._stopping)
        executor = Executor(
            self.store,
            self.files,
            self.folder,
            self._work,
            WorkPolicy.of(settings, self.folder, self.accounts if self._database.shared else None),
            stopping=self._stopping,
        )
        sizes = {Queue.ANALYSIS: ANALYSIS_WORKERS, self._render_queue: settings.workers}
        return LocalDispatcher(executor, sizes, stopping=self._stopping, draining=self._draining)

    def _take_up(self) -> None:
        """What a former server of this folder left: whoever waited for a search is gone, renders are begun again."""
        for task in self.store.unfinished():
            if task.queue is Queue.ANALYSIS:
                self.store.cancel(task, UNWATCHED, expires_at=now_ms() + SEARCH_KEPT_MS)
            elif task.status is TaskStatus.PROCESSING:
                self.files.remove(keys.attempt_key(task.id, task.attempt))  # half a result, and temporary files
                reason = "the server stopped while it worked on it"
                self.store.retry(task, reason, Fault.WORKER, expires_at=now_ms() + self._keep_ms)

    def drain(self) -> None:
        """Take no new work from now on, and begin nothing of what waits: it is left to the next server."""
        self._draining.set()

    @property
    def draining(self) -> bool:
        """Whether no new work is taken any more."""
        return self._draining.is_set()

    @property
    def busy(self) -> bool:
        """Whether any task is in hand in this process."""
        return self.dispatcher.busy

    def stop(self) -> None:
        """Stop every worker; unfinished tasks wait for the next start. A second call does nothing."""
        if self._stopping.is_set():
            return
        self._draining.set()
        self._stopping.set()
        for part in self._parts:
            part.join()
        self._opened.close()

    def missing(self) -> list[str]:
        """A sentence for each thing that new work needs and that is not there."""
        found = []
        for check in (self.require_room, self._database.ping, self.files.ping, self.dispatcher.ping):
            try:
                check()
            except Exception as error:
                found.append(str(error) if isinstance(error, DuikouError) else f"{type(error).__name__}: {error}")
        return found

    async def probe_video(self, path: Path, field: str) -> VideoInfo:
        """A received video's headers, read in a child process. Raises `MediaError` that names `field`."""
        info: VideoInfo = await self._probe(self._work.probe_video, path, field)
        return info

    async def probe_audio(self, path: Path, field: str) -> AudioInfo:
        """A received sound's headers, read in a child process. Raises `MediaError` that names `field`."""
        info: AudioInfo = await self._probe(self._work.probe_audio, path, field)
        return info

    async def probe_upload(self, path: Path, field: str) -> UploadInfo:
        """What a received file is, read in a child process. Raises `MediaError` that names `field`."""
        found: UploadInfo = await self._probe(self._work.probe_upload, path, field)
        return found

    async def _probe(self, function: Callable[..., Any], path: Path, field: str) -> Any:
        with traces.span("probe"):
            return await asyncio.wrap_future(self._probing.submit(function, path, field, allowed=AllowedPaths((path,))))

    async def identify(self, account: str, received: Path, info: VideoInfo) -> SessionRecord:
        """Find the faces of a received video, which is taken over; `info` is what its probe said.

        Raises `MediaError`, `WorkerError`, and then keeps nothing.
        """
        source = await asyncio.to_thread(
            self.keep, account, received, MediaKind.SOURCE, f".{info.container}", info.duration_ms
        )
        try:
            return await self.identify_kept(account, source)
        except BaseException:
            self.files.remove(source.key)
            self.store.drop_media(source.id)
            raise

    async def identify_kept(self, account: str, source: Media) -> SessionRecord:
        """Find the faces of a video that we keep. Raises `InputError`, `TooManyTasksError` and those of `ERRORS`."""
        task = await asyncio.to_thread(self._search, account, source)
        self.dispatcher.wake(task.queue)
        try:
            await self._waiting.until_ended(task.id)
        except BaseException:
            self.store.cancel(task, UNWATCHED, expires_at=now_ms() + SEARCH_KEPT_MS)
            raise
        ended = await asyncio.to_thread(self.store.task_of_anyone, task.id)
        if ended is None:
            raise StoppedError(UNWATCHED)
        if ended.fault == Fault.INPUT:
            raise InputError(ended.reason.removeprefix("video: "), field="video")
        if ended.fault:
            raise ERRORS[ended.fault](ended.reason)
        session = await asyncio.to_thread(self.store.session, account, ended.session_id)
        if session is None:
            raise StorageError("the session that was found is gone")
        log.info("session made", session_id=session.id, faces=len(session.faces))
        return session

    def _search(self, account: str, source: Media) -> Task:
        task = _new_task(account, source, Queue.ANALYSIS)
        return self.store.add_task(task, queue_limit=self._settings.identify_limit)

    def require_room(self) -> None:
        """Raise `StorageError` where the disk is too full for new work, `StoppedError` where none is taken any more."""
        if self._draining.is_set():
            raise StoppedError("the server is about to stop and takes no new work")
        self.folder.require_room()

    def require_turn(self, account: str) -> None:
        """Raise `TooManyTasksError` where as many videos wait to be looked at as may: callers do not wait for long."""
        self.store.require_room(account, Queue.ANALYSIS, account_limit=0, queue_limit=self._settings.identify_limit)

    def require_place(self, account: str) -> None:
        """Raise `TooManyTasksError` where the account or the server has no place for one more task."""
        self.store.require_room(account, self._render_queue, **self._limits)

    def keep(self, account: str, received: Path, kind: MediaKind, suffix: str, duration_ms: int) -> Media:
        """Keep a received file, which is taken over."""
        if suffix not in (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES):
            raise WorkerError("the worker process gave a file a kind that is none")
        media_id, at = new_id(), now_ms()
        key = keys.source_key(media_id, suffix)
        size = self.files.put(received, key)
        until = at + (self._settings.upload_hours * HOUR_MS if kind is MediaKind.UPLOAD else self._keep_ms)
        media = Media(media_id, account, kind, key, suffix, size, duration_ms, at, until)
        self.store.add_media(media)
        return media

    def use(self, media: Media, *, as_source: bool) -> None:
        """Keep an upload that a call uses for longer: as a source as long as any, else as if it had come now."""
        more = self._keep_ms if as_source else self._settings.upload_hours * HOUR_MS
        if media.kind is MediaKind.UPLOAD:
            self.store.prolong(media.id, now_ms() + more)

    def cancel(self, task: Task) -> Task | None:
        """End an unfinished task; its worker is stopped. A finished one stays as it is. `None` where it is gone."""
        return self.store.cancel(task, CANCELLED, expires_at=now_ms() + self._keep_ms)

    def delete(self, task: Task) -> None:
        """End a task where it is unfinished and forget it with its results."""
        if (ended := self.cancel(task)) is not None:
            self.files.remove(keys.task_key(ended.id))
            self.store.drop_task(ended)

    def estimate(self, video_ms: int) -> tuple[int, float]:
        """The place in the queue of a new task on a video of that length, and the seconds until it would be done, by
        what the last ones took.
        """
        pace = statistics.median(self.store.paces(KNOWN_PACES) or [FIRST_PACE])
        waiting = self.store.waiting(self._render_queue)
        return waiting + 1, pace * video_ms / 1000 * (1 + waiting // self._settings.workers)

    def submit(self, account: str, order: Order) -> Task:
        """Keep a task and have it done; the sounds are taken over.

        Raises `ExternalIdTaken`, `TooManyTasksError`, and then keeps nothing.
        """
        source = order.session.source
        task = _new_task(account, source, self._render_queue)
        choices = []
        for number, (choice, sound) in enumerate(zip(order.choices, order.sounds, strict=True)):
            key = keys.audio_key(task.id, number)
            self.files.put(sound, key)
            choices.append(replace(choice, sound=key))
        task = replace(
            task,
            external_id=order.external_id,
            fingerprint=order.fingerprint,
            session_id=order.session.id,
            choices=tuple(choices),
            sync_mode=order.sync_mode,
            watermark=order.watermark,
            callback_url=order.callback_url,
            files_url=order.files_url,
        )
        try:
            task = self.store.add_task(task, **self._limits)
        except BaseException:
            self.files.remove(keys.task_key(task.id))
            raise
        self.dispatcher.wake(task.queue)
        return task


def _new_task(account: str, source: Media, queue: Queue) -> Task:
    """A task on a video, by the call that is being answered."""
    at = now_ms()
    return Task(
        id=new_id(),
        account=account,
        source_id=source.id,
        source_suffix=source.suffix,
        source_duration_ms=source.duration_ms,
        not_before=at,
        created_at=at,
        updated_at=at,
        queue=queue,
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
        trace=traces.here(),
    )


__all__ = ["ExternalIdTaken", "Jobs", "Order", "TooManyTasksError"]
