"""A closer look at a video in which nobody was followed: is there a face all the same, and why is it none to use?"""

from __future__ import annotations

from typing import Final

from duikou.faces.detector import Detector, Tiling
from duikou.faces.landmarks import Landmarker
from duikou.faces.scan import Sample
from duikou.faces.usable import MIN_PRESENCE
from duikou.media.video import Video

FINE: Final = Tiling(320, 100)
"""For faces that are too small to be used: one of 25 px has 15 input pixels on such a tile, and scores above 0.8."""

MOST_TILES: Final = 6
"""Along the longest side without overlap: larger frames have larger tiles."""

LOOKS: Final = 5
"""Frames that are looked at, evenly spread. Each takes about half a second in 1080p."""

MIN_UNKNOWN_SCORE: Final = 0.6
"""Least score of a face without features, such as a pixelated one. Noise scores up to 0.54, such faces up to 0.8."""


def closer_look(video: Video) -> list[Sample]:
    """The largest face of each frame that was looked at, found on fine tiles; none where nothing looks like a face.

    A face whose features can be made out comes before others, whose presence is below `MIN_PRESENCE`.
    """
    samples: list[Sample] = []
    detector, landmarker = Detector(), Landmarker()
    total = len(video.frame_times)
    for number in sorted({round((place + 0.5) * total / LOOKS - 0.5) for place in range(LOOKS)}):
        (frame,) = video.frames(number, number + 1)
        found = []
        tiling = Tiling(max(FINE.side_px, max(frame.pixels.size) // MOST_TILES), FINE.overlap_px)
        for detection in detector.find(frame.pixels, tiling=tiling):
            seen = landmarker.observe(frame.pixels, detector.upright(frame.pixels, detection).roi)
            if seen.presence >= MIN_PRESENCE or detection.score >= MIN_UNKNOWN_SCORE:
                left, _, right, _ = detection.box
                found.append((seen.presence >= MIN_PRESENCE, right - left, Sample(number, frame.time_ms, 0, seen)))
        if found:
            samples.append(max(found, key=lambda one: one[:2])[2])
    return samples
