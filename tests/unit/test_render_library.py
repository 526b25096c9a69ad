"""What is measured of a track's lips, and what is lent of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from duikou.arrays import Float64Array, Image
from duikou.faces import pose
from duikou.faces.track import FaceTrack
from duikou.media.decode import Frame
from duikou.render import library as lips_library
from duikou.render import mesh, shape
from duikou.render.closeups import Closeups
from duikou.render.library import Library
from duikou.render.mouth import Plane
from duikou.render.overlay import Detector

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


def library_of(points: Float64Array, images: list[Image], shown: list[int]) -> Library:
    """The library of a face that stays where it is. shown: number of the frame that each row shows."""
    count = len(shown)
    tone = cv2.cvtColor(np.full((1, 1, 3), SKIN, np.uint8), cv2.COLOR_BGR2LAB)[0, 0]
    track = FaceTrack(
        frames=np.arange(count),
        times_ms=np.arange(count) * 40,
        landmarks=np.repeat(points[None].astype(np.float32), count, 0),
        presence=np.ones(count, np.float32),
        shots=np.zeros(count, np.int64),
        colours=np.broadcast_to(tone.astype(np.float32), (count, 478, 3)),
    )
    closeups = Closeups(Detector(track, (SIDE, SIDE), 40.0))
    for number, image in enumerate(images):
        closeups.add(Frame(number, number, 40 * number, image), points.astype(np.float32), 0)
    return Library(track, np.array(shown), closeups, np.ones(count, bool))


def test_a_row_comes_back_in_its_crops_own_pixels() -> None:
    points = landmarks(0.1)
    image = face(points, THROAT)
    library = library_of(points, [image, image], [0, 1])
    list(library.add(np.array([1])))
    assert library.kept.tolist() == [False, True]
    plane = Plane(np.eye(2), np.array([200.0, 150.0]), np.zeros(2))
    source = library.source(1, 0.1, 0.08, plane)
    corner = points[13, :2] - source.points[13]
    assert source.plane.offset == pytest.approx([200 - corner[0], 150 - corner[1]], abs=1e-3)
    assert source.image.size < image.size / 3
    x, y = np.round(source.points[[13, 14]].mean(0)).astype(int)
    assert np.abs(source.image[y, x].astype(int) - THROAT).max() < 12


def test_a_shadow_beside_the_mouth_shows_in_the_skins_colours() -> None:
    points = landmarks(0.0)
    lit = face(points, LIPS)
    shaded = lit.copy()
    shaded[:, SIDE // 2 :] //= 2
    library = library_of(points, [lit, shaded], [0, 1])
    list(library.add(np.array([0])))
    list(library.add(np.array([1])))
    change = np.abs(library.skin[1] - library.skin[0]).max(1)
    right = points[list(lips_library.SKIN), 0] > SIDE / 2 + 12
    assert change[right].min() > 30
    assert change[points[list(lips_library.SKIN), 0] < SIDE / 2 - 12].max() < 6


def test_a_row_whose_frame_was_not_kept_is_left_out() -> None:
    points = landmarks(0.1)
    library = library_of(points, [face(points, THROAT)], [0, 7])
    list(library.add(np.array([0])))
    list(library.add(np.array([1])))
    assert library.kept.tolist() == [True, False]


def test_the_light_is_that_of_the_cheeks() -> None:
    points = landmarks(0.1)
    library = library_of(points, [face(points, THROAT)], [0])
    assert np.abs(library.light(0).skin - SKIN).max() < 3


def test_what_is_not_lent_is_not_kept() -> None:
    points = landmarks(0.1)
    image = face(points, THROAT)
    library = library_of(points, [image, image, image], [0, 1, 2])
    list(library.add(np.arange(3)))
    library.keep(np.array([1]))
    plane = Plane(np.eye(2), np.zeros(2), np.zeros(2))
    assert library.source(1, 0.1, 0.1, plane).image.any()
    with pytest.raises(KeyError):
        library.source(2, 0.1, 0.1, plane)
