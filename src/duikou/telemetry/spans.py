"""What a trace is made of: spans, and the interface of whatever makes and sends them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, Protocol

Attributes = Mapping[str, str | int]
Kind = Literal["server", "client", "internal"]


class Span:
    """A piece of work that has begun. This one is not traced."""

    def name(self, name: str) -> None:
        """Call it otherwise, once more is known of it."""

    def note(self, attributes: Attributes) -> None:
        """Say more of it."""

    def fail(self, word: str) -> None:
        """It goes wrong; `word` is a stable one that says how."""

    def end(self) -> None:
        """It is over."""


class Tracer(Protocol):
    """Whoever makes spans and sends them."""

    def span(self, name: str, attributes: Attributes, parent: str | None, kind: Kind) -> AbstractContextManager[Span]:
        """See `Traces.span`."""

    def begin(self, name: str) -> Span:
        """See `Traces.begin`."""

    def note(self, attributes: Attributes) -> None:
        """See `Traces.note`."""

    def here(self) -> str:
        """See `Traces.here`."""

    def close(self) -> None:
        """Send what is left, within seconds."""
