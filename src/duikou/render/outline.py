"""Which parts of a head face the camera, and its outline in the picture."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float64Array, Image, IntArray
from duikou.faces.pose import MESH_POINTS, canonical, triangles
from duikou.render import mesh

HIDDEN, SEEN = -0.5, 0.2
"""Visibility of a landmark (share of the area around it that faces the camera minus the share that faces away) at which
it has no weight, and at which it has full weight: beside the far cheek of a turned head, the picture shows the jaw and
the ear behind it."""

STRIPS = 6
"""Number of upright strips of a face. None is wide enough to lie over itself when the head turns."""

SUBPIXEL_BITS = 4


def facing(points: Float64Array) -> Float64Array:
    """How far (0 to 1) each of the landmarks (..., 478, 2) lies on the visible side of the head: (..., 478)."""
    areas = _areas(points)
    order, starts = _triangles_of_points()
    there, whole = (np.add.reduceat(part.take(order, -1), starts, axis=-1) for part in (areas, np.abs(areas)))
    seen = np.ones(points.shape[:-1])
    seen[..., :MESH_POINTS] = np.clip((there / np.maximum(whole, 1e-9) - HIDDEN) / (SEEN - HIDDEN), 0, 1)
    return seen


def head_mask(points: Float64Array, shape: tuple[int, int]) -> Image:
    """Mask (rows, columns), 0 or 255, of the head of landmarks (478, 2), its mouth included, in a picture of that
    shape."""
    fixed = np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
    mask = np.zeros(shape, np.uint8)
    # The mesh is one piece without holes: what it covers beyond its outline, it covers with both of its sides.
    cv2.fillPoly(mask, [fixed[list(mesh.OUTLINE)]], 255, shift=SUBPIXEL_BITS)
    back = _areas(points) <= 0
    corners = fixed.take(triangles()[back], axis=0)
    ends = np.array(shape[::-1]) << SUBPIXEL_BITS
    near = ((corners.max(1) >= 0) & (corners.min(1) < ends)).all(1)
    # One call for many triangles takes a fifth of the time, but fills only what an odd number of them covers: so those
    # that may lie over each other are filled apart.
    strips = _strips()[:, back] & near
    for strip in strips[strips.any(1)]:
        cv2.fillPoly(mask, list(corners[strip]), 255, shift=SUBPIXEL_BITS)
    return mask


def _areas(points: Float64Array) -> Float64Array:
    """Area (..., T) of each of the mesh's triangles of landmarks (..., 478, 2), doubled: negative where it shows its
    inner side."""
    x, y = (points[..., axis].take(triangles().T, -1) for axis in (0, 1))
    one, two, three = ((x[..., corner, :], y[..., corner, :]) for corner in range(3))
    area = (three[0] - one[0]) * (two[1] - one[1]) - (three[1] - one[1]) * (two[0] - one[0])
    return np.asarray(area, np.float64)


@cache
def _triangles_of_points() -> tuple[IntArray, IntArray]:
    """The triangles of each point of the mesh, one point after the other, and where (468,) those of each begin."""
    corners = triangles().ravel()
    order = np.argsort(corners, kind="stable")
    return order // 3, np.searchsorted(corners[order], np.arange(MESH_POINTS))


@cache
def _strips() -> BoolArray:
    """(S, T) the triangles of the mesh in upright strips of the face."""
    middle = canonical()[triangles(), 0].mean(1)
    strip = np.searchsorted(np.quantile(middle, np.arange(1, STRIPS) / STRIPS), middle)
    return np.asarray(strip == np.arange(STRIPS)[:, None], np.bool_)
