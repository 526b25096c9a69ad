"""Log lines of servers and workers, in one form on the standard error.

Warnings and errors that libraries log, Python's own warnings and uncaught exceptions take the same form. Child
processes forward their lines to their parent, because the files that they may write to are restricted. What arrives at
the standard error without being logged is taken by `duikou.telemetry.output`. Secrets of the settings never show, and
what acts on a terminal shows as an escape.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from textwrap import indent
from types import TracebackType
from typing import Any, TextIO

import structlog

from duikou.printable import printable

LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
HIDDEN = "***"
_OF_LINES = ("exception", "stack")  # fields with several lines

_secrets: list[str] = []  # texts that no line shows, the longest first
_target: TextIO | None = None  # where lines go, if not to the standard error as it is


def configure(secrets: Iterable[str] = ()) -> None:
    """Write structured lines to the standard error: readable text on a terminal, JSON elsewhere.

    secrets: texts that no line of this process shows from now on.
    """
    escaped = (form for text in secrets for form in (json.dumps(text)[1:-1], printable(text)))
    _secrets[:] = sorted({*_secrets, *secrets, *escaped}, key=len, reverse=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *(_text() if sys.stderr.isatty() else _json()),
            _without_secrets,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(_target or sys.stderr),
    )
    _capture_others()


def hidden(text: str) -> str:
    """The text without the secrets of this process."""
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    return text


@contextmanager
def writing_to(descriptor: int) -> Iterator[TextIO]:
    """Until the block ends, lines go to that file descriptor, which the block closes at its end."""
    global _target  # noqa: PLW0603 - the standard error is one of the process as well
    before = _target
    with os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace") as target:
        _target = target
        try:
            yield target
        finally:
            _target = before


def forward(hand_on: Callable[[str, str, Mapping[str, object]], None]) -> None:
    """Call `hand_on(level, event, fields)` for each line instead of writing it."""

    def processor(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        level, event = line.pop("level"), line.pop("event")
        hand_on(level, str(event), line)
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            processor,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    _capture_others()


def relay(level: str, event: str, fields: Mapping[str, object]) -> None:
    """Write a line that a child forwarded. The parent's context wins, so a child cannot name another task."""
    reserved = {"event", "level", "timestamp", *structlog.contextvars.get_contextvars()}
    line = {name: value for name, value in fields.items() if name not in reserved}
    write(level if level in LEVELS else "info", event, line)


class _LibraryHandler(logging.Handler):
    """Writes what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            more = {"exc_info": record.exc_info} if record.exc_info else {}
            write(record.levelname.lower(), record.getMessage().strip(), {"logger": record.name, **more})
        except Exception:
            self.handleError(record)


def _capture_others() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _LibraryHandler) for handler in root.handlers):
        root.addHandler(_LibraryHandler())
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if threading.excepthook is threading.__excepthook__:  # a test runner has its own
        threading.excepthook = _log_thread_exception
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _log_unraisable
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_exception


def _log_thread_exception(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else ""
    write("critical", "a thread died", {"thread": name, "exc_info": failure.exc_value})


def _log_exception(_kind: type[BaseException], failure: BaseException, _trace: TracebackType | None) -> None:
    if isinstance(failure, KeyboardInterrupt):
        return
    write("critical", "the process ends by an exception", {"exc_info": failure})


def _log_unraisable(failure: sys.UnraisableHookArgs) -> None:
    write("error", "an unraisable exception", {"where": repr(failure.object), "exc_info": failure.exc_value})


def write(level: str, event: str, more: dict[str, Any]) -> None:
    """Write a line with these fields."""
    getattr(structlog.get_logger(), level if level in LEVELS else "warning")(event, **more)


def _without_secrets(_logger: object, _method: str, line: Any) -> str:
    return hidden(str(line))


def _text() -> list[structlog.typing.Processor]:
    # Plain tracebacks: local variables would reveal what callers sent.
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return [structlog.processors.format_exc_info, _escaped, renderer]


def _escaped(_logger: object, _method: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    """The line without anything that acts on a terminal."""
    return {printable(name): _escaped_value(name, value) for name, value in line.items()}


def _escaped_value(name: str, value: object) -> object:
    if name in _OF_LINES:  # indented, so that no text in it looks like a line of the log
        return indent(printable(str(value), keep="\n"), "    ")
    if value is None or isinstance(value, int | float):
        return value
    return printable(value if isinstance(value, str) else repr(value))


def _json() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), _escaped_line]


def _escaped_line(_logger: object, _method: str, line: Any) -> str:
    return printable(str(line))
