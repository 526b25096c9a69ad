"""An extension: uploads, of local files or fetched by the server, whose id and URL every other call accepts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import BinaryIO

import anyio
from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from duikou.errors import InputError
from duikou.server.dependencies import CallerParam, Context
from duikou.server.http.disconnect import while_connected
from duikou.server.http.json_body import StrictJsonRoute
from duikou.server.openapi import CALL_ERRORS, SLOW_BODY_ERRORS, WORK_ERRORS, error_responses, extension
from duikou.server.receiving import IncomingFile
from duikou.server.schemas import answers, build, requests

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
    media = await context.receiver.store_upload(caller.account, lambda file: _receive(request, file))
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


async def _receive(request: Request, to: IncomingFile) -> None:
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        with to.path.open("wb") as out:
            form = await _read_form(request, to, out)
        if not isinstance(form.get("file"), UploadFile):
            raise InputError("the form has no field of this name with a file.", field="file")
    else:
        async with await anyio.open_file(to.path, "wb") as out:
            async for chunk in _arriving(request, to):
                await out.write(chunk)
    if not to.path.stat().st_size:
        raise InputError("the file is empty.", field="file")


async def _arriving(request: Request, to: IncomingFile) -> AsyncGenerator[bytes, None]:
    """The pieces of the body, each of which has its room on the disk."""
    async for chunk in request.stream():
        to.room.take(len(chunk))
        yield chunk


async def _read_form(request: Request, to: IncomingFile, out: BinaryIO) -> FormData:
    """The fields of a form, whose one file is written to `out`. Raises `HTTPException` where it is no such form."""
    try:
        return await _FormParser(request, to, out).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error


class _FormParser(MultiPartParser):
    """Starlette's parser, which would write a file to the system's temporary folder first."""

    def __init__(self, request: Request, to: IncomingFile, out: BinaryIO) -> None:
        super().__init__(request.headers, _arriving(request, to), max_files=1, max_fields=8)
        self._out = out

    def on_headers_finished(self) -> None:
        """Begin a part of the form."""
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._current_part.file.file.close()
            self._current_part.file.file = self._out
