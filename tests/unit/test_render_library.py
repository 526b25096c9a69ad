"""What is kept and measured of a track's lips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from duikou.arrays import Float64Array, Image
from duikou.faces import pose
from duikou.render import library as lips_library
from duikou.render import mesh, shape
from duikou.render.library import Library
from duikou.render.mouth import Plane

SIDE, EYES = 400, 140.0
SKIN, LIPS, THROAT = (140, 160, 205), (90, 90, 190), (20, 20, 40)


def landmarks(gap: float) -> Float64Array:
    closed = shape.close_lips(pose.canonical()[None].astype(np.float64))
    points = shape.set_gap(closed, np.array([gap]))[0] * EYES
    return points + np.array([SIDE / 2, SIDE / 3, 0])


def face(points: Float64Array, inside: tuple[int, int, int]) -> Image:
    image = np.full((SIDE, SIDE, 3), SKIN, np.uint8)
    for ring, colour in ((mesh.OUTER_RING, LIPS), (mesh.INNER_RING, inside)):
        cv2.fillPoly(image, [np.round(points[list(ring), :2]).astype(np.int32)], colour)
    return image


def test_a_kept_frame_comes_back_in_its_crops_own_pixels() -> None:
    points = landmarks(0.1).astype(np.float32)
    library = Library(np.stack([points, points]))
    image = face(points.astype(np.float64), THROAT)
    library.add(1, image)
    assert library.kept.tolist() == [False, True]
    plane = Plane(np.eye(2), np.array([200.0, 150.0]), np.zeros(2))
    source = library.source(1, 0.1, 0.08, plane)
    corner = points[13, :2] - source.points[13]
    assert source.plane.offset == pytest.approx([200 - corner[0], 150 - corner[1]], abs=1e-3)
    assert source.image.size < image.size / 3
    x, y = np.round(source.points[[13, 14]].mean(0)).astype(int)
    assert np.abs(source.image[y, x].astype(int) - THROAT).max() < 12


def test_a_shadow_beside_the_mouth_shows_in_the_skins_colours() -> None:
    points = landmarks(0.0).astype(np.float32)
    library = Library(np.stack([points, points]))
    lit = face(points.astype(np.float64), LIPS)
    shaded = lit.copy()
    shaded[:, SIDE // 2 :] //= 2
    library.add(0, lit)
    library.add(1, shaded)
    change = np.abs(library.skin[1] - library.skin[0]).max(1)
    right = points[list(lips_library.SKIN), 0] > SIDE / 2 + 12
    assert change[right].min() > 30
    assert change[points[list(lips_library.SKIN), 0] < SIDE / 2 - 12].max() < 6
