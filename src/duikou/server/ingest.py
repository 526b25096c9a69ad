"""How a file gets in (by URL, as an upload, in base64, or stored already), and what is created from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from starlette.concurrency import run_in_threadpool

from duikou.errors import InputError
from duikou.media.probe import VideoInfo
from duikou.net.addresses import AddressPolicy
from duikou.net.fetch import check_url, fetch
from duikou.pipeline.choice import MAX_CHOICES, ChoiceValidator, FaceChoice
from duikou.server import leniency, schemas, validation
from duikou.server.probing import MediaProber
from duikou.server.signed_urls import FileUrls
from duikou.settings import Settings
from duikou.tasks.analyses import digest_of
from duikou.tasks.models import (
    AUDIO_SUFFIXES,
    PHOTO_SUFFIXES,
    VIDEO_SUFFIXES,
    Media,
    MediaKind,
    RenderTask,
    SessionRecord,
    TaskCallback,
)
from duikou.tasks.service import NewMedia, NewRender, TaskService
from duikou.tasks.store.errors import ExternalIdTaken
from duikou.telemetry.traces import traces
from duikou.units import MIB

SOUNDS = 8  # largest sounds that one request may bring, together
FETCHES = 5  # longest fetches that one request may take, together
REFERENCE_SUFFIXES = (*VIDEO_SUFFIXES, *PHOTO_SUFFIXES)
UPLOAD_SUFFIXES = (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES, *PHOTO_SUFFIXES)
NAMES = {
    VIDEO_SUFFIXES: "video",
    AUDIO_SUFFIXES: "sound",
    REFERENCE_SUFFIXES: "clip or photo",
    UPLOAD_SUFFIXES: "file",
}
"""What a missing file of some kind is called."""


@dataclass(frozen=True)
class Caller:
    """Who calls, and the URLs of files as this call writes them."""

    account: str
    urls: FileUrls


@dataclass(frozen=True)
class FileReference:
    """How a request names a file: by the id of a stored one or by a URL. field: the request's field, for errors."""

    media_id: str | None
    url: str | None
    field: str
    suffixes: tuple[str, ...]


@dataclass(frozen=True)
class Identified:
    """A session and the description of its video."""

    session: SessionRecord
    video: VideoInfo


class Intake:
    """What one request brings: sounds that several entries name are received once, and all together have limits.

    stack: removes what is left of the files.
    """

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.sounds: dict[tuple[str | None, str | None], tuple[Path, int]] = {}
        self.with_references: set[str] = set()
        self._most_bytes = self._bytes_left = SOUNDS * settings.max_audio_mb * MIB
        self._most_s = FETCHES * settings.fetch_timeout_s
        self._until_s = monotonic() + self._most_s

    def count(self, path: Path, field: str) -> None:
        """Count a sound. Raises `InputError` where all of them are too large."""
        self._bytes_left -= path.stat().st_size
        if self._bytes_left < 0:
            all_bytes = self._most_bytes - self._bytes_left
            raise InputError(
                f"the sounds of the request have {all_bytes} bytes or more; at most {self._most_bytes} are taken.",
                field=field,
            )

    def check_time(self, field: str) -> None:
        """Raise `InputError` where the files have taken too long to come."""
        if monotonic() > self._until_s:
            raise InputError(f"the files of the request were not here within {self._most_s} s.", field=field)


class Ingest:
    """Receives files, and creates the sessions and tasks that are made from them."""

    def __init__(self, service: TaskService, prober: MediaProber, addresses: AddressPolicy, settings: Settings) -> None:
        self._service, self._prober, self._addresses, self._settings = service, prober, addresses, settings

    # Sessions

    async def identify(self, caller: Caller, body: schemas.IdentifyRequest) -> Identified:
        """A session on the video that a request names. Raises `InputError` and the errors of `TaskService.identify`."""
        if bool(body.video_url) == bool(body.video_id):
            raise InputError("exactly one of video_url and video_id must be given.", field="video_url")
        await run_in_threadpool(self._service.require_disk)
        field = "video_id" if body.video_id else "video_url"
        media = await self._stored(caller, FileReference(body.video_id, body.video_url, field, VIDEO_SUFFIXES))
        if media is not None:
            return await self._identify_stored(media, field)
        return await self._identify_url(caller.account, body.video_url or "")

    async def _identify_url(self, account: str, url: str) -> Identified:
        await run_in_threadpool(self._service.require_identify_slot, account)  # before the bytes are fetched
        max_mb = self._settings.max_video_mb
        async with self.receiving(max_mb) as path:
            await self._fetch(url, path, max_mb, "video_url")
            info = await self._prober.video(path, "video_url")
            validation.check_video(info, "video_url", any_size=self._settings.any_size)
            with _naming("video_url"):
                return Identified(await self._service.identify(account, path, info), info)

    async def _identify_stored(self, media: Media, field: str) -> Identified:
        async with self._local(media) as path:
            info = await self._prober.video(path, field)
            digest = await run_in_threadpool(digest_of, path)
        validation.check_video(info, field, any_size=self._settings.any_size)
        await run_in_threadpool(lambda: self._service.extend_upload(media, as_source=True))
        with _naming(field):
            return Identified(await self._service.identify_source(media, digest), info)

    # Tasks

    async def create_task(self, caller: Caller, body: schemas.LipSyncRequest) -> RenderTask | schemas.DryRunData:
        """The task of a request, new or created by the same request before; the estimate where it is a dry run.

        Raises `InputError`, `TooManyTasksError`.
        """
        holder = await run_in_threadpool(self._holder, caller.account, body)
        if holder is not None and not holder.failed and not body.dry_run:
            return holder
        service, session = self._service, await self._session(caller.account, body)
        validator = validation.validator_of(session, body.sync_mode)
        choices, doubts = validation.resolve(session, validator, [asked.choice() for asked in body.face_choose])
        validation.check_choices(validator, choices)
        await run_in_threadpool(service.require_disk)
        await run_in_threadpool(service.require_render_slot, caller.account)
        async with AsyncExitStack() as stack:
            intake = Intake(self._settings, stack)
            audio, references, fitted = [], [], []
            for number, asked in enumerate(body.face_choose):
                path, audio_ms = await self._receive_audio(caller, asked, f"face_choose[{number}]", intake)
                audio.append(path)
                fitted.append(validation.fit(validator, choices[number], number, audio_ms))
                references.append(await self._receive_references(caller, asked, f"face_choose[{number}]", intake))
            fitted = validation.fit_together(validator, fitted)
            if body.dry_run:
                estimate = await self._estimate(session, validator, fitted)
                estimate.warnings += schemas.face_warnings(doubts)
                return estimate
            new = NewRender(
                session.source,
                session.id,
                tuple(fitted),
                tuple(audio),
                body.fingerprint(),
                tuple(references),
                **_options(caller, body, holder),
            )
            return await self._submit(caller.account, new, body)

    async def create_older_task(self, caller: Caller, body: schemas.OlderLipSyncRequest) -> RenderTask:
        """The task of a request of the older call, new or created by the same request before.

        It finds the faces itself: that may take longer than a caller waits. Raises `InputError`, `TooManyTasksError`.
        """
        given, service = body.input, self._service
        (field, text), fingerprint = body.speech(), body.fingerprint()
        if bool(given.video_url) == bool(given.video_id):
            raise InputError("exactly one of video_url and video_id must be given.", field="input.video_url")
        holder = await run_in_threadpool(self._holder, caller.account, body)
        if holder is not None and not holder.failed:
            return holder
        self._check_callback(body)
        await run_in_threadpool(service.require_disk)
        await run_in_threadpool(service.require_render_slot, caller.account)
        async with self.receiving(self._settings.max_audio_mb) as audio, self._received_source(caller, given) as source:
            audio_ms = await self._receive_speech(caller, FileReference(None, text, field, AUDIO_SUFFIXES), audio)
            try:
                choice = validation.whole_speech(audio_ms, source.duration_ms, body.sync_mode)
            except InputError as error:
                raise error.renamed(error.field or field) from error
            new = NewRender(source, None, (choice,), (audio,), fingerprint, **_options(caller, body, holder))
            return await self._submit(caller.account, new, body)

    @asynccontextmanager
    async def _received_source(self, caller: Caller, given: schemas.OlderInput) -> AsyncIterator[Media]:
        """The stored video of a request, checked; a fetched one is removed where the block fails."""
        field = "input.video_id" if given.video_id else "input.video_url"
        media = await self._stored(caller, FileReference(given.video_id, given.video_url, field, VIDEO_SUFFIXES))
        if media is not None:
            async with self._local(media) as path:
                info = await self._prober.video(path, field)
            validation.check_video(info, field, any_size=self._settings.any_size)
            await run_in_threadpool(self._service.extend_upload, media, as_source=True)
            yield media
            return
        max_mb = self._settings.max_video_mb
        async with self.receiving(max_mb) as path:
            await self._fetch(given.video_url or "", path, max_mb, field)
            info = await self._prober.video(path, field)
            validation.check_video(info, field, any_size=self._settings.any_size)
            media = await run_in_threadpool(self._service.add_source, caller.account, path, info)
        try:
            yield media
        except BaseException:
            await run_in_threadpool(self._service.remove_source, media)
            raise
        await run_in_threadpool(self._service.keep_source, media)

    async def _submit(self, account: str, new: NewRender, body: schemas.CreateRequest) -> RenderTask:
        """Create a task. Where a concurrent request with the same external id was faster, its task."""
        try:
            return await run_in_threadpool(self._service.submit, account, new)
        except ExternalIdTaken:
            task = await run_in_threadpool(self._service.task_by_external_id, account, new.external_id or "")
            if task is None:
                raise
            _require_same(task, body)
            return task

    async def retry_task(self, caller: Caller, task: RenderTask) -> RenderTask:
        """A new task with the session, the choices and copies of the files of a finished one.

        Raises `InputError` where the task is not finished or its material is gone, `TooManyTasksError`.
        """
        service = self._service
        if not task.finished:
            status = schemas.STATUSES[task.status]
            raise InputError(f"task {task.id} is {status}; only a finished task can be tried again.", field="id")
        source = await run_in_threadpool(self._source_of, caller.account, task)
        await run_in_threadpool(service.require_disk)
        await run_in_threadpool(service.require_render_slot, caller.account)
        async with AsyncExitStack() as stack:
            copies: dict[str, Path] = {}

            async def copy(key: str | Path) -> Path:
                if str(key) not in copies:
                    copies[str(key)] = await self._copy_of(str(key), task, stack)
                return copies[str(key)]

            audio = tuple([await copy(choice.audio) for choice in task.choices])
            references = tuple([tuple([await copy(key) for key in choice.references]) for choice in task.choices])
            new = NewRender(
                source,
                task.session_id,
                task.choices,
                audio,
                task.fingerprint,
                references,
                sync_mode=task.sync_mode,
                watermark=task.watermark,
                callback=TaskCallback(task.callback.url, caller.urls.base) if task.callback else None,
            )
            return await run_in_threadpool(service.submit, caller.account, new)

    async def _copy_of(self, key: str, task: RenderTask, stack: AsyncExitStack) -> Path:
        """A local copy of a task's file; `stack` removes what is left of it. Raises `InputError` where it is gone."""
        size = await run_in_threadpool(self._service.file_size, key)
        if size is None:
            raise InputError(f"the speech or a reference of task {task.id} is no longer stored.", field="id")
        path = await stack.enter_async_context(self.receiving(size // MIB + 1))
        await run_in_threadpool(self._service.copy_file, key, path)
        return path

    def _source_of(self, account: str, task: RenderTask) -> Media:
        """The video of a finished task, if the task can be done again. Raises `InputError`."""
        if task.session_id is None:
            media = self._service.media(account, task.source.id)
            if media is None:
                raise InputError(f"the video of task {task.id} is no longer stored.", field="id")
            return media
        session = self._service.session(account, task.session_id)
        if session is None:
            raise InputError(
                f"the session of task {task.id} has expired, or its video is gone; identify the faces again.",
                field="id",
            )
        return session.source

    def _holder(self, account: str, body: schemas.CreateRequest) -> RenderTask | None:
        """The task that has the request's external id: of the same request, or failed, so that it gives up the id.

        Raises `InputError` where another request's task has it.
        """
        if not body.external_task_id:
            return None
        task = self._service.task_by_external_id(account, body.external_task_id)
        if task is not None and not task.failed:
            _require_same(task, body)
        return task

    async def _session(self, account: str, body: schemas.LipSyncRequest) -> SessionRecord:
        most = MAX_CHOICES if self._settings.several_faces else 1
        if not 1 <= (given := len(body.face_choose)) <= most:
            what = "exactly one entry is" if most == 1 else f"1 to {most} entries are"
            raise InputError(f"{what} expected, not {given}.", field="face_choose")
        session = await run_in_threadpool(self._service.session, account, body.session_id)
        if session is None:
            raise InputError(f"there is no session {body.session_id[:80]!r}, or it has expired.", field="session_id")
        self._check_callback(body)
        return session

    def _check_callback(self, body: schemas.CreateRequest) -> None:
        if body.callback_url:
            check_url(body.callback_url, "callback_url", self._addresses)

    async def _estimate(
        self, session: SessionRecord, validator: ChoiceValidator, choices: list[FaceChoice]
    ) -> schemas.DryRunData:
        video_ms = validator.result_ms(choices)
        estimate = await run_in_threadpool(self._service.estimate, video_ms)
        speaking = {choice.face_id for choice in choices}
        return schemas.DryRunData(
            duration=schemas.seconds_text(video_ms),
            estimated_time=f"{estimate.seconds:.1f}",
            queue_position=estimate.position,
            warnings=[
                warning
                for face in session.faces
                if face.id in speaking
                for warning in schemas.face_warnings(face.warnings)
            ],
            request=schemas.requested_data(choices),
        )

    async def _receive_audio(
        self, caller: Caller, asked: schemas.FaceChoose, entry: str, intake: Intake
    ) -> tuple[Path, int]:
        """Receive the speech of one choice: its file and its length in ms."""
        if bool(asked.sound_file) == bool(asked.audio_id):
            raise InputError("exactly one of sound_file and audio_id must be given.", field=entry)
        named = asked.audio_id or None, asked.sound_file or None
        if named in intake.sounds:
            return intake.sounds[named]
        field = f"{entry}.audio_id" if asked.audio_id else f"{entry}.sound_file"
        intake.check_time(field)
        to = await intake.stack.enter_async_context(self.receiving(self._settings.max_audio_mb))
        given = FileReference(asked.audio_id, asked.sound_file or "", field, AUDIO_SUFFIXES)
        audio_ms = await self._receive_speech(caller, given, to)
        intake.count(to, field)
        intake.sounds[named] = to, audio_ms
        return intake.sounds[named]

    async def _receive_speech(self, caller: Caller, given: FileReference, to: Path) -> int:
        """Receive speech that a request names or holds in base64; its length in ms."""
        text, field, max_mb = given.url or "", given.field, self._settings.max_audio_mb
        media = await self._stored(caller, given)
        if media is not None:
            await run_in_threadpool(self._service.copy_file, media.key, to)
            await run_in_threadpool(lambda: self._service.extend_upload(media, as_source=False))
        elif leniency.is_url(text):
            await self._fetch(text, to, max_mb, field)
        else:
            content = await run_in_threadpool(leniency.decode_audio, text, field, max_mb * MIB)
            await run_in_threadpool(to.write_bytes, content)
        info = await self._prober.audio(to, field)
        validation.check_audio(info, field)
        return info.duration_ms

    async def _receive_references(
        self, caller: Caller, asked: schemas.FaceChoose, entry: str, intake: Intake
    ) -> tuple[Path, ...]:
        """Receive the references of one choice, unless another one of its face has brought them."""
        if asked.face_id in intake.with_references:
            return ()
        if asked.reference_urls:
            intake.with_references.add(asked.face_id)
        received, max_mb = [], self._settings.max_video_mb
        for place, url in enumerate(asked.reference_urls):
            field = f"{entry}.reference_urls[{place}]"
            intake.check_time(field)
            to = await intake.stack.enter_async_context(self.receiving(max_mb))
            media = await self._stored(caller, FileReference(None, url, field, REFERENCE_SUFFIXES))
            if media is not None:
                await run_in_threadpool(self._service.copy_file, media.key, to)
                await run_in_threadpool(self._service.extend_upload, media, as_source=False)
            else:
                await self._fetch(url, to, max_mb, field)
            validation.check_reference(await self._prober.reference(to, field), field)
            received.append(to)
        return tuple(received)

    # Files

    async def store_upload(self, account: str, receive: Callable[[Path], Awaitable[None]]) -> Media:
        """Store an uploaded file. receive: writes it to a path. Raises `InputError` that names `file`."""
        return await self._store(account, receive, "file")

    async def store_from_url(self, caller: Caller, url: str) -> Media:
        """Fetch a file of any kind and store it; the stored one where the URL is this server's.

        Raises `InputError` that names `url`.
        """
        media = await self._stored(caller, FileReference(None, url, "url", UPLOAD_SUFFIXES))
        if media is not None:
            await run_in_threadpool(self._service.extend_upload, media, as_source=False)
            return await run_in_threadpool(self._service.media, caller.account, media.id) or media
        return await self._store(caller.account, lambda path: self._fetch(url, path, self._max_upload_mb, "url"), "url")

    @property
    def _max_upload_mb(self) -> int:
        return max(self._settings.max_video_mb, self._settings.max_audio_mb)

    async def _store(self, account: str, receive: Callable[[Path], Awaitable[None]], field: str) -> Media:
        await run_in_threadpool(self._service.require_disk)
        settings = self._settings
        async with self.receiving(self._max_upload_mb) as path:
            await receive(path)
            found = await self._prober.upload(path, field)
            max_mb = settings.max_audio_mb if found.suffix in AUDIO_SUFFIXES else settings.max_video_mb
            if (size := path.stat().st_size) > max_mb * MIB:
                raise InputError(f"the file has {size} bytes; at most {max_mb} MB are allowed.", field=field)
            new = NewMedia(path, MediaKind.UPLOAD, found.suffix, found.duration_ms)
            return await run_in_threadpool(self._service.add_media, account, new)

    @asynccontextmanager
    async def receiving(self, max_mb: int) -> AsyncIterator[Path]:
        """A path for a file of up to that size; removes what is still there at the end. Raises `StorageError`."""
        path = self._service.incoming()
        with self._service.reserve(max_mb):
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)

    @asynccontextmanager
    async def _local(self, media: Media) -> AsyncIterator[Path]:
        """A stored file as a local path: in place, or a copy."""
        if (path := self._service.local_file(media.key)) is not None:
            yield path
        else:
            async with self.receiving(media.size // MIB + 1) as copy:
                await run_in_threadpool(self._service.copy_file, media.key, copy)
                yield copy

    async def _stored(self, caller: Caller, given: FileReference) -> Media | None:
        """The stored file that a request names by its id or by a URL of this server; `None` for any other URL.

        Raises `InputError` where the account has no such file, or none of that kind.
        """
        if media_id := given.media_id or caller.urls.media_id(given.url or "", given.field):
            media = await run_in_threadpool(self._service.media, caller.account, media_id)
        elif key := caller.urls.storage_key(given.url or ""):
            media = await run_in_threadpool(self._service.media_by_key, caller.account, key)
        else:
            return None
        if media is None or media.suffix not in given.suffixes:
            what = NAMES[given.suffixes]
            shown = f" {media_id[:80]!r}" if media_id else ""
            raise InputError(f"there is no {what}{shown}, or it has expired.", field=given.field)
        return media

    async def _fetch(self, url: str, to: Path, max_mb: int, field: str) -> None:
        timeout_s = self._settings.fetch_timeout_s
        with traces.span("fetch"):
            await fetch(url, to, max_bytes=max_mb * MIB, timeout_s=timeout_s, policy=self._addresses, field=field)


def _options(caller: Caller, body: schemas.CreateRequest, holder: RenderTask | None) -> dict[str, Any]:
    """The fields of `NewRender` that are the same for both calls. holder: the task with the request's external id."""
    return {
        "external_id": body.external_task_id or None,
        "replaces": holder.id if holder else None,
        "sync_mode": body.sync_mode,
        "watermark": body.watermark,
        "callback": TaskCallback(body.callback_url, caller.urls.base) if body.callback_url else None,
    }


def _require_same(task: RenderTask, body: schemas.CreateRequest) -> None:
    """Raise `InputError` where the task that has a request's external id was made by another request."""
    if task.fingerprint != body.fingerprint():
        raise InputError(
            f"{body.external_task_id!r} is in use by task {task.id}, which has another payload.",
            field="external_task_id",
        )


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Re-label the errors of a worker, which knows the file as `video`, with the request's field."""
    try:
        yield
    except InputError as error:
        raise error.renamed(field) from error
