"""Log lines of the server and of its workers: one form, on the standard error.

Workers hand theirs to the server: what they may write to is limited.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
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


def send(say: Callable[..., None]) -> None:
    """Hand lines on instead, as `say("log", level, event, more)` with plain values."""

    def hand_on(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        level, event = line.pop("level"), line.pop("event")
        plain = (bool, int, float, str)
        say("log", level, str(event), {name: v if isinstance(v, plain) else repr(v) for name, v in line.items()})
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            hand_on,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def relay(level: str, event: str, more: dict[Any, Any]) -> None:
    """Write a line that a worker handed on."""
    line = {str(name): value for name, value in more.items() if name not in ("event", "level", "timestamp")}
    write = getattr(structlog.get_logger(__name__), level if level in LEVELS else "info")
    write(event, **line)


def _for_people() -> list[structlog.typing.Processor]:
    # Plain traces: those that show local variables would spill what callers sent.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _for_programs() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
