"""What a track's colours say: lips that never show, and skin in one flat colour."""

import numpy as np
import pytest

from duikou.faces.pose import canonical
from duikou.faces.surface import LIP_RINGS, MIN_STANDING_OUT, SKIN_RING, flat_share, lips_check, lips_standing_out
from duikou.faces.track import POINTS, FaceTrack
from duikou.faces.usable import Check

COUNT = 40
SKIN = np.array([150.0, 145.0, 150.0])
LIPS = sorted({point for ring in LIP_RINGS for point in ring})
LOWER_FACE = canonical()[:, 1] > 0


def shaded(noise: float = 3.0) -> np.ndarray:
    """(N, 478, 3) skin, brighter towards one side, with the noise of a film."""
    generator = np.random.default_rng(2)
    colours = np.tile(SKIN, (COUNT, POINTS, 1))
    colours[..., 0] += 60 * canonical()[:, 0]
    return colours + generator.normal(0, noise, colours.shape)


def with_lips(change: tuple[float, float, float], frames: slice = slice(None)) -> np.ndarray:
    colours = shaded()
    colours[frames, LIPS] += change
    return colours


def covered(colour: tuple[float, float, float], folds: float = 6.0) -> np.ndarray:
    colours = shaded()
    colours[:, LOWER_FACE] = colour + np.random.default_rng(3).normal(0, folds, (LOWER_FACE.sum(), 1))
    return colours


@pytest.mark.parametrize("change", [(-35, 12, 2), (-25, 0, 0), (-10, 20, 8), (-70, 5, 0), (25, 8, 0)])
def test_lips_of_many_colours_show(change):
    assert lips_standing_out(with_lips(change).astype(np.float32)) > 1.2 * MIN_STANDING_OUT


@pytest.mark.parametrize("colour", [(190, 120, 110), (150, 145, 150), (30, 128, 128), (240, 128, 128)])
def test_under_a_cover_no_lips_show(colour):
    assert lips_standing_out(covered(colour).astype(np.float32)) < 0.8 * MIN_STANDING_OUT


def test_dim_light_hides_no_lips():
    colours = with_lips((-35, 12, 2))
    colours[..., 0] *= 0.2
    colours[..., 1:] = 128 + 0.2 * (colours[..., 1:] - 128)
    assert lips_standing_out(colours.astype(np.float32)) > MIN_STANDING_OUT


@pytest.mark.parametrize(("shown", "seen"), [(COUNT, True), (COUNT // 2, True), (COUNT // 8, False), (0, False)])
def test_lips_that_show_part_of_the_time_show(shown, seen):
    colours = covered((190, 120, 110))
    colours[:shown] = with_lips((-35, 12, 2))[:shown]
    assert (lips_standing_out(colours.astype(np.float32)) >= MIN_STANDING_OUT) == seen


def test_the_check_is_broken_everywhere_or_nowhere_and_judges_usable_frames_alone():
    colours = covered((190, 120, 110))
    colours[:20] = with_lips((-35, 12, 2))[:20]
    frames = np.arange(COUNT)
    landmarks = np.zeros((COUNT, POINTS, 3), np.float32)
    track = FaceTrack(
        frames, frames * 40, landmarks, np.ones(COUNT, np.float32), frames * 0, colours.astype(np.float32)
    )
    for used, broken in ((frames < 30, False), (frames >= 20, True)):
        check = lips_check(track, [Check("tilted", frames * 1.0, 35.0, ~used)])
        assert check is not None
        assert check.broken.all() if broken else not check.broken.any()
    assert lips_check(track, [Check("tilted", frames * 1.0, 35.0, frames >= 0)]) is None


def test_a_flat_drawing_is_flat_and_shaded_skin_is_not():
    flat = np.tile(SKIN, (COUNT, POINTS, 1)) + np.random.default_rng(5).normal(0, 0.5, (COUNT, POINTS, 3))
    assert flat_share(flat.astype(np.float32)) > 0.7
    assert flat_share(shaded().astype(np.float32)) < 0.2


def test_a_drawing_in_two_tones_is_flat():
    flat = np.tile(SKIN, (COUNT, POINTS, 1))
    flat[:, canonical()[:, 0] > 0.15, 0] -= 30
    assert flat_share(flat.astype(np.float32)) > 0.4


def test_blown_out_skin_is_no_drawing():
    colours = shaded()
    colours[..., 0] = np.minimum(colours[..., 0] + 110, 255)
    colours[colours[..., 0] > 250] = (255, 128, 128)
    assert flat_share(colours.astype(np.float32)) < 0.2


def test_the_rings_lie_beside_each_other():
    face = canonical()
    for ring in LIP_RINGS:
        assert len(ring) == len(SKIN_RING)
        assert np.linalg.norm(face[list(ring)] - face[list(SKIN_RING)], axis=1).max() < 0.3
