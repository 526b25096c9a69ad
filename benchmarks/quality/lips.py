"""Track lips in a finished video and measure how well they agree with the real ones.

All shapes are canonical: the head's pose is removed, the unit is the distance between the outer eye corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duikou.arrays import BoolArray, Float64Array, IntArray
from duikou.faces import pose
from duikou.faces.follow import follow
from duikou.faces.smooth import smooth
from duikou.faces.track import Face, FaceTrack
from duikou.media.video import Video
from duikou.render import mesh
from duikou.speech.motion import MouthMotion
from training.score import correlation

CLOSED = 0.03
"""Gap, in eye distances, below which lips look closed."""

ON_TEETH = 0.05
"""Gap, in eye distances, below which the lower lip seems to touch the upper teeth: half of the f and v of measured
speakers get below 0.02 to 0.04."""

GESTURE_FROM = 0.5
"""Value of a gesture's curve from which the gesture is wanted; `articulate` makes it completely or not at all."""

LAGS_MS = np.arange(-200, 201, 5)
"""Lags tried: five frames to either side, which is more than half a syllable."""

NO_LAG = int(np.flatnonzero(LAGS_MS == 0)[0])
OWN_LAG_MS = 120
"""Largest offset between audio and picture of a recording; measured recordings have up to 100 ms."""

LEAST_FRAMES = 20
"""Least number of common frames."""


@dataclass(frozen=True)
class Lips:
    """One face of one video. track: smoothed, in pixels. shapes: (N, 478, 3) canonical, of the smoothed track.
    raw: (N, 478, 3) canonical, unsmoothed.
    """

    track: FaceTrack
    shapes: Float64Array
    raw: Float64Array

    @property
    def frames(self) -> IntArray:
        """(N,) frame numbers."""
        return self.track.frames

    @property
    def gap(self) -> Float64Array:
        """(N,) lip gap."""
        return mesh.lip_gap(self.shapes)

    @property
    def width(self) -> Float64Array:
        """(N,) mouth width."""
        return mesh.lip_width(self.shapes)

    def among(self, frames: npt.ArrayLike) -> Lips:
        """Only the frames that are among `frames`."""
        keep = np.isin(self.frames, frames)
        return Lips(self.track.part(keep), self.shapes[keep], self.raw[keep])


@dataclass(frozen=True)
class Agreement:
    """How well lips follow the real ones.

    r_gap, r_width: Pearson's r, frame by frame. lag_ms: lag of the lips behind the real ones at which r of the gap is
    highest, and by_lag (len(LAGS_MS),) that r. distance: mean distance of the lower face's landmarks.
    met, closures: visible closures, and all closures that the speech asks for. bitten, labiodentals: the same for f and
    v.
    """

    r_gap: float
    r_width: float
    lag_ms: int
    by_lag: Float64Array
    distance: float
    met: int
    closures: int
    bitten: int
    labiodentals: int

    @property
    def r_own_lag(self) -> float:
        """r of the gap at the best lag for this clip, whose audio may itself be late or early."""
        return float(self.by_lag[np.abs(LAGS_MS) <= OWN_LAG_MS].max())


def tracked(video: Path, face: Face, frames: int) -> Lips:
    """Follow a face through the first `frames` frames of a video in which it is where `face` was found."""
    found = follow(Video.open(video), face, stop_frame=frames)
    calm = smooth(found)
    return Lips(calm, _canonical(calm), _canonical(found))


def agreement(lips: Lips, real: Lips, used: IntArray, asked: MouthMotion) -> Agreement | None:
    """Compare at the frame numbers `used`; `None` if fewer than `LEAST_FRAMES` of them are in both tracks."""
    common = np.intersect1d(np.intersect1d(lips.frames, real.frames), used)
    if len(common) < LEAST_FRAMES:
        return None
    ours, theirs = lips.among(common), real.among(common)
    lagged = np.array([_lagged(ours, theirs, int(lag)) for lag in LAGS_MS])
    moved = list(mesh.MOVED)
    distance = np.linalg.norm(ours.shapes[:, moved, :2] - theirs.shapes[:, moved, :2], axis=-1).mean()
    met, bitten = gestures_met(ours, asked, "closure", CLOSED), gestures_met(ours, asked, "dental", ON_TEETH)
    return Agreement(
        r_gap=correlation(ours.gap, theirs.gap),
        r_width=correlation(ours.width, theirs.width),
        lag_ms=int(LAGS_MS[int(np.argmax(lagged))]),
        by_lag=lagged,
        distance=float(distance),
        met=int(met.sum()),
        closures=len(met),
        bitten=int(bitten.sum()),
        labiodentals=len(bitten),
    )


def by_lag(lips: Lips, asked: MouthMotion) -> Float64Array:
    """(len(LAGS_MS),) r of the lips' gap with the wanted gap at each lag of the lips."""
    found = []
    for lag in LAGS_MS:
        at = (lips.track.times_ms - lag) / 1000
        inside = (at >= asked.start_s) & (at < asked.end_s)
        found.append(correlation(lips.gap[inside], asked.at(at[inside])[:, 0].astype(np.float64)))
    return np.array(found)


def gestures(asked: MouthMotion, curve: str) -> list[tuple[float, float]]:
    """Start and end, in s, of each gesture in a motion's curve `closure` or `dental`."""
    made = np.concatenate([[False], asked[curve] >= GESTURE_FROM, [False]])
    edges = np.flatnonzero(np.diff(made.astype(np.int8))).reshape(-1, 2)
    return [(asked.start_s + start / asked.rate, asked.start_s + (end - 1) / asked.rate) for start, end in edges]


def gestures_met(lips: Lips, asked: MouthMotion, curve: str, below: float) -> BoolArray:
    """For each gesture during which the lips were seen, whether their gap fell `below` that, a frame's time to either
    side allowed.
    """
    times = lips.track.times_ms / 1000
    slack = float(np.median(np.diff(times)))
    met = []
    for start, end in gestures(asked, curve):
        inside = (times >= start - slack) & (times <= end + slack)
        if inside.any():
            met.append(bool(lips.gap[inside].min() < below))
    return np.array(met, bool)


def same_face(face: Face, others: Sequence[Face]) -> Face | None:
    """The face of `others` in the same position; `None` if all are further away than the width of a face."""
    if not others:
        return None
    here = _place(face)
    unit = float(np.median(mesh.eye_distance(face.track.landmarks[..., :2].astype(np.float64))))
    away = [float(np.linalg.norm(_place(other) - here)) for other in others]
    nearest = int(np.argmin(away))
    return others[nearest] if away[nearest] < 2 * unit else None


def _place(face: Face) -> Float64Array:
    return np.asarray(np.median(face.track.landmarks[:, list(mesh.EYES), :2].mean(1), axis=0), np.float64)


def _canonical(track: FaceTrack) -> Float64Array:
    return pose.to_canonical(track.landmarks, pose.fit(track.landmarks)).astype(np.float64)


def _lagged(ours: Lips, theirs: Lips, lag_ms: int) -> float:
    """r of the gaps if ours is `lag_ms` late."""
    times = theirs.track.times_ms
    at = ours.track.times_ms - lag_ms
    inside = (at >= times[0]) & (at <= times[-1])
    return correlation(ours.gap[inside], np.interp(at[inside], times, theirs.gap))
