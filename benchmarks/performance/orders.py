"""What a job works on, and which face it makes speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duikou
from benchmarks.performance.clips import LEAD_MS
from duikou.media.probe import probe_audio
from duikou.timebase import Interval


@dataclass(frozen=True)
class Order:
    """What a job works on.

    at_ms: where in the video the speech begins. length_ms: how much of the speech is used, `None` is as much as fits.
    """

    video: Path
    speech: Path
    output: Path
    at_ms: int = LEAD_MS
    length_ms: int | None = None


def choice(faces: Mapping[str, Interval], order: Order) -> duikou.FaceChoice:
    """The face that shows longest speaks from the order's time on, or soon after it appears, while it shows.

    faces: when each face can be made to speak, by its id; at least one.
    """
    face_id = max(faces, key=lambda one: faces[one].duration_ms)
    shown = faces[face_id]
    at_ms = max(order.at_ms, shown.start_ms + (LEAD_MS if shown.start_ms else 0))
    longest = probe_audio(order.speech).duration_ms
    length_ms = min(longest, shown.end_ms - LEAD_MS - at_ms, order.length_ms or longest)
    return duikou.FaceChoice(order.speech, face_id, trim_end_ms=length_ms, insert_ms=at_ms)
