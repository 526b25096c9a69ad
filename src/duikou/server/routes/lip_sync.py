"""The contract's calls and their extensions, under each prefix that clients use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, StreamingResponse

from duikou.errors import InputError
from duikou.media.timeline import SyncMode
from duikou.net.fetch import check_url, fetch
from duikou.server import schemas, validation
from duikou.server.dependencies import Desk, account_of, desk_of, links_of
from duikou.server.errors import ApiError, Code
from duikou.server.http.json_body import StrictJsonRoute
from duikou.server.openapi import CALL, SLOW, WORK, extension, faults
from duikou.server.service import ExternalIdTaken, Jobs, Order
from duikou.server.signed_urls import Links
from duikou.tasks.models import AUDIO_SUFFIXES, VIDEO_SUFFIXES, ChoiceRecord, Media, SessionRecord, Task, TaskStatus
from duikou.telemetry.traces import traces

PREFIXES = ("", "/klingai", "/kling")  # Kling's own host; 302.ai; other gateways
MIB = 1 << 20
WATCH_EVERY_S = 0.3  # how soon an event tells what changed
GONE_EVERY_S = 1.0  # how soon it is seen that a caller who waits has gone
ALIVE_EVERY_S = 15.0  # a comment into a silent stream of events: proxies cut what is idle

EVENT = {  # in our OpenAPI: one event of the stream
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"const": "task"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/TaskData"},
        },
    },
}

T = TypeVar("T")

Account = Annotated[str, Depends(account_of)]
Addresses = Annotated[Links, Depends(links_of)]
At = Annotated[Desk, Depends(desk_of)]
TaskId = Annotated[str, InPath(alias="id", description="The task: the server's id of it, or the caller's own.")]


class _Text(StringConvertor):
    """Whatever a caller called a task: slashes and line breaks as well, which Starlette's `path` stops at."""

    regex = "(?s:.*)"


register_url_convertor("text", _Text())

api = APIRouter(prefix="/v1/videos", route_class=StrictJsonRoute)


@api.post("/identify-face", responses=faults(*CALL, *WORK) | SLOW)
async def identify_face(
    body: schemas.IdentifyRequest, request: Request, desk: At, account: Account, links: Addresses
) -> schemas.Envelope[schemas.IdentifyData]:
    """Find the faces of a video that can be lip-synced."""
    if bool(body.video_url) == bool(body.video_id):
        raise InputError("exactly one of video_url and video_id must be given.", field="video_url")
    await run_in_threadpool(desk.jobs.require_room)
    await run_in_threadpool(desk.jobs.require_turn, account)
    field = "video_id" if body.video_id else "video_url"
    own = await _own(desk, account, links, body.video_id, body.video_url, field, VIDEO_SUFFIXES)
    if own is not None:
        finding = _identify_kept(desk, account, own, field)
    else:
        finding = _identify_address(desk, account, body.video_url or "")
    session = await _while_connected(request, finding)
    return schemas.Envelope(request_id=request.state.request_id, data=schemas.identify_data(session, links))


@api.post("/advanced-lip-sync", responses=faults(*CALL, *WORK) | SLOW)
async def create_task(
    body: schemas.LipSyncRequest, request: Request, desk: At, account: Account, links: Addresses
) -> schemas.Envelope[schemas.TaskData] | schemas.Envelope[schemas.DryRunData]:
    """Create a task that makes a face of a session speak. With `dry_run` it is only checked and estimated."""
    task = await run_in_threadpool(_same_task, desk.jobs, account, body)
    if task is None or body.dry_run:
        made = await _create(desk, account, body, links)
        if isinstance(made, schemas.DryRunData):
            return schemas.Envelope(request_id=request.state.request_id, data=made)
        task = made
    return await _task_answer(task, request)


@api.get("/advanced-lip-sync", responses=faults(*CALL, Code.PARAMETER))
async def list_tasks(
    request: Request,
    desk: At,
    account: Account,
    links: Addresses,
    pageNum: Annotated[int, Query(ge=1, le=1000, description="Which page.")] = 1,
    pageSize: Annotated[int, Query(ge=1, le=500, description="Tasks on a page.")] = 30,
) -> schemas.Envelope[list[schemas.TaskData]]:
    """Tasks, newest first; past the end an empty list."""
    store = desk.jobs.store
    tasks = await run_in_threadpool(store.tasks, account, offset=(pageNum - 1) * pageSize, limit=pageSize)
    places = await run_in_threadpool(store.positions, [task.id for task in tasks])
    return schemas.Envelope(
        request_id=request.state.request_id,
        data=[schemas.task_data(task, links, places.get(task.id)) for task in tasks],
    )


@api.get(
    "/advanced-lip-sync/{id:text}/events",
    response_model=None,
    response_class=StreamingResponse,
    responses=faults(*CALL, Code.NO_RESOURCE) | {200: {"content": {"text/event-stream": {"schema": EVENT}}}},
    openapi_extra=extension(),
)
async def watch_task(
    task_id: TaskId, request: Request, desk: At, account: Account, links: Addresses
) -> StreamingResponse | JSONResponse:
    """An extension: the task as server-sent events, at once and at every change, until its end.

    Each event is named `task` and its data are the JSON of the task, as `data` holds it elsewhere.
    """
    whole = await run_in_threadpool(desk.jobs.store.task_by_external_id, account, f"{task_id}/events")
    if whole is not None:  # no call for events at all, but a task that its caller has named like one
        return JSONResponse((await _task_answer(whole, request)).model_dump(mode="json"))
    task = await _found(desk, account, task_id)
    return StreamingResponse(
        _changes(desk, account, task, links), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


@api.post(
    "/advanced-lip-sync/{id:text}/cancel",
    responses=faults(*CALL, Code.NO_RESOURCE),
    openapi_extra=extension(),
)
async def cancel_task(
    task_id: TaskId, request: Request, desk: At, account: Account
) -> schemas.Envelope[schemas.TaskData]:
    """An extension: end a task that is not finished, as failed; a finished one stays as it is."""
    task = await _found(desk, account, task_id)
    ended = await run_in_threadpool(desk.jobs.cancel, task)
    return await _task_answer(ended or task, request)


@api.delete("/advanced-lip-sync/{id:text}", responses=faults(*CALL, Code.NO_RESOURCE), openapi_extra=extension())
async def delete_task(
    task_id: TaskId, request: Request, desk: At, account: Account
) -> schemas.Envelope[schemas.DeletedData]:
    """An extension: end a task where it is not finished, and forget it with its results."""
    task = await _found(desk, account, task_id)
    await run_in_threadpool(desk.jobs.delete, task)
    return schemas.Envelope(request_id=request.state.request_id, data=schemas.DeletedData(task_id=task.id))


@api.get("/advanced-lip-sync/{id:text}", responses=faults(*CALL, Code.NO_RESOURCE))
async def get_task(task_id: TaskId, request: Request, desk: At, account: Account) -> schemas.Envelope[schemas.TaskData]:
    """One task, by our id or by the caller's own."""
    return await _task_answer(await _found(desk, account, task_id), request)


async def _found(desk: Desk, account: str, task_id: str) -> Task:
    store = desk.jobs.store
    task = await run_in_threadpool(store.task, account, task_id)
    task = task or await run_in_threadpool(store.task_by_external_id, account, task_id)
    if task is None:
        raise ApiError(Code.NO_RESOURCE, f"There is no task {task_id[:80]}, or it has expired.")
    return task


async def _task_answer(task: Task, request: Request) -> schemas.Envelope[schemas.TaskData]:
    places = {}
    if task.status is TaskStatus.SUBMITTED:
        places = await run_in_threadpool(desk_of(request).jobs.store.positions, [task.id])
    data = schemas.task_data(task, links_of(request), places.get(task.id))
    return schemas.Envelope(request_id=request.state.request_id, data=data)


async def _changes(desk: Desk, account: str, task: Task | None, links: Links) -> AsyncIterator[bytes]:
    told, silent_s = b"", 0.0
    while task is not None:
        waits = task.status is TaskStatus.SUBMITTED
        places = await run_in_threadpool(desk.jobs.store.positions, [task.id]) if waits else {}
        data = schemas.task_data(task, links, places.get(task.id)).model_dump_json().encode()
        if data != told:
            yield format_sse_event(event="task", data_str=data.decode())
            told, silent_s = data, 0.0
        if task.finished or desk.jobs.draining:
            return
        await asyncio.sleep(WATCH_EVERY_S)
        silent_s += WATCH_EVERY_S
        if silent_s >= ALIVE_EVERY_S:
            yield b": alive\n\n"
            silent_s = 0.0
        task = await run_in_threadpool(desk.jobs.store.task, account, task.id)


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; it ends where the caller goes away, since nobody else would want what it gives."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=GONE_EVERY_S))[0]:
            if await request.is_disconnected():
                raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _identify_address(desk: Desk, account: str, url: str) -> SessionRecord:
    async with received(desk.jobs, desk.settings.max_video_mb) as path:
        await _fetch(desk, url, path, desk.settings.max_video_mb, "video_url")
        info = await desk.jobs.probe_video(path, "video_url")
        validation.check_video(info, "video_url", any_size=desk.settings.any_size)
        with _naming("video_url"):
            return await desk.jobs.identify(account, path, info)


async def _identify_kept(desk: Desk, account: str, media: Media, field: str) -> SessionRecord:
    async with _at_hand(desk, media) as path:
        info = await desk.jobs.probe_video(path, field)
    validation.check_video(info, field, any_size=desk.settings.any_size)
    await run_in_threadpool(desk.jobs.use, media, as_source=True)
    with _naming(field):
        return await desk.jobs.identify_kept(account, media)


@asynccontextmanager
async def _at_hand(desk: Desk, media: Media) -> AsyncIterator[Path]:
    """A kept file where it can be read: in place, or a copy."""
    if (path := desk.jobs.files.local_path(media.key)) is not None:
        yield path
    else:
        async with received(desk.jobs, media.size // MIB + 1) as copy:
            await run_in_threadpool(desk.jobs.files.copy, media.key, copy)
            yield copy


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Let faults that a worker finds in `video`, as the rooms below call it, name the field that the caller knows."""
    try:
        yield
    except InputError as error:
        raise error.renamed(field) from error


async def _own(
    desk: Desk, account: str, links: Links, given: str | None, url: str | None, field: str, suffixes: tuple[str, ...]
) -> Media | None:
    """The file of ours that the caller gives by its id or by one of our addresses; `None` for an address elsewhere.

    Raises `InputError` where the account has no such file, or none of that kind.
    """
    store = desk.jobs.store
    if media_id := given or links.own_media_id(url or "", field):
        media = await run_in_threadpool(store.media, account, media_id)
    elif key := links.own_key(url or ""):
        media = await run_in_threadpool(store.media_at, account, key)
    else:
        return None
    if media is None or media.suffix not in suffixes:
        what = "video" if suffixes == VIDEO_SUFFIXES else "sound"
        shown = f" {media_id[:80]!r}" if media_id else ""
        raise InputError(f"there is no {what}{shown}, or it has expired.", field=field)
    return media


async def _create(desk: Desk, account: str, body: schemas.LipSyncRequest, links: Links) -> Task | schemas.DryRunData:
    session = await run_in_threadpool(desk.jobs.store.session, account, body.session_id)
    if session is None:
        raise InputError(f"there is no session {body.session_id[:80]!r}, or it has expired.", field="session_id")
    if len(body.face_choose) > 1 and not desk.settings.several_faces:
        raise InputError(f"exactly one entry is expected, not {len(body.face_choose)}.", field="face_choose")
    if body.callback_url:
        check_url(body.callback_url, "callback_url")
    mode = body.sync_mode
    faces = validation.check_choices([asked.choice() for asked in body.face_choose], session, mode)
    await run_in_threadpool(desk.jobs.require_room)
    await run_in_threadpool(desk.jobs.require_place, account)
    async with AsyncExitStack() as stack:
        sounds, fitted = [], []
        for number, asked in enumerate(body.face_choose):
            sounds.append(await stack.enter_async_context(received(desk.jobs, desk.settings.max_audio_mb)))
            fitted.append(await _take_sound(desk, account, asked, number, session, mode, links, sounds[-1]))
        if body.dry_run:
            video_ms = validation.result_ms(fitted, session, mode)
            place, seconds = await run_in_threadpool(desk.jobs.estimate, video_ms)
            return schemas.DryRunData(
                duration=schemas.seconds(video_ms),
                estimated_time=f"{seconds:.1f}",
                queue_position=place,
                warnings=[warning for face in faces for warning in schemas.warnings(face)],
            )
        order = Order(
            session,
            tuple(fitted),
            tuple(sounds),
            body.external_task_id or None,
            body.fingerprint(),
            sync_mode=mode or "",
            watermark=body.watermark,
            callback_url=body.callback_url or "",
            files_url=links.base if body.callback_url else "",
        )
        try:
            return await run_in_threadpool(desk.jobs.submit, account, order)
        except ExternalIdTaken:  # by a request that ran beside this one
            task = await run_in_threadpool(_same_task, desk.jobs, account, body)
            if task is None:
                raise
            return task


async def _take_sound(
    desk: Desk,
    account: str,
    asked: schemas.FaceChoose,
    number: int,
    session: SessionRecord,
    mode: SyncMode | None,
    links: Links,
    to: Path,
) -> ChoiceRecord:
    """Receive the speech, and the choice as it fits it."""
    entry = f"face_choose[{number}]"
    if bool(asked.sound_file) == bool(asked.audio_id):
        raise InputError("exactly one of sound_file and audio_id must be given.", field=entry)
    field = f"{entry}.audio_id" if asked.audio_id else f"{entry}.sound_file"
    sound_file = asked.sound_file or ""
    media = await _own(desk, account, links, asked.audio_id, sound_file, field, AUDIO_SUFFIXES)
    if media is not None:
        await run_in_threadpool(desk.jobs.files.copy, media.key, to)
        await run_in_threadpool(desk.jobs.use, media, as_source=False)
    elif schemas.is_url(sound_file):
        await _fetch(desk, sound_file, to, desk.settings.max_audio_mb, field)
    else:
        sound = await run_in_threadpool(schemas.sound_bytes, sound_file, field, desk.settings.max_audio_mb * MIB)
        await run_in_threadpool(to.write_bytes, sound)
    info = await desk.jobs.probe_audio(to, field)
    validation.check_sound(info, field)
    return validation.fitted(asked.choice(), entry, info.duration_ms, session, mode)


def _same_task(jobs: Jobs, account: str, body: schemas.LipSyncRequest) -> Task | None:
    """The task that this very request made before. Raises `InputError` where its external id made another one."""
    if not body.external_task_id:
        return None
    task = jobs.store.task_by_external_id(account, body.external_task_id)
    if task is not None and task.fingerprint != body.fingerprint():
        raise InputError(
            f"{body.external_task_id!r} is in use by task {task.id}, which has another payload.",
            field="external_task_id",
        )
    return task


@asynccontextmanager
async def received(jobs: Jobs, most_mb: int) -> AsyncIterator[Path]:
    """A place to receive a file of that size at; what is still there at the end goes. Raises `StorageError`."""
    path = jobs.folder.incoming()
    with jobs.folder.reserve(most_mb):
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


async def _fetch(desk: Desk, url: str, to: Path, max_mb: int, field: str) -> None:
    with traces.span("fetch"):
        await fetch(
            url,
            to,
            max_bytes=max_mb * MIB,
            timeout_s=desk.settings.fetch_timeout_s,
            policy=desk.jobs.reach,
            field=field,
        )
