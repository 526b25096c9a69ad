"""Which parts of a head face the camera, and its outline in the picture."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float64Array, Image, IntArray
from duikou.faces.pose import MESH_POINTS, triangles
from duikou.render import mesh

HIDDEN, SEEN = -0.5, 0.2
"""Visibility of a landmark (share of the area around it that faces the camera minus the share that faces away) at which
it has no weight, and at which it has full weight: beside the far cheek of a turned head, the picture shows the jaw and
the ear behind it."""

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
    corners = np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
    amid = corners[list(mesh.INNER_RING)]
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [amid], 255, shift=SUBPIXEL_BITS)
    front = _areas(points) > 0
    # Where the face folds, layers that show their outer side and layers that show their inner side differ by one in
    # number: one number is odd. `fillPoly` fills what it covers an odd number of times, so the ends of the layers do.
    for layers in (front, ~front):
        ends = corners[_ends(layers)]
        fans = np.concatenate([ends, np.broadcast_to(amid.mean(0).astype(np.int32), (len(ends), 1, 2))], axis=1)
        cv2.fillPoly(mask, list(fans), 255, shift=SUBPIXEL_BITS)
    return mask


def _areas(points: Float64Array) -> Float64Array:
    """Area (..., T) of each of the mesh's triangles of landmarks (..., 478, 2), doubled: negative where it shows its
    inner side."""
    x, y = (points[..., axis].take(triangles().T, -1) for axis in (0, 1))
    one, two, three = ((x[..., corner, :], y[..., corner, :]) for corner in range(3))
    area = (three[0] - one[0]) * (two[1] - one[1]) - (three[1] - one[1]) * (two[0] - one[0])
    return np.asarray(area, np.float64)


def _ends(layers: BoolArray) -> IntArray:
    """The edges (E, 2) of the mesh between triangles that belong to some layers (T,) and others that do not, or none."""
    edges, sides = _edges()
    inside = np.append(layers, False)[sides]
    return edges[inside[:, 0] != inside[:, 1]]


@cache
def _triangles_of_points() -> tuple[IntArray, IntArray]:
    """The triangles of each point of the mesh, one point after the other, and where (468,) those of each begin."""
    corners = triangles().ravel()
    order = np.argsort(corners, kind="stable")
    return order // 3, np.searchsorted(corners[order], np.arange(MESH_POINTS))


@cache
def _edges() -> tuple[IntArray, IntArray]:
    """The edges of the mesh: points (E, 2), and the triangles (E, 2) at both sides, -1 where there is none."""
    corners = triangles()
    ends = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    edges, place = np.unique(ends, axis=0, return_inverse=True)
    sides = np.full((len(edges), 2), -1)
    for number, edge in enumerate(place.ravel()):
        sides[edge, int(sides[edge, 0] >= 0)] = number % len(corners)
    return edges.astype(np.int64), sides
