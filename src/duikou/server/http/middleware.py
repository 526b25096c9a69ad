"""What holds for every request, whatever its route: an id, one log line, one shape of fault, a limit on the body."""

from __future__ import annotations

import asyncio
import errno
import re
import time
import uuid
from contextlib import suppress

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duikou.errors import DuikouError, StorageError
from duikou.server.dependencies import Desk
from duikou.server.errors import ApiError, Code, api_error
from duikou.server.http.browser import Protection
from duikou.server.schemas import ErrorEnvelope, fault_sentence
from duikou.telemetry import metrics
from duikou.telemetry.traces import traces

MIB = 1 << 20
MAX_BODY = 8 * MIB  # bytes: 5 MB of sound as base64 and the rest of the JSON; more where sounds may be larger
DRAIN = 64 << 20  # bytes of a refused body that are read all the same: a client that is still sending hears the answer
DRAIN_S = 10.0  # at most, for those
SILENT_S = 15.0  # without a byte of a body that is waited for
PACE_S = 10.0  # of waiting, after which a body's pace is looked at
PACE = 4096  # bytes per second of waiting: 8 MB of JSON take half an hour at most
FORM_BYTES = 64 << 10  # of a form around an uploaded file, or of JSON around a sound
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds: not logged, not traced
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # others are no names of spans

log = structlog.get_logger(__name__)


class Canonical:
    """One spelling of what clients write in several ways.

    Paths lose the slash at their end, and `identify-face` its capitals. A body is JSON whatever its type says, since
    curl calls it a form unless told otherwise; but files come as what they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on in its one spelling."""
        if scope["type"] == "http":
            raw: bytes = scope["raw_path"]  # a slash that came as %2F belongs to an id
            path: str = scope["path"][: len(scope["path"]) - (len(raw) - len(raw.rstrip(b"/")))]
            scope["path"] = re.sub(r"/identify-face$", "/identify-face", path, flags=re.IGNORECASE) or "/"
            if scope["method"] == "POST" and not _is_upload(scope):
                MutableHeaders(scope=scope)["content-type"] = "application/json"
        await self.app(scope, receive, send)


class Envelope:
    """Gives each request its id, logs it once, and answers what nobody caught with the code of an internal fault."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, began, status = str(uuid.uuid4()), time.monotonic(), 0
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._limited(scope, receive, send_with_id)
            except ClientDisconnect:
                log.info("the client went away")
            except Exception:
                log.exception("request failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # half an answer is on its way: only cutting the connection tells the client
                fault = ApiError(Code.INTERNAL, "The server failed; its log tells more under this request_id.")
                await fault_response(fault, request_id)(scope, receive, send_with_id)
            if scope["path"] not in QUIET:
                route = getattr(scope.get("route"), "path", "none")  # of ours: what callers send are no labels
                metrics.request_seconds.labels(route).observe(time.monotonic() - began)
                if status < 400:
                    metrics.answers.labels("0").inc()
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round((time.monotonic() - began) * 1000),
                )

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body that says it is too large, and stop one that turns out to be, or comes too slowly."""
        length = Headers(scope=scope).get("content-length", "0")
        most = _most_bytes(scope)
        if length.isdecimal() and int(length) > most:
            await drain(receive)
            fault = ApiError(Code.PARAMETER, f"The request body has {length} bytes, more than the {most} allowed.")
            await fault_response(fault, scope["state"]["request_id"])(scope, receive, send)
            return
        received, body = 0, _Body(receive)

        async def receive_limited() -> Message:
            nonlocal received
            message = await body.receive()
            received += len(message.get("body", b""))
            if received > most:
                await drain(receive)
                raise HTTPException(413, f"The request body has more than the {most} bytes allowed.")
            return message

        async def send_noting(message: Message) -> None:
            body.awaited = False
            await send(message)

        await self.app(scope, receive_limited, send_noting)


class Traced:
    """Makes each request a span, as a part of its caller's trace where it names one in `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") in QUIET:
            await self.app(scope, receive, send)
            return
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = Headers(scope=scope).get("traceparent", "")
        with traces.span("HTTP", parent=parent, kind="server") as span:
            try:
                await self.app(scope, receive, send_noting)
            finally:
                method = scope["method"] if scope["method"] in METHODS else "HTTP"
                route = getattr(scope.get("route"), "path", "")
                span.name(f"{method} {route}".strip())
                span.note({"http.request.method": method, "http.route": route, "http.response.status_code": status})
                span.note({"request_id": scope["state"]["request_id"]})
                if status >= 500:
                    span.fail(str(status))


class _Body:
    """A body as it comes in, and for how long it was waited for: time in which nobody asks does not count.

    Once it is over or an answer has begun nobody waits for it any more: then to receive is to wait until the client
    goes away, however long that takes.
    """

    def __init__(self, receive: Receive) -> None:
        self.awaited = True
        self._receive, self._waited_s, self._bytes = receive, 0.0, 0

    async def receive(self) -> Message:
        """The next part. Raises `HTTPException` where it does not come, or comes too slowly."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(SILENT_S if self.awaited else None):
                message = await self._receive()
        except TimeoutError as error:
            if not self.awaited:
                return await self._receive()
            sentence = f"The request body stopped: nothing came for {SILENT_S:g} s."
            raise HTTPException(408, sentence) from error
        self.awaited = self.awaited and message.get("more_body", False)
        self._waited_s += time.monotonic() - began
        self._bytes += len(message.get("body", b""))
        if self.awaited and self._waited_s >= PACE_S:
            if self._bytes < PACE * self._waited_s:
                sentence = f"{self._bytes} bytes in {self._waited_s:.1f} s, less than the {PACE} per second expected."
                raise HTTPException(408, f"The request body comes too slowly: {sentence}")
            self._waited_s, self._bytes = 0.0, 0
        return message


def _most_bytes(scope: Scope) -> int:
    """How large a body may be: a file and the form around it, or JSON with a sound in base64."""
    desk: Desk = scope["app"].state.desk
    video, audio = desk.settings.max_video_mb * MIB, desk.settings.max_audio_mb * MIB
    return FORM_BYTES + max(video, audio) if _is_upload(scope) else max(MAX_BODY, FORM_BYTES + audio * 4 // 3)


def _is_upload(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "POST" and path.rstrip("/").endswith("/v1/files")


def install(app: FastAPI) -> None:
    """Put all of this around an application."""
    app.add_middleware(Canonical)
    app.add_middleware(Envelope)
    app.add_middleware(Traced)
    app.add_middleware(Protection)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(DuikouError, _on_duikou_error)
    app.add_exception_handler(OSError, _on_os_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


def fault_response(fault: ApiError, request_id: str) -> JSONResponse:
    """The one shape of every fault, and its line in the log."""
    log.info("refused", code=fault.code, message=fault.message)
    metrics.answers.labels(str(fault.code)).inc()
    traces.note({"code": fault.code})
    body = ErrorEnvelope(code=fault.code, message=fault.message, request_id=request_id)
    return JSONResponse(body.model_dump(), fault.status, fault.headers)


async def drain(receive: Receive) -> None:
    """Read on for a while what a refused caller is still sending."""
    drained, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while more and drained < DRAIN:
                message = await receive()
                drained += len(message.get("body", b""))
                more = message.get("more_body", False)


def _answer(request: Request, fault: ApiError) -> JSONResponse:
    return fault_response(fault, request.state.request_id)


def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _answer(request, error)


def _on_duikou_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DuikouError)
    fault = api_error(error)
    if fault.code == Code.INTERNAL.value.code:
        log.error("request failed", error=repr(error), exc_info=error)
    return _answer(request, fault)


def _on_os_error(request: Request, error: Exception) -> JSONResponse:
    """A full disk is no fault of the server's, wherever it shows."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _on_duikou_error(request, StorageError("the server's disk is full"))
    raise error


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(request, ApiError(Code.PARAMETER, fault_sentence(error.errors())))


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404 | 405:
            sentence = f"There is no {request.method} {request.url.path}."
            fault = ApiError(Code.NO_METHOD, sentence)  # without Starlette's Allow, which knows one route of the path
        case 408:
            fault = ApiError(Code.PARAMETER, error.detail, status=408, headers={"Connection": "close"})
        case 413 | 422:
            fault = ApiError(Code.PARAMETER, error.detail)
        case 400:
            what = "a form" if _is_upload(request.scope) else "JSON"
            fault = ApiError(Code.PARAMETER, f"The request body cannot be read as {what}.")
        case _:
            fault = ApiError(Code.INTERNAL, error.detail, status=error.status_code, headers=error.headers)
    return _answer(request, fault)
