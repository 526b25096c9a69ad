"""What the camera saw of one face: the values that the rooms above take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from duikou.arrays import BoolArray, Float32Array, Image, IntArray
from duikou.timebase import Interval

POINTS = 478
"""Landmarks per face, numbered as in Google's face mesh (468 of the mesh, then 10 of the irises)."""


@dataclass(frozen=True)
class FaceTrack:
    """One face followed over frames of one clip, in time order; frames where it was not seen are simply absent.

    frames: (N,) frame numbers of the clip, from 0, strictly rising.
    times_ms: (N,) their presentation times in ms.
    landmarks: (N, 478, 3) x, y in pixels of the upright frame and z in the same unit (towards the camera is negative),
        where pixel centres have whole coordinates.
    presence: (N,) the landmarker's own confidence that a face is there, 0 to 1.
    shots: (N,) number of the shot each frame lies in, from 0.
    colours: (N, 478, 3) what the face looks like at its landmarks, see `looks.colours`; `None` where that was not kept.
        Not saved.
    """

    frames: IntArray
    times_ms: IntArray
    landmarks: Float32Array
    presence: Float32Array
    shots: IntArray
    colours: Float32Array | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, keep: BoolArray | IntArray | slice) -> FaceTrack:
        """The same track at the rows to keep."""
        return replace(
            self,
            frames=self.frames[keep],
            times_ms=self.times_ms[keep],
            landmarks=self.landmarks[keep],
            presence=self.presence[keep],
            shots=self.shots[keep],
            colours=None if self.colours is None else self.colours[keep],
        )

    def save(self, path: Path) -> None:
        """Write the track to an `.npz` file."""
        np.savez_compressed(
            path,
            frames=self.frames,
            times_ms=self.times_ms,
            landmarks=self.landmarks,
            presence=self.presence,
            shots=self.shots,
        )

    @classmethod
    def load(cls, path: Path) -> FaceTrack:
        """Read a track that `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in ("frames", "times_ms", "landmarks", "presence", "shots")})


@dataclass(frozen=True)
class FaceWarning:
    """One reason that shortened a face's interval or that makes a good result unlikely.

    code: a stable word such as `small_face`, `turned_away`, `hidden_mouth`, `left_picture`, `shot_cut`.
    message: one sentence for a person, with the figure.
    interval: where it holds.
    """

    code: str
    message: str
    interval: Interval


@dataclass(frozen=True)
class Face:
    """One face that can be lip-synced.

    id: digits, unique within its session ("0", "1", ...).
    interval: from the first to the last moment at which it can be lip-synced. Inside it the face is never unusable
        for longer than 1 s: a longer absence makes another face.
    track: the face at the analysed frames inside the interval, unusable ones included.
    usable: (N,) for each frame of the track, whether the mouth can be changed there.
    picture: (H, W, 3) uint8 BGR, the face cut out of its best frame.
    warnings: why the interval is no longer, and what may look wrong.
    """

    id: str
    interval: Interval
    track: FaceTrack
    usable: BoolArray
    picture: Image
    warnings: tuple[FaceWarning, ...] = ()

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Usual place of the landmarks over the usable frames: (x, y, width, height) in pixels."""
        points = self.track.landmarks[self.usable if self.usable.any() else slice(None), :, :2]
        x, y, width, height = np.median(np.hstack([points.min(1), np.ptp(points, axis=1)]), axis=0).round()
        return int(x), int(y), int(width), int(height)
