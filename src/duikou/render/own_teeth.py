"""One picture of each row of a person's teeth, from all frames that show them.

Rows are registered in the head's coordinates: the upper row moves with the skull, the lower row with the jaw. The frame
that shows a row best gives the picture, so it is as sharp as that frame; others add what its lips hide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import median_filter

from duikou.arrays import Float32Array, smoothstep
from duikou.render import interior, mesh, opening
from duikou.render.interior import INCISOR_PER_JAW, LOWER, UPPER, Arch, OwnTeeth, RowPicture
from duikou.render.mouth import Source
from duikou.render.warp import along_mouth, edge_at, sample

FRAMES = 16
"""Number of frames from which the picture of a person's teeth is made."""

WIDE, HIGH = 0.30, (-0.14, 0.20)
"""Extent of a picture in eye distances: to each side of the middle, and above and below the line of the closed lips."""

MAX_SCALE, MIN_SCALE = 480.0, 60.0
"""Bounds of a picture's scale, in pixels per eye distance."""

LIP_DOUBT_PIXELS, LIP_DOUBT = 1.5, 0.008
"""Distance from a lip's edge, in pixels of the source and in eye distances, within which a pixel may still be lip."""

EDGE = 0.012
"""How far beyond the found end of a row, in eye distances, its biting edge may lie."""

LEAST_LIGHT = 0.7
"""Least share of light by which colours are divided to bring them to full light."""

SHIFT, COARSE = 0.02, 2
"""How far, in eye distances, two pictures of a row may be apart, because lips and pose are measured with errors; and
how many pixels of the shrunk pictures that is in which it is searched first."""

OVERLAP, ALIKE = 0.25, 0.25
"""Least share of a picture that must overlap with the others to be registered, and the largest mean difference,
relative to the skin, with which it fits them."""

BOTH_SEEN = 0.25
"""Share of the frames that show both rows from which only these tell where the upper row ends."""

LEAST_AREA = 0.0025
"""Least visible area of a row, in squared eye distances, that makes a picture: about three front teeth half
uncovered."""

SPECK, PIECE = 0.008, 0.15
"""Half the width, in eye distances, below which a part of a row is a speck; and the area of a separate part, relative
to the largest, from which it is a part of the row."""

SOLID = 0.93
"""Least share of a row's height, from its first to its last tooth pixel in a column, that must be teeth."""

LEAST_WIDTH, LEAST_HEIGHT, ROUGH = 0.12, 0.022, 0.009
"""Least width and mean height of a row, and the largest root mean square distance of its biting edge from an arch, in
eye distances."""

HOLE = 5
"""Height, in pixels, up to which holes in a row are closed."""

EDGE_COLUMNS = 9
"""Columns over whose median the edge is taken from which teeth continue under the lip."""

UNDER_LIP = 0.035
"""How far, in eye distances, teeth continue under the lip that hides them in every frame."""


@dataclass(frozen=True)
class _View:
    """One row in one frame: colours (rows, columns, 3) relative to the skin, coverage of teeth and whether a pixel is
    `seen` (rows, columns), 0 to 1, and the score of the view."""

    colours: Float32Array
    coverage: Float32Array
    seen: Float32Array
    score: float


def collect(sources: Iterable[tuple[Source, interior.Light]], scale: float) -> OwnTeeth | None:
    """The rows of teeth that frames of a person show; `None` if they show none. scale: pixels per eye distance."""
    scale = float(np.clip(scale, MIN_SCALE, MAX_SCALE))
    uppers, lowers, apart = [], [], []
    for source, light in sources:
        both = source.opening.has_upper and source.opening.has_lower
        if source.opening.has_upper:
            uppers.append(_view(source, light, UPPER, scale))
            apart.append(both)
        if source.opening.has_lower:
            lowers.append(_view(source, light, LOWER, scale))
    if sum(apart) >= BOTH_SEEN * len(apart):
        # Two rows that touch may be taken for one; where they are told apart often enough, those frames count.
        uppers = [view for view, told in zip(uppers, apart, strict=True) if told]
    upper, lower = _picture(uppers, scale, up=True), _picture(lowers, scale, up=False)
    return OwnTeeth(upper, lower) if upper or lower else None


def _view(source: Source, light: interior.Light, arch: Arch, scale: float) -> _View:
    """One row of a source in the coordinates of its picture."""
    x, y = np.meshgrid(np.arange(-WIDE, WIDE, 1 / scale), np.arange(*HIGH, 1 / scale))
    drop = INCISOR_PER_JAW * source.jaw if arch is LOWER else 0.0
    deep = arch.depth(x)
    plane = np.stack([x + source.plane.lean[0] * deep, y + source.plane.lean[1] * deep + drop], -1)
    at = (plane @ source.plane.linear.T + source.plane.offset).astype(np.float32)
    image = sample(source.image, (at[..., 0], at[..., 1]))
    unit = float(mesh.eye_distance(source.points))
    u, v = along_mouth(source.points, at[..., 0], at[..., 1])
    upper, lower = (edge_at(source.points, edge, u) for edge in source.opening.lip_edges(source.points))
    doubt = max(LIP_DOUBT_PIXELS, LIP_DOUBT * unit)
    ends, begins = (upper + row * (lower - upper) for row in source.rows_at(u))
    inside = smoothstep(np.minimum(v - upper, lower - v) / doubt - 0.5)
    inside *= smoothstep(1 + (ends - v if arch is UPPER else v - begins) / (EDGE * unit))
    pale = opening.paleness(source.image, source.points, image)
    x, y, ceiling, height = (
        one.ravel().astype(np.float32)
        for one in (plane[..., 0], plane[..., 1], (v - upper) / unit, (lower - upper) / unit)
    )
    pixels = interior.InteriorPixels(x, y, ceiling, height, size=0)
    lit = np.maximum(interior.light_inside(pixels, source.gap), LEAST_LIGHT)
    dark = light.dark[:, None]
    colours = (dark + (image.reshape(-1, 3).T / light.at(pixels.x) - dark) / lit).T
    coverage = (pale * inside).astype(np.float32)
    area = float(coverage.sum()) / scale**2
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.5)
    sharp = float(np.sqrt((fine**2 * coverage).sum() / max(float(coverage.sum()), 1.0)))
    return _View(colours.reshape(image.shape).astype(np.float32), coverage, inside.astype(np.float32), area * sharp)


def _picture(views: list[_View], scale: float, *, up: bool) -> RowPicture | None:
    """The picture of a row from all views of it; `None` if they show none. up: the teeth go on upwards.

    One view in which two rows are taken for one spoils the picture: then only those views count that show a row alone.
    """
    found = _merged(views, scale, up=up)
    if found is None:
        alone = [view for view in views if _is_row(_closed(view, scale), scale, up=up)]
        found = _merged(alone, scale, up=up) if len(alone) < len(views) else None
    return found


def _merged(views: list[_View], scale: float, *, up: bool) -> RowPicture | None:
    """The best view, with what the others add; `None` if too little is seen, or no row."""
    if not views:
        return None
    picture, *others = sorted(views, key=lambda view: -view.score)
    if picture.coverage.sum() / scale**2 < LEAST_AREA:
        return None
    for view in others:
        moved = _registered(view, picture, round(SHIFT * scale))
        if moved is None:
            continue
        known = picture.seen[..., None]
        closed = np.maximum(picture.seen, _beyond(picture.coverage * picture.seen, up=up))
        added = (moved.seen * (1 - closed))[..., None]
        total = np.maximum(known + added, 1e-3)
        colours = (picture.colours * known + moved.colours * added) / total
        coverage = (picture.coverage[..., None] * known + moved.coverage[..., None] * added) / total
        picture = _View(colours, coverage[..., 0], (known + added)[..., 0], picture.score)
    coverage = _closed(picture, scale)
    if not _is_row(coverage, scale, up=up):
        return None
    colours, coverage = _continued(picture.colours, coverage, round(UNDER_LIP * scale), up=up)
    return RowPicture(colours, coverage, np.array([-WIDE, HIGH[0]]), scale)


def _closed(view: _View, scale: float) -> Float32Array:
    """The coverage of a view as one piece, its holes closed."""
    coverage = _one_piece(view.coverage * view.seen, scale)
    return cv2.morphologyEx(coverage, cv2.MORPH_CLOSE, np.ones((HOLE, 1), np.uint8)).astype(np.float32)


def _is_row(coverage: Float32Array, scale: float, *, up: bool) -> bool:
    """Whether the coverage is one row of teeth: large enough, solid, with a biting edge along a smooth arch. Two rows
    that were not told apart are none.
    """
    there = coverage > 0.5 if up else coverage[::-1] > 0.5
    columns = np.flatnonzero(there.any(0))
    if len(columns) < LEAST_WIDTH * scale:
        return False
    first, last = there.argmax(0)[columns], len(there) - there[::-1].argmax(0)[columns]
    if there.sum(0)[columns].mean() < LEAST_HEIGHT * scale:
        return False
    arch = np.polynomial.Polynomial.fit(columns, last, 2)
    rough = float(np.sqrt(np.mean((last - arch(columns)) ** 2))) / scale
    return bool((there.sum(0)[columns] / (last - first)).mean() >= SOLID and rough <= ROUGH)


def _beyond(coverage: Float32Array, *, up: bool) -> Float32Array:
    """Where a picture's row has ended (0 or 1): beyond its biting edge, nothing is added to it."""
    if not up:
        return _beyond(coverage[::-1], up=True)[::-1]
    return np.maximum.accumulate(coverage > 0.5, axis=0).astype(np.float32)


def _registered(view: _View, picture: _View, reach: int) -> _View | None:
    """The view shifted by whole pixels onto a picture, by at most `reach`; `None` if it does not fit.

    Searched on smaller copies first.
    """
    ours, theirs = _features(view), _features(picture)
    factor = max(reach // COARSE, 1)
    small = [
        (_shrunk(features, factor), _shrunk(one.seen, factor)) for features, one in ((ours, view), (theirs, picture))
    ]
    found = _best_shift(*small, around=(0, 0), reach=-(-reach // factor))
    if found is not None and factor > 1:
        around = found[1][0] * factor, found[1][1] * factor
        found = _best_shift((ours, view.seen), (theirs, picture.seen), around=around, reach=factor)
    if found is None or found[0] > ALIKE:
        return None
    colours, coverage, seen = (np.roll(one, found[1], (0, 1)) for one in (view.colours, view.coverage, view.seen))
    return _View(colours, coverage, seen, view.score)


def _features(view: _View) -> Float32Array:
    """What two views of a row are compared by (rows, columns, 3): colours relative to their mean, 0 beside the
    teeth."""
    weight = view.coverage[..., None] * view.seen[..., None]
    mean = (view.colours * weight).sum((0, 1)) / np.maximum(weight.sum(), 1e-3)
    return np.asarray(view.colours * view.coverage[..., None] / np.maximum(mean, 1e-3), np.float32)


def _best_shift(
    moved: tuple[Float32Array, Float32Array],
    fixed: tuple[Float32Array, Float32Array],
    *,
    around: tuple[int, int],
    reach: int,
) -> tuple[float, tuple[int, int]] | None:
    """The shift (down, right) at which features (with weights) fit others best, and their mean difference; `None` if
    they hardly overlap."""
    best: tuple[float, tuple[int, int]] | None = None
    planes = np.concatenate([np.moveaxis(moved[0], -1, 0), moved[1][None]])
    theirs = np.ascontiguousarray(np.moveaxis(fixed[0], -1, 0))
    least = OVERLAP * float(moved[1].sum())
    for down in range(around[0] - reach, around[0] + reach + 1):
        for right in range(around[1] - reach, around[1] + reach + 1):
            shifted = np.roll(planes, (down, right), (1, 2))
            both = fixed[1] * shifted[-1]
            total = float(both.sum())
            if total <= least:
                continue
            away = np.abs(shifted[:-1] - theirs).mean(0)
            off = float((away * both).sum()) / total
            if best is None or off < best[0]:
                best = off, (down, right)
    return best


def _shrunk(image: Float32Array, factor: int) -> Float32Array:
    size = image.shape[1] // factor, image.shape[0] // factor
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _one_piece(coverage: Float32Array, scale: float) -> Float32Array:
    """The coverage without specks: what is connected with the largest part of the row, thin parts apart."""
    size = 2 * max(round(SPECK * scale), 1) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    solid = cv2.morphologyEx((coverage > 0.5).astype(np.uint8), cv2.MORPH_OPEN, disc)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(cv2.dilate(solid, disc), connectivity=8)
    areas = boxes[1:, cv2.CC_STAT_AREA]
    kept = np.isin(labels, 1 + np.flatnonzero(areas >= PIECE * areas.max(initial=1)))
    return np.asarray(coverage * cv2.GaussianBlur(kept.astype(np.float32), (0, 0), 1.0), np.float32)


def _continued(
    colours: Float32Array, coverage: Float32Array, reach: int, *, up: bool
) -> tuple[Float32Array, Float32Array]:
    """A picture whose teeth continue under the lip, by at most `reach` pixels: each column repeats its last pixels."""
    if not up:
        colours, coverage = _continued(colours[::-1], coverage[::-1], reach, up=True)
        return np.ascontiguousarray(colours[::-1]), np.ascontiguousarray(coverage[::-1])
    whole = coverage > 0.9
    columns = np.flatnonzero(whole.any(0))
    if not len(columns):
        return colours, coverage
    edge = np.interp(np.arange(coverage.shape[1]), columns, whole.argmax(0)[columns])
    first = np.round(np.maximum(median_filter(edge, EDGE_COLUMNS, mode="nearest"), edge)).astype(np.int64)
    rows = np.arange(len(coverage))[:, None]
    above = (rows < first) & (rows >= first - reach) & whole.any(0)
    repeated = colours[np.broadcast_to(first, coverage.shape), np.arange(coverage.shape[1])]
    fading = smoothstep((rows - first + reach) / max(reach / 2, 1))
    return (
        np.where(above[..., None], repeated, colours).astype(np.float32),
        np.where(above, fading, coverage).astype(np.float32),
    )
