"""Calls without input and output.

A call is a plan: a generator that yields steps, gets the result of each, and returns the call's result. A driver, for
blocking or for asynchronous code, takes the steps (https://sans-io.readthedocs.io).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One HTTP request.

    body: sent as it is; file: sent in its place. follow: whether redirects are followed.
    repeatable: whether it may be sent again while the first may still be worked on.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    file: Path | None = None
    follow: bool = False
    repeatable: bool = True

    @property
    def name(self) -> str:
        """What errors and log lines call it: without the query, which may hold a signature."""
        return f"{self.method} {re.split('[?#]', self.url, maxsplit=1)[0]}"


@dataclass(frozen=True)
class Reply:
    """The answer to a request. headers: names in lower case. body: empty while it is still to be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Send:
    """Send a request; the result is the whole reply."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request; the result is the reply. A success's body is to be read in chunks."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read from the reply of the last `Open`; the result is a chunk, empty at the end."""


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Local:
    """Call a function that may block, on a file for example; the result is the function's."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Tell:
    """Call a caller's function, which may be asynchronous where the client is."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Emit:
    """Hand a value to the caller, who is iterating."""

    value: Any


Step: TypeAlias = Send | Open | Read | Sleep | Local | Tell | Emit
Plan: TypeAlias = Generator[Step, Any, T]
