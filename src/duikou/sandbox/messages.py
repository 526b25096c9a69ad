"""Messages from a sandboxed child to its parent, as JSON.

The child may run an attacker's code, so nothing that it sends is unpickled or evaluated. The parent reads each message
against a strict schema; the value of a finished call must match the return annotation of the function that was called.
"""

from __future__ import annotations

import base64
import math
import os
import re
import struct
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.connection import Connection
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from duikou.errors import (
    DuikouError,
    FetchError,
    InputError,
    MediaError,
    ModelError,
    NotFoundError,
    StorageError,
    WorkerError,
)
from duikou.units import MIB

MAX_BYTES: Final = 4 * MIB  # of a value; the faces of an hour with a cut every second take 1.8 MiB
MAX_ITEMS: Final = 150_000  # of a message; those faces have 126,000. If each item is wrong, reading takes 70 MB
MAX_OTHER_BYTES: Final = 192 << 10  # of any other message, such as a line for the log
MAX_TEXT: Final = 16 << 10  # characters of one text, such as a stack trace, and of all texts of a line
MAX_REASON: Final = 4 << 10  # characters of an error's text
MAX_STAGE: Final = 64  # characters of a stage's name, as many as the database column holds
MAX_NAME: Final = 100  # characters of a class, field or log key
MAX_LOG_FIELDS: Final = 64
MAX_NUMBER: Final = 2**53 - 1  # in a line of the log: every JSON reader keeps integers up to here
MAX_ERROR_TEXT: Final = 200  # characters of pydantic's message, which quotes what the child sent
MAX_FAULTS: Final = 1000  # of one message that are looked at
MAX_QUESTION: Final = 64 << 10  # bytes of a question and of its answer
LOG_LINES: Final = 1000  # of one piece of work; honest work writes a few
LOG_BYTES: Final = MIB  # of all of them
MAX_MESSAGES, MORE_PER_S = 5000, 50  # of one piece of work; honest work sends five a second
MAX_TOTAL_BYTES: Final = 16 * MIB  # of all of them
ERRORS: Final[dict[str, type[DuikouError]]] = {
    error.__name__: error
    for error in (InputError, MediaError, FetchError, NotFoundError, ModelError, StorageError, WorkerError)
}
"""Errors that keep their class and text on the way to the parent."""
_DONE: Final = b'{"kind":"done",'
_LENGTH: Final = struct.Struct("!i")  # before each message, as `Connection.send_bytes` writes it
_READ: Final = 64 << 10  # bytes of one read
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # JSON has NUL only in this form; a literal "\\u0000" is another text

T = TypeVar("T")
Level = Literal["debug", "info", "warning", "error", "critical"]
Name = Annotated[str, Field(max_length=MAX_NAME)]
LogValue = bool | Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)] | float | str


class UnexpectedError(WorkerError):
    """The work raised an error that duikou does not define. Another attempt would end the same way."""


class InvalidMessageError(UnexpectedError):
    """The child sent what is no message, or too many. It may have been taken over by a file."""


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=MAX_TEXT)


class Done(_Message, Generic[T]):
    """The function returned `value`."""

    kind: Literal["done"] = "done"
    value: T


class Failed(_Message):
    """The function raised an error. error: name of its class. reason: its text; for an `InputError` without the field.

    errno: the system's number for an `OSError`.
    """

    kind: Literal["failed"] = "failed"
    error: Annotated[str, Field(pattern=rf"^\w{{1,{MAX_NAME}}}$")]
    reason: Annotated[str, Field(max_length=MAX_REASON)]
    field: Name = ""
    errno: Annotated[int, Field(ge=1, le=4095)] | None = None  # Linux's range of error numbers

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Describe an error."""
        reason, field = (error.reason, error.field) if isinstance(error, InputError) else (str(error), "")
        number = error.errno if isinstance(error, OSError) else None
        return cls(
            error=type(error).__name__[:MAX_NAME],
            reason=plain_text(str(reason), MAX_REASON),
            field=plain_text(str(field), MAX_NAME),
            errno=number if isinstance(number, int) and 1 <= number <= 4095 else None,
        )

    def exception(self) -> Exception:
        """The error to raise in the parent. The text of an unknown class stays in the log: it may name private files.

        An `OSError` keeps its number, by which the parent recognises a full disk.
        """
        known = ERRORS.get(self.error)
        if known is not None:
            return known(self.reason, field=self.field) if issubclass(known, InputError) else known(self.reason)
        if self.errno is not None:
            return OSError(self.errno, os.strerror(self.errno))
        return UnexpectedError(f"unexpected {self.error}; see the server's log")


class LogLine(_Message):
    """A line for the parent's log."""

    kind: Literal["log"] = "log"
    level: Level
    event: str
    fields: Annotated[dict[Name, LogValue], Field(max_length=MAX_LOG_FIELDS)]

    @classmethod
    def of(cls, level: str, event: str, fields: Mapping[str, object]) -> Self:
        """Describe a line; values that JSON does not have become their `repr`. Texts are cut to `MAX_TEXT` together."""
        known: Any = level if level in get_args(Level) else "info"
        event = plain_text(event)
        left, values = MAX_TEXT - len(event), dict[str, LogValue]()
        for name, value in [*fields.items()][:MAX_LOG_FIELDS]:
            shown = _log_value(value, left)
            values[plain_text(name, MAX_NAME)] = shown
            left -= len(shown) if isinstance(shown, str) else 0
        return cls(level=known, event=event, fields=values)


class StageProgress(_Message):
    """How far the work is: the name of the stage and the share of the whole call that is done, 0 to 1."""

    kind: Literal["progress"] = "progress"
    stage: Annotated[str, Field(max_length=MAX_STAGE)]
    share: Annotated[float, Field(ge=0, le=1)]

    @classmethod
    def of(cls, stage: str, share: float) -> Self:
        """Describe a step; a share that is out of range is clamped."""
        return cls(stage=plain_text(stage, MAX_STAGE), share=min(max(0.0, float(share)), 1.0))  # NaN becomes 0


class Question(_Message):
    """Something that only the parent knows or can do, such as a signature. content: bytes in base64."""

    kind: Literal["question"] = "question"
    content: Annotated[str, Field(max_length=MAX_QUESTION * 4 // 3 + 4)]

    @classmethod
    def of(cls, content: bytes) -> Question:
        """Ask about these bytes."""
        return cls.model_construct(content=base64.b64encode(content).decode())

    def asked(self) -> bytes:
        """The bytes. Raises `InvalidMessageError` where they are none."""
        try:
            return base64.b64decode(self.content, validate=True)
        except ValueError:
            raise InvalidMessageError("the worker process sent an invalid message: no base64") from None


Message = Done[Any] | Failed | LogLine | StageProgress | Question


def plain_text(text: str, limit: int = MAX_TEXT) -> str:
    """The text as every database stores it: lone surrogates and NUL become question marks, and it is cut to `limit`."""
    return text.encode(errors="replace").decode().replace("\0", "?")[:limit]


def done(function: Callable[..., Any], value: object) -> str:
    """The message that `function` returned `value`. Raises `ValueError` where the value is not of its return type."""
    return _done_type(function).model_construct(value=value).model_dump_json(warnings="error")


@cache
def reader(function: Callable[..., Any]) -> Callable[[bytes], Message]:
    """Reads messages from a child that runs `function`. Raises `TypeError` for a function without a return annotation.

    The reader raises `InvalidMessageError` for anything that does not match the schema, and for too much of it.
    """
    choices: Any = _done_type(function) | Failed | LogLine | StageProgress | Question
    adapter: TypeAdapter[Message] = TypeAdapter(Annotated[choices, Field(discriminator="kind")])

    def read(content: bytes) -> Message:
        if reason := _unreadable(content):
            raise InvalidMessageError(f"the worker process sent an invalid message: {reason}")
        try:
            return adapter.validate_json(content)
        except ValidationError as error:
            raise InvalidMessageError(f"the worker process sent an invalid message: {_told(error)}") from None

    return read


def _told(error: ValidationError) -> str:
    """What is wrong with a message, in a few words."""
    if error.error_count() > MAX_FAULTS:  # a list of them all takes more memory than the message
        return f"{error.error_count()} faults"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return plain_text(f"{place}: {first['msg']}" if place else first["msg"], MAX_ERROR_TEXT)


def _unreadable(content: bytes) -> str:
    """Why a message is not even parsed: what is built of it would take too much memory, or cannot be stored."""
    if len(content) > MAX_OTHER_BYTES and not content.startswith(_DONE):
        return f"more than {MAX_OTHER_BYTES} bytes"
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_ITEMS:
        return f"more than {MAX_ITEMS} items"
    return "a text contains NUL" if _NUL.search(content) else ""


class Inbox:
    """What arrives from one child, cut into messages. It never waits for the rest of a message.

    It raises `InvalidMessageError` for a child that sends more than honest work does.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._held, self._began = pipe, bytearray(), time.monotonic()
        self._count = self._bytes = 0

    def fetch(self) -> None:
        """Take what has arrived. Raises `EOFError`, `ConnectionError` when the child is gone."""
        content = os.read(self._pipe.fileno(), _READ)
        if not content:
            raise EOFError
        self._held += content
        self._bytes += len(content)
        if self._bytes > MAX_TOTAL_BYTES:
            raise InvalidMessageError(f"the worker process sent more than {MAX_TOTAL_BYTES} bytes")

    def next(self) -> bytes | None:
        """The next message that has arrived whole, `None` where there is none."""
        if len(self._held) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._held)
        if not 0 <= length <= MAX_BYTES:
            raise InvalidMessageError(f"the worker process sent a message of more than {MAX_BYTES} bytes")
        end = _LENGTH.size + length
        if len(self._held) < end:
            return None
        content = bytes(self._held[_LENGTH.size : end])
        del self._held[:end]
        self._count += 1
        if self._count > MAX_MESSAGES + MORE_PER_S * (time.monotonic() - self._began):
            raise InvalidMessageError(f"the worker process sent {self._count} messages within a short time")
        return content


@cache
def _done_type(function: Callable[..., Any]) -> type[Done[Any]]:
    hints = get_type_hints(function, include_extras=True)
    if "return" not in hints:
        raise TypeError(f"{function.__qualname__} has no return annotation")
    made: Any = Done.__class_getitem__(hints["return"])
    found: type[Done[Any]] = made
    return found


def _log_value(value: object, left: int) -> LogValue:
    """The value as JSON has it, a text cut to the characters that are `left`."""
    if isinstance(value, bool | int) and abs(value) <= MAX_NUMBER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return plain_text(value if isinstance(value, str) else repr(value), max(left, 0))
