"""Smoothing: jitter goes, motion stays, nothing lags, shots do not mix."""

import numpy as np
import pytest

from duikou.faces.pose import Pose, canonical, from_canonical
from duikou.faces.smooth import ORDER, contiguous_segments, savitzky_golay, smooth
from duikou.faces.track import POINTS, FaceTrack

UPPER_LIP, LOWER_LIP, NOSE = 13, 14, 6
JITTER_PX = 0.1  # what the landmarker shows on a still face of this size


def track(landmarks: np.ndarray, shots: np.ndarray | None = None, frames: np.ndarray | None = None) -> FaceTrack:
    count = len(landmarks)
    frames = np.arange(count) if frames is None else frames
    return FaceTrack(
        frames=frames,
        times_ms=frames * 40,
        landmarks=landmarks.astype(np.float32),
        presence=np.ones(count, np.float32),
        shots=np.zeros(count, np.int64) if shots is None else shots,
    )


def talking(gap: np.ndarray, x: np.ndarray | float = 0.0) -> np.ndarray:
    """(N, 478, 3) a face of 140 px between the eyes whose lips are `gap` px (N,) apart, moved sideways by `x`."""
    count = len(gap)
    pose = Pose(np.full(count, 140.0), np.repeat(np.eye(3)[None], count, 0), np.zeros((count, 3)))
    points = from_canonical(canonical(), pose).astype(np.float64)
    face = canonical()
    jaw = (face[:, 1] > face[UPPER_LIP, 1] + 1e-6) & (np.abs(face[:, 0]) < 0.6)
    points[:, jaw, 1] += gap[:, None]
    points[:, :, 0] += np.broadcast_to(x, count)[:, None]
    return points


def gap_of(landmarks: np.ndarray) -> np.ndarray:
    closed = talking(np.zeros(1))[0]
    return landmarks[:, LOWER_LIP, 1] - landmarks[:, UPPER_LIP, 1] - (closed[LOWER_LIP, 1] - closed[UPPER_LIP, 1])


def noise(count: int, sigma: float = JITTER_PX) -> np.ndarray:
    return np.random.default_rng(1).normal(0, sigma, (count, POINTS, 3))


def second_difference(landmarks: np.ndarray) -> float:
    return float(np.sqrt((np.diff(landmarks[..., :2], 2, axis=0) ** 2).mean()))


def test_the_jitter_of_a_still_face_is_at_least_halved():
    clean = talking(np.zeros(60))
    before = track(clean + noise(60))
    after = smooth(before)
    assert second_difference(after.landmarks) < 0.5 * second_difference(before.landmarks)
    assert np.abs(after.landmarks - clean).mean() < 0.8 * np.abs(before.landmarks - clean).mean()


@pytest.mark.parametrize("length", [2, 3])
def test_a_short_closure_keeps_its_depth(length):
    gap = 10 + 4 * np.sin(np.arange(60) / 3.0)
    gap[30 : 30 + length] = 0
    before = track(talking(gap) + noise(60))
    after = gap_of(smooth(before).landmarks)
    assert after[30 : 30 + length].max() < 1.5


def test_smoothing_does_not_lag():
    gap = 8 + 6 * np.sin(np.arange(120) * 2 * np.pi * 4 / 25)
    after = gap_of(smooth(track(talking(gap) + noise(120))).landmarks)
    lags = range(-3, 4)
    fits = [np.corrcoef(np.roll(gap, lag)[10:-10], after[10:-10])[0, 1] for lag in lags]
    assert list(lags)[int(np.argmax(fits))] == 0
    assert max(fits) > 0.995


def test_a_nodding_head_keeps_its_swing():
    x = 20 * np.sin(np.arange(100) * 2 * np.pi * 2 / 25)
    after = smooth(track(talking(np.zeros(100), x) + noise(100)))
    swing = after.landmarks[:, NOSE, 0] - after.landmarks[:, NOSE, 0].mean()
    assert np.abs(swing - (x - x.mean()))[5:-5].max() < 0.5


def test_a_cut_is_not_smoothed_over():
    x = np.where(np.arange(40) < 20, 0.0, 55.0)
    shots = (np.arange(40) >= 20).astype(np.int64)
    after = smooth(track(talking(np.zeros(40), x), shots))
    np.testing.assert_allclose(np.diff(after.landmarks[:, NOSE, 0])[19], 55.0, atol=0.01)
    np.testing.assert_allclose(after.landmarks[:20, NOSE, 0].std(), 0, atol=0.01)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_handful_of_frames_stays_a_handful_of_frames(count):
    before = track(talking(np.zeros(count)) + noise(count))
    after = smooth(before)
    assert after.landmarks.shape == before.landmarks.shape
    assert np.abs(after.landmarks - before.landmarks).max() < 1.0


def test_an_empty_track_stays_empty():
    assert len(smooth(track(talking(np.zeros(1))).part(slice(0, 0)))) == 0


def test_runs_end_at_missing_frames_and_cuts():
    frames = np.array([0, 1, 2, 5, 6, 7, 8])
    shots = np.array([0, 0, 0, 0, 0, 1, 1])
    assert list(contiguous_segments(track(talking(np.zeros(7)), shots, frames))) == [
        slice(0, 3),
        slice(3, 5),
        slice(5, 7),
    ]


@pytest.mark.parametrize(("count", "window"), [(60, 7), (60, 5), (5, 5), (1_001, 21), (4, 3)])
def test_the_filter_is_that_of_scipy(count: int, window: int) -> None:
    from scipy.signal import savgol_filter

    values = np.random.default_rng(count).normal(size=(count, 3, 2))
    assert savitzky_golay(values, window) == pytest.approx(savgol_filter(values, window, ORDER, axis=0), abs=1e-12)
