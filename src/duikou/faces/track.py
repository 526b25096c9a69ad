"""Values that describe one face: its track, its warnings, its interval."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from duikou.arrays import BoolArray, Float32Array, Image, IntArray
from duikou.bounds import Share, Text
from duikou.timebase import Interval

POINTS = 478
"""Landmarks per face, numbered as in Google's face mesh: 468 of the mesh, then 10 of the irises."""


@dataclass(frozen=True)
class FaceTrack:
    """One face followed over the frames of a clip, in time order. Frames where it was not visible are absent.

    frames: (N,) frame numbers of the clip, from 0, strictly rising.
    times_ms: (N,) presentation times in ms.
    landmarks: (N, 478, 3) x, y in pixels of the upright frame, where pixel centres have integer coordinates; z in the
        same unit, negative towards the camera.
    presence: (N,) the landmarker's confidence that a face is there, 0 to 1.
    shots: (N,) number of the shot that contains each frame, from 0.
    colours: (N, 478, 3) uint8 colours at the landmarks, see `appearance.colours`; `None` if they were not kept.
    """

    frames: IntArray
    times_ms: IntArray
    landmarks: Float32Array
    presence: Float32Array
    shots: IntArray
    colours: Image | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, keep: BoolArray | IntArray | slice) -> FaceTrack:
        """The same track with only the rows `keep`."""
        return replace(
            self,
            frames=self.frames[keep],
            times_ms=self.times_ms[keep],
            landmarks=self.landmarks[keep],
            presence=self.presence[keep],
            shots=self.shots[keep],
            colours=None if self.colours is None else self.colours[keep],
        )

    def followed_by(self, later: FaceTrack) -> FaceTrack:
        """This track and later rows of the same face. Colours are kept where both have them, or where one is empty."""
        if not len(self) or not len(later):
            return self if len(self) else later
        columns = {
            name: np.concatenate([getattr(self, name), getattr(later, name)])
            for name in ("frames", "times_ms", "landmarks", "presence", "shots")
        }
        both = self.colours is not None and later.colours is not None
        colours = np.concatenate([self.colours, later.colours]) if both else None
        return FaceTrack(**columns, colours=colours)


PACKED = 65_534
"""Steps across the extent of a face in which a `PackedTrack` counts: a hundredth of a pixel where it is 600 wide."""

BLOCK = 1024
"""Rows that are packed at once: those of an hour in floats take 190 MB."""


@dataclass(frozen=True)
class PackedTrack:
    """A `FaceTrack` without colours in less than half the memory: 2.9 kB for each frame. Rows are unpacked on request.

    frames, times_ms, presence, shots: as in `FaceTrack`. points: (N, 478, 3) landmarks in steps from the middle of the
    face. middles: (N, 3) in pixels. steps: (N,) pixels.
    """

    frames: IntArray
    times_ms: IntArray
    presence: Float32Array
    shots: IntArray
    points: npt.NDArray[np.int16]
    middles: Float32Array
    steps: Float32Array

    @classmethod
    def of(cls, track: FaceTrack) -> PackedTrack:
        """Pack a track. Its landmarks are rounded to a 65,000th of the face's extent."""
        count = len(track)
        points, middles = np.empty((count, POINTS, 3), np.int16), np.empty((count, 3), np.float32)
        steps = np.empty(count, np.float32)
        for start in range(0, count, BLOCK):
            rows = slice(start, start + BLOCK)
            landmarks = track.landmarks[rows]
            low, high = landmarks.min(1), landmarks.max(1)
            middles[rows], steps[rows] = (low + high) / 2, np.maximum((high - low).max(1) / PACKED, 1e-6)
            points[rows] = np.rint((landmarks - middles[rows, None]) / steps[rows, None, None])
        return cls(track.frames, track.times_ms, track.presence, track.shots, points, middles, steps)

    def __len__(self) -> int:
        return len(self.frames)

    def around(self, first: int, stop: int) -> slice:
        """The rows in frames `[first, stop)`, and the nearest ones before and after."""
        start, end = np.searchsorted(self.frames, [first, stop])
        return slice(max(int(start) - 1, 0), int(end) + 1)

    def part(self, keep: BoolArray | IntArray | slice) -> FaceTrack:
        """The rows `keep`, unpacked."""
        landmarks = self.points[keep] * self.steps[keep, None, None] + self.middles[keep, None]
        return FaceTrack(self.frames[keep], self.times_ms[keep], landmarks, self.presence[keep], self.shots[keep])

    @property
    def landmarks(self) -> Float32Array:
        """(N, 478, 3) as in `FaceTrack`, all unpacked."""
        return self.part(slice(None)).landmarks

    @property
    def boxes(self) -> Float32Array:
        """(N, 4) bounding box of the landmarks in each row: x, y, width, height in pixels."""
        steps, low, high = self.steps[:, None], self.points[..., :2].min(1), self.points[..., :2].max(1)
        return np.hstack([self.middles[:, :2] + low * steps, (high - low.astype(np.float32)) * steps])

    def save(self, path: Path) -> None:
        """Write the track to an `.npz` file, as it is: compressing it saves a hundredth."""
        np.savez(path, **{one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def load(cls, path: Path) -> PackedTrack:
        """Read a track that `save` wrote, or a former version's, which has the landmarks themselves."""
        with np.load(path, allow_pickle=False) as file:
            if "landmarks" in file:
                return cls.of(FaceTrack(**{name: file[name] for name in file}))
            return cls(**{one.name: file[one.name] for one in fields(cls)})


@dataclass(frozen=True)
class FacePicture:
    """One picture of a face. image: (H, W, 3) uint8 BGR. landmarks: (478, 3) as in `FaceTrack`, in its pixels."""

    image: Image
    landmarks: Float32Array


@dataclass(frozen=True)
class FaceWarning:
    """A reason that shortens a face's interval or makes a good result unlikely, of a face or of its video.

    code: a stable word such as `small_face`, `turned_away`, `hidden_mouth`, `left_picture`, `shot_cut`, `held_frame`.
    message: one sentence for people, with the measured value.
    interval: where it applies.
    """

    code: Annotated[str, Text(40, "[a-z_]+")]
    message: Annotated[str, Text(1000)]
    interval: Interval


@dataclass(frozen=True)
class Speaking:
    """A time at which a face's lips fit the clip's own sound.

    score: how well, from 0 to 1; lips that are seen as the sound asks for have about 0.3 to 0.6, others below 0.2.
    """

    interval: Interval
    score: Annotated[float, Share()]


@dataclass(frozen=True)
class Face:
    """One face that can be lip-synced.

    id: digits, unique within its session ("0", "1", ...).
    interval: from the first to the last moment at which it can be lip-synced. Inside it the face is never unusable
        for longer than 1 s: after a longer gap it counts as another face.
    track: the face at the sampled frames inside the interval, unusable ones included.
    usable: (N,) whether the mouth can be changed in each frame of the track.
    picture: (H, W, 3) uint8 BGR, the face cropped from its best frame.
    warnings: why the interval is not longer, and what may look wrong.
    speaking: when the face speaks in the clip, in time order; empty for a clip without sound.
    """

    id: str
    interval: Interval
    track: PackedTrack
    usable: BoolArray
    picture: Image
    warnings: tuple[FaceWarning, ...] = ()
    speaking: tuple[Speaking, ...] = ()

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Median bounding box of the landmarks over the usable frames: (x, y, width, height) in pixels."""
        boxes = self.track.boxes[self.usable if self.usable.any() else slice(None)]
        x, y, width, height = np.median(boxes, axis=0).round()
        return int(x), int(y), int(width), int(height)
