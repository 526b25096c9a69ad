"""Middleware and error handlers for every request: an id, one log line, one error format, limits on the body."""

from __future__ import annotations

import asyncio
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

from duikou.errors import DuikouError
from duikou.server.dependencies import AppContext
from duikou.server.errors import INTERNAL_MESSAGE, ApiError, ErrorCode, api_error
from duikou.server.http.browser import CrossOriginMiddleware, SecurityHeadersMiddleware
from duikou.server.own_address import ForwardedMiddleware
from duikou.server.schemas.answers import ErrorEnvelope
from duikou.server.schemas.fields import error_sentence
from duikou.settings import Settings
from duikou.storage.base import FULL, disk_error
from duikou.telemetry import metrics
from duikou.telemetry.traces import traces
from duikou.units import MIB

MAX_BODY_BYTES = 8 * MIB  # 5 MB of audio as base64 and the rest of the JSON; more where settings allow larger audio
DISCARD_BYTES = 64 * MIB  # of a refused body that are still read: many clients read no answer before they sent all
DISCARD_S = 10.0  # limit for reading them
SILENT_S = 15.0  # longest wait for the next bytes of a body
PACE_S = 10.0  # of waiting, after which a body's rate is checked
MIN_BYTES_PER_S = 4096  # 8 MB of JSON take half an hour at most
FORM_BYTES = 64 << 10  # of the form around an uploaded file, or the JSON around an audio file
PROBE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})  # called every few seconds: neither logged nor traced
CALL_PATH = re.compile(
    r"^(?:/+(?:klingai|kling))?/+v1(?:/+(?:files|videos(?:/+(?:identify-face|(?:advanced-)?lip-sync))?))?(?=/|$)",
    re.IGNORECASE,
)
"""The part of a path that names a call, as clients spell it."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # others do not become names of spans

log = structlog.get_logger(__name__)


class NormalizeMiddleware:
    """Normalizes what clients spell in several ways.

    Paths lose slashes at their end, slashes that are doubled before the name of a call, and its capitals; an id keeps
    all of them. A body is JSON whatever its content type, since curl declares a form by default. Uploaded files keep
    theirs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Normalize the request and pass it on."""
        if scope["type"] == "http":
            raw: bytes = scope["raw_path"]  # a slash sent as %2F belongs to an id
            path: str = scope["path"][: len(scope["path"]) - (len(raw) - len(raw.rstrip(b"/")))]
            scope["path"] = CALL_PATH.sub(_usual_spelling, re.sub("^/+", "/", path), count=1) or "/"
            if scope["method"] == "POST" and not _is_upload(scope):
                MutableHeaders(scope=scope)["content-type"] = "application/json"
        await self.app(scope, receive, send)


class RequestMiddleware:
    """Gives each request an id, logs it once, limits its body, and answers uncaught exceptions as internal errors."""

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
                await self._limit_body(scope, receive, send_with_id)
            except ClientDisconnect:
                log.info("the client disconnected")
            except Exception:
                log.exception("request failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # a part of the answer was sent: only closing the connection tells the client
                error = ApiError(ErrorCode.INTERNAL, INTERNAL_MESSAGE)
                await error_response(error, request_id)(scope, receive, send_with_id)
            if scope["path"] not in PROBE_PATHS:
                route = getattr(scope.get("route"), "path", "none")  # never the caller's path: labels must be few
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

    async def _limit_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body whose Content-Length is too large, and stop one that grows too large or arrives too slowly.

        What a refused caller is still sending is read and dropped first, within limits: many clients read no answer
        before they have sent everything, and a closed connection is all that they would see.
        """
        headers = Headers(scope=scope)
        length, limit, body = headers.get("content-length", "0"), _body_limit(scope), _BodyReader(receive, headers)

        async def send_answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if body.held_back:  # the answer says that the body is not wanted, in place of "100 Continue"
                    MutableHeaders(scope=message)["Connection"] = "close"
                elif message["status"] >= 400 and message["status"] != 408 and not body.complete:
                    await _discard_body(receive)
            body.awaited = False
            await send(message)

        if length.isdecimal() and int(length) > limit:
            error = ApiError(
                ErrorCode.PARAMETER, f"The request body has {length} bytes, more than the {limit} allowed."
            )
            await error_response(error, scope["state"]["request_id"])(scope, receive, send_answer)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await body.receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"The request body has more than the {limit} bytes allowed.")
            return message

        await self.app(scope, receive_limited, send_answer)


class TracingMiddleware:
    """Makes each request a span, in the caller's trace where the request has a `traceparent` header."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].rstrip("/") in PROBE_PATHS:
            await self.app(scope, receive, send)
            return
        status = 0

        async def send_with_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = Headers(scope=scope).get("traceparent", "")
        with traces.span("HTTP", parent=parent, kind="server") as span:
            try:
                await self.app(scope, receive, send_with_status)
            finally:
                method = scope["method"] if scope["method"] in METHODS else "HTTP"
                route = getattr(scope.get("route"), "path", "")
                span.name(f"{method} {route}".strip())
                span.note({"http.request.method": method, "http.route": route, "http.response.status_code": status})
                span.note({"request_id": scope["state"]["request_id"]})
                if status >= 500:
                    span.fail(str(status))


class _BodyReader:
    """Reads a body and measures the time spent waiting for it; time in which nobody reads does not count.

    Once the body is complete or an answer has begun, the limits end: to receive then means to wait until the client
    disconnects, however long that takes.
    """

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self.awaited = True
        self.complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        """Whether nothing more will arrive."""
        self.held_back = not self.complete and headers.get("expect", "").lower() == "100-continue"
        """Whether the client waits to be asked for its body."""
        self._receive, self._waited_s, self._bytes = receive, 0.0, 0

    async def receive(self) -> Message:
        """The next part. Raises `HTTPException` where it does not arrive, or arrives too slowly."""
        began, self.held_back = time.monotonic(), False
        try:
            async with asyncio.timeout(SILENT_S if self.awaited else None):
                message = await self._receive()
        except TimeoutError as error:
            if not self.awaited:
                return await self._receive()
            sentence = f"The request body stopped: nothing arrived for {SILENT_S:g} s."
            raise HTTPException(408, sentence) from error
        self.complete = self.complete or not message.get("more_body", False)
        self.awaited = self.awaited and not self.complete
        self._waited_s += time.monotonic() - began
        self._bytes += len(message.get("body", b""))
        if self.awaited and self._waited_s >= PACE_S:
            if self._bytes < MIN_BYTES_PER_S * self._waited_s:
                sentence = (
                    f"The request body arrives too slowly: {self._bytes} bytes in {self._waited_s:.1f} s, less than "
                    f"the {MIN_BYTES_PER_S} per second expected."
                )
                raise HTTPException(408, sentence)
            self._waited_s, self._bytes = 0.0, 0
        return message


def _usual_spelling(found: re.Match[str]) -> str:
    return re.sub("/+", "/", found[0]).lower()


def _body_limit(scope: Scope) -> int:
    """The largest body in bytes: a file and the form around it, or JSON with audio in base64."""
    context: AppContext = scope["app"].state.context
    video, audio = context.settings.max_video_mb * MIB, context.settings.max_audio_mb * MIB
    return FORM_BYTES + max(video, audio) if _is_upload(scope) else max(MAX_BODY_BYTES, FORM_BYTES + audio * 4 // 3)


def _is_upload(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "POST" and path.rstrip("/").endswith("/v1/files")


def install(app: FastAPI, settings: Settings) -> None:
    """Add the middleware and the error handlers to an application. The last one added sees a request first."""
    app.add_middleware(RequestMiddleware)
    app.add_middleware(NormalizeMiddleware)  # before the limit of a body is looked up by its path
    app.add_middleware(TracingMiddleware)
    if settings.allowed_origins:
        app.add_middleware(CrossOriginMiddleware, origins=settings.allowed_origins)
    app.add_middleware(SecurityHeadersMiddleware)
    if settings.trusted_proxies:
        app.add_middleware(ForwardedMiddleware, proxies=settings.trusted_proxies)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(DuikouError, _on_duikou_error)
    app.add_exception_handler(OSError, _on_os_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


def error_response(error: ApiError, request_id: str) -> JSONResponse:
    """The format of every error answer. Also logs and counts it."""
    log.info("refused", code=error.code, message=error.message)
    metrics.answers.labels(str(error.code)).inc()
    traces.note({"code": error.code})
    body = ErrorEnvelope(code=error.code, message=error.message, request_id=request_id)
    return JSONResponse(body.model_dump(), error.status, error.headers)


async def _discard_body(receive: Receive) -> None:
    """Read and discard, within limits, what a refused caller is still sending."""
    discarded, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while more and discarded < DISCARD_BYTES:
                message = await receive()
                discarded += len(message.get("body", b""))
                more = message.get("more_body", False)


def _answer(request: Request, error: ApiError) -> JSONResponse:
    return error_response(error, request.state.request_id)


def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _answer(request, error)


def _on_duikou_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DuikouError)
    answer = api_error(error)
    if answer.code == ErrorCode.INTERNAL.code:
        log.error("request failed", error=repr(error), exc_info=error)
    return _answer(request, answer)


def _on_os_error(request: Request, error: Exception) -> JSONResponse:
    """Report a full disk as such, wherever it shows; any other error of the system is internal."""
    if isinstance(error, OSError) and error.errno in FULL:
        return _on_duikou_error(request, disk_error(error))
    raise error


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(request, ApiError(ErrorCode.PARAMETER, error_sentence(error.errors())))


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404 | 405:
            sentence = f"There is no {request.method} {request.url.path}."
            answer = ApiError(ErrorCode.NO_METHOD, sentence)  # no Allow header: Starlette's lists only one route
        case 408:
            answer = ApiError(ErrorCode.PARAMETER, error.detail, status=408, headers={"Connection": "close"})
        case 413 | 422:
            answer = ApiError(ErrorCode.PARAMETER, error.detail)
        case 400:
            what = "a form" if _is_upload(request.scope) else "JSON"
            answer = ApiError(ErrorCode.PARAMETER, f"The request body cannot be read as {what}.")
        case _:
            answer = ApiError(ErrorCode.INTERNAL, error.detail, status=error.status_code, headers=error.headers)
    return _answer(request, answer)
