"""The JSON of the contract, in both directions. Unknown fields of answers are ignored; known ones have their type."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from duikou.client import errors
from duikou.client.errors import ApiError, ProtocolError
from duikou.client.retry import retry_after_s
from duikou.client.steps import Reply
from duikou.client.values import Box, Face, FaceWarning, Session, Speaking, Task, TaskStatus, Upload, Video

UNKNOWN_METHOD = 1202
MAX_EVENT = 4 << 20  # bytes of one server-sent event: a task takes a few thousand

T = TypeVar("T")


class _Fields:
    """The fields of a JSON object. Raises `ProtocolError` that names the place."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"{place}: the answer has {_shown(value)} in place of an object.")
        self._value, self._place = value, place

    def text(self, name: str) -> str:
        """A string; numbers, as some gateways send ids, are read as one."""
        value = self._value.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self._fault(name, "a string")
        return value

    def number(self, name: str) -> float:
        value = self._value.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if not isinstance(value, float) or not math.isfinite(value):
            raise self._fault(name, "a number")
        return value

    def ms(self, name: str) -> int:
        return round(self.number(name))

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        """A field, read by a method of this object; `None` if it is absent or null."""
        return None if self._value.get(name) is None else read(name)

    def inner(self, name: str) -> _Fields:
        return _Fields(self._value.get(name), f"{self._place}.{name}")

    def items(self, name: str) -> Iterator[_Fields]:
        """The objects of an array, which may be absent."""
        value = self._value.get(name)
        if not isinstance(value, list | None):
            raise self._fault(name, "an array")
        for number, item in enumerate(value or ()):
            yield _Fields(item, f"{self._place}.{name}[{number}]")

    def _fault(self, name: str, expected: str) -> ProtocolError:
        found = _shown(self._value[name]) if name in self._value else "nothing"
        return ProtocolError(f"{self._place}.{name}: the answer has {found} in place of {expected}.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


# Answers


def read_session(data: object) -> Session:
    """The data of an answer to identify-face."""
    fields = _Fields(data, "data")
    video = fields.optional("video", fields.inner)
    return Session(
        fields.text("session_id"),
        tuple(map(_face, fields.items("face_data"))),
        _warnings(fields, "rejected"),
        _warnings(video, "warnings") if video else (),
    )


def read_task(data: object, place: str = "data") -> Task:
    """A task, as an answer, an event or a callback has it."""
    fields = _Fields(data, place)
    status = fields.text("task_status")
    if status not in set(TaskStatus):
        raise ProtocolError(f"{place}.task_status: the answer has {_shown(status)}, which is no status.")
    info, result = fields.optional("task_info", fields.inner), fields.optional("task_result", fields.inner)
    source = info.optional("parent_video", info.inner) if info else None
    return Task(
        id=fields.text("task_id"),
        status=TaskStatus(status),
        created_at_ms=fields.ms("created_at"),
        updated_at_ms=fields.ms("updated_at"),
        message=fields.optional("task_status_msg", fields.text) or "",
        external_id=(info.optional("external_task_id", info.text) if info else None) or None,
        source=_video(source) if source else None,
        videos=tuple(map(_video, result.items("videos"))) if result else (),
        progress=fields.optional("progress", fields.number),
        stage=fields.optional("stage", fields.text),
        queue_position=fields.optional("queue_position", fields.ms),
        fault=fields.optional("fault", fields.text),
    )


def read_tasks(data: object) -> tuple[Task, ...]:
    """The data of an answer to a list."""
    if not isinstance(data, list):
        raise ProtocolError(f"data: the answer has {_shown(data)} in place of an array.")
    return tuple(read_task(item, f"data[{number}]") for number, item in enumerate(data))


def read_upload(data: object) -> Upload:
    """The data of an answer to an upload."""
    fields = _Fields(data, "data")
    kind = fields.text("type")
    if kind not in ("video", "audio", "image"):
        raise ProtocolError(f"data.type: the answer has {_shown(kind)}, which is no kind of file.")
    return Upload(
        id=fields.text("id"),
        url=fields.text("url"),
        kind=kind,  # type: ignore[arg-type] # checked above
        size=fields.ms("size"),
        duration_ms=_duration_ms(fields) or 0,
        expires_at_ms=fields.ms("expires_at"),
    )


def _face(fields: _Fields) -> Face:
    box = fields.optional("bbox", fields.inner)
    return Face(
        id=fields.text("face_id"),
        start_ms=fields.ms("start_time"),
        end_ms=fields.ms("end_time"),
        picture_url=fields.optional("face_image", fields.text) or "",
        box=Box(box.ms("x"), box.ms("y"), box.ms("width"), box.ms("height")) if box else None,
        warnings=_warnings(fields, "warnings"),
        speaking=tuple(
            Speaking(one.ms("start_time"), one.ms("end_time"), one.number("score")) for one in fields.items("speaking")
        ),
    )


def _warnings(fields: _Fields, name: str) -> tuple[FaceWarning, ...]:
    return tuple(
        FaceWarning(one.text("code"), one.text("message"), one.ms("start_time"), one.ms("end_time"))
        for one in fields.items(name)
    )


def _video(fields: _Fields) -> Video:
    return Video(
        id=fields.optional("id", fields.text) or "",
        url=fields.optional("url", fields.text) or "",
        duration_ms=_duration_ms(fields),
        watermark_url=fields.optional("watermark_url", fields.text) or None,
    )


def _duration_ms(fields: _Fields) -> int | None:
    """A duration in seconds, a string by the contract and a number with some gateways; `None` if it is none."""
    try:
        return round(Decimal(fields.text("duration")) * 1_000)
    except (ProtocolError, InvalidOperation, ValueError, OverflowError):
        pass
    try:
        return round(fields.number("duration") * 1_000)
    except ProtocolError:
        return None


# The envelope


def read_data(reply: Reply, what: str, *, extension: bool = False) -> Any:
    """The data of an answer. Raises `ApiError` for an error, `ProtocolError` for what is no answer of the contract.

    what: the request, for messages. extension: whether the call is one that only a duikou server knows.
    """
    envelope = _envelope(reply.body)
    if 200 <= reply.status < 300:
        if envelope is None or ("data" not in envelope and envelope["code"] == 0):
            raise ProtocolError(f"{what}: the answer is not the contract's JSON. Is the base URL right?")
        if envelope["code"] == 0:
            return envelope["data"]
    if 300 <= reply.status < 400:
        place = reply.headers.get("location", "another URL").partition("?")[0]
        raise ProtocolError(f"{what}: the server redirects to {place}; give that host as base URL.")
    raise _api_error(reply, envelope, what, extension=extension)


def _envelope(body: bytes) -> dict[str, Any] | None:
    """An object with a code, or `None`."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    code = value.get("code") if isinstance(value, dict) else None
    return value if isinstance(code, int) and not isinstance(code, bool) else None


def _api_error(reply: Reply, envelope: dict[str, Any] | None, what: str, *, extension: bool) -> ApiError:
    envelope = envelope or {}
    code, message, request_id = (envelope.get(name) for name in ("code", "message", "request_id"))
    if not isinstance(message, str) or not message:
        message = f"{what}: the server answered {reply.status} without a message of the contract."
    if not isinstance(request_id, str):
        request_id = reply.headers.get("x-request-id", "")
    kind = _BY_CODE.get(code or 0) or _BY_STATUS.get(
        reply.status, ApiError if reply.status < 500 else errors.ServerError
    )
    if extension and (code == UNKNOWN_METHOD or (code is None and reply.status in (404, 405, 501))):
        kind, message = (
            errors.UnsupportedError,
            f"{what}: this server does not know the call, an extension of duikou's.",
        )
    after_s = retry_after_s(reply.headers.get("retry-after"))
    return kind(message, code=code, status=reply.status, request_id=request_id, retry_after_s=after_s)


_BY_CODE: dict[int, type[ApiError]] = {
    **dict.fromkeys(range(1000, 1005), errors.AuthenticationError),
    **dict.fromkeys((1100, 1101, 1102, 1302, 1303, 1304), errors.RateLimitError),
    1103: errors.ForbiddenError,
    **dict.fromkeys((1200, 1201, 1300, 1301), errors.InvalidRequestError),
    UNKNOWN_METHOD: errors.UnsupportedError,
    1203: errors.NotFoundError,
    **dict.fromkeys((5000, 5001, 5002), errors.ServerError),
}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
}


# Server-sent events


class EventReader:
    """Server-sent events out of chunks of bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Task]:
        """The tasks of the events that end in this chunk."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) + sum(map(len, self._data)) > MAX_EVENT:
            raise ProtocolError(f"an event has more than {MAX_EVENT} bytes.")
        for line in lines:
            field, _, value = line.removesuffix(b"\r").partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif line in (b"", b"\r") and self._data:
                yield _event(b"\n".join(self._data))
                self._data.clear()


def _event(data: bytes) -> Task:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("an event is not valid JSON.") from error
    return read_task(value, "event")
