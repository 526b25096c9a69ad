"""Messages from a sandboxed child to its parent, as JSON.

The child may run an attacker's code, so nothing that it sends is unpickled or evaluated. The parent reads each message
against a strict schema; the value of a finished call must match the return annotation of the function that was called.
"""

from __future__ import annotations

import math
import os
import re
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

MAX_BYTES: Final = 16 * MIB  # of one message; face tracks stay in files, so what is sent about them is small
MAX_TEXT: Final = 64 << 10  # characters of one text, such as a stack trace
MAX_STAGE: Final = 64  # characters of a stage's name, as many as the database column holds
MAX_NAME: Final = 100  # characters of a class, field or log key
MAX_LOG_FIELDS: Final = 64
MAX_ERROR_TEXT: Final = 200  # characters of pydantic's message, which quotes what the child sent
ERRORS: Final[dict[str, type[DuikouError]]] = {
    error.__name__: error
    for error in (InputError, MediaError, FetchError, NotFoundError, ModelError, StorageError, WorkerError)
}
"""Errors that keep their class and text on the way to the parent."""
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # JSON has NUL only in this form; a literal "\\u0000" is another text

T = TypeVar("T")
Level = Literal["debug", "info", "warning", "error", "critical"]
Name = Annotated[str, Field(max_length=MAX_NAME)]
LogValue = bool | int | float | str


class UnexpectedError(WorkerError):
    """The work raised an error that duikou does not define. Another attempt would end the same way."""


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
    reason: str
    field: Name = ""
    errno: Annotated[int, Field(ge=1, le=4095)] | None = None  # Linux's range of error numbers

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Describe an error."""
        reason, field = (error.reason, error.field) if isinstance(error, InputError) else (str(error), "")
        number = error.errno if isinstance(error, OSError) else None
        return cls(
            error=type(error).__name__[:MAX_NAME],
            reason=plain_text(str(reason)),
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
        """Describe a line; values that JSON does not have become their `repr`."""
        values = {plain_text(name, MAX_NAME): _log_value(value) for name, value in [*fields.items()][:MAX_LOG_FIELDS]}
        known: Any = level if level in get_args(Level) else "info"
        return cls(level=known, event=plain_text(event), fields=values)


class StageProgress(_Message):
    """How far the work is: the name of the stage and the share of the whole call that is done, 0 to 1."""

    kind: Literal["progress"] = "progress"
    stage: Annotated[str, Field(max_length=MAX_STAGE)]
    share: Annotated[float, Field(ge=0, le=1)]

    @classmethod
    def of(cls, stage: str, share: float) -> Self:
        """Describe a step; a share that is out of range is clamped."""
        return cls(stage=plain_text(stage, MAX_STAGE), share=min(max(0.0, float(share)), 1.0))  # NaN becomes 0


Message = Done[Any] | Failed | LogLine | StageProgress


def plain_text(text: str, limit: int = MAX_TEXT) -> str:
    """The text as every database stores it: lone surrogates and NUL become question marks, and it is cut to `limit`."""
    return text.encode(errors="replace").decode().replace("\0", "?")[:limit]


def done(function: Callable[..., Any], value: object) -> str:
    """The message that `function` returned `value`. Raises `ValueError` where the value is not of its return type."""
    return _done_type(function).model_construct(value=value).model_dump_json(warnings="error")


@cache
def reader(function: Callable[..., Any]) -> Callable[[bytes], Message]:
    """Reads messages from a child that runs `function`. Raises `TypeError` for a function without a return annotation.

    The reader raises `WorkerError` for anything that does not match the schema.
    """
    choices: Any = _done_type(function) | Failed | LogLine | StageProgress
    adapter: TypeAdapter[Message] = TypeAdapter(Annotated[choices, Field(discriminator="kind")])

    def read(content: bytes) -> Message:
        if _NUL.search(content):
            raise WorkerError("the worker process sent an invalid message: a text contains NUL")
        try:
            return adapter.validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            what = plain_text(f"{place}: {first['msg']}" if place else first["msg"], MAX_ERROR_TEXT)
            raise WorkerError(f"the worker process sent an invalid message: {what}") from None

    return read


def receive(pipe: Connection, read: Callable[[bytes], Message]) -> Message:
    """The child's next message. Raises `EOFError` when the child is gone, `WorkerError` for an invalid message."""
    try:
        content = pipe.recv_bytes(MAX_BYTES)
    except OSError as error:
        if pipe.readable:  # the child died, within a message or before it; a message over the limit closes the pipe
            raise EOFError from error
        raise WorkerError(f"the worker process sent a message of more than {MAX_BYTES} bytes") from error
    return read(content)


@cache
def _done_type(function: Callable[..., Any]) -> type[Done[Any]]:
    hints = get_type_hints(function, include_extras=True)
    if "return" not in hints:
        raise TypeError(f"{function.__qualname__} has no return annotation")
    made: Any = Done.__class_getitem__(hints["return"])
    found: type[Done[Any]] = made
    return found


def _log_value(value: object) -> LogValue:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return plain_text(repr(value))
