"""Pictures that stand still while a face is to speak."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from duikou.faces.stills import MAX_TOLD, still_warnings
from duikou.timebase import Interval

WHOLE = Interval(0, 60_000)
STEADY = [40] * 25


def found(lengths_ms: list[int], interval: Interval = WHOLE) -> list[tuple[str, int, int]]:
    """Code, start and end of each warning for frames of these lengths."""
    edges = np.array([0, *accumulate(lengths_ms)])
    warnings = still_warnings(edges[:-1], edges[1:], interval)
    return [(one.code, one.interval.start_ms, one.interval.end_ms) for one in warnings]


@pytest.mark.parametrize("lengths_ms", [STEADY, [100] * 60, [17, 16] * 40, [*STEADY, 240, *STEADY], [40, 133, 40, 133]])
def test_speech_that_can_be_seen_is_not_told(lengths_ms: list[int]) -> None:
    assert found(lengths_ms) == []


def test_a_frame_that_is_held_is_told_wherever_it_is() -> None:
    assert found([5_000]) == [("held_frame", 0, 5_000)]
    assert found([*STEADY, 2_000, *STEADY]) == [("held_frame", 1_000, 3_000)]
    assert found([*STEADY, 400]) == [("held_frame", 1_000, 1_400)]


def test_few_frames_are_told_together() -> None:
    assert found([1_000] * 5) == [("few_frames", 0, 5_000)]
    assert found([*STEADY, *[125] * 8, *STEADY]) == [("few_frames", 1_000, 2_000)]


def test_only_what_the_interval_sees_is_told() -> None:
    lengths_ms = [2_000, *STEADY, 2_000]
    assert found(lengths_ms, Interval(2_000, 3_000)) == []
    assert found(lengths_ms, Interval(2_500, 3_500)) == [("held_frame", 3_000, 5_000)]


def test_of_many_the_longest_are_told_in_their_order() -> None:
    lengths_ms = [length for hold in (300, 900, 310, 800, 700, 600, 500) for length in (hold, 40)]
    told = found(lengths_ms)
    assert [end - start for _, start, end in told] == [900, 800, 700, 600, 500]
    assert len(told) == MAX_TOLD


def test_the_sentence_has_the_figures() -> None:
    (held,) = still_warnings(np.array([0]), np.array([5_000]), WHOLE)
    assert held.message == "one frame is shown for 5000 ms, from 0 ms to 5000 ms; the mouth cannot move while it is"
    edges = np.arange(6) * 1_000
    (few,) = still_warnings(edges[:-1], edges[1:], WHOLE)
    assert few.message == (
        "only 5 frames are shown from 0 ms to 5000 ms; a mouth needs about 10 in a second to seem to speak"
    )
