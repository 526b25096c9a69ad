"""Videos, sounds and face pictures by their ids, for who has a signed address, with a key or without.

A path from outside never reaches the disk: ids are looked up in the store.
"""

from __future__ import annotations

import re
import stat
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, Response, StreamingResponse

from duikou.database.ids import now_ms
from duikou.server.dependencies import Desk, desk_of
from duikou.server.errors import ApiError, Code
from duikou.server.openapi import extension, fault, faults
from duikou.server.signed_urls import MEDIA_TYPES
from duikou.storage import keys

QUERY = [
    {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
    for name, text in {
        "expires": "Until when the address works, as signed; Unix time.",
        "signature": "What makes the address valid; part of every address that the server hands out.",
        "download": "Whatever its value: the answer asks browsers to save the file.",
    }.items()
]
RANGE = {
    "name": "Range",
    "in": "header",
    "description": "Which bytes (RFC 9110, 14.2).",
    "schema": {"type": "string"},
}
SHOWN = {  # an app may show what it asked for within its own pages, and a browser may play it by itself
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
            206: {"description": "The bytes asked for.", "content": parts},
            **faults(Code.NO_RIGHT, Code.NO_RESOURCE, Code.INTERNAL),
            **fault(416, Code.PARAMETER),
        },
        "openapi_extra": extension(parameters=[*QUERY, RANGE]),
    }


@router.get("/files/media/{name}", **_describe(*MEDIA_TYPES.values()))
@router.head("/files/media/{name}", **_describe(*MEDIA_TYPES.values()))
async def get_media(
    name: Annotated[str, InPath(description="The file's id and its suffix.")], request: Request
) -> Response:
    """A source video, a result or an upload."""
    desk = desk_of(request)
    desk.signer.check(request.url.path, request.query_params)
    media_id, dot, suffix = name.partition(".")
    media = await run_in_threadpool(desk.jobs.store.media_of_anyone, media_id)
    if media is None or media.suffix != dot + suffix or media.expires_at <= now_ms():
        raise _missing(request)
    return await run_in_threadpool(_file, desk, media.key, name, request)


@router.get("/files/sessions/{session_id}/faces/{face_id}.jpg", **_describe("image/jpeg"))
@router.head("/files/sessions/{session_id}/faces/{face_id}.jpg", **_describe("image/jpeg"))
async def get_face_picture(session_id: str, face_id: str, request: Request) -> Response:
    """The picture of a session's face."""
    desk = desk_of(request)
    desk.signer.check(request.url.path, request.query_params)
    session = await run_in_threadpool(desk.jobs.store.session_of_anyone, session_id)
    face = session.face(face_id) if session else None
    if session is None or face is None:
        raise _missing(request)
    name = f"{session.id}-{face.id}.jpg"
    return await run_in_threadpool(_file, desk, keys.picture_key(session.id, face.id), name, request)


def _file(desk: Desk, key: str, name: str, request: Request) -> Response:
    media_type = MEDIA_TYPES[f".{name.rpartition('.')[2]}"]
    shown = "attachment" if "download" in request.query_params else "inline"
    path = desk.jobs.files.local_path(key)
    if path is None:
        return _object(desk, key, name, media_type, shown, request)
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        raise _missing(request) from error
    if not stat.S_ISREG(found.st_mode):  # a link leads elsewhere; none of ours does
        raise _missing(request)
    _check_range(request, found.st_size)
    return FileResponse(
        path,
        media_type=media_type,
        stat_result=found,
        filename=name,
        content_disposition_type=shown,
        headers=SHOWN,
    )


def _object(desk: Desk, key: str, name: str, media_type: str, shown: str, request: Request) -> Response:
    """What lies in an object storage, passed on as it comes: the whole, or the one range that is asked for."""
    size = desk.jobs.files.size(key)
    if size is None:
        raise _missing(request)
    _check_range(request, size)
    start, end = _one_range(request.headers.get("range"), size)
    part = (start, end) != (0, size)
    headers = {
        **SHOWN,
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "Content-Disposition": f'{shown}; filename="{name}"',
        **({"Content-Range": f"bytes {start}-{end - 1}/{size}"} if part else {}),
    }
    if request.method == "HEAD":
        return Response(status_code=206 if part else 200, media_type=media_type, headers=headers)
    content = desk.jobs.files.read(key, start, end)
    return StreamingResponse(content, 206 if part else 200, headers, media_type)


def _one_range(header: str | None, size: int) -> tuple[int, int]:
    """First byte and the one after the last of a good range. Several at once are answered by the whole."""
    found = _RANGE.fullmatch(header.partition("=")[2].strip()) if header else None
    if found is None:
        return 0, size
    if not found[1]:
        return max(size - int(found[2]), 0), size
    return int(found[1]), min(int(found[2]) + 1, size) if found[2] else size


def _check_range(request: Request, size: int) -> None:
    """Refuse a range outside the file in our own shape, and forget one that makes no sense (RFC 9110, 14.2)."""
    header = request.headers.get("range")
    if header is None:
        return
    unit, _, ranges = header.partition("=")
    parts = [_RANGE.fullmatch(part.strip()) for part in ranges.split(",")]
    if unit.strip().lower() != "bytes" or not all(part and _makes_sense(*part.groups()) for part in parts):
        del MutableHeaders(scope=request.scope)["range"]
    elif any(part and (int(part[1]) >= size if part[1] else int(part[2]) == 0) for part in parts):
        raise ApiError(
            Code.PARAMETER,
            f"Range: {header[:80]} lies outside the file of {size} bytes.",
            status=416,
            headers={"Content-Range": f"bytes */{size}"},
        )


def _makes_sense(start: str, end: str) -> bool:
    return bool(start or end) and not (start and end and int(start) > int(end))


def _missing(request: Request) -> ApiError:
    return ApiError(Code.NO_RESOURCE, f"There is no file {request.url.path}, or it has expired.")
