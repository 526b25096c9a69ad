"""Times on the command line: whole milliseconds, seconds (`1.5s`) or clock times (`0:01.5`)."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_FRACTION: Final = r"(?:\.[0-9]{1,3})?"
_MILLISECONDS: Final = re.compile(r"(-?(?:0|[1-9][0-9]{0,9}))(?:ms)?")
_SECONDS: Final = re.compile(rf"([0-9]{{1,7}}{_FRACTION})s")
_CLOCK: Final = re.compile(rf"(?:([0-9]{{1,3}}):)?([0-9]{{1,2}}):([0-9]{{2}}{_FRACTION})")
TIME_FORMS: Final = "write 1500 (milliseconds), 1.5s or 0:01.5"
TRIM_FORMS: Final = "write A:B in milliseconds or seconds (500:4500, 0.5s:4.5s, :4500), or clock times as 0:00.5-0:04.5"

INTERVAL_FORMS: Final = "write A:B in milliseconds or seconds (1000:2500, 1s:2.5s), or clock times as 0:01-0:02.5"


def parse_time(text: str | int) -> int:
    """A time in ms. Raises `ValueError` with a sentence for any other text."""
    given = str(text).strip()
    if found := _MILLISECONDS.fullmatch(given):
        return int(found[1])
    if found := _SECONDS.fullmatch(given):
        return int(Fraction(found[1]) * 1000)
    if (found := _CLOCK.fullmatch(given)) and Fraction(found[3]) < 60 and (found[1] is None or int(found[2]) < 60):
        return int(((int(found[1] or 0) * 60 + int(found[2])) * 60 + Fraction(found[3])) * 1000)
    raise ValueError(f"{given!r} is not a time; {TIME_FORMS}")


def parse_trim(text: str | None) -> tuple[int, int | None]:
    """Start and end in ms; a left-out start is 0, a left-out end `None`. Raises `ValueError` with a sentence."""
    given = ":" if text is None else str(text).strip()
    start, separator, end = given.partition("-" if "-" in given[1:] else ":")
    try:
        if not separator or start.startswith("-") or (separator == ":" and ":" in end):
            raise ValueError
        return parse_time(start or 0), parse_time(end) if end else None
    except ValueError:
        raise ValueError(f"{given!r} is not a part of a sound; {TRIM_FORMS}") from None


def parse_interval(text: str) -> tuple[int, int]:
    """Start and end in ms; a left-out start is 0. Raises `ValueError` with a sentence."""
    try:
        start, end = parse_trim(text)
    except ValueError:
        end = None
    if end is None:
        raise ValueError(f"{str(text).strip()!r} is not a start and an end; {INTERVAL_FORMS}")
    return start, end


def seconds(ms: int) -> str:
    """A length for people, in seconds with one digit."""
    return f"{ms / 1000:.1f} s"
