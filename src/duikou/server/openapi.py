"""Our own OpenAPI: FastAPI's, with what it cannot know: faults, keys, headers and the marks of extensions."""

from __future__ import annotations

from importlib.metadata import metadata
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from duikou.server.errors import Code
from duikou.server.schemas import EXTENSION, ErrorEnvelope

# What any call under /v1 may be answered with, and what those besides that take a body and give work to do.
CALL = (
    Code.AUTHENTICATION,
    Code.NO_AUTHORIZATION,
    Code.BAD_AUTHORIZATION,
    Code.NOT_YET_VALID,
    Code.EXPIRED,
    Code.NO_RIGHT,
    Code.TOO_MANY_REQUESTS,
    Code.INTERNAL,
)
WORK = (Code.PARAMETER, Code.TOO_MANY_TASKS, Code.UNAVAILABLE, Code.TIMEOUT)

_ABOUT = """\
Lip sync over HTTP: a video and a piece of speech in, the same video with that face speaking out.

`identify-face` finds the faces, `advanced-lip-sync` makes a task, and the task tells where its result is. Names and
types are those of Kling's lip sync; what duikou adds is marked `x-duikou-extension` and called an extension.

Every answer in JSON has `code`, `message`, `request_id` and `data`. A path or method that is not listed here is
answered with 404 and code 1202.
"""
_BEARER = "An API key, or a JWT signed with a secret key (HS256). A server for which no key was made yet asks for none."
_HEADERS = {
    "X-Request-Id": ("The server's id of this request, also in its log.", True),
    "Retry-After": ("Seconds after which it is worth another try, where that is known.", False),
    "WWW-Authenticate": ("Bearer.", True),
}
_HEADERS_OF = {"401": ["WWW-Authenticate"], "429": ["Retry-After"], "503": ["Retry-After"]}


def about(public_url: str) -> dict[str, Any]:
    """What the application says of itself. public_url: the setting; where it is empty the server is at the root."""
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


def extension(**more: Any) -> dict[str, Any]:
    """Marks an operation as an extension; `more` is added to it as it stands."""
    return EXTENSION | more


def faults(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The answers, by HTTP status, that a route may give besides its own."""

    def status(code: Code) -> int:
        return code.value.status

    found: dict[int | str, dict[str, Any]] = {}
    for one, same in groupby(sorted(codes, key=status), status):
        found |= fault(one, *same)
    return found


def fault(status: int, *codes: Code) -> dict[int | str, dict[str, Any]]:
    """One HTTP status and what it may mean."""
    rows = [code.value for code in codes]
    narrowed = {"properties": {"code": {"enum": [row.code for row in rows]}}}
    return {
        status: {
            "model": ErrorEnvelope,
            "description": "\n".join(f"* {row.code}: {row.meaning}." for row in rows),
            "content": {"application/json": {"schema": narrowed}},
        }
    }


SLOW = fault(408, Code.PARAMETER)
"""Besides, where a body comes in: too slowly."""


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI of an application, made once."""
    if app.openapi_schema is None:
        found = app.openapi()
        for path, item in found["paths"].items():
            for method, operation in item.items():
                _correct(path, method, operation)
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


def _correct(path: str, method: str, operation: dict[str, Any]) -> None:
    if "/v1/" in path:
        operation["security"] = [{"bearer": []}, {}]
    answers: dict[str, Any] = operation["responses"]
    answers.pop("422", None)  # FastAPI's; ours is 400
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
