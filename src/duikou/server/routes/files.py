"""Videos, audio files and face pictures by their ids, for holders of a signed URL; no key is needed.

A path from a request never reaches the disk: ids are looked up in the store.
"""

from __future__ import annotations

import asyncio
import re
import stat
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, Response, StreamingResponse

from duikou.server.dependencies import context_of
from duikou.server.errors import ApiError, ErrorCode
from duikou.server.openapi import error_responses, extension
from duikou.server.signed_urls import MEDIA_TYPES
from duikou.server.threads import read_in_threadpool, run_in_threadpool
from duikou.storage import keys
from duikou.tasks.service import TaskService

QUERY = [
    {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
    for name, text in {
        "expires": "When the URL expires, Unix time in s; part of the signed URL.",
        "signature": "Signature of the URL; part of the signed URL.",
        "download": "If present, with any value, browsers save the file instead of showing it.",
    }.items()
]
RANGE = {
    "name": "Range",
    "in": "header",
    "description": "Range of bytes (RFC 9110, 14.2).",
    "schema": {"type": "string"},
}
FILE_HEADERS = {  # pages of other sites may embed the file, and a browser may show it on its own
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "private",
}
_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})")

router = APIRouter(tags=["Files"])


def _describe(*media_types: str) -> dict[str, Any]:
    whole = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}
    parts = whole | {"multipart/byteranges": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "response_class": FileResponse,
        "responses": {
            200: {"content": whole},
            206: {"description": "The requested bytes.", "content": parts},
            **error_responses(ErrorCode.NO_RIGHT, ErrorCode.NO_RESOURCE, ErrorCode.INTERNAL),
            **error_responses(ErrorCode.PARAMETER, status=416),
        },
        "openapi_extra": extension(parameters=[*QUERY, RANGE]),
    }


@router.get("/files/media/{name}", **_describe(*MEDIA_TYPES.values()))
@router.head("/files/media/{name}", **_describe(*MEDIA_TYPES.values()))
async def get_media(
    name: Annotated[str, InPath(description="The file's id and suffix.")], request: Request
) -> Response:
    """A source video, a result or an upload."""
    context = context_of(request)
    context.signer.verify(request.url.path, request.query_params)
    media_id, dot, suffix = name.partition(".")
    media = await run_in_threadpool(context.service.public_media, media_id)
    if media is None or media.suffix != dot + suffix:
        raise _missing(request)
    return await run_in_threadpool(
        _response, context.service, _ServedFile(media.key, name, context.threads.of(media.account)), request
    )


@router.get("/files/sessions/{session_id}/faces/{face_id}.jpg", **_describe("image/jpeg"))
@router.head("/files/sessions/{session_id}/faces/{face_id}.jpg", **_describe("image/jpeg"))
async def get_face_picture(session_id: str, face_id: str, request: Request) -> Response:
    """The picture of a face."""
    context = context_of(request)
    context.signer.verify(request.url.path, request.query_params)
    session = await run_in_threadpool(context.service.public_session, session_id)
    face = session.face(face_id) if session else None
    if session is None or face is None:
        raise _missing(request)
    key, name = keys.picture_key(session.id, face.id), f"{session.id}-{face.id}.jpg"
    return await run_in_threadpool(
        _response, context.service, _ServedFile(key, name, context.threads.of(session.account)), request
    )


@dataclass(frozen=True)
class _ServedFile:
    """A file to send. key: in the storage. name: for the client, with a suffix that tells the media type.

    turn: the threads of its account.
    """

    key: str
    name: str
    turn: asyncio.Semaphore

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[f".{self.name.rpartition('.')[2]}"]


def _response(service: TaskService, file: _ServedFile, request: Request) -> Response:
    disposition = "attachment" if "download" in request.query_params else "inline"
    path = service.local_file(file.key)
    if path is None:
        return _object_response(service, file, disposition, request)
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        raise _missing(request) from error
    if not stat.S_ISREG(found.st_mode):  # the server stores no links: this one leads out of the storage
        raise _missing(request)
    _check_range(request, found.st_size)
    return FileResponse(
        path,
        media_type=file.media_type,
        stat_result=found,
        filename=file.name,
        content_disposition_type=disposition,
        headers=FILE_HEADERS,
    )


def _object_response(service: TaskService, file: _ServedFile, disposition: str, request: Request) -> Response:
    """A file from object storage, streamed: the whole, or the one range of the request."""
    size = service.file_size(file.key)
    if size is None:
        raise _missing(request)
    _check_range(request, size)
    start, end = _one_range(request.headers.get("range"), size)
    partial = (start, end) != (0, size)
    headers = {
        **FILE_HEADERS,
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "Content-Disposition": f'{disposition}; filename="{file.name}"',
        **({"Content-Range": f"bytes {start}-{end - 1}/{size}"} if partial else {}),
    }
    status = 206 if partial else 200
    if request.method == "HEAD":
        return Response(status_code=status, media_type=file.media_type, headers=headers)
    pieces = read_in_threadpool(service.read_file(file.key, start, end), file.turn)
    return StreamingResponse(pieces, status, headers, file.media_type)


def _one_range(header: str | None, size: int) -> tuple[int, int]:
    """First byte of a checked range, and the one after its last. Several ranges are answered with the whole file."""
    found = _RANGE.fullmatch(header.partition("=")[2].strip()) if header else None
    if found is None:
        return 0, size
    if not found[1]:
        return max(size - int(found[2]), 0), size
    return int(found[1]), min(int(found[2]) + 1, size) if found[2] else size


def _check_range(request: Request, size: int) -> None:
    """Raise `ApiError` for a range outside the file, and drop an invalid one from the request (RFC 9110, 14.2)."""
    header = request.headers.get("range")
    if header is None:
        return
    unit, _, ranges = header.partition("=")
    parts = [_RANGE.fullmatch(part.strip()) for part in ranges.split(",")]
    if unit.strip().lower() != "bytes" or not all(part and _is_valid(*part.groups()) for part in parts):
        del MutableHeaders(scope=request.scope)["range"]
    elif any(part and (int(part[1]) >= size if part[1] else int(part[2]) == 0) for part in parts):
        raise ApiError(
            ErrorCode.PARAMETER,
            f"Range: {header[:80]} lies outside the file of {size} bytes.",
            status=416,
            headers={"Content-Range": f"bytes */{size}"},
        )


def _is_valid(start: str, end: str) -> bool:
    return bool(start or end) and not (start and end and int(start) > int(end))


def _missing(request: Request) -> ApiError:
    return ApiError(ErrorCode.NO_RESOURCE, f"There is no file {request.url.path}, or it has expired.")
