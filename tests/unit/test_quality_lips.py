"""Agreement of lips with lips, on lips made of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from lips_maker import FRAME_MS, make_lips

from benchmarks.quality.clips import displaced
from benchmarks.quality.lips import CLOSED, LAGS_MS, NO_LAG, ON_TEETH, agreement, by_lag, gestures, gestures_met
from duikou.speech.motion import CURVES, MouthMotion
from training.score import correlation

FRAMES = 100
REST = MouthMotion(np.zeros((400, len(CURVES)), np.float32), 100.0)


def swing(frames: np.ndarray) -> np.ndarray:
    """A gap that never repeats within a second."""
    return 0.12 + 0.05 * np.sin(frames / 3.1) + 0.04 * np.sin(frames / 7.3 + 1)


def shut(*intervals: tuple[int, int]) -> MouthMotion:
    """Motion at 100 rows a second whose closure curve is whole over these rows."""
    values = np.zeros((400, len(CURVES)), np.float32)
    for start, end in intervals:
        values[start:end, CURVES.index("closure")] = 1
    return MouthMotion(values, 100.0, -0.03)


@pytest.mark.parametrize("count", [2, 9, 10, 121])
def test_displaced_pictures_move_to_and_fro_from_half_way(count: int) -> None:
    order = displaced(count)
    assert len(order) == count
    assert order[0] == count // 2
    assert set(np.abs(np.diff(order))) <= {1}
    assert 0 <= order.min() <= order.max() == count - 1


def test_lips_agree_with_themselves() -> None:
    lips = make_lips(swing(np.arange(FRAMES)), 0.5 + 0.1 * swing(np.arange(FRAMES) * 1.7))
    found = agreement(lips, lips, lips.frames, REST)
    assert found is not None
    assert (found.r_gap, found.r_width) == (pytest.approx(1), pytest.approx(1))
    assert found.lag_ms == 0
    assert found.distance == 0
    assert found.closures == 0


@pytest.mark.parametrize("late", [-3, 2])
def test_lips_that_are_late_are_told_by_how_much(late: int) -> None:
    real, ours = (make_lips(swing(np.arange(FRAMES) - shift)) for shift in (0, late))
    found = agreement(ours, real, real.frames, REST)
    assert found is not None
    assert found.lag_ms == pytest.approx(late * FRAME_MS, abs=5)
    assert found.r_gap < 0.9 < found.by_lag.max() == found.r_own_lag
    assert found.distance > 0.002


def test_the_lag_behind_the_motion_asked_for_is_found() -> None:
    rows = np.arange(400)
    values = np.zeros((400, len(CURVES)), np.float32)
    values[:, CURVES.index("gap")] = swing(rows / 4)
    found = by_lag(make_lips(swing(np.arange(FRAMES) - 1)), MouthMotion(values, 100.0))
    assert LAGS_MS[int(np.argmax(found))] == pytest.approx(FRAME_MS, abs=5)
    assert found.max() > 0.99 > found[NO_LAG]


def test_lips_that_do_the_opposite_disagree() -> None:
    gap = swing(np.arange(FRAMES))
    found = agreement(make_lips(0.3 - gap), make_lips(gap), np.arange(FRAMES), REST)
    assert found is not None
    assert found.r_gap == pytest.approx(-1, abs=1e-3)


def test_only_the_frames_used_count() -> None:
    gap = swing(np.arange(FRAMES))
    broken = gap.copy()
    broken[:40] = 0.3 - gap[:40]
    found = agreement(make_lips(broken), make_lips(gap), np.arange(40, FRAMES), REST)
    assert found is not None
    assert found.r_gap == pytest.approx(1)
    assert agreement(make_lips(gap), make_lips(gap), np.arange(5), REST) is None


def test_what_does_not_move_has_no_correlation() -> None:
    assert correlation(np.zeros(9), np.arange(9.0)) == 0


def test_closures_begin_and_end_where_the_curve_says() -> None:
    found = np.array(gestures(shut((20, 30), (399, 400)), "closure"))
    assert found == pytest.approx(np.array([[0.17, 0.26], [3.96, 3.96]]))
    assert gestures(REST, "closure") == []


def test_a_closure_is_met_where_the_lips_touch_during_it() -> None:
    gap = np.full(FRAMES, 0.15)
    gap[12] = CLOSED / 2  # 480 ms
    gap[30] = CLOSED / 2  # 1200 ms, two frames after the second closure's end
    asked = shut((45, 55), (100, 115), (350, 360))
    assert gestures_met(make_lips(gap), asked, "closure", CLOSED).tolist() == [True, False, False]


def test_a_lower_lip_is_at_the_teeth_where_little_is_open() -> None:
    gap = np.full(FRAMES, 0.15)
    gap[12] = 0.9 * ON_TEETH
    values = np.zeros((400, len(CURVES)), np.float32)
    values[[50, 51, 350, 351], CURVES.index("dental")] = 1
    asked = MouthMotion(values, 100.0, -0.03)
    assert gestures_met(make_lips(gap), asked, "dental", ON_TEETH).tolist() == [True, False]
    assert not len(gestures_met(make_lips(gap), asked, "closure", CLOSED))


def test_a_closure_outside_the_clip_does_not_count() -> None:
    assert gestures_met(make_lips(np.full(25, 0.0)), shut((20, 30), (300, 310)), "closure", CLOSED).tolist() == [True]
