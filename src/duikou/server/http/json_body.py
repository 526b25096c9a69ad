"""Strict reading of JSON bodies: text that two parsers could read differently is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from duikou.server.leniency import short_repr


class StrictJsonRoute(APIRoute):
    """A route that reads its body with `loads`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler with a request that reads JSON strictly."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_Request(request.scope, request.receive))

        return handle


class _Request(Request):
    async def json(self) -> Any:
        return loads(await self.body())


def loads(body: bytes) -> Any:
    """The value of a JSON text in UTF-8 (RFC 8259), whose byte-order mark, if it has one, is ignored.

    Raises `HTTPException` for other encodings and for a name that occurs twice in one object, of which parsers take
    the first or the last;
    `ValueError` and `RecursionError` for text that is not JSON, holds an integer of thousands of digits or is nested
    too deeply. NaN and Infinity pass, so that a later error can name their field.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HTTPException(422, "The request body is not in UTF-8, as JSON must be.") from error
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise HTTPException(422, f"The request body names {short_repr(name)} twice in one object.")
        found[name] = value
    return found
