"""What is kept and measured of a track's lips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from duikou.arrays import Float64Array, Image
from duikou.faces import pose
from duikou.render import library as lips_library
from duikou.render import mesh, shape
from duikou.render.library import Library, teeth

SIDE, EYES = 400, 140.0
SKIN, LIPS, TEETH, THROAT = (140, 160, 205), (90, 90, 190), (215, 225, 230), (20, 20, 40)


def landmarks(gap: float) -> Float64Array:
    closed = shape.close_lips(pose.canonical()[None].astype(np.float64))
    points = shape.set_gap(closed, np.array([gap]))[0] * EYES
    return points + np.array([SIDE / 2, SIDE / 3, 0])


def face(points: Float64Array, inside: tuple[int, int, int]) -> Image:
    image = np.full((SIDE, SIDE, 3), SKIN, np.uint8)
    for ring, colour in ((mesh.OUTER_RING, LIPS), (mesh.INNER_RING, inside)):
        cv2.fillPoly(image, [np.round(points[list(ring), :2]).astype(np.int32)], colour)
    return image


@pytest.mark.parametrize(("inside", "height"), [(TEETH, 0.06), (THROAT, 0.0), (LIPS, 0.0)])
def test_only_teeth_are_bared(inside: tuple[int, int, int], height: float) -> None:
    points = landmarks(0.06)
    assert teeth(face(points, inside), points[:, :2])[0] == pytest.approx(height, abs=0.015)


def test_a_line_of_teeth_is_found_where_the_landmarks_see_closed_lips() -> None:
    closed = landmarks(0.0)[:, :2]
    assert teeth(face(landmarks(0.025), TEETH), closed)[0] > 0.01
    assert teeth(face(landmarks(0.0), LIPS), closed)[0] < 0.002


def test_teeth_are_told_from_what_lies_below_them() -> None:
    points = landmarks(0.12)
    image = face(points, TEETH)
    middle = round(float(points[[13, 14], 1].mean()))
    image[middle:][image[middle:].min(2) > 200] = THROAT
    assert teeth(image, points[:, :2])[1] == pytest.approx(0.5, abs=0.15)
    assert teeth(face(points, TEETH), points[:, :2])[1] > 0.9
    assert teeth(face(points, THROAT), points[:, :2])[1] == 1.0


def test_a_kept_frame_comes_back_in_its_crops_own_pixels() -> None:
    points = landmarks(0.1).astype(np.float32)
    library = Library(np.stack([points, points]))
    image = face(points.astype(np.float64), THROAT)
    library.add(1, image)
    assert library.kept.tolist() == [False, True]
    source = library.source(1, 0.1)
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
