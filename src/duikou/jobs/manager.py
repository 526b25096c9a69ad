"""The desk at which the server asks for work: sessions and tasks of one data folder, and the processes behind them."""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from duikou.errors import WorkerError
from duikou.jobs import confine, retention
from duikou.jobs import folder as keys
from duikou.jobs.accounts import Accounts
from duikou.jobs.confine import Limits, Places
from duikou.jobs.courier import Courier
from duikou.jobs.database import Database
from duikou.jobs.dispatch import LocalDispatcher
from duikou.jobs.folder import DataFolder
from duikou.jobs.ids import new_id, now_ms
from duikou.jobs.lane import Lane
from duikou.jobs.outbox import Outbox
from duikou.jobs.state import (
    SOUND_SUFFIXES,
    VIDEO_SUFFIXES,
    ChoiceRecord,
    FaceSummary,
    Media,
    MediaKind,
    SessionRecord,
    Task,
    TaskStatus,
)
from duikou.jobs.store import ExternalIdTaken, Store, TooManyTasksError
from duikou.jobs.work import Received, Work
from duikou.jobs.worker import StoppedError
from duikou.media.addresses import Reach
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.provenance.producer import configured
from duikou.settings import Settings

PROBE_WORKERS = 1  # reading headers takes milliseconds
ANALYSIS_WORKERS = 1  # a lane of its own, so that no render delays an answer that a caller waits for
PROBE_LIMITS = Limits(wall_s=30, memory_mb=1024, cpu_s=20, file_mb=0)  # headers that take more are an attack
SWEEP_EVERY_S = 600
KNOWN_PACES = 20  # of that many last tasks the usual one says how long the next will take
FIRST_PACE = 4.0  # seconds of work for each second of video before there is any: 1080p on two cores (make bench)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

CANCELLED = "The task was cancelled by its caller."

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


class Jobs:
    """Sessions and tasks. `start` takes the data folder, `stop` gives it back; both block, all else is quick.

    callback_body: what is posted of a task to the caller who asked to be told.
    reach: where strangers may send us; who listens on another port than the settings' puts that in before the start.
    """

    def __init__(self, settings: Settings, work: Work | None, callback_body: Callable[[Task], bytes]) -> None:
        self._settings = settings
        self._keep_ms = settings.media_days * DAY_MS
        self._work = work or Work()
        self._callback_body = callback_body
        self._stopping, self._draining = threading.Event(), threading.Event()
        self.reach = Reach.of(settings)
        self.folder = DataFolder(settings.data, settings.min_free_mb)
        self.store: Store
        self.accounts: Accounts
        self.dispatcher: LocalDispatcher
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Take the folder, forget what is over, take up what is unfinished.

        Raises `StorageError`, and `InputError` where the settings' certificate cannot sign results.
        """
        settings = self._settings
        self.folder.open()
        try:
            made_by = configured(settings, self.folder.root)
            self._database = Database(self.folder.database_url)
        except BaseException:
            self.folder.close()
            raise
        self.store, self.accounts = Store(self._database), Accounts(self._database)
        orphans = retention.remove_orphans(self.store, self.folder)
        limits = Limits(settings.task_timeout_s, settings.task_memory_mb, settings.task_cpu_s, settings.task_file_mb)
        looking = replace(limits, wall_s=min(settings.identify_timeout_s, limits.wall_s))
        self._probing = Lane("probe", PROBE_WORKERS, PROBE_LIMITS, self._stopping)
        self._analysis = Lane("analyse", ANALYSIS_WORKERS, looking, self._stopping)
        self.dispatcher = LocalDispatcher(
            self.store,
            self.folder,
            self._work,
            workers=settings.workers,
            limits=limits,
            keep_ms=self._keep_ms,
            made_by=made_by,
            stopping=self._stopping,
            draining=self._draining,
        )
        self._courier = Courier(
            Outbox(self._database),
            self.accounts,
            self._callback_body,
            reach=self.reach,
            stopping=self._stopping,
        )
        self._sweeper = threading.Thread(target=self._sweep, name="duikou-sweep", daemon=True)
        for part in (self._probing, self._analysis, self.dispatcher, self._courier, self._sweeper):
            part.start()
        caged = {"network_taken": confine.can_take_calls(), "files_taken": confine.landlock_version() > 0}
        log.info("jobs started", data=str(self.folder.root), workers=settings.workers, orphans=orphans, **caged)

    def drain(self) -> None:
        """Take no new work from now on, and begin nothing of what waits: it is left to the next server."""
        self._draining.set()

    @property
    def draining(self) -> bool:
        """Whether no new work is taken any more."""
        return self._draining.is_set()

    @property
    def busy(self) -> bool:
        """Whether any task is in hand."""
        return bool(self.store.processing())

    def stop(self) -> None:
        """Stop every worker; unfinished tasks wait for the next start. A second call does nothing."""
        if self._stopping.is_set():
            return
        self._draining.set()
        self._stopping.set()
        for part in (self.dispatcher, self._probing, self._analysis, self._courier, self._sweeper):
            part.join()
        self._database.close()
        self.folder.close()

    def ping(self) -> None:
        """Raise the database's own error where it does not answer."""
        self._database.ping()

    async def probe_video(self, path: Path, field: str) -> VideoInfo:
        """A received video's headers, read in a child process. Raises `MediaError` that names `field`."""
        info: VideoInfo = await self._probe(self._work.probe_video, path, field)
        return info

    async def probe_sound(self, path: Path, field: str) -> AudioInfo:
        """A received sound's headers, read in a child process. Raises `MediaError` that names `field`."""
        info: AudioInfo = await self._probe(self._work.probe_sound, path, field)
        return info

    async def probe_upload(self, path: Path, field: str) -> Received:
        """What a received file is, read in a child process. Raises `MediaError` that names `field`."""
        found: Received = await self._probe(self._work.probe_upload, path, field)
        return found

    async def _probe(self, function: Callable[..., Any], path: Path, field: str) -> Any:
        return await asyncio.wrap_future(self._probing.submit(function, path, field, places=Places((path,))))

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
            self.folder.remove(source.key)
            self.store.drop_media(source.id)
            raise

    async def identify_kept(self, account: str, source: Media) -> SessionRecord:
        """Find the faces of a video that we keep. Raises `MediaError`, `WorkerError`."""
        session_id = new_id()
        video, folder = self.folder.path(source.key), self.folder.path(keys.session_key(session_id))
        folder.mkdir()
        try:
            faces: tuple[FaceSummary, ...] = await asyncio.wrap_future(
                self._analysis.submit(self._work.identify, video, folder, places=Places((video,), (folder,)))
            )
            if not all(face.id.isdecimal() for face in faces):  # they become names of files
                raise WorkerError("the worker process gave a face a name that is none")
        except BaseException:
            self.folder.remove(keys.session_key(session_id))
            raise
        at = now_ms()
        session = SessionRecord(session_id, account, source, faces, at, at + self._settings.session_hours * HOUR_MS)
        await asyncio.to_thread(self.store.add_session, session)
        log.info("session made", session_id=session_id, faces=len(faces))
        return session

    def require_room(self) -> None:
        """Raise `StorageError` where the disk is too full for new work, `StoppedError` where none is taken any more."""
        if self._draining.is_set():
            raise StoppedError("the server is about to stop and takes no new work")
        self.folder.require_room()

    def require_turn(self) -> None:
        """Raise `TooManyTasksError` where as many videos wait to be looked at as may: callers do not wait for long."""
        if self._analysis.waiting >= (most := self._settings.identify_limit):
            raise TooManyTasksError(f"As many videos as may, {most}, wait to be looked at; try again in a few seconds.")

    def require_place(self, account: str) -> None:
        """Raise `TooManyTasksError` where the account or the server has no place for one more task."""
        self.store.require_room(
            account, account_limit=self._settings.tasks_at_once, queue_limit=self._settings.queue_limit
        )

    def keep(self, account: str, received: Path, kind: MediaKind, suffix: str, duration_ms: int) -> Media:
        """Keep a received file, which is taken over."""
        if suffix not in (*VIDEO_SUFFIXES, *SOUND_SUFFIXES):
            raise WorkerError("the worker process gave a file a kind that is none")
        media_id, at = new_id(), now_ms()
        key = keys.source_key(media_id, suffix)
        size = self.folder.take(received, key).stat().st_size
        media = Media(media_id, account, kind, key, suffix, size, duration_ms, at, at + self._keep_ms)
        self.store.add_media(media)
        return media

    def cancel(self, account: str, task_id: str) -> Task | None:
        """End an unfinished task; its worker stops by itself. A finished one stays as it is. `None` for no task."""
        return self.store.cancel(account, task_id, CANCELLED, expires_at=now_ms() + self._keep_ms)

    def delete(self, account: str, task_id: str) -> Task | None:
        """End a task where it is unfinished and forget it with its results. `None` for no task."""
        task = self.cancel(account, task_id)
        if task is not None:
            self.folder.remove(keys.task_key(task.id))
            self.store.drop_task(task)
        return task

    def estimate(self, video_ms: int) -> tuple[int, float]:
        """The place in the queue of a new task on a video of that length, and the seconds until it would be done, by
        what the last ones took.
        """
        pace = statistics.median(self.store.paces(KNOWN_PACES) or [FIRST_PACE])
        waiting = len(self.store.positions())
        return waiting + 1, pace * video_ms / 1000 * (1 + waiting // self._settings.workers)

    def submit(self, account: str, order: Order) -> Task:
        """Keep a task and have it done; the sounds are taken over.

        Raises `ExternalIdTaken`, `TooManyTasksError`, and then keeps nothing.
        """
        task_id, at = new_id(), now_ms()
        choices = []
        for number, (choice, sound) in enumerate(zip(order.choices, order.sounds, strict=True)):
            key = keys.sound_key(task_id, number)
            self.folder.take(sound, key)
            choices.append(replace(choice, sound=key))
        source = order.session.source
        task = Task(
            id=task_id,
            account=account,
            external_id=order.external_id,
            fingerprint=order.fingerprint,
            session_id=order.session.id,
            source_id=source.id,
            source_suffix=source.suffix,
            source_duration_ms=source.duration_ms,
            choices=tuple(choices),
            status=TaskStatus.SUBMITTED,
            reason="",
            attempt=0,
            tries=0,
            progress=0.0,
            stage="",
            not_before=at,
            result_id="",
            result_duration_ms=0,
            created_at=at,
            updated_at=at,
            expires_at=0,
            sync_mode=order.sync_mode,
            watermark=order.watermark,
            callback_url=order.callback_url,
            files_url=order.files_url,
        )
        try:
            self.store.add_task(
                task, account_limit=self._settings.tasks_at_once, queue_limit=self._settings.queue_limit
            )
        except BaseException:
            self.folder.remove(keys.task_key(task_id))
            raise
        self.dispatcher.wake()
        return task

    def _sweep(self) -> None:
        while True:
            try:
                while retention.sweep(self.store, self.folder) and not self._stopping.is_set():
                    pass
            except Exception:
                log.exception("the sweep failed")
            if self._stopping.wait(SWEEP_EVERY_S):
                return


__all__ = ["ExternalIdTaken", "Jobs", "Order", "TooManyTasksError"]
