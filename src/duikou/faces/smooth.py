"""Smoothing without lag. Jitter of landmarks is visible in a rendered mouth; a flattened closure is even more visible.

Head pose and face shape are smoothed separately, each by a Savitzky-Golay filter (Analytical Chemistry 36, 1964), which
looks both ways and preserves parabolas. What the filter removes beyond the noise is restored, so a closure of two
frames keeps its depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.ndimage import correlate1d

from duikou.arrays import BoolArray, Float32Array, Float64Array, IntArray
from duikou.faces.pose import Pose, canonical, fit, from_canonical, to_canonical
from duikou.faces.track import FaceTrack

POSE_MS = 220  # seven frames at 30 per second
SLOW_MS = 400  # cheeks, nose and forehead change shape slowly
FAST_MS = 170  # lips, chin and lids: five frames at 30 per second
ORDER = 2  # degree of the fitted polynomial
SHAPE_FACTOR = 2.5  # times the noise; what the filter removes beyond it is motion and is restored
POSE_FACTOR = (
    3.0  # the same for single numbers, whose noise exceeds its median more often than the noise of many points
)
MAX_NOISE = 0.0008  # canonical units; a still face has 0.0003 (shape) to 0.0006 (pose), a talking one is never still
LOWER_FACE_Y = 0.2  # canonical units: below the nose everything moves with the mouth
EYE_REACH = 0.25  # canonical units around an iris: the lids
IRIS_CENTRES = (468, 473)


def smooth(track: FaceTrack) -> FaceTrack:
    """The same track without jitter. Each segment of consecutive frames of one shot is smoothed separately."""
    landmarks = track.landmarks.copy()
    for segment in contiguous_segments(track):
        landmarks[segment] = _smooth_segment(track.landmarks[segment], _frame_ms(track.times_ms[segment]))
    return replace(track, landmarks=landmarks)


def contiguous_segments(track: FaceTrack) -> Iterator[slice]:
    """Segments of consecutive frames of one shot."""
    breaks = (np.diff(track.frames) != 1) | (np.diff(track.shots) != 0)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(track)]
    for start, stop in pairwise(edges):
        if stop > start:
            yield slice(start, stop)


def _frame_ms(times_ms: IntArray) -> float:
    return float(np.median(np.diff(times_ms))) if len(times_ms) > 1 else 0.0


def _smooth_segment(landmarks: Float32Array, frame_ms: float) -> Float32Array:
    pose = fit(landmarks)
    unit_px = float(np.median(pose.scale))
    shape = to_canonical(landmarks, pose)
    for points, length_ms in groups():
        own = shape[:, points].astype(np.float64)
        shape[:, points] = _filtered(own, _window(length_ms, frame_ms, len(shape)), SHAPE_FACTOR)
    return from_canonical(shape, _smooth_pose(pose, unit_px, _window(POSE_MS, frame_ms, len(shape))))


def _smooth_pose(pose: Pose, unit_px: float, window: int) -> Pose:
    """Smooth scale, rotation and translation as one affine map, then turn it into a pose again.

    The canonical face extends about one unit around its origin, so all numbers of the map have equal weight in pixels.
    """
    affine = np.concatenate([pose.scale[:, None, None] * pose.rotation, pose.translation[:, :, None]], 2) / unit_px
    for row, column in np.ndindex(3, 4):  # separately: sway to the side must not let the others jitter
        affine[:, row, column] = _filtered(affine[:, row, column], window, POSE_FACTOR)
    affine *= unit_px
    u, singular, vt = np.linalg.svd(affine[:, :, :3])
    return Pose(singular.mean(1), u @ vt, affine[:, :, 3])


def _filtered(values: Float64Array, window: int, factor: float) -> Float64Array:
    """Values (N, ...) in canonical units, smoothed along N; what exceeds the noise is restored."""
    if window <= ORDER + 1:
        return values
    smoothed = savitzky_golay(values, window)
    taken = values - smoothed
    size = np.sqrt((taken.reshape(len(values), -1) ** 2).mean(1))
    noise = factor * min(float(np.median(size)), MAX_NOISE)
    # Wiener's weight: the share of the removed part that is not noise.
    share = np.maximum(0.0, 1 - (noise / np.maximum(size, 1e-12)) ** 2)
    return np.asarray(smoothed + taken * share.reshape(-1, *[1] * (values.ndim - 1)))


def savitzky_golay(values: Float64Array, window: int) -> Float64Array:
    """Values (N, ...), each replaced by a polynomial of order `ORDER` fitted to the `window` values around it.

    `window` is odd, at least 3 and at most N. The first and the last half window lie on the polynomial of the first and
    the last window. The results are those of `scipy.signal.savgol_filter`, whose import takes 0.5 s.
    """
    half = window // 2
    powers = np.vander(np.linspace(-1, 1, window), ORDER + 1)
    fit = powers @ np.linalg.pinv(powers)  # (window, window): from the values of a window to its polynomial
    smoothed = correlate1d(values, fit[half], axis=0)
    smoothed[:half] = np.tensordot(fit[:half], values[:window], 1)
    smoothed[-half:] = np.tensordot(fit[-half:], values[-window:], 1)
    return np.asarray(smoothed)


def _window(ms: int, frame_ms: float, frames: int) -> int:
    """Odd number of frames that last about `ms`, at most `frames`."""
    wanted = round(ms / frame_ms) | 1 if frame_ms else 1
    return min(wanted, frames if frames % 2 else frames - 1)


def groups() -> list[tuple[BoolArray, int]]:
    """Masks (478,) of points that move together, each with the length of its filter in ms.

    The lids and the part below the nose can move within two frames, independently of each other.
    """
    face = canonical()
    lower = np.asarray(face[:, 1] > LOWER_FACE_Y)
    lids = np.zeros(len(face), bool)
    for centre in IRIS_CENTRES:
        lids |= np.linalg.norm(face - face[centre], axis=1) < EYE_REACH
    return [(lower, FAST_MS), (lids, FAST_MS), (~(lower | lids), SLOW_MS)]
