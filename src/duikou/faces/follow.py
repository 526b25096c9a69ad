"""The dense pass: landmarks in every frame of a face whose position is known at some frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import numpy as np

from duikou.arrays import Float32Array, Float64Array
from duikou.faces.landmarks import Landmarker, Observation, Roi, roi_of
from duikou.faces.track import POINTS, Face, FaceTrack
from duikou.media.decode import Frame
from duikou.media.video import Video
from duikou.memory import return_large_blocks
from duikou.parallel import cores, in_order, without_blas_threads
from duikou.progress import Progress, silent

MIN_PRESENCE = 0.5  # MediaPipe's default: below it the points do not lie on a face


Watch = Callable[[Frame, Float32Array, int], None]
"""Takes a frame, the landmarks (478, 3) of the face in it, and the number of its shot."""


@without_blas_threads
def follow(
    video: Video,
    face: Face,
    *,
    start_frame: int | None = None,
    stop_frame: int | None = None,
    watch: Watch | None = None,
    progress: Progress = silent,
) -> FaceTrack:
    """Landmarks and colours of one face on every frame of `[start_frame, stop_frame)`, unsmoothed.

    The default is the whole track of the face. Frames outside the track, between two shots or without the face are
    absent from the result. Unusable frames are included if they can be measured. Raises `MediaError` for an unreadable
    file.
    watch: is shown every frame of the result, in order, so that what else is wanted of them takes no second decoding.
    """
    return_large_blocks()
    track = face.track
    start = max(int(track.frames[0]), start_frame or 0)
    stop = int(track.frames[-1]) + 1 if stop_frame is None else min(int(track.frames[-1]) + 1, stop_frame)
    if start >= stop:
        return track.part(slice(0, 0))
    path_of = RoiPath(track.part(track.around(start, stop)))
    measured = _measured(video, path_of, start, stop)
    kept: list[tuple[int, int, Observation, int]] = []
    for frame, seen in measured:
        progress("following the face", (frame.index - start + 1) / (stop - start))
        if seen is not None and seen.presence >= MIN_PRESENCE:
            shot = path_of.shot(frame.index)
            kept.append((frame.index, frame.time_ms, seen, shot))
            if watch is not None:
                watch(frame, seen.landmarks, shot)
    return FaceTrack(
        frames=np.array([frame for frame, *_ in kept], np.int64),
        times_ms=np.array([time_ms for _, time_ms, *_ in kept], np.int64),
        landmarks=np.array([seen.landmarks for *_, seen, _ in kept], np.float32).reshape(-1, POINTS, 3),
        presence=np.array([seen.presence for *_, seen, _ in kept], np.float32),
        shots=np.array([shot for *_, shot in kept], np.int64),
        colours=np.array([seen.colours for *_, seen, _ in kept], np.uint8).reshape(-1, POINTS, 3),
    )


class RoiPath:
    """The region of a face at any frame, interpolated linearly between two tracked frames of one shot."""

    def __init__(self, track: FaceTrack) -> None:
        regions = [roi_of(points) for points in track.landmarks]
        angles = np.unwrap([roi.angle for roi in regions])
        # Sizes are interpolated as logarithms: they stay positive, and a zoom is even.
        self._values = np.array(
            [(roi.x, roi.y, math.log(roi.size), angle) for roi, angle in zip(regions, angles, strict=True)]
        )
        self._frames, self._shots = track.frames, track.shots

    def at(self, frame: int) -> Roi | None:
        """The region to search, or `None` outside the track and between two shots."""
        after = int(np.searchsorted(self._frames, frame))
        if after == len(self._frames):
            return None
        if self._frames[after] == frame:
            return self._roi(self._values[after])
        if after == 0 or self._shots[after - 1] != self._shots[after]:
            return None
        left, right = self._frames[after - 1], self._frames[after]
        share = float((frame - left) / (right - left))
        return self._roi((1 - share) * self._values[after - 1] + share * self._values[after])

    def shot(self, frame: int) -> int:
        """Number of the shot that contains a frame of the track."""
        return int(self._shots[min(int(np.searchsorted(self._frames, frame)), len(self._shots) - 1)])

    @staticmethod
    def _roi(values: Float64Array) -> Roi:
        return Roi(float(values[0]), float(values[1]), math.exp(values[2]), float(values[3]))


def _measured(video: Video, path_of: RoiPath, start: int, stop: int) -> Iterator[tuple[Frame, Observation | None]]:
    """Each frame with its observation; `None` where no region is known. Decoding and measuring overlap."""
    workers = cores()
    idle: SimpleQueue[Landmarker] = SimpleQueue()
    for _ in range(workers):
        idle.put(Landmarker())

    def measure(frame: Frame) -> tuple[Frame, Observation | None]:
        roi = path_of.at(frame.index)
        if roi is None:
            return frame, None
        landmarker = idle.get()
        try:
            return frame, landmarker.observe(frame.pixels, roi)
        finally:
            idle.put(landmarker)

    yield from in_order(measure, video.frames(start, stop), workers)
