"""Creates sessions and tasks as requests ask for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duikou.errors import InputError
from duikou.faces.track import FaceWarning
from duikou.media.probe import VideoInfo
from duikou.net.addresses import AddressPolicy
from duikou.net.urls import check_url
from duikou.pipeline.choice import MAX_CHOICES, ChoiceValidator, FaceChoice
from duikou.server import validation
from duikou.server.caller import Caller
from duikou.server.receiving import FileReceiver, FileReference, RequestFiles
from duikou.server.schemas import answers, build, requests
from duikou.server.threads import run_in_threadpool
from duikou.settings import Settings
from duikou.tasks.analyses import digest_of
from duikou.tasks.models import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Media, RenderTask, SessionRecord, TaskCallback
from duikou.tasks.service import NewRender, TaskService
from duikou.tasks.store.errors import ExternalIdTaken


@dataclass(frozen=True)
class Identified:
    """A session and the description of its video."""

    session: SessionRecord
    video: VideoInfo


class Creator:
    """Creates sessions and tasks, once their files are received."""

    def __init__(
        self, service: TaskService, receiver: FileReceiver, addresses: AddressPolicy, settings: Settings
    ) -> None:
        self._service, self._receiver, self._addresses, self._settings = service, receiver, addresses, settings

    # Sessions

    async def identify(self, caller: Caller, body: requests.IdentifyRequest) -> Identified:
        """A session on the video that a request names. Raises `InputError` and the errors of `TaskService.identify`."""
        if bool(body.video_url) == bool(body.video_id):
            raise InputError("exactly one of video_url and video_id must be given.", field="video_url")
        await run_in_threadpool(self._service.require_storage, caller.account)
        field = "video_id" if body.video_id else "video_url"
        media = await self._receiver.stored(caller, FileReference(body.video_id, body.video_url, field, VIDEO_SUFFIXES))
        if media is not None:
            return await self._identify_stored(media, field)
        return await self._identify_url(caller.account, body.video_url or "")

    async def _identify_url(self, account: str, url: str) -> Identified:
        await run_in_threadpool(self._service.require_identify_slot, account)  # before the bytes are fetched
        async with self._receiver.fetched_video(account, url, "video_url") as (path, info):
            with _naming("video_url"):
                return Identified(await self._service.identify(account, path, info), info)

    async def _identify_stored(self, media: Media, field: str) -> Identified:
        async with self._receiver.stored_video(media, field) as (path, info):
            digest = await run_in_threadpool(digest_of, path)
        await self._receiver.use_source(media, field)
        with _naming(field):
            return Identified(await self._service.identify_source(media, digest), info)

    # Tasks

    async def create_task(self, caller: Caller, body: requests.LipSyncRequest) -> RenderTask | answers.DryRunData:
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
        await run_in_threadpool(service.require_storage, caller.account)
        await run_in_threadpool(service.require_render_slot, caller.account)
        async with AsyncExitStack() as stack:
            files = RequestFiles(self._receiver, caller, self._settings, stack)
            audio, references, fitted = [], [], []
            for number, asked in enumerate(body.face_choose):
                path, audio_ms = await files.audio(asked, f"face_choose[{number}]")
                audio.append(path)
                fitted.append(validation.fit(validator, choices[number], number, audio_ms))
                references.append(await files.references(asked, f"face_choose[{number}]"))
            fitted = validation.fit_together(validator, fitted)
            if body.dry_run:
                return await self._estimate(session, validator, fitted, doubts)
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

    async def create_older_task(self, caller: Caller, body: requests.OlderLipSyncRequest) -> RenderTask:
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
        await run_in_threadpool(service.require_storage, caller.account)
        await run_in_threadpool(service.require_render_slot, caller.account)
        async with (
            self._receiver.incoming_file(caller.account) as audio,
            self._received_source(caller, given) as source,
        ):
            audio_ms = await self._receiver.speech(caller, FileReference(None, text, field, AUDIO_SUFFIXES), audio)
            try:
                choice = validation.whole_speech(audio_ms, source.duration_ms, body.sync_mode)
            except InputError as error:
                raise error.renamed(error.field or field) from error
            new = NewRender(source, None, (choice,), (audio.path,), fingerprint, **_options(caller, body, holder))
            return await self._submit(caller.account, new, body)

    @asynccontextmanager
    async def _received_source(self, caller: Caller, given: requests.OlderInput) -> AsyncIterator[Media]:
        """The stored video of a request, checked; a fetched one is removed where the block fails."""
        field = "input.video_id" if given.video_id else "input.video_url"
        media = await self._receiver.stored(
            caller, FileReference(given.video_id, given.video_url, field, VIDEO_SUFFIXES)
        )
        if media is not None:
            async with self._receiver.stored_video(media, field):
                pass  # checked
            await self._receiver.use_source(media, field)
            yield media
            return
        async with self._receiver.fetched_video(caller.account, given.video_url or "", field) as (path, info):
            media = await run_in_threadpool(self._service.add_source, caller.account, path, info)
        try:
            yield media
        except BaseException:
            await run_in_threadpool(self._service.remove_source, media)
            raise

    async def _submit(self, account: str, new: NewRender, body: requests.CreateRequest) -> RenderTask:
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
            status = answers.STATUSES[task.status]
            raise InputError(f"task {task.id} is {status}; only a finished task can be tried again.", field="id")
        source = await run_in_threadpool(self._source_of, caller.account, task)
        await run_in_threadpool(service.require_storage, caller.account)
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
        file = await stack.enter_async_context(self._receiver.incoming_file(task.account))
        await self._receiver.copy(key, size, file)
        return file.path

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

    def _holder(self, account: str, body: requests.CreateRequest) -> RenderTask | None:
        """The task that has the request's external id: of the same request, or failed, so that it gives up the id.

        Raises `InputError` where another request's task has it.
        """
        if not body.external_task_id:
            return None
        task = self._service.task_by_external_id(account, body.external_task_id)
        if task is not None and not task.failed:
            _require_same(task, body)
        return task

    async def _session(self, account: str, body: requests.LipSyncRequest) -> SessionRecord:
        most = MAX_CHOICES if self._settings.several_faces else 1
        if not 1 <= (given := len(body.face_choose)) <= most:
            what = "exactly one entry is" if most == 1 else f"1 to {most} entries are"
            raise InputError(f"{what} expected, not {given}.", field="face_choose")
        session = await run_in_threadpool(self._service.session, account, body.session_id)
        if session is None:
            raise InputError(f"there is no session {body.session_id[:80]!r}, or it has expired.", field="session_id")
        self._check_callback(body)
        return session

    def _check_callback(self, body: requests.CreateRequest) -> None:
        if body.callback_url:
            check_url(body.callback_url, "callback_url", self._addresses)

    async def _estimate(
        self,
        session: SessionRecord,
        validator: ChoiceValidator,
        choices: Sequence[FaceChoice],
        doubts: Sequence[FaceWarning],
    ) -> answers.DryRunData:
        result_ms = validator.result_ms(choices)
        estimate = await run_in_threadpool(self._service.estimate, result_ms)
        return build.dry_run_data(session, choices, doubts, result_ms, estimate)


def _options(caller: Caller, body: requests.CreateRequest, holder: RenderTask | None) -> dict[str, Any]:
    """The fields of `NewRender` that are the same for both calls. holder: the task with the request's external id."""
    return {
        "external_id": body.external_task_id or None,
        "replaces": holder.id if holder else None,
        "sync_mode": body.sync_mode,
        "watermark": body.watermark,
        "callback": TaskCallback(body.callback_url, caller.urls.base) if body.callback_url else None,
    }


def _require_same(task: RenderTask, body: requests.CreateRequest) -> None:
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
