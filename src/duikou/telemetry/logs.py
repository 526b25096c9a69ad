"""Log lines of servers and workers: one form, on the standard error, whoever writes them.

What libraries log from warnings on, warnings of Python and faults that nobody caught take the same way as ours. Child
processes hand theirs to their parent: what they may write to is limited.
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
    """Send structured lines to the standard error: for people on a terminal, JSON elsewhere."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *(_for_people() if sys.stderr.isatty() else _for_programs()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    _take_up_others()


def send(hand_on: Callable[[str, str, Mapping[str, object]], None]) -> None:
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
    _take_up_others()


def relay(level: str, event: str, more: Mapping[str, object]) -> None:
    """Write a line that a worker handed on. Which task it is of is for us to say, not for the worker."""
    ours = {"event", "level", "timestamp", *structlog.contextvars.get_contextvars()}
    line = {name: value for name, value in more.items() if name not in ours}
    _write(level if level in LEVELS else "info", event, line)


class _Others(logging.Handler):
    """Takes up what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            more = {"exc_info": record.exc_info} if record.exc_info else {}
            _write(record.levelname.lower(), record.getMessage().strip(), {"logger": record.name, **more})
        except Exception:
            self.handleError(record)


def _take_up_others() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _Others) for handler in root.handlers):
        root.addHandler(_Others())
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if threading.excepthook is threading.__excepthook__:  # else a test runner collects them
        threading.excepthook = _thread_ended
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable


def _thread_ended(fault: threading.ExceptHookArgs) -> None:
    name = fault.thread.name if fault.thread else ""
    _write("critical", "a thread died", {"thread": name, "exc_info": fault.exc_value})


def _unraisable(fault: sys.UnraisableHookArgs) -> None:
    _write("error", "a fault that nobody could catch", {"where": repr(fault.object), "exc_info": fault.exc_value})


def _write(level: str, event: str, more: dict[str, Any]) -> None:
    getattr(structlog.get_logger(), level if level in LEVELS else "warning")(event, **more)


def _for_people() -> list[structlog.typing.Processor]:
    # Plain traces: those that show local variables would spill what callers sent.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _for_programs() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
