"""Log lines of servers and workers, in one form on the standard error.

Warnings and errors that libraries log, Python's own warnings and uncaught exceptions take the same form. Child
processes forward their lines to their parent, because the files that they may write to are restricted.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog

LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


def configure() -> None:
    """Write structured lines to the standard error: readable text on a terminal, JSON elsewhere."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *(_text() if sys.stderr.isatty() else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    _capture_others()


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
    _write(level if level in LEVELS else "info", event, line)


class _LibraryHandler(logging.Handler):
    """Writes what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            more = {"exc_info": record.exc_info} if record.exc_info else {}
            _write(record.levelname.lower(), record.getMessage().strip(), {"logger": record.name, **more})
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


def _log_thread_exception(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else ""
    _write("critical", "a thread died", {"thread": name, "exc_info": failure.exc_value})


def _log_unraisable(failure: sys.UnraisableHookArgs) -> None:
    _write("error", "an unraisable exception", {"where": repr(failure.object), "exc_info": failure.exc_value})


def _write(level: str, event: str, more: dict[str, Any]) -> None:
    getattr(structlog.get_logger(), level if level in LEVELS else "warning")(event, **more)


def _text() -> list[structlog.typing.Processor]:
    # Plain tracebacks: local variables would reveal what callers sent.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _json() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
