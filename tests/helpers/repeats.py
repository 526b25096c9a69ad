"""How much the tests marked `slow_repeats` try: less in `make test`, all in `make test-repeats`."""

from __future__ import annotations

import os

FULL = os.environ.get("TEST_REPEATS") == "full"


def repeats(full: int, quick: int) -> int:
    """The full count where `TEST_REPEATS` is `full`, else the quick one."""
    return full if FULL else quick
