"""Spans, and the interface of what creates and sends them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, Protocol

Attributes = Mapping[str, str | int]
Kind = Literal["server", "client", "internal"]


class Span:
    """A step of a trace. This class does nothing; it stands in while tracing is off."""

    def name(self, name: str) -> None:
        """Rename the span."""

    def note(self, attributes: Attributes) -> None:
        """Set attributes."""

    def fail(self, word: str) -> None:
        """Mark the span as failed; `word` is a stable name of the error."""

    def end(self) -> None:
        """End the span."""


class Tracer(Protocol):
    """Creates spans and sends them."""

    def span(self, name: str, attributes: Attributes, parent: str | None, kind: Kind) -> AbstractContextManager[Span]:
        """See `Traces.span`."""

    def begin(self, name: str) -> Span:
        """See `Traces.begin`."""

    def note(self, attributes: Attributes) -> None:
        """See `Traces.note`."""

    def here(self) -> str:
        """See `Traces.here`."""

    def close(self) -> None:
        """Send the remaining spans, within seconds."""
