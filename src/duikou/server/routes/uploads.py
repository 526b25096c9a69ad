"""An extension: uploads, of local files or fetched by the server, whose id and URL every other call accepts."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from duikou.errors import InputError
from duikou.server.dependencies import CallerParam, Context
from duikou.server.http.disconnect import while_connected
from duikou.server.http.json_body import StrictJsonRoute
from duikou.server.openapi import CALL_ERRORS, SLOW_BODY_ERRORS, WORK_ERRORS, error_responses, extension
from duikou.server.schemas import answers, build, requests
from duikou.server.threads import run_in_threadpool

BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {
            "schema": {"type": "string", "format": "binary", "description": "The file; every content type is accepted."}
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "The file."}},
            }
        },
    },
}

router = APIRouter(prefix="/v1")
json_router = APIRouter(prefix="/v1", route_class=StrictJsonRoute)


@router.post(
    "/files",
    responses=error_responses(*CALL_ERRORS, *WORK_ERRORS) | SLOW_BODY_ERRORS,
    openapi_extra=extension(requestBody=BODY),
)
async def upload_file(request: Request, context: Context, caller: CallerParam) -> answers.Envelope[answers.UploadData]:
    """An extension: store a video, audio or photo file, sent as the body itself or as the field `file` of a form."""
    media = await context.receiver.store_upload(caller.account, lambda path: _receive(request, path))
    return answers.Envelope(request_id=request.state.request_id, data=build.upload_data(media, caller.urls))


@json_router.post(
    "/files/from-url",
    responses=error_responses(*CALL_ERRORS, *WORK_ERRORS) | SLOW_BODY_ERRORS,
    openapi_extra=extension(),
)
async def fetch_file(
    body: requests.FetchRequest, request: Request, context: Context, caller: CallerParam
) -> answers.Envelope[answers.UploadData]:
    """An extension: fetch a video, audio or photo file and store it as an upload.

    A URL of this server is not fetched: the answer describes the file that it leads to.
    """
    media = await while_connected(request, context.receiver.store_from_url(caller, body.url))
    return answers.Envelope(request_id=request.state.request_id, data=build.upload_data(media, caller.urls))


async def _receive(request: Request, to: Path) -> None:
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InputError("the form has no field of this name with a file.", field="file")
            await run_in_threadpool(_copy, file, to)
    else:
        async with await anyio.open_file(to, "wb") as out:
            async for chunk in request.stream():
                await out.write(chunk)
    if not to.stat().st_size:
        raise InputError("the file is empty.", field="file")


def _copy(file: UploadFile, to: Path) -> None:
    with to.open("wb") as out:
        shutil.copyfileobj(file.file, out)
