"""What a picture shows between its lips, brought into another opening without stretching a tooth.

The upper row moves with the skull and the lower row with the jaw. What lies between and beside them (tongue, dark) is
stretched, or left out where it would be stretched too far. Under the lips that hide them, teeth continue.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, smoothstep
from duikou.render import interior, mesh
from duikou.render.mouth import Mouth, Source
from duikou.render.warp import Region, along_mouth, edge_at, mouth_frame, pick

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

RELIGHT, SHADE_TINT = (0.9, 1.1), np.array([1.1, 1.0, 0.9], np.float32)
"""Bounds of the change of brightness where lips uncover or shade what lies behind them, and its exponents, BGR."""

SOFT_PIXELS = 1.5
"""Softness, in pixels, of the edge of what is lent."""


@dataclass(frozen=True)
class _Continued:
    """The inside of a mouth, continued beyond its edges. crop, image: (rows, columns, 3) as it is, and continued.
    beyond: (rows, columns) distance from the inside, in pixels; reach: how much of it is shown. corner: (2,) x and y of
    the first pixel."""

    crop: Image
    image: Image
    beyond: Float32Array
    reach: float
    corner: Float64Array


def lent(
    source: Source, mouth: Mouth, part: Region, where: BoolArray, *, slack: float
) -> tuple[Float32Array, Float32Array]:
    """What a source shows between its lips, brought to the wanted mouth: pixels (rows, columns, 3) of a region, and
    their coverage (rows, columns, 1), 0 to 1.

    where: (rows, columns) the pixels that are needed. slack: how far, in eye distances, a row may be off skull or jaw:
    rows that must come apart by less than twice as much stay as they are.
    """
    to_source, unit = mouth.plane.onto(source.plane), float(mesh.eye_distance(source.points))
    grid = np.stack(part.at(where), 1).astype(np.float64)
    own_edges = source.opening.lip_edges(source.points)
    new_edges = [_mapped(to_source, edge) for edge in source.opening.lip_edges(mouth.target)]
    u, v = along_mouth(source.points, *_mapped(to_source, grid).T)
    ceiling, floor = (edge_at(source.points, edge, u) for edge in new_edges)
    u = _to_corners(u, source.points, own_edges[0], new_edges[0])
    upper, lower = (edge_at(source.points, edge, u) for edge in own_edges)
    from_v, left_out = _rows_apart(source, mouth, _Columns(u, v, upper, lower, ceiling, floor), slack)
    continued = _continued(source, own_edges, mouth.blur)
    origin, along, across = mouth_frame(source.points)
    at = (origin - continued.corner + u[:, None] * along + from_v[:, None] * across).T
    found = pick(continued.image, at[0], at[1], cv2.INTER_CUBIC).astype(np.float32)
    # Beside a lip that is where it was, the colours of the lip's edge belong there.
    moved = np.where(from_v - upper < lower - from_v, (v - ceiling) - (from_v - upper), (floor - v) - (lower - from_v))
    in_place = 1 - smoothstep((np.abs(moved) - IN_PLACE_PIXELS[0]) / (IN_PLACE_PIXELS[1] - IN_PLACE_PIXELS[0]))
    as_is = pick(continued.crop, at[0], at[1], cv2.INTER_CUBIC).astype(np.float32)
    found += in_place[:, None].astype(np.float32) * (as_is - found)
    light = interior.under_lips((v - ceiling) / unit, (floor - v) / unit)
    was = interior.under_lips((from_v - upper) / unit, (lower - from_v) / unit)
    found *= (np.clip(light / was, *RELIGHT)[:, None] ** SHADE_TINT).astype(np.float32)
    shown = np.clip(source.gap / SHOWS_INSIDE - 1, 0, 1)
    beyond = pick(continued.beyond, at[0], at[1], cv2.INTER_LINEAR)
    pixels, coverage = np.zeros((*part.shape, 3), np.float32), np.zeros((*part.shape, 1), np.float32)
    pixels[where] = found
    coverage[where, 0] = shown * (1 - left_out) * np.clip((continued.reach - beyond) / SOFT_PIXELS + 0.5, 0, 1)
    return pixels, coverage


@dataclass(frozen=True)
class _Columns:
    """M pixels of the wanted opening, (M,) each, in pixels of the source with its head where the wanted one is.

    u: along the mouth. v: across it. upper, lower: edges of the source's lips at that u. ceiling, floor: of the wanted
    lips.
    """

    u: Float64Array
    v: Float64Array
    upper: Float64Array
    lower: Float64Array
    ceiling: Float64Array
    floor: Float64Array


def _rows_apart(source: Source, mouth: Mouth, at: _Columns, slack: float) -> tuple[Float64Array, Float64Array]:
    """Where across the source's mouth (M,) each pixel comes from, and how far (0 to 1) it is left out."""
    unit, scale = float(mesh.eye_distance(source.points)), float(np.linalg.norm(source.plane.linear[:, 1]))
    top, bottom = (at.upper + share * (at.lower - at.upper) for share in source.rows_at(at.u))
    apart = (mouth.jaw - source.jaw) * interior.INCISOR_PER_JAW
    shift = float(np.clip(apart / 2, -slack, slack))
    # Without a row of teeth, what the mouth shows follows the lip.
    new_top = top + shift * scale if source.opening.has_upper else at.ceiling
    new_bottom = bottom + (apart - shift) * scale if source.opening.has_lower else at.floor
    height, new_height = np.maximum(bottom - top, 0), np.maximum(new_bottom - new_top, 1e-3)
    below, above = at.v - new_top, new_bottom - at.v
    between = top + np.clip(below / new_height, 0, 1) * height
    from_v = np.where(below < 0, top + below, np.where(above < 0, bottom - above, between))
    factor = new_height / np.maximum(height - FRINGE * unit, 1.0)
    most = STRETCH + (WIDE_STRETCH - STRETCH) * smoothstep((height / unit - GAPS[0]) / (GAPS[1] - GAPS[0]))
    left_out = np.clip((factor / most - 1) / (TOO_FAR - 1), 0, 1)
    left_out *= smoothstep(((new_height - height) / unit - UNCOVERED[0]) / (UNCOVERED[1] - UNCOVERED[0]))
    return from_v, left_out * np.clip(np.minimum(below, above) / SOFT_PIXELS + 1, 0, 1)


def _continued(source: Source, edges: tuple[Float64Array, Float64Array], blur: float) -> _Continued:
    """The inside of a source's mouth; around it each pixel repeats the nearest one of the inside, softer and softer."""
    unit = float(mesh.eye_distance(source.points))
    outline = np.vstack([edges[0], edges[1][-2:0:-1]])
    margin = int(np.ceil(2 * HIDDEN * unit)) + 2
    height, width = source.image.shape[:2]
    x0, y0 = np.clip(np.floor(outline.min(0)).astype(int) - margin, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(outline.max(0)).astype(int) + margin, (x0 + 1, y0 + 1), (width, height))
    crop, corner = source.image[y0:y1, x0:x1], np.array([x0, y0], np.float64)
    inside = np.zeros(crop.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round((outline - corner) * 16).astype(np.int32)], 1, shift=4)
    deep = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    doubt = min(max(LIP_DOUBT_PIXELS, LIP_DOUBT * unit, LIP_DOUBT_BLURS * blur * unit), 0.6 * float(deep.max()))
    outside = (deep <= doubt).astype(np.uint8)
    if outside.all():
        return _Continued(crop, crop, np.ones(outside.shape, np.float32), -np.inf, corner)
    beyond, labels = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    known = outside == 0
    nearest[labels[known]] = crop[known]
    repeated, away = nearest[labels], np.asarray(beyond, np.float32)
    # Further away the repeated pixels would be rays.
    soft = cv2.GaussianBlur(repeated, (0, 0), SOFTENED * unit)
    share = np.clip((away - doubt) / (HIDDEN * unit / 2), 0, 1)[..., None]
    image = np.asarray(repeated + share * (soft.astype(np.float32) - repeated) + 0.5, np.uint8)
    return _Continued(crop, image, away, HIDDEN * unit + doubt, corner)


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
