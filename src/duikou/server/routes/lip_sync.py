"""The contract's calls and their extensions, under each prefix that clients use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import JSONResponse, Response, StreamingResponse

from duikou.server.caller import Caller
from duikou.server.dependencies import AppContext, CallerParam, Context
from duikou.server.errors import ApiError, ErrorCode
from duikou.server.http.disconnect import while_connected
from duikou.server.http.json_body import StrictJsonRoute
from duikou.server.leniency import whole
from duikou.server.openapi import CALL_ERRORS, SLOW_BODY_ERRORS, WORK_ERRORS, error_responses, extension
from duikou.server.schemas import answers, build, requests
from duikou.server.threads import run_in_threadpool
from duikou.tasks.models import RenderTask

PREFIXES = ("", "/klingai", "/kling")  # Kling's own host; 302.ai; other gateways

EVENT = {  # in the OpenAPI document: one event of the stream
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

PageNumber = Annotated[int, Query(ge=1, le=1000, description="Which page."), BeforeValidator(whole(1, 1000))]
PageSize = Annotated[int, Query(ge=1, le=500, description="Tasks on a page."), BeforeValidator(whole(1, 500))]
TaskId = Annotated[str, InPath(alias="id", description="The task: the server's id of it, or the caller's own.")]


class _Text(StringConvertor):
    """Any external id of a task, with slashes and line breaks, which Starlette's `path` stops at."""

    regex = "(?s:.*)"


register_url_convertor("text", _Text())

api = APIRouter(prefix="/v1/videos", route_class=StrictJsonRoute)
CALLS = {"advanced-lip-sync": "", "lip-sync": "older_"}
"""The calls that make tasks, and what the names of the routes on their tasks have."""
Handler = TypeVar("Handler", bound=Callable[..., Any])


def on_both(method: str, path: str, **how: Any) -> Callable[[Handler], Handler]:
    """Register a route on the tasks of both calls. path: what follows the name of the call."""

    def register(handler: Handler) -> Handler:
        for call, mark in CALLS.items():
            verb, _, what = handler.__name__.partition("_")
            api.add_api_route(f"/{call}{path}", handler, methods=[method], name=f"{verb}_{mark}{what}", **how)
        return handler

    return register


async def is_advanced(request: Request) -> bool:
    """Whether a route is asked about tasks of advanced-lip-sync, which start from a session; else of lip-sync."""
    route: APIRoute = request.scope["route"]
    return "/advanced-lip-sync" in route.path


Advanced = Annotated[bool, Depends(is_advanced)]


@api.post("/identify-face", responses=error_responses(*CALL_ERRORS, *WORK_ERRORS) | SLOW_BODY_ERRORS)
async def identify_face(
    body: requests.IdentifyRequest, request: Request, context: Context, caller: CallerParam
) -> answers.Envelope[answers.IdentifyData]:
    """Find the faces of a video that can be lip-synced."""
    with context.calls.place(caller.account):
        found = await while_connected(request, context.creator.identify(caller, body))
    data = build.identify_data(found.session, found.video, caller.urls)
    return answers.Envelope(request_id=request.state.request_id, data=data)


@api.post("/advanced-lip-sync", responses=error_responses(*CALL_ERRORS, *WORK_ERRORS) | SLOW_BODY_ERRORS)
async def create_task(
    body: requests.LipSyncRequest, request: Request, context: Context, caller: CallerParam
) -> answers.Envelope[answers.TaskData] | answers.Envelope[answers.DryRunData]:
    """Create a task that makes a face of a session speak. With `dry_run` it is only checked and estimated."""
    with context.calls.place(caller.account):
        created = await context.creator.create_task(caller, body)
    if isinstance(created, answers.DryRunData):
        return answers.Envelope(request_id=request.state.request_id, data=created)
    return await _answer(request, context, caller, created)


@api.post(
    "/lip-sync", name="create_older_task", responses=error_responses(*CALL_ERRORS, *WORK_ERRORS) | SLOW_BODY_ERRORS
)
async def create_older_task(
    body: requests.OlderLipSyncRequest, request: Request, context: Context, caller: CallerParam
) -> answers.Envelope[answers.TaskData]:
    """Create a task that makes the most visible face of a video speak, from its beginning. The task finds the face."""
    with context.calls.place(caller.account):
        created = await context.creator.create_older_task(caller, body)
    return await _answer(request, context, caller, created)


@on_both(
    "GET",
    "",
    response_model=answers.Envelope[list[answers.TaskData]],
    responses=error_responses(*CALL_ERRORS, ErrorCode.PARAMETER),
)
async def list_tasks(
    request: Request,
    context: Context,
    caller: CallerParam,
    advanced: Advanced,
    pageNum: PageNumber = 1,
    pageSize: PageSize = 30,
) -> Response:
    """Tasks, newest first; past the end an empty list."""
    offset, request_id = (pageNum - 1) * pageSize, request.state.request_id

    def page() -> bytes:
        tasks = context.service.tasks(caller.account, on_sessions=advanced, offset=offset, limit=pageSize)
        data = [build.task_data(task, caller.urls, position) for task, position in tasks]
        return answers.Envelope(request_id=request_id, data=data).model_dump_json().encode()

    async with context.lists.of(caller.account):  # written in a thread: a long page holds up no other call
        return Response(await run_in_threadpool(page), media_type="application/json")


@on_both(
    "GET",
    "/{id:text}/events",
    response_model=None,
    response_class=StreamingResponse,
    responses=error_responses(*CALL_ERRORS, ErrorCode.NO_RESOURCE)
    | {200: {"content": {"text/event-stream": {"schema": EVENT}}}},
    openapi_extra=extension(),
)
async def watch_task(
    task_id: TaskId, request: Request, context: Context, caller: CallerParam, advanced: Advanced
) -> StreamingResponse | JSONResponse:
    """An extension: the task as server-sent events, at once and at every change, until its end.

    Each event is named `task` and its data are the JSON of the task, as `data` holds it elsewhere.
    """
    named = await run_in_threadpool(context.service.task_by_external_id, caller.account, f"{task_id}/events")
    if (
        named is not None and (named.session_id is not None) == advanced
    ):  # no request for events: the external id of a task ends like one
        return JSONResponse((await _answer(request, context, caller, named)).model_dump(mode="json"))
    context.streams.require_room(caller.account)
    task = await _found(context, caller, task_id, advanced=advanced)
    return context.streams.stream(caller, task, await run_in_threadpool(context.service.position, task))


@on_both(
    "POST",
    "/{id:text}/cancel",
    responses=error_responses(*CALL_ERRORS, ErrorCode.NO_RESOURCE),
    openapi_extra=extension(),
)
async def cancel_task(
    task_id: TaskId, request: Request, context: Context, caller: CallerParam, advanced: Advanced
) -> answers.Envelope[answers.TaskData]:
    """An extension: end a task that is not finished, as failed; a finished one stays as it is."""
    task = await _found(context, caller, task_id, advanced=advanced)
    ended = await run_in_threadpool(context.service.cancel, task)
    return await _answer(request, context, caller, ended or task)


@on_both(
    "POST",
    "/{id:text}/retry",
    responses=error_responses(*CALL_ERRORS, *WORK_ERRORS, ErrorCode.NO_RESOURCE),
    openapi_extra=extension(),
)
async def retry_task(
    task_id: TaskId, request: Request, context: Context, caller: CallerParam, advanced: Advanced
) -> answers.Envelope[answers.TaskData]:
    """An extension: create a task that does again what a finished one did, from the same material.

    The finished task stays as it is. The new one has an id of its own, no external id, and the same `callback_url`.
    """
    task = await _found(context, caller, task_id, advanced=advanced)
    with context.calls.place(caller.account):
        created = await context.creator.retry_task(caller, task)
    return await _answer(request, context, caller, created)


@on_both(
    "DELETE",
    "/{id:text}",
    responses=error_responses(*CALL_ERRORS, ErrorCode.NO_RESOURCE),
    openapi_extra=extension(),
)
async def delete_task(
    task_id: TaskId, request: Request, context: Context, caller: CallerParam, advanced: Advanced
) -> answers.Envelope[answers.DeletedData]:
    """An extension: end a task where it is not finished, and delete it with its results."""
    task = await _found(context, caller, task_id, advanced=advanced)
    await run_in_threadpool(context.service.delete, task)
    return answers.Envelope(request_id=request.state.request_id, data=answers.DeletedData(task_id=task.id))


@on_both("GET", "/{id:text}", responses=error_responses(*CALL_ERRORS, ErrorCode.NO_RESOURCE))
async def get_task(
    task_id: TaskId, request: Request, context: Context, caller: CallerParam, advanced: Advanced
) -> answers.Envelope[answers.TaskData]:
    """One task, by the server's id or by the caller's own."""
    return await _answer(request, context, caller, await _found(context, caller, task_id, advanced=advanced))


async def _found(context: AppContext, caller: Caller, task_id: str, *, advanced: bool) -> RenderTask:
    """The task of one of the two calls. Each knows its own tasks only, as at Kling."""
    task = await run_in_threadpool(context.service.task, caller.account, task_id)
    if task is None and task_id.startswith("/"):  # doubled before the id, unless it is a part of an external one
        return await _found(context, caller, task_id.lstrip("/"), advanced=advanced)
    if task is None or (task.session_id is not None) != advanced:
        raise ApiError(ErrorCode.NO_RESOURCE, f"There is no task {task_id[:80]}, or it has expired.")
    return task


async def _answer(
    request: Request, context: AppContext, caller: Caller, task: RenderTask
) -> answers.Envelope[answers.TaskData]:
    position = await run_in_threadpool(context.service.position, task)
    data = build.task_data(task, caller.urls, position)
    return answers.Envelope(request_id=request.state.request_id, data=data)
