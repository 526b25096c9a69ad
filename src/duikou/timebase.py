"""Time: integer milliseconds at every border, integer pts and `Fraction` rates inside. Never float seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Final

from duikou.bounds import Whole
from duikou.units import DAY_MS

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

END_TOLERANCE_MS: Final = 100
"""An end that is late by at most this much is clamped: callers round durations (facts about clients)."""
_MAX_MS: Final = 7 * DAY_MS  # media of more than a day are not accepted
_MAX_RATE: Final = 1_000_000  # frames per second; headers of a single frame may declare more than videos have
_FRACTION = re.compile(r"[0-9]{1,39}/[1-9][0-9]{0,38}")  # digits of 128 bits; rates and time bases have 64


class _RateSchema:
    """Tells pydantic to read and write a fraction as `30000/1001`.

    `Fraction` itself also reads `1e999999999`, which takes all memory.
    """

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            _read_rate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda rate: f"{rate.numerator}/{rate.denominator}"
            ),
        )


def _read_rate(text: object) -> Fraction:
    if not isinstance(text, str) or not _FRACTION.fullmatch(text):
        raise ValueError("a rate is a fraction of two whole numbers of at most 39 digits, such as 30000/1001")
    rate = Fraction(text)
    if not 0 < rate <= _MAX_RATE:
        raise ValueError(f"a rate is more than 0 and at most {_MAX_RATE}")
    return rate


Milliseconds = Annotated[int, Whole(0, _MAX_MS)]
"""A time or length of 0 ms or more."""
Rate = Annotated[Fraction, _RateSchema()]
"""Frames per second."""


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A half-open interval on a time line, `[start_ms, end_ms)`, in whole milliseconds."""

    start_ms: Milliseconds
    end_ms: Milliseconds

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise ValueError(f"interval ends at {self.end_ms} ms before it starts at {self.start_ms} ms")

    @property
    def duration_ms(self) -> int:
        """Length in milliseconds."""
        return self.end_ms - self.start_ms

    def overlap(self, other: Interval) -> Interval | None:
        """The part that both share, or `None` if there is none."""
        start, end = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return Interval(start, end) if start < end else None

    def __contains__(self, ms: int) -> bool:
        return self.start_ms <= ms < self.end_ms


def round_half_up(value: Fraction) -> int:
    """Nearest integer; halves go up, so that equal steps stay equal (Python's `round` goes to even)."""
    return (value.numerator * 2 + value.denominator) // (value.denominator * 2)


def pts_to_ms(pts: int, time_base: Fraction) -> int:
    """A time stamp `pts` in units of `time_base` seconds, in milliseconds."""
    return round_half_up(pts * time_base * 1000)


def ms_to_samples(ms: int, rate: int) -> int:
    """Index of the sample at `ms`, at `rate` samples per second."""
    return round_half_up(Fraction(ms * rate, 1000))


def samples_to_ms(samples: int, rate: int) -> int:
    """Duration in milliseconds of `samples` at `rate` samples per second."""
    return round_half_up(Fraction(samples * 1000, rate))
