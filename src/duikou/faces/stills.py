"""Finds where a video shows too few frames for a mouth that speaks."""

from __future__ import annotations

from typing import Final

import numpy as np

from duikou.arrays import IntArray
from duikou.faces.track import FaceWarning
from duikou.timebase import Interval

SLOW_MS: Final = 110
"""Longest frame of a mouth that seems to speak: about ten pictures a second. People speak four to five syllables in a
second, and each opens and closes the mouth, which takes two pictures to see."""
STILL_MS: Final = 300
"""Shortest time of slow frames that is told. It swallows a whole syllable; a few dropped frames do not."""
MAX_TOLD: Final = 5  # the longest; more say nothing new

HELD_FRAME, FEW_FRAMES = "held_frame", "few_frames"
STILL_CODES: Final = frozenset({HELD_FRAME, FEW_FRAMES})
"""Codes of the warnings of this module."""


def still_warnings(starts_ms: IntArray, ends_ms: IntArray, interval: Interval) -> list[FaceWarning]:
    """A warning for each time within `interval` in which the picture changes too seldom, at most `MAX_TOLD`.

    starts_ms, ends_ms: (N,) when the display of each frame of the video starts and ends.
    """
    inside = (ends_ms > interval.start_ms) & (starts_ms < interval.end_ms)
    slow = inside & (ends_ms - starts_ms > SLOW_MS)
    edges = np.flatnonzero(np.diff(slow.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    runs = [(int(ends_ms[stop - 1] - starts_ms[first]), int(first), int(stop)) for first, stop in edges]
    longest = sorted((run for run in runs if run[0] >= STILL_MS), reverse=True)[:MAX_TOLD]
    return [_warning(starts_ms, ends_ms, first, stop) for _, first, stop in sorted(longest, key=lambda run: run[1])]


def _warning(starts_ms: IntArray, ends_ms: IntArray, first: int, stop: int) -> FaceWarning:
    """The warning for the frames numbered `first` to `stop`."""
    shown = Interval(int(starts_ms[first]), int(ends_ms[stop - 1]))
    when = f"from {shown.start_ms} ms to {shown.end_ms} ms"
    if stop - first == 1:
        message = f"one frame is shown for {shown.duration_ms} ms, {when}; the mouth cannot move while it is"
        return FaceWarning(HELD_FRAME, message, shown)
    message = f"only {stop - first} frames are shown {when}; a mouth needs about 10 in a second to seem to speak"
    return FaceWarning(FEW_FRAMES, message, shown)
