"""Motion in pauses, on lips made of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from lips_maker import FRAME_MS, make_lips

from benchmarks.quality.silence import SETTLE_S, calm, in_pause
from duikou.speech.motion import CURVES, MouthMotion

FRAMES = 100  # 4 s, of which the second half is silent


def half_spoken() -> MouthMotion:
    values = np.zeros((400, len(CURVES)), np.float32)
    values[:200, CURVES.index("voice")] = 1
    return MouthMotion(values, 100.0)


def mouth(speech: float, pause: float) -> np.ndarray:
    """A gap that goes to and fro every frame by so much in speech and in the pause."""
    flip = np.arange(FRAMES) % 2
    return 0.1 + flip * np.where(np.arange(FRAMES) < FRAMES // 2, speech, pause)


def test_a_pause_keeps_away_from_speech() -> None:
    times = np.array([1.0, 2.0 + SETTLE_S - 0.02, 2.0 + SETTLE_S + 0.02, 3.0])
    assert in_pause(half_spoken(), times).tolist() == [False, False, True, True]


def test_motion_in_pauses_and_in_speech_is_told_apart() -> None:
    found = calm(make_lips(mouth(0.04, 0.01)), half_spoken())
    assert found is not None
    assert found.pause_s == pytest.approx(2 - SETTLE_S, abs=2 * FRAME_MS / 1000)
    assert found.share == pytest.approx(0.25, rel=0.05)
    still = calm(make_lips(mouth(0.04, 0.0)), half_spoken())
    assert still is not None
    assert still.pauses == pytest.approx(0, abs=1e-6)
    assert still.speech == pytest.approx(found.speech)


def test_a_cut_is_no_motion() -> None:
    gap = np.full(FRAMES, 0.05)
    gap[75:] = 0.2
    cut, moved = (
        calm(make_lips(gap, shots=(np.arange(FRAMES) >= 75)), half_spoken()),
        calm(make_lips(gap), half_spoken()),
    )
    assert cut and moved
    assert cut.pauses == pytest.approx(0, abs=1e-6)
    assert moved.pauses > 0.05


def test_without_a_pause_nothing_is_said() -> None:
    values = np.zeros((400, len(CURVES)), np.float32)
    values[:, CURVES.index("voice")] = 1
    assert calm(make_lips(mouth(0.04, 0.01)), MouthMotion(values, 100.0)) is None
