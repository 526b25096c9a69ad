"""What a picture shows between its lips, brought into another opening without stretching a tooth.

The upper row moves with the skull and the lower row with the jaw. What lies between and beside them (tongue, dark) is
stretched, or left out where it would be stretched too far. Under the lips that hide them, teeth continue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import cv2
import numpy as np

from duikou.arrays import Float32Array, Float64Array, FloatArray, IntArray, smoothstep
from duikou.render import interior
from duikou.render.mouth import Mouth, Source
from duikou.render.warp import Region, along_mouth, edge_at, for_channels, mouth_frame, sample

SHOWS_INSIDE = 0.02
"""Lip gap, in eye distances, from which a picture shows the inside of the mouth; from twice that gap it is shown in
full."""

HIDDEN = 0.04
"""How far, in eye distances, what a picture shows is continued under the lips that hide it."""

SOFTENED = 0.014
"""Blur, in eye distances, of what is continued furthest."""

LIP_DOUBT_PIXELS, LIP_DOUBT, LIP_DOUBT_BLURS = 2.0, 0.005, 2.0
"""Distance from a lip's edge, in pixels, in eye distances and in blurs of the picture, within which a pixel may still
have a colour of the lip: videos store colour at half the resolution."""

IN_PLACE_PIXELS = (1.0, 2.5)
"""Displacement against the nearer lip's edge, in pixels, up to which a pixel beside it is shown as it is, and from
which only pixels further inside are shown."""

COLUMN = 0.25
"""Width, in pixels, of the columns of an opening that have the same edges."""

RIGID_WIDTH = 0.6
"""Share of the width of an opening, around its middle, in which nothing is stretched sideways. Beside it the dark
corners of a mouth follow the corners of the lips."""

STRETCH, WIDE_STRETCH, TOO_FAR = 1.6, 2.5, 1.6
"""Factor by which what lies between and beside the rows may be stretched: in a narrow gap, and in a wide one. At so
many times that factor it is left out. A line of shadow between teeth and lip is no tongue."""

GAPS, FRINGE = (0.03, 0.06), 0.012
"""Heights, in eye distances, of a narrow and of a wide gap; and of the shadows beside teeth and lips, which do not
count."""

UNCOVERED = (0.005, 0.02)
"""Height, in eye distances, of what is uncovered between the rows at which it begins to be left out, and is: less is a
line that the picture shows better."""

RELIGHT, SHADE_TINT = (0.9, 1.1), (1.1, 1.0, 0.9)
"""Bounds of the change of brightness where lips uncover or shade what lies behind them, and its exponents, BGR."""

CONTINUED_KEPT = 8
"""Pictures whose continued insides are kept."""

SOFT_PIXELS = 1.5
"""Softness, in pixels, of the edge of what is lent."""


@dataclass(frozen=True)
class _Continued:
    """The inside of a mouth, continued beyond its edges. crop, image: (rows, columns, 3) as it is, and continued.
    beyond: (rows, columns) distance from the inside, in pixels; reach: how much of it is shown. corner: (2,) x and y of
    the first pixel."""

    crop: Float32Array
    image: Float32Array
    beyond: Float32Array
    reach: float
    corner: Float64Array


def lent(source: Source, mouth: Mouth, part: Region, *, slack: float) -> tuple[Float32Array, Float32Array]:
    """What a source shows between its lips, brought to the wanted mouth: pixels (rows, columns, 3) of a part of the
    frame, and their coverage (rows, columns), 0 to 1.

    slack: how far, in eye distances, a row may be off skull or jaw: rows that must come apart by less than twice as
    much stay as they are.
    """
    unit = source.unit
    origin, along, across = mouth_frame(source.points)
    to_source, (x, y) = mouth.plane.onto(source.plane), part.axes()
    u, v = (
        float(way @ to_source[:, 0]) * x + (float(way @ to_source[:, 1]) * y + float(way @ (to_source[:, 2] - origin)))
        for way in (along, across)
    )
    new_edges = [_mapped(to_source, edge) for edge in source.opening.lip_edges(mouth.target)]
    table = np.arange(float(u.min()), float(u.max()) + COLUMN, COLUMN)
    at = _columns(source, mouth, table, new_edges, slack).picked(((u - table[0]) / COLUMN).astype(np.int32))
    below, above = v - at.new_top, at.new_bottom - v
    from_v = np.where(below < 0, at.top + below, np.where(above < 0, at.bottom - above, at.top + below * at.ratio))
    from_u = u + at.shift
    continued = _continued(source, mouth.blur)
    from_x, from_y = (
        np.asarray(float(start) + from_u * float(one) + from_v * float(other), np.float32)
        for start, one, other in zip(origin - continued.corner, along, across, strict=True)
    )
    found = sample(continued.image, (from_x, from_y))
    # Beside a lip that is where it was, the colours of the lip's edge belong there.
    was_below, was_above = from_v - at.upper, at.lower - from_v
    is_below, is_above = v - at.ceiling, at.floor - v
    moved = np.abs(np.where(was_below < was_above, is_below - was_below, is_above - was_above))
    in_place = 1 - smoothstep((moved - IN_PLACE_PIXELS[0]) / (IN_PLACE_PIXELS[1] - IN_PLACE_PIXELS[0]))
    found += for_channels(in_place.astype(np.float32)) * (sample(continued.crop, (from_x, from_y)) - found)
    light = interior.under_lips(is_below / unit, is_above / unit)
    light /= interior.under_lips(was_below / unit, was_above / unit)
    change = np.log(np.clip(light, *RELIGHT))
    found *= cv2.merge([np.exp(change * tint) for tint in SHADE_TINT])
    beyond = cv2.remap(continued.beyond, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    coverage = np.clip((continued.reach - beyond) / SOFT_PIXELS + 0.5, 0, 1)
    coverage *= 1 - at.left_out * np.clip(np.minimum(below, above) / SOFT_PIXELS + 1, 0, 1)
    return found, coverage * min(max(source.gap / SHOWS_INSIDE - 1, 0.0), 1.0)


@dataclass(frozen=True)
class _Columns:
    """What depends on the position along the mouth alone, in pixels of the source with its head where the wanted one
    is.

    upper, lower: edges of the source's lips. ceiling, floor: of the wanted lips. shift: how far along the mouth what is
    shown there comes from. top, bottom: where the source's upper row ends and its lower row begins; new_top,
    new_bottom: where they do in the wanted mouth. ratio: height between the rows in the source, relative to the wanted
    one. left_out: how far (0 to 1) what lies between them is left out.
    """

    upper: FloatArray
    lower: FloatArray
    ceiling: FloatArray
    floor: FloatArray
    shift: FloatArray
    top: FloatArray
    bottom: FloatArray
    new_top: FloatArray
    new_bottom: FloatArray
    ratio: FloatArray
    left_out: FloatArray

    def picked(self, places: IntArray) -> _Columns:
        """The same at other positions, whose places in these arrays are given."""
        table = np.stack([getattr(self, one.name) for one in fields(self)]).astype(np.float32)
        return _Columns(*table.take(places, axis=1))


def _columns(
    source: Source,
    mouth: Mouth,
    u: Float64Array,
    new_edges: Sequence[Float64Array],
    slack: float,
) -> _Columns:
    """All columns at positions u (M,) along the source's mouth. new_edges: of the wanted lips, in its picture."""
    unit, own_edges, scale = source.unit, source.lip_edges, float(np.linalg.norm(source.plane.linear[:, 1]))
    ceiling, floor = (edge_at(source.points, edge, u) for edge in new_edges)
    from_u = _to_corners(u, source.points, own_edges[0], new_edges[0])
    upper, lower = (edge_at(source.points, edge, from_u) for edge in own_edges)
    top, bottom = (upper + share * (lower - upper) for share in source.rows_at(from_u))
    apart = (mouth.jaw - source.jaw) * interior.INCISOR_PER_JAW
    shift = min(max(apart / 2, -slack), slack)
    # Without a row of teeth, what the mouth shows follows the lip.
    new_top = top + shift * scale if source.opening.has_upper else ceiling
    new_bottom = bottom + (apart - shift) * scale if source.opening.has_lower else floor
    height, new_height = np.maximum(bottom - top, 0), np.maximum(new_bottom - new_top, 1e-3)
    factor = new_height / np.maximum(height - FRINGE * unit, 1.0)
    most = STRETCH + (WIDE_STRETCH - STRETCH) * smoothstep((height / unit - GAPS[0]) / (GAPS[1] - GAPS[0]))
    left_out = np.clip((factor / most - 1) / (TOO_FAR - 1), 0, 1)
    left_out *= smoothstep(((new_height - height) / unit - UNCOVERED[0]) / (UNCOVERED[1] - UNCOVERED[0]))
    ratio = height / new_height
    return _Columns(upper, lower, ceiling, floor, from_u - u, top, bottom, new_top, new_bottom, ratio, left_out)


@lru_cache(CONTINUED_KEPT)
def _continued(source: Source, blur: float) -> _Continued:
    """The inside of a source's mouth; around it each pixel repeats the nearest one of the inside, softer and softer."""
    unit, (upper, lower) = source.unit, source.lip_edges
    outline = np.vstack([upper, lower[-2:0:-1]])
    margin = int(np.ceil((HIDDEN + 3 * SOFTENED) * unit)) + 2
    height, width = source.image.shape[:2]
    x0, y0 = np.clip(np.floor(outline.min(0)).astype(int) - margin, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(outline.max(0)).astype(int) + margin, (x0 + 1, y0 + 1), (width, height))
    crop = source.image[y0:y1, x0:x1]
    pixels = crop.astype(np.float32)
    corner = np.array([x0, y0], np.float64)
    inside = np.zeros(crop.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round((outline - corner) * 16).astype(np.int32)], 1, shift=4)
    deep = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    doubt = min(max(LIP_DOUBT_PIXELS, LIP_DOUBT * unit, LIP_DOUBT_BLURS * blur * unit), 0.6 * float(deep.max()))
    outside = (deep <= doubt).astype(np.uint8)
    if outside.all():
        return _Continued(pixels, pixels, np.ones(outside.shape, np.float32), -np.inf, corner)
    beyond, labels = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    # Labels count the pixels of the inside from 1, row by row.
    repeated = crop.reshape(-1, 3).take(np.flatnonzero(outside == 0)[labels - 1], axis=0)
    # Further away the repeated pixels would be rays.
    soft = cv2.GaussianBlur(repeated, (0, 0), SOFTENED * unit)
    share = np.clip((beyond - doubt) / (HIDDEN * unit / 2), 0, 1).astype(np.float32)
    image = np.asarray(cv2.blendLinear(repeated, soft, 1 - share, share), np.float32)
    return _Continued(pixels, image, beyond.astype(np.float32), HIDDEN * unit + doubt, corner)


def _to_corners(u: Float64Array, frame: Float64Array, edge: Float64Array, wanted: Float64Array) -> Float64Array:
    """Positions u along the mouth of landmarks `frame`, drawn together at its sides if the `wanted` edge (11, 2) is
    wider than its own `edge` (11, 2): its corners then come to the wanted corners.
    """
    own, new = (along_mouth(frame, *one[[0, -1]].T)[0] for one in (edge, wanted))
    middle, half = own.mean(), (own[1] - own[0]) / 2
    core = RIGID_WIDTH * half
    out = u.copy()
    for side, reach in ((-1, middle - new[0]), (1, new[1] - middle)):
        away = side * (u - middle)
        if reach > half:
            squeezed = core + (away - core) * (half - core) / (reach - core)
            out = np.where(away > core, middle + side * squeezed, out)
    return out


def _mapped(affine: Float64Array, points: Float64Array) -> Float64Array:
    return np.asarray(points @ affine[:, :2].T + affine[:, 2], np.float64)
