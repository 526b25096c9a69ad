"""Where a mouth can be changed: the limits, the hidden mouth, the rule of one second."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from duikou.faces.pose import Pose, canonical, fit, from_canonical
from duikou.faces.track import POINTS, FaceTrack
from duikou.faces.usable import LIPS, MIN_LIPS_PX, _median, checks, lips_width, usable_of, usable_segments

WIDTH, HEIGHT = 1280, 720
FRAME_MS = 40


def track(count: int = 1, *, scale: float = 120.0, yaw: float = 0, pitch: float = 0, x: float = 640) -> FaceTrack:
    rotation = Rotation.from_euler("ZYX", [0, -yaw, pitch], degrees=True).as_matrix()
    pose = Pose(np.full(count, scale), np.repeat(rotation[None], count, 0), np.array([[x, 360.0, 0]] * count))
    return FaceTrack(
        frames=np.arange(count),
        times_ms=np.arange(count) * FRAME_MS,
        landmarks=from_canonical(canonical(), pose),
        presence=np.ones(count, np.float32),
        shots=np.zeros(count, np.int64),
    )


def broken(of: FaceTrack) -> list[str]:
    return [check.code for check in checks(of, WIDTH, HEIGHT) if check.broken.any()]


@pytest.mark.parametrize(
    ("face", "codes"),
    [
        ({}, []),
        ({"yaw": 57}, []),
        ({"yaw": -57}, []),
        ({"yaw": 63}, ["turned_away"]),
        ({"yaw": -63}, ["turned_away"]),
        ({"pitch": 30}, []),
        ({"pitch": 40}, ["tilted"]),
        ({"scale": 60}, []),
        ({"scale": 50}, ["small_face"]),
        ({"x": 100}, []),
        ({"x": 20}, ["left_picture"]),
        ({"x": WIDTH - 20}, ["left_picture"]),
        ({"x": -300}, ["left_picture"]),
    ],
)
def test_each_limit_has_two_sides(face, codes):
    assert broken(track(**face)) == codes


def test_a_message_holds_the_figure_and_the_limit():
    found = {check.code: check for check in checks(track(scale=40), WIDTH, HEIGHT)}
    figure = float(lips_width(fit(track(scale=40).landmarks))[0])
    assert figure < MIN_LIPS_PX
    assert (
        found["small_face"].message(slice(0, 1))
        == f"the mouth is only {figure:.0f} pixels wide; at least 30 are needed"
    )


def test_the_width_of_the_mouth_does_not_shrink_as_the_head_turns():
    assert lips_width(fit(track(yaw=40).landmarks))[0] == pytest.approx(lips_width(fit(track().landmarks))[0], rel=1e-3)


@pytest.mark.parametrize(("shape", "axis"), [((9, 4, 3), 0), ((10, 4, 3), 0), ((5, 8, 3), 1), ((1, 2), 0)])
def test_the_fast_median_is_the_median(shape: tuple[int, ...], axis: int):
    values = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    assert np.allclose(_median(values, axis), np.median(values, axis), atol=1e-6)


def talking_colours(count: int) -> np.ndarray:
    """(N, 478, 3) a patterned face whose lips change as in speech and whose light wavers."""
    generator = np.random.default_rng(3)
    face = np.repeat(generator.uniform(90, 190, (1, POINTS, 3)), count, 0)
    face[:, list(LIPS), 0] += 20 * np.sin(np.arange(count))[:, None]
    face[:, :, 0] += 15 * np.sin(np.arange(count) / 9)[:, None]
    return (face + generator.normal(0, 4, face.shape)).astype(np.float32)


def hidden(colours: np.ndarray) -> list[int]:
    of = replace(track(len(colours)), colours=colours)
    (check,) = (one for one in checks(of, WIDTH, HEIGHT) if one.code == "hidden_mouth")
    return np.flatnonzero(check.broken).tolist()


def test_speech_and_light_hide_nothing():
    assert hidden(talking_colours(60)) == []


def test_a_hand_before_the_mouth_is_detected():
    colours = talking_colours(60)
    lower = canonical()[:, 1] > 0.15
    colours[20:28, lower] = np.random.default_rng(5).uniform(120, 150, (lower.sum(), 3))
    assert hidden(colours) == list(range(20, 28))


def test_a_hand_is_detected_from_its_first_touch_to_its_last():
    colours = talking_colours(60)
    side = (canonical()[:, 1] > 0.15) & (canonical()[:, 0] > 0.16)
    colours[18:30, side] = 120
    lower = canonical()[:, 1] > 0.15
    colours[20:28, lower] = 120
    assert hidden(colours) == list(range(18, 30))


def test_something_on_the_chin_alone_hides_no_mouth():
    colours = talking_colours(60)
    colours[20:28, canonical()[:, 1] > 0.75] = 10
    assert hidden(colours) == []


def test_a_hand_is_not_compared_with_itself():
    """A head that turns: the hand is there in most of the moments of like view, one after the other."""
    colours = talking_colours(60)
    colours[16:32, canonical()[:, 1] > 0.15] = 120
    of = replace(track(60), colours=colours)
    angles = np.where((np.arange(60) >= 10) & (np.arange(60) < 38), 0, 30)
    turned = np.stack([track(yaw=angle).landmarks[0] for angle in angles])
    (check,) = (one for one in checks(replace(of, landmarks=turned), WIDTH, HEIGHT) if one.code == "hidden_mouth")
    assert check.broken[20:28].all()
    assert not check.broken[:10].any()


def test_a_sunglass_is_no_hidden_mouth():
    colours = talking_colours(60)
    colours[20:28, canonical()[:, 1] < -0.1] = 10
    assert hidden(colours) == []


def test_a_few_frames_say_nothing_of_a_hidden_mouth():
    colours = talking_colours(4)
    colours[2] = 0
    assert hidden(colours) == []


@pytest.mark.parametrize("missing", [0, 1, 24, 25])
def test_a_gap_of_up_to_one_second_stays_one_face(missing):
    usable = np.ones(80, bool)
    usable[30 : 30 + missing] = False
    start = np.arange(80) * FRAME_MS
    assert list(usable_segments(usable, start, start + FRAME_MS)) == [slice(0, 80)]


def test_a_gap_of_more_than_one_second_makes_two_faces():
    usable = np.ones(80, bool)
    usable[30:56] = False  # 26 frames of 40 ms
    start = np.arange(80) * FRAME_MS
    assert list(usable_segments(usable, start, start + FRAME_MS)) == [slice(0, 30), slice(56, 80)]


def test_frames_that_are_absent_count_as_gap():
    start = np.array([0, 40, 1080, 1120, 2161])
    assert list(usable_segments(np.ones(5, bool), start, start + 40)) == [slice(0, 4), slice(4, 5)]


def test_unusable_ends_are_cut_off():
    usable = np.array([False, False, True, False, True, False])
    start = np.arange(6) * FRAME_MS
    assert list(usable_segments(usable, start, start + FRAME_MS)) == [slice(2, 5)]
    assert list(usable_segments(np.zeros(6, bool), start, start + FRAME_MS)) == []


def test_usable_frames_break_no_check():
    of = track(3)
    of.presence[1] = 0.2
    assert usable_of(checks(of, WIDTH, HEIGHT)).tolist() == [True, False, True]
