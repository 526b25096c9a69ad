"""Measures of the picture, on pictures made of numbers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from lips_maker import UNIT, make_lips

from benchmarks.quality import picture
from benchmarks.quality.engines import Change, changed_part
from duikou.render import mesh

POINTS = make_lips([0.05]).track.landmarks[0, :, :2].astype(np.float64)


def skin() -> np.ndarray:
    """Grain on a soft slope of brightness, 320 x 300 pixels."""
    random = np.random.default_rng(5)
    slope = 120 + 0.05 * np.mgrid[0:300, 0:320].sum(0)
    return np.clip(slope[..., None] + random.normal(0, 6, (300, 320, 1)).repeat(3, 2), 0, 255).astype(np.uint8)


def around_lips(inner: float, outer: float) -> np.ndarray:
    """Cover (300, 320, 1): 1 up to `inner` eye distances around the lips, 0 from `outer` on."""
    mask = np.zeros((300, 320), np.uint8)
    cv2.fillPoly(mask, [np.round(POINTS[list(mesh.OUTER_RING)]).astype(np.int32)], 255)
    away = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 5) / UNIT
    return np.clip((outer - away) / (outer - inner), 0, 1)[..., None]


def measured(own: np.ndarray, new: np.ndarray) -> picture.Compared:
    change = changed_part(own, new)
    assert change is not None
    assert np.array_equal(change.on(own), new)
    return picture.measure(own, new, POINTS, POINTS)


def test_the_change_is_all_that_differs() -> None:
    own, new = skin(), skin()
    assert changed_part(own, new) is None
    new[40:45, 60] += 9
    new[70, 50, 2] += 1
    change = changed_part(own, new)
    assert change is not None
    assert (change.top, change.left, change.pixels.shape) == (40, 50, (31, 11, 3))
    assert np.array_equal(change.on(own), new)
    assert np.array_equal(own, skin())


def test_pixels_outside_the_lower_face_are_counted() -> None:
    own = skin()
    x, y = POINTS[mesh.LOWER_MID].astype(int)
    inside, outside = own.copy(), own.copy()
    inside[y, x] += 20
    outside[y, x] += 20
    outside[2, 3:6] += 20
    assert measured(own, inside).outside == 0
    assert measured(own, outside).outside == 3


def test_a_blurred_mouth_is_less_sharp() -> None:
    own = skin()
    found = measured(own, cv2.GaussianBlur(own, (0, 0), 1.0))
    assert 0 < found.new.sharp < 0.3 * found.own.sharp
    assert 0 < found.new.sharp_lips < 0.3 * found.own.sharp_lips


def test_sharpness_is_compared_with_mouths_alike() -> None:
    own = skin()
    teeth = own.copy()
    teeth[::2] = np.clip(teeth[::2].astype(int) + 25, 0, 255)
    soft = cv2.GaussianBlur(teeth, (0, 0), 0.8).astype(np.uint8)

    def looks(sharp: float) -> picture.Looks:
        return picture.Looks(sharp, sharp, 1.0, np.ones((4, 3)), np.zeros(3))

    sharp_own, sharp_teeth, sharp_soft = (picture.sharpness(one) for one in (own, teeth, soft))
    # Source: closed, open. Result: open twice, each softer than the source's open mouth.
    frames = [picture.Compared(looks(one), looks(sharp_soft), 0) for one in (sharp_own, sharp_teeth)]
    found = picture.summary(frames, np.array([[0.0, 0.5], [0.2, 0.5]]), np.array([[0.19, 0.5], [0.21, 0.5]]))
    assert found.sharpness_alike == pytest.approx(sharp_soft / sharp_teeth)
    assert found.sharpness == pytest.approx(2 * sharp_soft / (sharp_own + sharp_teeth))


def test_what_shows_inside_the_mouth_does_not_sharpen_the_lips() -> None:
    own = skin()
    new = own.copy()
    x, y = POINTS[[mesh.UPPER_MID, mesh.LOWER_MID]].mean(0).astype(int)
    new[y - 1 : y + 2, x - 8 : x + 8 : 2] = 255
    found = measured(own, new)
    assert found.new.sharp > 1.5 * found.own.sharp
    assert found.new.sharp_lips == found.own.sharp_lips


def test_flicker_is_no_steady_motion() -> None:
    numbers = np.arange(20)
    assert picture.flicker(3 * numbers.astype(np.float64), numbers) == pytest.approx(0)
    wobble = np.where(numbers % 2, 1.0, 0.0)
    assert picture.flicker(wobble, numbers) == pytest.approx(2)
    assert picture.flicker(3 * wobble + 5 * numbers, numbers) == pytest.approx(6)


def test_flicker_does_not_reach_across_missing_frames() -> None:
    values, numbers = np.array([0.0, 1, 2, 50, 51, 52]), np.array([0, 1, 2, 9, 10, 11])
    assert picture.flicker(values, numbers) == pytest.approx(0)


def test_light_that_flashes_is_flicker_and_grain_is_not() -> None:
    cover = around_lips(0.05, 0.21)
    numbers = np.arange(8)
    steady, flashing = [], []
    for number in numbers:
        own = np.roll(skin(), 17 * number, axis=1)
        calm = np.clip(own + 6 * cover, 0, 255).astype(np.uint8)
        flash = np.clip(own + (12 * (number % 2)) * cover + 1, 0, 255).astype(np.uint8)
        steady.append(measured(own, calm))
        flashing.append(measured(own, flash))
    assert max(picture.flickers(steady, numbers).values()) < 1.2
    assert min(picture.flickers(flashing, numbers).values()) > 3


@pytest.mark.parametrize(("inner", "outer"), [(0.05, 0.21), (0.1, 0.12)])
def test_a_patch_of_other_light_has_an_edge(inner: float, outer: float) -> None:
    own = skin()
    found = measured(own, np.clip(own + 12 * around_lips(inner, outer), 0, 255).astype(np.uint8))
    assert found.new.edge > 1.5 * found.own.edge
    whole = measured(own, np.clip(own.astype(int) + 12, 0, 255).astype(np.uint8))
    assert whole.new.edge == pytest.approx(whole.own.edge, rel=0.02)


def test_skin_that_stays_behind_its_landmarks_slides() -> None:
    own, way = skin(), np.array([0.04 * UNIT, 0])
    moved = np.roll(own, round(way[0]), axis=1)
    assert picture.slide((own, moved), (POINTS, POINTS + way)) < 0.002
    assert picture.slide((own, own), (POINTS, POINTS + way)) == pytest.approx(0.04, abs=0.004)


def test_sliding_is_set_against_the_source() -> None:
    looks = picture.Looks(1.0, 1.0, 1.0, np.full((4, 3), 100.0), np.zeros(3))
    lit = picture.Looks(1.0, 1.0, 1.0, np.full((4, 3), 110.0), np.zeros(3))
    frames = [picture.Compared(looks, lit, 0, slides) for slides in (None, (0.01, 0.02), (0.03, 0.04))]
    found = picture.summary(frames, np.zeros((3, 2)), np.zeros((3, 2)))
    assert found.slide == pytest.approx(1.5)
    assert found.light == pytest.approx(0.1)


def test_a_face_at_the_border_can_be_measured() -> None:
    own = skin()[:, :180]
    new = Change(150, 150, own[150:160, 150:160] + np.uint8(9)).on(own)
    found = picture.measure(own, new, POINTS, POINTS)
    assert np.isfinite([found.own.edge, found.new.edge, *found.new.light.ravel(), *found.new.mouth]).all()
