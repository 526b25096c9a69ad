"""The inner edge of the lips, found in the pixels: how rough it is, and what is left beside a narrower mouth.

The landmarks only say where to look. On lines across each lip the edge lies where colour changes most; the steps from
line to line are kept small by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from benchmarks.quality.mouths import Mouth
from duikou.arrays import Float64Array, IntArray
from duikou.render import mesh

LINES = 48
"""Lines across each lip."""

MIDDLE = 0.76
"""Share of the lips' length that is searched: at the corners both edges meet."""

REACH, STEP = 0.03, 0.002
"""How far the edge is searched from the landmarks, and the distance of the samples, in eye distances."""

STIFF = 0.15
"""Cost of a step of one sample between two lines, in changes of colour across a usual edge."""

ANY_COLOUR = 0.3
"""Weight of a change of any colour beside one from red to less red, which tells a lip from teeth and from the dark."""

NEAR = 4
"""Samples to either side of that path whose mean place, weighed by their change of colour, is the edge."""

SMOOTH = 2.5
"""Standard deviation, in lines, of the smooth course that the roughness is measured from: lips bend no faster."""

WIDE_OPEN = 0.06
"""Lip gap, in eye distances, from which the edges of both lips are apart."""

LEAST = 8
"""Mouths of either kind from which roughness is compared."""


BESIDE = (0.03, 0.14, 0.05)
"""Where the marks of old corners are looked for: from and to this far beyond a corner of the mouth, and this far above
and below it, in eye distances."""

MARK = 0.09
"""Width of a mark, in eye distances, at most: folds of a cheek are wider."""

FINE, MARK_PIXELS = 0.8, 150.0
"""Blur, in pixels, that removes grain, and the eye distance in pixels at which marks are measured."""

USUAL, MORE = 98, 1.5
"""Percentile of the marks beside the person's own real mouths, and by how much, in units of L*a*b*, a mark must be
stronger to count as left over."""


@dataclass(frozen=True)
class EdgeReport:
    """One face. rough_real, rough_ours: median roughness, in eye distances; `None` where too few mouths are wide open.
    left, left_real: share of our mouths beside which marks stand that this person's real mouths do not have; and of the
    real ones, when one half of them is judged by the other.
    """

    name: str
    mouths: int
    rough_real: float | None
    rough_ours: float | None
    left: float
    left_real: float

    @property
    def ratio(self) -> float | None:
        """Roughness of ours relative to the real one."""
        return None if self.rough_real is None or self.rough_ours is None else self.rough_ours / self.rough_real


def compare(name: str, mouths: Sequence[Mouth]) -> EdgeReport | None:
    """Compare a face's painted mouths with its real ones; `None` for too few of either."""
    real, ours = ([mouth for mouth in mouths if mouth.ours is kind] for kind in (False, True))
    if min(len(real), len(ours)) < LEAST:
        return None
    rough_real, rough_ours = _usual(real), _usual(ours)
    known, new = (np.array([marks(mouth) for mouth in kind]) for kind in (real, ours))
    halves = [_left(known[::2], known[1::2]), _left(known[1::2], known[::2])]
    return EdgeReport(name, len(ours), rough_real, rough_ours, _left(known, new), float(np.mean(halves)))


def marks(mouth: Mouth) -> Float64Array:
    """(2,) the darkest and the reddest small mark beside the corners of a mouth, in units of L*a*b*."""
    scale = MARK_PIXELS / float(mesh.eye_distance(mouth.points[:, :2]))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(mouth.image, None, fx=scale, fy=scale, interpolation=way)
    lab = cv2.GaussianBlur(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), (0, 0), FINE)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (round(MARK * MARK_PIXELS),) * 2)
    both = np.stack(
        [
            cv2.morphologyEx(lab[..., 0], cv2.MORPH_BLACKHAT, disc),
            cv2.morphologyEx(lab[..., 1], cv2.MORPH_TOPHAT, disc),
        ],
        -1,
    )
    near, far, high = (MARK_PIXELS * way for way in BESIDE)
    found = np.zeros(2)
    for corner, side in ((mesh.LEFT_CORNER, -1), (mesh.RIGHT_CORNER, 1)):
        x, y = scale * mouth.points[corner, :2]
        left, right = sorted((x + side * near, x + side * far))
        part = both[max(int(y - high), 0) : max(int(y + high), 0), max(int(left), 0) : max(int(right), 0)]
        if part.size:
            found = np.maximum(found, part.max((0, 1)))
    return found


def _usual(mouths: list[Mouth]) -> float | None:
    """Median roughness of wide openings; `None` for too few."""
    found = [roughness(mouth) for mouth in mouths if mouth.gap > WIDE_OPEN]
    return float(np.median(found)) if len(found) >= LEAST else None


def _left(known: Float64Array, marked: Float64Array) -> float:
    """Share of marks (N, 2) that are stronger than the known ones (M, 2)."""
    return float((marked > np.percentile(known, USUAL, axis=0) + MORE).any(1).mean())


def course(mouth: Mouth) -> Float64Array:
    """(2, LINES) where the edges of upper and lower lip lie beside their landmarks, in eye distances downwards."""
    lab = cv2.cvtColor(mouth.image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    points = mouth.points[:, :2]
    unit = float(mesh.eye_distance(points))
    away = np.arange(-REACH, REACH + STEP / 2, STEP)
    found = []
    for row, inwards in ((mesh.UPPER_INNER, -1), (mesh.LOWER_INNER, 1)):
        ends = points[row[0]], points[row[-1]]
        share = 0.5 + MIDDLE * (np.linspace(0, 1, LINES) - 0.5)
        x = ends[0][0] + share * (ends[1][0] - ends[0][0])
        y = np.interp(x, *points[list(row)].T)
        read = cv2.remap(
            lab,
            np.repeat(x[:, None], len(away), 1).astype(np.float32),
            (y[:, None] + away * unit).astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        slope = np.gradient(gaussian_filter1d(read, 1.0, axis=1), axis=1)
        change = np.maximum(inwards * slope[..., 1], 0) + ANY_COLOUR * np.linalg.norm(slope, axis=-1)
        place = _path(change / max(float(np.percentile(change, 90)), 1e-6))
        near = change * (np.abs(np.arange(len(away)) - place[:, None]) <= NEAR)
        found.append((near * away).sum(1) / np.maximum(near.sum(1), 1e-6))
    return np.array(found)


def roughness(mouth: Mouth) -> float:
    """Root mean square distance of the edges from their own smooth course, in eye distances."""
    edges = course(mouth)
    return float(np.sqrt(np.square(edges - gaussian_filter1d(edges, SMOOTH, axis=1)).mean()))


def _path(change: Float64Array) -> IntArray:
    """(lines,) the sample of each line (lines, samples) on the path of most change with small steps."""
    samples = np.arange(change.shape[1])
    step = STIFF * np.abs(samples[:, None] - samples[None])
    total, back = change[0], []
    for line in change[1:]:
        options = total[None] - step
        back.append(options.argmax(1))
        total = options.max(1) + line
    place = [int(total.argmax())]
    for origin in reversed(back):
        place.append(int(origin[place[-1]]))
    return np.array(place[::-1], np.int64)
