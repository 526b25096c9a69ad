"""Values that describe one face: its track, its warnings, its interval."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Annotated

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from duikou.arrays import BoolArray, Float32Array, Image, IntArray
from duikou.arrays import blocks as in_blocks
from duikou.bounds import Share, Text
from duikou.spool import Rows
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


MOST_STEPS, LEAST_STEP = 65_000, 2.0**-9
"""Steps across the extent of a face in which a `PackedTrack` counts, at most, and the least step in pixels. Steps are
powers of two: what is unpacked is exact in 32 bits and stays the same if it is packed again. Where a face is 600 pixels
wide, a step is a 64th of a pixel."""

BLOCK = 1024
"""Rows that are packed at once: those of an hour in floats take 190 MB."""

PLAIN, LANDMARKS = ("frames", "times_ms", "presence", "shots"), "landmarks.npy"
"""What a track's file has as it is, and the entry of its landmarks, (N, 478, 3) floats."""


@dataclass(frozen=True)
class PackedTrack:
    """A `FaceTrack` without colours in less than half the room: 2.9 kB for each frame. Rows are unpacked on request.

    frames, times_ms, presence, shots: as in `FaceTrack`. points: (N, 478, 3) landmarks in steps from the middle of the
    face, those of a long track in a file. middles: (N, 3) in pixels. steps: (N,) pixels.
    """

    frames: IntArray
    times_ms: IntArray
    presence: Float32Array
    shots: IntArray
    points: Rows[np.int16]
    middles: Float32Array
    steps: Float32Array

    @classmethod
    def of(cls, track: FaceTrack) -> PackedTrack:
        """Pack a track. Its landmarks are rounded to a 32,500th of the face's extent or less.

        Raises `StorageError` where a long track finds no room for its file.
        """
        blocks = (track.landmarks[rows] for rows in in_blocks(len(track), BLOCK))
        return cls._of(track.frames, track.times_ms, track.presence, track.shots, blocks)

    @classmethod
    def _of(
        cls,
        frames: IntArray,
        times_ms: IntArray,
        presence: Float32Array,
        shots: IntArray,
        blocks: Iterable[Float32Array],
    ) -> PackedTrack:
        """Pack rows whose landmarks come in blocks."""
        middles, steps = np.empty((len(frames), 3), np.float32), np.empty(len(frames), np.float32)

        def packed() -> Iterator[npt.NDArray[np.int16]]:
            stop = 0
            for landmarks in blocks:
                rows = slice(stop, stop := stop + len(landmarks))
                low, high = landmarks.min(1), landmarks.max(1)
                step = np.exp2(np.ceil(np.log2(np.maximum((high - low).max(1) / MOST_STEPS, LEAST_STEP))))[:, None]
                middle = np.rint((low + high) / 2 / step) * step
                middles[rows], steps[rows] = middle, step[:, 0]
                yield np.rint((landmarks - middle[:, None]) / step[:, None]).astype(np.int16)

        points = Rows((len(frames), POINTS, 3), np.int16, packed())
        return cls(frames, times_ms, presence, shots, points, middles, steps)

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
        found = np.empty((len(self), 4), np.float32)
        for rows in in_blocks(len(self), BLOCK):
            points, steps = self.points[rows][..., :2], self.steps[rows, None]
            low, high = points.min(1), points.max(1)
            found[rows, :2] = self.middles[rows, :2] + low * steps
            found[rows, 2:] = (high - low.astype(np.float32)) * steps
        return found

    def save(self, path: Path) -> None:
        """Write the track to an `.npz` file, unpacked, so that former versions read it, too."""
        with zipfile.ZipFile(path, "w") as file:
            for name in PLAIN:
                with file.open(f"{name}.npy", "w") as entry:
                    npy.write_array(entry, getattr(self, name), allow_pickle=False)
            with file.open(LANDMARKS, "w", force_zip64=True) as entry:
                npy.write_array_header_1_0(entry, {"descr": "<f4", "fortran_order": False, "shape": self.points.shape})
                for rows in in_blocks(len(self), BLOCK):
                    entry.write(self.part(rows).landmarks.astype("<f4").tobytes())

    @classmethod
    def load(cls, path: Path) -> PackedTrack:
        """Read a track that `save` or a former version wrote."""
        with np.load(path, allow_pickle=False) as file:
            plain = {name: file[name] for name in PLAIN}
        with zipfile.ZipFile(path) as file, file.open(LANDMARKS) as entry:
            npy.read_magic(entry)
            npy.read_array_header_1_0(entry)
            return cls._of(**plain, blocks=_blocks(entry))


def _blocks(entry: IO[bytes]) -> Iterator[Float32Array]:
    """The landmarks behind the header of an entry."""
    while content := entry.read(BLOCK * POINTS * 3 * 4):
        yield np.frombuffer(content, "<f4").reshape(-1, POINTS, 3)


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
