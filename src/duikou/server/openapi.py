"""The OpenAPI document: FastAPI's, completed with error answers, authentication, headers and extension marks."""

from __future__ import annotations

from importlib.metadata import metadata
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from duikou.server.errors import ErrorCode
from duikou.server.schemas.answers import ErrorEnvelope
from duikou.server.schemas.common import EXTENSION

CALL_ERRORS = (
    ErrorCode.AUTHENTICATION,
    ErrorCode.NO_AUTHORIZATION,
    ErrorCode.BAD_AUTHORIZATION,
    ErrorCode.NOT_YET_VALID,
    ErrorCode.EXPIRED,
    ErrorCode.NO_RIGHT,
    ErrorCode.TOO_MANY_REQUESTS,
    ErrorCode.INTERNAL,
)
"""Errors of every call under /v1."""
WORK_ERRORS = (
    ErrorCode.STORAGE_USED_UP,
    ErrorCode.PARAMETER,
    ErrorCode.TOO_MANY_TASKS,
    ErrorCode.UNAVAILABLE,
    ErrorCode.TIMEOUT,
)
"""Further errors of calls that take a body and start work."""

_ABOUT = """\
Lip sync over HTTP: send a video and speech, and get the video back with that face speaking them.

`identify-face` finds the faces, `advanced-lip-sync` creates a task, and the finished task has the URL of its result.
Names and types are those of Kling's lip sync. Whatever duikou adds is called an extension and has the mark
`x-duikou-extension`.

Every JSON answer but that of `/studio/settings.json` has `code`, `message`, `request_id` and `data`. A path or method
that is not listed here gets 404 and code 1202.
"""
_BEARER = "An API key, or a JWT signed with a secret key (HS256). A server on which no key was created needs none."
_HEADERS = {
    "X-Request-Id": ("The server's id of this request; its log has the same id.", True),
    "Retry-After": ("Seconds to wait before the next try, where they are known.", False),
    "WWW-Authenticate": ("Bearer.", True),
}
_HEADERS_OF = {"401": ["WWW-Authenticate"], "429": ["Retry-After"], "503": ["Retry-After"]}


def app_info(public_url: str) -> dict[str, Any]:
    """FastAPI's arguments that describe the application. public_url: the setting; empty means the root of the host."""
    package = metadata("duikou")
    return {
        "title": "duikou",
        "version": package["Version"],
        "summary": package["Summary"],
        "description": _ABOUT,
        "license_info": {"name": "Apache License 2.0", "identifier": package["License-Expression"]},
        "servers": [{"url": public_url.rstrip("/") or "/"}],
        "generate_unique_id_function": _operation_id,
    }


def tag_of(prefix: str) -> str:
    """The group of the calls under a prefix, in the page."""
    return f"The same under {prefix}" if prefix else "Calls"


def extension(**more: Any) -> dict[str, Any]:
    """Mark an operation as an extension; `more` is added to the operation as it is."""
    return EXTENSION | more


def error_responses(*codes: ErrorCode, status: int | None = None) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route by HTTP status: each code's own, or the one given."""

    def status_of(code: ErrorCode) -> int:
        return status or code.status

    return {one: _error_response(list(same)) for one, same in groupby(sorted(codes, key=status_of), status_of)}


def _error_response(codes: list[ErrorCode]) -> dict[str, Any]:
    narrowed = {"properties": {"code": {"enum": [code.code for code in codes]}}}
    return {
        "model": ErrorEnvelope,
        "description": "\n".join(f"* {code.code}: {code.meaning}." for code in codes),
        "content": {"application/json": {"schema": narrowed}},
    }


SLOW_BODY_ERRORS = error_responses(ErrorCode.PARAMETER, status=408)
"""Further answers of calls that take a body: the body arrived too slowly."""


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application, built once."""
    if app.openapi_schema is None:
        found = app.openapi()
        for path, item in found["paths"].items():
            for method, operation in item.items():
                _complete(path, method, operation)
        parts = found["components"]
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused)
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "description": _BEARER}}
        parts["headers"] = {
            name: {"description": text, "required": always, "schema": {"type": "string"}}
            for name, (text, always) in _HEADERS.items()
        }
    assert app.openapi_schema is not None
    return app.openapi_schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    if "/v1/" in path:
        operation["security"] = [{"bearer": []}, {}]
    answers: dict[str, Any] = operation["responses"]
    answers.pop("422", None)  # FastAPI's status for invalid requests; this server sends 400
    for status, answer in answers.items():
        if status == "200":
            answer["description"] = "Success."
        if method == "head":
            answer.pop("content", None)
        names = ["X-Request-Id", *_HEADERS_OF.get(status, [])]
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _operation_id(route: APIRoute) -> str:
    """`get_task`, `klingai_get_task`, `head_media`."""
    prefix, call, _ = route.path.partition("/v1/")
    name = route.name.replace("get_", "head_") if route.methods == {"HEAD"} else route.name
    return f"{prefix.lstrip('/')}_{name}".lstrip("_") if call else name
