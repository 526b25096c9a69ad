"""Mouth motion to the shape of one person's mouth."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from duikou import arrays
from duikou.arrays import Float64Array
from duikou.faces import pose
from duikou.render import mesh, shape
from duikou.speech.motion import CURVES

FRAMES, RATE = 60, 25.0


def face(gaps: npt.ArrayLike) -> Float64Array:
    """The canonical face with these lip gaps: (N, 478, 3)."""
    gaps = np.asarray(gaps, np.float64)
    closed = shape.close_lips(np.repeat(pose.canonical()[None].astype(np.float64), len(gaps), 0))
    return shape.set_gap(closed, gaps)


def curves(**given: float | Float64Array) -> dict[str, Float64Array]:
    full = {name: np.zeros(FRAMES) for name in CURVES} | {"voice": np.ones(FRAMES)}
    return full | {name: np.broadcast_to(value, FRAMES).astype(np.float64) for name, value in given.items()}


def idle() -> tuple[shape.MouthModel, Float64Array, Float64Array]:
    shapes, angles = face(np.zeros(FRAMES)), np.zeros((FRAMES, 2))
    return shape.MouthModel.fit(shapes, angles, np.ones(FRAMES, bool)), shapes, angles


def talking() -> tuple[shape.MouthModel, Float64Array, Float64Array]:
    gaps = 0.1 + 0.1 * np.sin(np.arange(FRAMES))
    shapes, angles = face(gaps), np.zeros((FRAMES, 2))
    return shape.MouthModel.fit(shapes, angles, np.ones(FRAMES, bool)), shapes, angles


@pytest.mark.parametrize("gap", [0.0, 0.03, 0.2])
def test_set_gap_is_exact(gap: float) -> None:
    assert mesh.lip_gap(face([gap]))[0] == pytest.approx(gap, abs=2e-3)


def test_closed_lips_touch_along_the_whole_mouth() -> None:
    closed = face([0.0])[0]
    between = closed[list(mesh.LOWER_INNER), 1] - closed[list(mesh.UPPER_INNER), 1]
    assert np.abs(between).max() < 2e-3


def test_an_idle_face_does_not_talk_and_a_talking_one_does() -> None:
    assert not idle()[0].talks
    model, _, _ = talking()
    assert model.talks
    assert model.gap_scale == pytest.approx(0.2, abs=0.02)


def test_a_mouth_that_hardly_opens_is_not_torn_open() -> None:
    shapes = face(0.03 + 0.021 * np.sin(np.arange(FRAMES)))
    model = shape.MouthModel.fit(shapes, np.zeros((FRAMES, 2)), np.ones(FRAMES, bool))
    assert model.talks
    assert model.gap_scale < 0.08


@pytest.mark.parametrize("make", [idle, talking])
def test_the_wanted_gap_is_reached(make: object) -> None:
    model, shapes, angles = make()  # type: ignore[operator]
    opening = 0.5 + 0.5 * np.sin(np.arange(FRAMES) / 3)
    wanted = model.wanted(curves(gap=opening, jaw=opening), RATE)
    targets = model.targets(shapes, angles, shape.rest_shapes(shapes, RATE), RATE, wanted)
    assert np.abs(mesh.lip_gap(targets) - wanted.gap).max() < 0.015
    assert np.corrcoef(wanted.gap, opening)[0, 1] > 0.95
    assert wanted.gap.max() == pytest.approx(model.gap_scale, rel=0.2)


@pytest.mark.parametrize("make", [idle, talking])
def test_a_closure_is_pressed_lips_under_a_lowered_jaw(make: object) -> None:
    model, shapes, angles = make()  # type: ignore[operator]
    motion = curves(gap=0.0, jaw=0.5, closure=1.0)
    targets = model.targets(shapes, angles, shape.rest_shapes(shapes, RATE), RATE, model.wanted(motion, RATE))
    assert mesh.lip_gap(targets).max() < 0.01


def test_without_voice_an_idle_face_keeps_its_own_motion() -> None:
    model, shapes, angles = idle()
    shapes = shapes + 0.002 * np.sin(np.arange(FRAMES))[:, None, None]
    targets = model.targets(
        shapes, angles, shape.rest_shapes(shapes, RATE), RATE, model.wanted(curves(gap=1.0, voice=0.0), RATE)
    )
    assert np.abs(targets - shapes).max() < 2e-3


def test_without_voice_a_talking_face_closes_its_mouth() -> None:
    model, shapes, angles = talking()
    targets = model.targets(
        shapes, angles, shape.rest_shapes(shapes, RATE), RATE, model.wanted(curves(gap=1.0, voice=0.0), RATE)
    )
    assert mesh.lip_gap(targets).max() < 0.01


def test_a_short_pause_keeps_a_smile_away_and_a_long_one_brings_it_back() -> None:
    smile, angles = face(np.full(200, 0.08)), np.zeros((200, 2))
    model = shape.MouthModel.fit(smile, angles, np.ones(200, bool))
    assert not model.talks
    for pause_ms, smiles in ((400, False), (3000, True)):
        voice = np.ones(200)
        frames = round(pause_ms * RATE / 1000)
        voice[100 - frames // 2 : 100 + frames // 2] = 0
        motion = {name: np.zeros(200) for name in CURVES} | {"voice": voice}
        gaps = mesh.lip_gap(
            model.targets(smile, angles, shape.rest_shapes(smile, RATE), RATE, model.wanted(motion, RATE))
        )
        assert gaps[20] < 0.01
        assert (gaps[100] > 0.07) == smiles


def test_a_smile_leaves_just_before_speech_and_returns_while_the_lips_leave_the_last_sound() -> None:
    smile, angles = face(np.full(100, 0.08)), np.zeros((100, 2))
    model = shape.MouthModel.fit(smile, angles, np.ones(100, bool))
    voice = np.zeros(100)
    voice[12:60] = 1  # less than the longest bridged pause after the clip's start
    wanted = model.wanted({name: np.zeros(100) for name in CURVES} | {"voice": voice}, RATE)
    gaps = mesh.lip_gap(model.targets(smile, angles, shape.rest_shapes(smile, RATE), RATE, wanted))
    assert gaps[:6].min() > 0.07
    assert gaps[12:60].max() < 0.02
    assert gaps[66:].min() > 0.07


def test_a_smile_is_relaxed_and_a_calm_mouth_is_left_alone() -> None:
    calm = face([0.0])
    assert mesh.lip_width(calm)[0] < 0.6
    smile = calm.copy()
    smile[:, list(mesh.LIPS), 0] *= 1.4
    smile[:, list(mesh.CORNERS), 1] -= 0.06
    relaxed = shape.relax(smile)
    assert mesh.lip_width(relaxed)[0] < mesh.lip_width(smile)[0] - 0.08
    assert relaxed[0, 61, 1] > smile[0, 61, 1] + 0.02
    assert np.abs(shape.relax(calm) - calm).max() < 0.02


def test_rounding_draws_the_corners_in_and_spreading_apart() -> None:
    model, shapes, angles = idle()
    rest, rounded, spread = (
        mesh.lip_width(
            model.targets(shapes, angles, shape.rest_shapes(shapes, RATE), RATE, model.wanted(curves(**one), RATE))
        ).mean()
        for one in ({}, {"round": 1.0}, {"width": 1.0})
    )
    assert rounded < rest - 0.08
    assert spread > rest + 0.03


def test_only_what_speech_moves_is_moved() -> None:
    model, shapes, angles = idle()
    targets = model.targets(
        shapes, angles, shape.rest_shapes(shapes, RATE), RATE, model.wanted(curves(gap=1.0, jaw=1.0), RATE)
    )
    still = [point for point in range(478) if point not in mesh.MOVED]
    assert np.array_equal(targets[:, still], shapes[:, still])
    assert (targets[:, mesh.CHIN_TIP, 1] - shapes[:, mesh.CHIN_TIP, 1]).min() > 0.07


def spoken(**given: float | Float64Array) -> tuple[Float64Array, Float64Array]:
    """Targets of an idle face for these curves, and how far they are from its neutral face."""
    model, shapes, angles = idle()
    rest = shape.rest_shapes(shapes, RATE)
    targets = model.targets(shapes, angles, rest, RATE, model.wanted(curves(**given), RATE))
    return targets, targets - shape.relax(shape.close_lips(rest[:]))


def test_the_chin_follows_the_jaw_and_cheeks_follow_less() -> None:
    _, moved = spoken(gap=1.0, jaw=1.0)
    chin, lower, upper = (
        np.abs(moved[0, list(points), 1]).mean() for points in (mesh.CHIN, mesh.LOWER_CHEEKS, mesh.UPPER_CHEEKS)
    )
    assert chin > 1.5 * lower > 1.5 * upper > 0
    assert moved[0, mesh.CHIN_TIP, 1] == pytest.approx(shape.IDLE_GAP * shape.WIDEST * 0.4, rel=0.02)


def test_an_open_mouth_has_a_lowered_jaw_even_if_none_is_heard() -> None:
    _, moved = spoken(gap=1.0, jaw=0.0)
    assert moved[0, mesh.CHIN_TIP, 1] > 0.2 * shape.IDLE_GAP


def test_an_open_mouth_is_as_round_as_those_of_people_who_talk() -> None:
    out, _ = spoken(gap=0.8, jaw=0.8)
    height = (out[:, mesh.LOWER_INNER[1:-1], 1] - out[:, mesh.UPPER_INNER[1:-1], 1])[FRAMES // 2]
    np.testing.assert_allclose(height / height.max(), shape.HEIGHTS, atol=0.02)


@pytest.mark.parametrize(
    ("sound", "raised"), [({"tongue": 1.0, "jaw": 0.35}, True), ({"tongue": 0.0, "jaw": 0.7}, False)]
)
def test_at_one_gap_the_lips_of_an_idle_face_bare_more_or_less_of_the_teeth(
    sound: dict[str, float], raised: bool
) -> None:
    usual, _ = spoken(gap=0.4, jaw=0.35)
    moved, _ = spoken(gap=0.4, **sound)
    upper = usual[:, mesh.UPPER_MID, 1] - moved[:, mesh.UPPER_MID, 1]
    assert (upper > 0.01).all() if raised else (upper < -0.01).all()
    assert mesh.lip_gap(moved) == pytest.approx(mesh.lip_gap(usual), abs=0.005)


def test_sounds_that_raise_open_lips_leave_closed_ones_together() -> None:
    usual, _ = spoken(gap=0.0)
    moved, _ = spoken(gap=0.0, tongue=1.0)
    np.testing.assert_allclose(moved[:, list(mesh.LIPS), 1], usual[:, list(mesh.LIPS), 1], atol=1e-6)


def test_an_open_mouth_is_wider_than_a_closed_one() -> None:
    opened, closed = spoken(gap=1.0, jaw=1.0)[0], spoken()[0]
    assert mesh.lip_width(opened)[0] > mesh.lip_width(closed)[0] + 0.03


def test_cheeks_and_nostril_folds_follow_the_corners() -> None:
    fold = [206, 426]  # image left, image right
    for given, sign in (({"width": 1.0}, 1), ({"round": 1.0}, -1)):
        moved = spoken(**given)[1][0]
        corner, beside = moved[[mesh.LEFT_CORNER, mesh.RIGHT_CORNER], 0], moved[fold, 0]
        assert sign * corner[1] > 0.015
        assert np.all(np.sign(beside) == np.sign(corner))
        assert np.all(np.abs(beside) > 0.2 * np.abs(corner))
        assert np.allclose(corner[0], -corner[1], atol=1e-3)


def test_closed_lips_touch_along_the_whole_mouth_under_a_lowered_jaw() -> None:
    targets, moved = spoken(jaw=1.0, closure=1.0)
    between = targets[0, list(mesh.LOWER_INNER), 1] - targets[0, list(mesh.UPPER_INNER), 1]
    assert moved[0, mesh.CHIN_TIP, 1] > 0.07
    assert between.min() >= 0
    assert between.max() < 0.004


def test_rounded_lips_come_forward() -> None:
    _, moved = spoken(round=1.0)
    assert moved[0, [mesh.UPPER_MID, mesh.LOWER_MID], 2].max() < -0.03


def test_a_smile_leaves_the_cheeks_with_the_lips() -> None:
    smile = face([0.0])
    smile[:, list(mesh.LIPS), 0] *= 1.4
    moved = shape.relax(smile) - smile
    assert moved[0, 426, 0] < -0.01
    assert moved[0, 206, 0] > 0.01


@pytest.mark.parametrize("known", [idle, talking])
def test_shapes_are_the_same_in_blocks_of_any_size(
    known: Callable[[], tuple[shape.MouthModel, Float64Array, Float64Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shapes, angles = known()
    moving = np.random.default_rng(0).uniform(0, 1, (len(CURVES), FRAMES))
    wanted = model.wanted(curves(**dict(zip(CURVES, moving, strict=True))), RATE)
    found = []
    for size in (FRAMES, 7):
        monkeypatch.setattr(arrays, "BLOCK", size)
        found.append(model.targets(shapes, angles, shape.rest_shapes(shapes, RATE), RATE, wanted))
    assert np.abs(found[0] - shapes).max() > 0.01
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-12)


def test_a_window_of_shapes_is_held_few_times() -> None:
    model, shapes, angles = talking()
    count = 20 * FRAMES
    shapes, angles = np.tile(shapes, (20, 1, 1)), np.tile(angles, (20, 1))
    wanted = model.wanted({name: np.full(count, 0.5) for name in CURVES}, RATE)
    tracemalloc.start()
    try:
        rest = shape.rest_shapes(shapes, RATE)
        model.targets(shapes, angles, rest, RATE, wanted)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * shapes.nbytes  # rest, mood, targets and blocks of both; all at once it would be more than 9
