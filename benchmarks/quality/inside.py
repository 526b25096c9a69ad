"""The inside of a painted mouth against the real one: brightness and colour between parted lips.

The frames of a talking clip in which the mouth is open are withheld. The engine gets a clip of the closed frames alone,
played back and forth, so that it must paint what the person's own clip shows. Both are then compared by lip gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.quality.again import spoken_again
from benchmarks.quality.clips import DISPLACED, Clip, frame_count
from benchmarks.quality.engines import Watched
from benchmarks.quality.lips import Lips, tracked
from benchmarks.quality.mouths import OPEN, Filmed, Mouth, cut, evenly
from duikou import identify
from duikou.arrays import Float64Array, Image, IntArray
from duikou.media import decode
from duikou.media.encode import VideoWriter
from duikou.media.video import Video
from duikou.progress import Progress
from duikou.render import mesh
from duikou.render.interior import CHEEKS, LUMA

GAPS = (0.04, 0.08, 0.13, 0.30)
"""Lip gaps, in eye distances, between which mouths are compared."""

CLOSED, LEAST_CLOSED = 0.022, 3
"""Lip gap up to which a mouth is closed, and the least number of consecutive closed frames of a clip that is
measured."""

PERCENTILES = (5, 25, 50, 75, 95)
LEAST_FRAMES, LEAST_PIXELS = 3, 60
EXTREME = 10
"""Percent of the pixels that count as the darkest and as the brightest."""

CHEEK_SHARE = 50
"""Side of the square that is measured on a cheek: this part of the eye distance."""


@dataclass(frozen=True)
class Inside:
    """The inside of one mouth. gap: of the lips, in eye distances. light: (5,) percentiles of brightness relative to
    the cheeks. bright, dark: (2,) blue over green and red over green of the brightest and darkest tenth.
    """

    gap: float
    light: Float64Array
    bright: Float64Array
    dark: Float64Array


@dataclass(frozen=True)
class InsideReport:
    """One face: medians of its real and painted mouths by lip gap, from `GAPS`, where both are seen often enough.
    mouths: single painted ones with open lips.
    """

    name: str
    gaps: list[tuple[float, float]]
    real: list[Inside]
    ours: list[Inside]
    mouths: list[Mouth] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        rows = [
            {"gaps": gaps} | {name: _plain(one) for name, one in (("real", real), ("ours", ours))}
            for gaps, real, ours in zip(self.gaps, self.real, self.ours, strict=True)
        ]
        return {"name": self.name, "distance": self.distance, "mouths": rows}

    @property
    def distance(self) -> float:
        """Mean difference of the percentiles of brightness."""
        return float(
            np.mean([np.abs(ours.light - real.light) for ours, real in zip(self.ours, self.real, strict=True)])
        )


def measure(image: Image, points: Float64Array) -> Inside | None:
    """Measure a picture with landmarks (478, 2); `None` if the lips hardly part or are tiny."""
    unit = float(mesh.eye_distance(points))
    gap = float(mesh.lip_gap(points)) / unit
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(points[list(mesh.INNER_RING)]).astype(np.int32)], 1)
    pixels = image[cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0].astype(np.float64)
    if gap < GAPS[0] or len(pixels) < LEAST_PIXELS:
        return None
    side = max(int(unit / CHEEK_SHARE), 2)
    places = np.round(points[[place for cheek in CHEEKS for place in cheek]]).astype(int)
    cheeks = [image[max(y - side, 0) : y + side + 1, max(x - side, 0) : x + side + 1].reshape(-1, 3) for x, y in places]
    light = pixels @ LUMA
    low, high = np.percentile(light, (EXTREME, 100 - EXTREME))
    return Inside(
        gap,
        np.percentile(light, PERCENTILES) / float(np.median(np.concatenate(cheeks), axis=0) @ LUMA),
        _chroma(pixels[light >= high].mean(0)),
        _chroma(pixels[light <= low].mean(0)),
    )


def compare(clip: Clip, folder: Path, progress: Progress) -> InsideReport | None:
    """Paint the withheld mouths of a talking clip and compare them; `None` if it shows too few closed or open ones.

    Raises `MediaError` for a clip without audio.
    """
    count = frame_count(clip)
    faces = identify(clip.video).faces
    face = max(faces, key=lambda one: len(one.track))
    real = tracked(clip.video, face, count)
    closed = longest_closed(real)
    if len(closed) < LEAST_CLOSED:
        return None
    given = withheld(clip, closed, folder / "withheld.mp4")
    painted = folder / "painted.mp4"
    ours = spoken_again(clip, face, given, painted, Watched(), progress)
    if ours is None:
        return None
    true, new = by_gap(_measured(clip.video, real)), by_gap(_measured(painted, ours))
    shared = [gaps for gaps in true if gaps in new]
    if not shared:
        return None
    name = clip.name if len(faces) == 1 else f"{clip.name}_{face.id}"
    mouths = cut(Filmed(clip.name, name, painted, ours, ours=True), evenly(ours.frames[ours.gap > OPEN]))
    return InsideReport(clip.name, shared, [true[gaps] for gaps in shared], [new[gaps] for gaps in shared], mouths)


def longest_closed(lips: Lips) -> IntArray:
    """Numbers of the frames in the longest run of consecutive frames with closed lips."""
    closed = lips.frames[lips.gap < CLOSED]
    runs = np.split(closed, np.flatnonzero(np.diff(closed) != 1) + 1)
    return max(runs, key=len)


def withheld(clip: Clip, closed: IntArray, path: Path) -> Path:
    """Write the consecutive frames `closed` of a clip back and forth, as long as the clip, and return `path`."""
    times = decode.read_frame_times(clip.video).pts[: frame_count(clip)]
    pictures = [frame.image for frame in decode.frames(clip.video, start=int(closed[0]), stop=int(closed[-1]) + 1)]
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    with VideoWriter(path, Video.open(clip.video), quality=DISPLACED) as writer:
        for number, when in enumerate(times):
            writer.write(pictures[order[number % len(order)]], int(when))
    return path


def by_gap(found: list[Inside]) -> dict[tuple[float, float], Inside]:
    """Medians of the mouths between two of `GAPS`, where there are enough."""
    made = {}
    for low, high in pairwise(GAPS):
        some = [one for one in found if low <= one.gap < high]
        if len(some) >= LEAST_FRAMES:
            light, bright, dark = (
                np.median([getattr(one, name) for one in some], axis=0) for name in ("light", "bright", "dark")
            )
            made[low, high] = Inside(float(np.median([one.gap for one in some])), light, bright, dark)
    return made


def _measured(video: Path, lips: Lips) -> list[Inside]:
    row_of = {int(frame): row for row, frame in enumerate(lips.frames)}
    found = [
        measure(frame.image, lips.track.landmarks[row_of[frame.index], :, :2].astype(np.float64))
        for frame in decode.frames(video, stop=int(lips.frames[-1]) + 1)
        if frame.index in row_of
    ]
    return [one for one in found if one is not None]


def _plain(one: Inside) -> dict[str, Any]:
    return {"gap": one.gap, **{name: getattr(one, name).tolist() for name in ("light", "bright", "dark")}}


def _chroma(colour: Float64Array) -> Float64Array:
    return np.asarray(colour[[0, 2]] / max(float(colour[1]), 1.0))
