"""The result of one check of `duikou doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The result of one check: whether it passed, what was found, and the remedy if it failed."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
