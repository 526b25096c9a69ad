"""How often the tests marked `slow_repeats` repeat what they try: less in `make test`, in full in `.ci/run`."""

from __future__ import annotations

import os

FULL = os.environ.get("DUIKOU_TEST_REPEATS") == "full"


def repeats(full: int, quick: int) -> int:
    """The full count where `DUIKOU_TEST_REPEATS` is `full`, else the quick one."""
    return full if FULL else quick
