"""Alterations that make a clip hard, on a public domain portrait: what they promise is what is measured."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from benchmarks.quality import hard
from duikou.faces import pose
from duikou.faces.detector import Detector
from duikou.faces.landmarks import Landmarker, roi_of
from duikou.media.pixels import Pixels
from duikou.render import mesh

ZOOM = 3
SEEN_TURN = 0.78  # the landmarker thinks heads flatter than they are


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, hard.Moment]:
    photograph = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])
    image = cv2.resize(photograph, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    points = landmarks(image)
    return image, hard.Moment(points, points, time_s=0.0)


def landmarks(image: np.ndarray) -> np.ndarray:
    landmarker, pixels = Landmarker(), Pixels.of(image)
    (found,) = Detector().find(pixels)
    points, _ = landmarker.measure(pixels, found.roi)
    return landmarker.measure(pixels, roi_of(points))[0].astype(np.float64)


def angles(points: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll in degrees."""
    return pose.fit(points[None].astype(np.float32)).degrees[0]


def test_a_turned_head_is_turned(portrait: tuple[np.ndarray, hard.Moment]) -> None:
    image, moment = portrait
    before, after = angles(moment.points), angles(landmarks(hard.turned(image, moment)))
    assert after[0] - before[0] == pytest.approx(SEEN_TURN * hard.TURN_DEG, abs=5)
    assert after[1:] == pytest.approx(before[1:], abs=8)


def test_a_tilted_head_is_tilted(portrait: tuple[np.ndarray, hard.Moment]) -> None:
    image, moment = portrait
    before, after = angles(moment.points), angles(landmarks(hard.tilted(image, moment)))
    assert abs(after[2] - before[2]) == pytest.approx(hard.TILT_DEG, abs=3)


def test_light_from_the_left_leaves_the_right_dark(portrait: tuple[np.ndarray, hard.Moment]) -> None:
    image, moment = portrait
    lit = hard.side_lit(image, moment)
    shares = [cheek(lit, moment, side) / cheek(image, moment, side) for side in (205, 425)]
    assert shares[0] > 1.5 * shares[1]


def cheek(image: np.ndarray, moment: hard.Moment, point: int) -> float:
    x, y = moment.points[point, :2].astype(int)
    return float(image[y - 6 : y + 7, x - 6 : x + 7].mean())


def test_a_far_face_has_small_lips(portrait: tuple[np.ndarray, hard.Moment]) -> None:
    image, moment = portrait
    points = landmarks(hard.far(image, moment))
    width = np.linalg.norm(points[mesh.LEFT_CORNER, :2] - points[mesh.RIGHT_CORNER, :2])
    smiling = np.linalg.norm(moment.points[mesh.LEFT_CORNER, :2] - moment.points[mesh.RIGHT_CORNER, :2]) / moment.unit
    resting = float(np.ptp(pose.canonical()[[mesh.LEFT_CORNER, mesh.RIGHT_CORNER], 0]))
    assert width == pytest.approx(hard.LIPS_PX * smiling / resting, rel=0.15)


def test_a_fast_head_moves_and_is_blurred_on_the_way(portrait: tuple[np.ndarray, hard.Moment]) -> None:
    image, moment = portrait
    middle, end = (hard.fast(image, hard.Moment(moment.points, moment.points, time_s)) for time_s in (0.0, 0.25))
    assert cv2.Laplacian(middle, cv2.CV_64F).var() < 0.5 * cv2.Laplacian(end, cv2.CV_64F).var()
    moved = (landmarks(end) - moment.points)[:, 0].mean() / moment.unit
    assert moved == pytest.approx(hard.WAY, abs=0.03)
