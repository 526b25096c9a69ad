"""The opening between the lips in a picture: its true edges, and the rows of teeth in it.

Landmarks lie beside the edges of the lips by up to a fiftieth of the eye distance, and they see an opening up to the
corners of the mouth where the lips touch. The upper row of teeth belongs to the skull and the lower row to the jaw, so
whoever moves them must know which is which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, median_filter

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, median, smoothstep
from duikou.render import mesh
from duikou.render.warp import mouth_frame, pick

REACH, STEPS = 0.045, 49
"""How far beyond the landmarks of the inner lips their edges are searched, in eye distances, and at how many
positions."""

BARED_REACH = 0.02
"""How far beyond the landmarks, in eye distances, teeth are searched."""

EDGE_WIDTH, EDGE_PRIOR, EDGE_PRIOR_SHARE = 0.012, 0.012, 0.12
"""Width, in eye distances, of the two sides of an edge whose colours are compared; and how far from its landmark an
edge is likely to lie, in eye distances, and as a share of the opening if that is more."""

EDGE_STEP, CLOSED_STEP = 12.0, 16.0
"""Least difference of colour (L, a, b, 0 to 255) across an edge of the lips; and the largest difference from both lips
of what lies between lips that touch."""

COLUMNS = len(mesh.UPPER_INNER) - 2
"""All pairs of inner lip points but the corners."""

LIP_COLUMNS = 5
LIP_AROUND = np.clip(np.arange(LIP_COLUMNS)[:, None] + np.arange(COLUMNS) - LIP_COLUMNS // 2, 0, COLUMNS - 1)
"""Columns over whose median the colour of a lip is taken, around each one (5, 9): at the corners of a smile it is in
the dark."""

EDGE_LIMIT = 0.03
"""How far, in eye distances, an edge may lie from its landmark where the lips are open."""

PALE = (0.2, 0.6)
"""Missing share of the lips' redness at which a tooth becomes possible, and at which it is certain."""

NEUTRAL, MIN_REDNESS = 128, 8
"""The a channel of grey, and the least redness assumed for lips."""

DARK = 12
"""Pixels darker than the lips by this much (of 255) are shadow or throat, not teeth."""

DIM, LEAST = 0.4, 0.012
"""Brightness from which a pixel may belong to a row, on the way from the darkest parts of the mouth to the lips; and
the least height of a row in eye distances: a highlight on wet lips is smaller."""

UPPER_STARTS, ALONE_STARTS, LOWER_ENDS = 0.40, 0.52, 0.60
"""Shares of the opening, from the upper lip: an upper row begins above the first; a lower row ends below the third. One
row alone is the upper one if it begins above the second in most columns: a smile may bare the gum above it."""

DIM_TOOTH, DIM_SOFT = 0.65, 0.3
"""Brightness relative to the lips from which a pale pixel begins to count as a tooth, and the range in which it does so
more and more: teeth in the shade of the cheeks are dim."""

CLENCHED = 0.045
"""Height of teeth, in eye distances, from which they may be two rows that touch."""

LEAST_COLUMNS = 3
"""Number of columns from which a row of teeth counts."""

SMOOTH = 0.8
"""Smoothing of the borders of a row along the mouth, in columns."""

AMID, ON_TEETH = 2, 0.7
"""Number of positions above and below that line that must be teeth too, and the share of its length on which they must:
rows with a dark gap between them do not touch."""

BITE, BITE_STEP = 10.0, 1
"""How much darker (of 255) the line between touching rows is than both, and by how many positions it may rise or fall
from one column to the next."""

SMOOTHING = gaussian_filter1d(np.eye(COLUMNS), SMOOTH, axis=0, mode="nearest")
"""(9, 9) the same smoothing as a matrix."""

OUTSIDE = np.zeros((1, COLUMNS), np.bool_)
"""A position at which there are no teeth."""


@dataclass(frozen=True)
class Opening:
    """What one picture shows between the lips.

    edges: (2, 9) how far the upper and the lower lip's edge lie below their landmarks, in eye distances, at each pair
    of inner lip points but the corners. touching: (9,) how far (0 to 1) the lips touch there. bared: mean height of the
    visible teeth, in eye distances. upper, lower: (9,) where the upper row of teeth ends and where the lower row
    begins, as shares of the opening from the upper lip's edge: 0 if there is no upper row, 1 if there is no lower row.
    """

    edges: Float64Array
    touching: Float64Array
    bared: float
    upper: Float64Array
    lower: Float64Array

    @classmethod
    def closed(cls) -> Opening:
        """A mouth that shows nothing."""
        return cls(np.zeros((2, COLUMNS)), np.zeros(COLUMNS), 0.0, np.zeros(COLUMNS), np.ones(COLUMNS))

    @property
    def has_upper(self) -> bool:
        """Whether teeth of the upper row show."""
        return bool(self.upper.any())

    @property
    def has_lower(self) -> bool:
        """Whether teeth of the lower row show."""
        return bool((self.lower < 1).any())

    def lip_edges(self, points: Float64Array) -> tuple[Float64Array, Float64Array]:
        """The edges (11, 2) of the upper and of the lower lip, corners included, of landmarks (478, 2): of those of the
        picture itself, or of those that its lips are brought to."""
        down = mouth_frame(points)[2]
        edges = points[[mesh.UPPER_INNER, mesh.LOWER_INNER]]
        upper, lower = edges[:, 1:-1] + self.edges[..., None] * float(mesh.eye_distance(points)) * down
        way = lower - upper
        closed = np.where(way @ down < 0, 1.0, self.touching)[:, None] / 2 * way
        edges[0, 1:-1], edges[1, 1:-1] = upper + closed, lower - closed
        return edges[0], edges[1]


def calm(around: Sequence[Opening], middle: Opening) -> Opening:
    """The opening of a frame, calm over those of the frames `around` it: the median of each border."""
    rows = np.array([[*one.edges, one.touching, one.upper, one.lower] for one in around])
    first, second, touching, upper, lower = median(rows)
    return Opening(np.stack([first, second]), touching, middle.bared, upper, lower)


def find(image: Image, points: Float64Array) -> Opening:
    """Find the opening between the lips in a picture with landmarks (478, 2).

    Teeth are the pixels between the lips that are less red than the lips and not dark. Landmarks alone do not suffice:
    they also call a mouth closed that shows a thin line of teeth.
    """
    unit = float(mesh.eye_distance(points))
    upper, lower = points[list(mesh.UPPER_INNER[1:-1])], points[list(mesh.LOWER_INNER[1:-1])]
    down = mouth_frame(points)[2]
    height = np.maximum((lower - upper) @ down, 0.0)
    place = np.linspace(-1, 1, STEPS)[:, None] * (height / 2 + REACH * unit)
    middle = (upper + lower) / 2
    colours = picked(image, (middle + place[..., None] * down).reshape(-1, 2))
    found = np.asarray(colours.reshape(STEPS, COLUMNS, 3), np.float64)
    edges, touching = _edges(image, points, found, place, height)
    low, high = edges[0] * unit - height / 2, edges[1] * unit + height / 2
    low, high = low + touching * (high - low) / 2, high - touching * (high - low) / 2
    light, red = _lips(image, points)
    lost, bright = _lost(found[..., 1], red), found[..., 0]
    near = np.abs(place) <= height / 2 + BARED_REACH * unit
    pale = np.clip((lost - PALE[0]) / (PALE[1] - PALE[0]), 0, 1) * (bright > light - DARK) * near
    step = place[1] - place[0]
    bared = float((pale.sum(0) * step)[2:-2].mean() / unit)
    share = (place - low) / np.maximum(high - low, 1e-6)
    opened = bright[(share > 0) & (share < 1)]
    floor = float(np.percentile(opened, 5)) if opened.size else light
    row = near & (lost > (PALE[0] + PALE[1]) / 2) & (bright > floor + DIM * (light - floor))
    return Opening(edges, touching, bared, *_borders(row, bright, share, np.maximum(high - low, 0), unit))


def _edges(
    image: Image, points: Float64Array, found: Float64Array, place: Float64Array, height: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """How far (2, 9) the edges of both lips lie below their landmarks, in eye distances, and where (9,) the lips touch.

    found: (S, 9, 3) colours, L, a and b, across the mouth at the positions `place` (S, 9) in pixels from the middle of
    an opening of `height` (9,). An edge is the steepest step of colour near its landmark. Where everything between the
    lips looks like the lips, they touch.
    """
    unit = float(mesh.eye_distance(points))
    step = np.maximum(place[1] - place[0], 1e-6)
    width = max(round(float(median(EDGE_WIDTH * unit / step))), 1)
    longer = [np.zeros_like(found[:1]), *[found[:1]] * width, found, *[found[-1:]] * width]
    total = np.cumsum(np.concatenate(longer), axis=0)
    before = (total[width : width + STEPS] - total[:STEPS]) / width
    after = (total[width + 1 + width :][:STEPS] - total[width + 1 :][:STEPS]) / width
    steep = np.linalg.norm(after - before, axis=-1)
    prior = np.maximum(EDGE_PRIOR * unit, EDGE_PRIOR_SHARE * height)
    edges, sure = np.zeros((2, COLUMNS)), np.zeros((2, COLUMNS))
    columns = np.arange(COLUMNS)
    for lip, sign in enumerate((-1, 1)):
        away = place - sign * height / 2
        score = steep * np.exp(-((away / prior) ** 2)) * (sign * place >= 0)
        likely = score.argmax(0)
        near = np.abs(np.arange(STEPS)[:, None] - likely) <= width
        best = np.where(near, steep, 0).argmax(0)  # the prior must not move the edge itself
        edges[lip] = np.clip(away[best, columns] / unit, -EDGE_LIMIT, EDGE_LIMIT)
        sure[lip] = steep[best, columns] > EDGE_STEP
    edges = np.stack([_mean_of_sure(one, there) for one, there in zip(edges, sure, strict=True)])
    apart = np.min([np.linalg.norm(found - lip, axis=-1) for lip in _lip_colours(image, points)], axis=0)
    alike = np.where(np.abs(place) <= height / 2, apart, 0.0).max(0) < CLOSED_STEP
    # Lips touch from the corners inwards.
    left, right = np.cumprod(alike), np.cumprod(alike[::-1])[::-1]
    return edges, np.maximum(left, right).astype(np.float64)


def _lip_colours(image: Image, points: Float64Array) -> list[Float64Array]:
    """Colours (9, 3), L, a and b, of the middles of the upper and of the lower lip, those of single columns left
    out."""
    rows = (mesh.UPPER_MIDDLE, mesh.LOWER_MIDDLE)
    found = [np.asarray(picked(image, points[list(row[1:-1])]), np.float64) for row in rows]
    return [median(lip[LIP_AROUND]) for lip in found]


def _mean_of_sure(values: Float64Array, sure: Float64Array) -> Float64Array:
    """Values (9,) smoothed along the mouth, those that are not `sure` (0 or 1) left out; 0 where none is near."""
    return np.asarray(_smoothed(values * sure) / np.maximum(_smoothed(sure), 0.1), np.float64)


def _smoothed(values: Float64Array) -> Float64Array:
    """Values (9,) smoothed along the mouth."""
    return np.asarray(SMOOTHING @ values, np.float64)


def paleness(image: Image, points: Float64Array, pixels: Image) -> Float32Array:
    """How far (0 to 1) pixels (rows, columns, 3) of the inside of a mouth look like teeth, next to the lips of a
    picture with landmarks (478, 2)."""
    light, red = _lips(image, points)
    found = cv2.cvtColor(pixels, cv2.COLOR_BGR2LAB).astype(np.float64)
    pale = np.clip((_lost(found[..., 1], red) - PALE[0]) / (PALE[1] - PALE[0]), 0, 1)
    bright = smoothstep((found[..., 0] - DIM_TOOTH * light) / (DIM_SOFT * light))
    return np.asarray(pale * bright, np.float32)


def _lips(image: Image, points: Float64Array) -> tuple[float, float]:
    """Brightness and redness (L and a, 0 to 255) of the lips of landmarks (478, 2)."""
    rims = points[[*mesh.UPPER_OUTER[3:-3], *mesh.LOWER_OUTER[3:-3]]]
    cores = points[[*mesh.UPPER_MIDDLE[3:-3], *mesh.LOWER_MIDDLE[3:-3]]]
    light, red, _ = median(picked(image, (rims + cores) / 2))
    return float(light), float(red)


def _lost(redness: Float64Array, of_lips: float) -> Float64Array:
    """The share of the lips' redness that is missing."""
    return np.asarray((of_lips - redness) / max(of_lips - NEUTRAL, MIN_REDNESS), np.float64)


def _borders(
    pale: BoolArray, bright: Float64Array, share: Float64Array, height: Float64Array, unit: float
) -> tuple[Float64Array, Float64Array]:
    """Where the upper row ends and the lower begins, (9,) shares of the opening of `height` (9,) pixels.

    pale, bright, share: (S, 9) by position: whether it is a tooth, its brightness, and its share of the opening.
    """
    pale = _closed(pale)
    bite = _bite_line(pale, bright, share, height, unit)
    if bite is not None:
        return bite, bite
    upper, lower = np.full(COLUMNS, np.nan), np.full(COLUMNS, np.nan)
    found = _runs(pale, share, LEAST * unit / np.maximum(height, 1e-6))
    starts = [runs[0][0] for runs in found if len(runs) == 1]
    alone_starts = np.inf if starts and median(starts) < ALONE_STARTS else UPPER_STARTS
    for column, runs in enumerate(found):
        if runs and runs[0][0] < (UPPER_STARTS if len(runs) > 1 else alone_starts):
            upper[column] = runs.pop(0)[1]
        if runs and runs[-1][1] > LOWER_ENDS:
            lower[column] = runs[-1][0]
    ends, begins = _along_row(upper, 0.0), _along_row(lower, 1.0)
    return ends, np.maximum(begins, ends)


def _runs(pale: BoolArray, share: Float64Array, least: Float64Array) -> list[list[tuple[float, float]]]:
    """Where the runs of tooth pixels of each column begin and end, as shares of the opening, those of a `least` (9,)
    height. pale, share: (S, 9)."""
    steps = np.diff(np.concatenate([OUTSIDE, pale, OUTSIDE]).astype(np.int8), axis=0).T
    columns, firsts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    found: list[list[tuple[float, float]]] = [[] for _ in range(COLUMNS)]
    for column, first, end in zip(columns.tolist(), firsts.tolist(), ends.tolist(), strict=True):
        run = float(share[first, column]), float(share[end - 1, column])
        if run[1] - run[0] >= least[column]:
            found[column].append(run)
    return found


def _closed(pale: BoolArray) -> BoolArray:
    """Columns (S, 9) whose gaps of one or two positions are filled."""
    wide = np.concatenate([OUTSIDE, OUTSIDE, pale, OUTSIDE, OUTSIDE])
    grown = wide[:-2] | wide[1:-1] | wide[2:]
    return np.asarray(grown[:-2] & grown[1:-1] & grown[2:], np.bool_)


def _along_row(border: Float64Array, none: float) -> Float64Array:
    """The border (9,) of a row in all columns, from those in which it is found (not NaN); `none` if these are too
    few."""
    columns = np.flatnonzero(~np.isnan(border))
    if len(columns) < LEAST_COLUMNS:
        return np.full(COLUMNS, none)
    found = median_filter(border[columns], 3, mode="nearest")
    whole = np.interp(np.arange(COLUMNS), columns, found)
    return np.asarray(np.clip(_smoothed(whole), 0, 1), np.float64)


def _bite_line(
    pale: BoolArray, bright: Float64Array, share: Float64Array, height: Float64Array, unit: float
) -> Float64Array | None:
    """Where two rows touch: (9,) shares of the opening, on the darkest line across the teeth; `None` if it is not
    darker than the teeth on both sides, so that they are one row.
    """
    tall = (pale * np.gradient(share, axis=0)).sum(0) * height / unit
    columns = np.flatnonzero(tall >= CLENCHED)
    if len(columns) < COLUMNS // 2:
        return None
    wide = np.concatenate([*[OUTSIDE] * AMID, pale, *[OUTSIDE] * AMID])
    amid = np.logical_and.reduce([wide[shift : shift + STEPS] for shift in range(2 * AMID + 1)])
    inner = np.where(amid & (share > UPPER_STARTS / 2) & (share < 1 - UPPER_STARTS / 2), bright, 255.0)[:, columns]
    total, back, beyond = inner[:, 0], [], np.full(BITE_STEP, 1e6)
    for column in inner.T[1:]:
        padded = np.concatenate([beyond, total, beyond])
        ways = np.stack([padded[shift : shift + STEPS] for shift in range(2 * BITE_STEP + 1)])
        back.append(ways.argmin(0) - BITE_STEP)
        total = ways.min(0) + column
    row = int(total.argmin())
    path = [row]
    for step in back[::-1]:
        row = int(row + step[row])
        path.append(row)
    rows = np.array(path[::-1])
    there = np.where(pale, bright, 0.0)[:, columns]
    contrast = [
        min(there[:at, k].max(initial=0), there[at + 1 :, k].max(initial=0)) - there[at, k] for k, at in enumerate(rows)
    ]
    if median(contrast) < BITE or not amid[rows, columns].mean() > ON_TEETH:
        return None
    line = share[rows, columns]
    return np.asarray(np.interp(np.arange(COLUMNS), columns, line), np.float64)


def picked(image: npt.ArrayLike, places: Float64Array) -> Float32Array:
    """CIE L, a, b (K, 3), 0 to 255, of a BGR picture at positions (K, 2)."""
    found = pick(np.asarray(image), places[:, 0], places[:, 1], cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(found[:, None], cv2.COLOR_BGR2LAB), np.float32)[:, 0]
