"""Single mouths of finished files, real and ours, from which both are told apart.

Real and painted mouths went through the same chain of encoders, are upright, and are matched by the lips' gap, so that
only the mouth itself can tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality import sheet
from benchmarks.quality.lips import Lips
from duikou.arrays import Float64Array, Image, IntArray
from duikou.media import decode
from duikou.render import mesh

SIDE = 300
"""Width and height of a mouth on a sheet, in pixels."""

EACH = 80
"""Mouths of each kind taken from a face: more come from the same few openings."""

FEW = 20
"""Mouths of an idle face that are taken of each kind with closed lips."""

SAME_GAP = 0.02
"""Difference of two lip gaps, in eye distances, up to which mouths are compared."""

OPEN = 0.04
"""Lip gap, in eye distances, from which a mouth shows its inside."""


@dataclass(frozen=True)
class Mouth:
    """One mouth of a finished file.

    clip, face: names of the clip and, where it shows several, of the face. ours: whether it was painted. gap, width: of
    the lips, in eye distances. unit: eye distance in pixels. image: (n, n, 3) upright, n at most `SIDE`, in the pixels
    of the file where those are fewer. points: (478, 3) landmarks in its pixels.
    """

    clip: str
    face: str
    ours: bool
    time_ms: int
    gap: float
    width: float
    unit: float
    image: Image
    points: Float64Array

    def at(self, unit: float, side: int) -> Image:
        """The picture with `side` pixels, as it were filmed with an eye distance of `unit` pixels or its own."""
        coarse = max(min(round(2 * sheet.REACH * unit), len(self.image)), 1)
        small = cv2.resize(self.image, (coarse, coarse), interpolation=cv2.INTER_AREA)
        way = cv2.INTER_AREA if coarse > side else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(small, (side, side), interpolation=way), np.uint8)


@dataclass(frozen=True)
class Filmed:
    """A finished file, the lips of one face in it, and whether they were painted."""

    clip: str
    face: str
    video: Path
    lips: Lips
    ours: bool


def cut(filmed: Filmed, frames: IntArray) -> list[Mouth]:
    """The mouths of some frames."""
    lips = filmed.lips
    row_of = {int(frame): row for row, frame in enumerate(lips.frames)}
    wanted = {int(frame) for frame in frames} & row_of.keys()
    found = []
    for frame in decode.frames(filmed.video, stop=max(wanted, default=-1) + 1):
        if frame.index in wanted:
            found.append(_upright(filmed, frame.image, row_of[frame.index]))
    return found


def _upright(filmed: Filmed, image: Image, row: int) -> Mouth:
    points = filmed.lips.track.landmarks[row].astype(np.float64)
    unit = float(mesh.eye_distance(points[:, :2]))
    side = min(round(2 * sheet.REACH * unit), SIDE)
    turn = sheet.upright(points[:, :2], side)
    scale = float(np.hypot(*turn[:, 0]))
    placed = np.column_stack([points[:, :2] @ turn[:, :2].T + turn[:, 2], scale * points[:, 2]])
    return Mouth(
        clip=filmed.clip,
        face=filmed.face,
        ours=filmed.ours,
        time_ms=int(filmed.lips.track.times_ms[row]),
        gap=float(filmed.lips.gap[row]),
        width=float(filmed.lips.width[row]),
        unit=unit,
        image=sheet.mouth(image, points[:, :2], side),
        points=placed,
    )


def alike(ours: Lips, real: Lips, count: int = EACH) -> tuple[IntArray, IntArray]:
    """Frame numbers of `count` painted mouths, evenly over time, and of as many real ones of nearly the same gaps."""
    rows = np.unique(np.linspace(0, len(ours.frames) - 1, min(count, len(ours.frames))).round().astype(int))
    free, pairs = set(range(len(real.frames))), []
    for row in rows:
        nearest = min(free, key=lambda other: abs(real.gap[other] - ours.gap[row]), default=None)
        if nearest is not None and abs(real.gap[nearest] - ours.gap[row]) < SAME_GAP:
            free.remove(nearest)
            pairs.append((ours.frames[row], real.frames[nearest]))
    return np.array([pair[0] for pair in pairs], np.int64), np.array([pair[1] for pair in pairs], np.int64)


def evenly(frames: IntArray, count: int = EACH) -> IntArray:
    """At most `count` of the frame numbers (N,), evenly."""
    places = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round())
    return np.asarray(frames[places.astype(int)], np.int64)


def by_face(mouths: list[Mouth]) -> Mapping[str, list[Mouth]]:
    """The mouths of each face."""
    found: dict[str, list[Mouth]] = {}
    for mouth in mouths:
        found.setdefault(mouth.face, []).append(mouth)
    return found
