"""Studio, the page at `/`: the files of `duikou.studio` as they are, and what the page must know. It needs no key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from duikou import studio
from duikou.server.dependencies import Context, urls_of
from duikou.server.errors import ErrorCode
from duikou.server.http.browser import NO_STORE
from duikou.server.openapi import error_responses, extension
from duikou.server.schemas import answers, build

FOLDER = Path(studio.__file__).parent
PAGE = FOLDER / "index.html"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""What the page may load, by suffix. No other file of the folder is sent."""
FILES = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.suffix in MEDIA_TYPES}
"""The files that the page may load, by name: a path from a request never reaches the disk."""
PERMISSIONS = "camera=(self), microphone=(self)"  # the page records speech and video; no frame in it may

router = APIRouter(tags=["Studio"])


@router.get("/", include_in_schema=False)
def page(request: Request) -> Response:
    """The page."""
    policy = _policy(urls_of(request).storage_origin())
    return _sent(PAGE, "text/html", request, {"Content-Security-Policy": policy, "Permissions-Policy": PERMISSIONS})


@router.get("/studio/settings.json", responses=error_responses(ErrorCode.INTERNAL), openapi_extra=extension())
def studio_settings(request: Request, response: Response, context: Context) -> answers.StudioSettings:
    """An extension: what a page must know before it calls: the limits of this server, and whether calls need a key.

    The answer has no envelope.
    """
    response.headers["Cache-Control"] = NO_STORE
    return build.studio_settings(context.settings, needs_key=context.accounts.any())


@router.get("/studio/{name:path}", include_in_schema=False)
def asset(name: str, request: Request) -> Response:
    """A file that the page loads."""
    path = FILES.get(name)
    if path is None:
        raise HTTPException(404)
    return _sent(path, MEDIA_TYPES[path.suffix], request)


def _policy(storage: str) -> str:
    """The page's policy: like that of `/docs`, with media. storage: the origin of presigned URLs; empty for none."""
    more = f" {storage}" if storage else ""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{more}; "
        f"media-src 'self' blob:{more}; connect-src 'self'{more}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _sent(path: Path, media_type: str, request: Request, headers: Mapping[str, str] | None = None) -> Response:
    """A file, or 304 where the browser has it. The tag is of the content: times of installed files tell nothing."""
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    headers = {**(headers or {}), "Cache-Control": "no-cache", "ETag": tag}
    if tag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
