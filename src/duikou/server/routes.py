"""The contract's calls, under each prefix that clients use, and the two of operation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from duikou.errors import InputError
from duikou.jobs.manager import ExternalIdTaken, Jobs, Order
from duikou.jobs.state import ChoiceRecord, SessionRecord, Task
from duikou.media.fetch import fetch
from duikou.server import rules, wire
from duikou.server.codes import ApiError, Code
from duikou.server.desk import ACCOUNT, Desk, desk_of, files_url

PREFIXES = ("", "/klingai", "/kling")  # Kling's own host; 302.ai; other gateways
MIB = 1 << 20

api = APIRouter(prefix="/v1/videos")
operation = APIRouter()


@api.post("/identify-face")
async def identify_face(body: wire.IdentifyRequest, request: Request) -> wire.Envelope[wire.IdentifyData]:
    """Find the faces of a video that can be lip-synced."""
    desk = desk_of(request)
    if bool(body.video_url) == bool(body.video_id):
        raise InputError("Exactly one of video_url and video_id must be given.", field="video_url")
    await run_in_threadpool(desk.jobs.require_room)
    if body.video_url:
        session = await _identify_address(desk, body.video_url)
    else:
        session = await _identify_kept(desk, body.video_id or "")
    return wire.Envelope(request_id=request.state.request_id, data=wire.identify_data(session, files_url(request)))


@api.post("/advanced-lip-sync", response_model_exclude_none=True)
async def create(body: wire.LipSyncRequest, request: Request) -> wire.Envelope[wire.TaskData]:
    """Create a task that makes one face of a session speak."""
    desk = desk_of(request)
    task = await run_in_threadpool(_same_task, desk.jobs, body)
    if task is None:
        task = await _create(desk, body)
    return _task_answer(task, request)


@api.get("/advanced-lip-sync", response_model_exclude_none=True)
async def list_tasks(
    request: Request,
    pageNum: Annotated[int, Query(ge=1, le=1000)] = 1,
    pageSize: Annotated[int, Query(ge=1, le=500)] = 30,
) -> wire.Envelope[list[wire.TaskData]]:
    """Tasks, newest first; past the end an empty list."""
    store = desk_of(request).jobs.store
    tasks = await run_in_threadpool(store.tasks, ACCOUNT, offset=(pageNum - 1) * pageSize, limit=pageSize)
    files = files_url(request)
    return wire.Envelope(request_id=request.state.request_id, data=[wire.task_data(task, files) for task in tasks])


@api.get("/advanced-lip-sync/{task_id:path}", response_model_exclude_none=True)
async def one_task(task_id: str, request: Request) -> wire.Envelope[wire.TaskData]:
    """One task, by our id or by the caller's own."""
    store = desk_of(request).jobs.store
    task = await run_in_threadpool(store.task, ACCOUNT, task_id)
    task = task or await run_in_threadpool(store.task_by_external_id, ACCOUNT, task_id)
    if task is None:
        raise ApiError(Code.NO_RESOURCE, f"There is no task {task_id[:80]}, or it has expired.")
    return _task_answer(task, request)


@operation.get("/healthz")
async def healthz(request: Request) -> wire.Envelope[dict[str, str]]:
    """Whether the server runs at all."""
    return wire.Envelope(request_id=request.state.request_id, data={"status": "ok"})


@operation.get("/readyz")
async def readyz(request: Request) -> wire.Envelope[dict[str, str]]:
    """Whether new work would be taken; names what is missing."""
    jobs = desk_of(request).jobs
    await run_in_threadpool(jobs.require_room)
    try:
        await run_in_threadpool(jobs.store.ping)
    except Exception as error:
        raise ApiError(Code.UNAVAILABLE, "The database does not answer.") from error
    return wire.Envelope(request_id=request.state.request_id, data={"status": "ready"})


def _task_answer(task: Task, request: Request) -> wire.Envelope[wire.TaskData]:
    return wire.Envelope(request_id=request.state.request_id, data=wire.task_data(task, files_url(request)))


async def _identify_address(desk: Desk, url: str) -> SessionRecord:
    async with _received(desk.jobs) as path:
        await _fetch(desk, url, path, desk.settings.max_video_mb, "video_url")
        info = await desk.jobs.probe_video(path, "video_url")
        rules.check_video(info, "video_url", any_size=desk.settings.any_size)
        return await desk.jobs.identify(ACCOUNT, path, info)


async def _identify_kept(desk: Desk, video_id: str) -> SessionRecord:
    media = await run_in_threadpool(desk.jobs.store.media, ACCOUNT, video_id)
    if media is None:
        raise InputError(f"video_id: there is no video {video_id[:80]}, or it has expired.", field="video_id")
    info = await desk.jobs.probe_video(desk.jobs.folder.path(media.key), "video_id")
    rules.check_video(info, "video_id", any_size=desk.settings.any_size)
    return await desk.jobs.identify_kept(ACCOUNT, media)


async def _create(desk: Desk, body: wire.LipSyncRequest) -> Task:
    session = await run_in_threadpool(desk.jobs.store.session, ACCOUNT, body.session_id)
    if session is None:
        raise InputError(
            f"session_id: there is no session {body.session_id[:80]!r}, or it has expired.", field="session_id"
        )
    asked, field = body.face_choose[0], "face_choose[0]"
    choice = asked.choice()
    rules.check_times(choice, field)
    face = session.face(choice.face_id)
    if face is None:
        known = ", ".join(face.id for face in session.faces) or "none"
        raise InputError(
            f"{field}.face_id: the session has no face {choice.face_id[:80]!r}; its faces: {known}.",
            field=f"{field}.face_id",
        )
    rules.check_place(choice, field, face, session.source.duration_ms)
    await run_in_threadpool(desk.jobs.require_room)
    async with _received(desk.jobs) as sound:
        fitted = await _take_sound(desk, asked, choice, session.source.duration_ms, sound)
        order = Order(session, (fitted,), (sound,), body.external_task_id or None, body.fingerprint())
        try:
            return await run_in_threadpool(desk.jobs.submit, ACCOUNT, order)
        except ExternalIdTaken:  # by a request that ran beside this one
            task = await run_in_threadpool(_same_task, desk.jobs, body)
            if task is None:
                raise
            return task


async def _take_sound(
    desk: Desk, asked: wire.FaceChoose, choice: ChoiceRecord, video_ms: int, to: Path
) -> ChoiceRecord:
    """Receive the speech, and the choice as it fits it."""
    if bool(asked.sound_file) == bool(asked.audio_id):
        raise InputError(
            "face_choose[0]: exactly one of sound_file and audio_id must be given.", field="face_choose[0]"
        )
    if not asked.sound_file:
        raise InputError(
            f"face_choose[0].audio_id: there is no sound {(asked.audio_id or '')[:80]!r}.",
            field="face_choose[0].audio_id",
        )
    field = "face_choose[0].sound_file"
    if wire.is_url(asked.sound_file):
        await _fetch(desk, asked.sound_file, to, desk.settings.max_audio_mb, field)
    else:
        sound = wire.sound_bytes(asked.sound_file, field, desk.settings.max_audio_mb * MIB)
        await run_in_threadpool(to.write_bytes, sound)
    info = await desk.jobs.probe_sound(to, field)
    rules.check_sound(info, field)
    end_ms = rules.clamped_end(choice, "face_choose[0]", info.duration_ms, video_ms)
    return replace(choice, sound_end_ms=end_ms)


def _same_task(jobs: Jobs, body: wire.LipSyncRequest) -> Task | None:
    """The task that this very request made before. Raises `InputError` where its external id made another one."""
    if not body.external_task_id:
        return None
    task = jobs.store.task_by_external_id(ACCOUNT, body.external_task_id)
    if task is not None and task.fingerprint != body.fingerprint():
        raise InputError(
            f"external_task_id: {body.external_task_id!r} is in use by task {task.id}, which has another payload.",
            field="external_task_id",
        )
    return task


@asynccontextmanager
async def _received(jobs: Jobs) -> AsyncIterator[Path]:
    """A place to receive a file at; what is still there at the end goes."""
    path = jobs.folder.incoming()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


async def _fetch(desk: Desk, url: str, to: Path, max_mb: int, field: str) -> None:
    await fetch(
        url,
        to,
        max_bytes=max_mb * MIB,
        timeout_s=desk.settings.fetch_timeout_s,
        allowed=desk.settings.private_sources,
        field=field,
    )
