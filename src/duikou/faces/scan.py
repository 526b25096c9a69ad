"""The sparse pass: measure every face of a video about ten times a second and find its ends to the frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from duikou.arrays import Float32Array, Image, IntArray
from duikou.faces import usable
from duikou.faces.detector import Detection, Detector, overlap
from duikou.faces.landmarks import Landmarker, Observation, Roi, roi_of
from duikou.faces.pose import Pose, fit
from duikou.faces.shots import numbered
from duikou.faces.track import POINTS, FaceTrack
from duikou.media.decode import Frame
from duikou.media.fields import Examination, Fields
from duikou.media.video import Video
from duikou.parallel import in_order
from duikou.progress import Progress
from duikou.spool import Records

MEASURE_MS = 110  # 8 to 11 measurements a second at the usual frame rates
DETECT_MS = 450  # between two detections of new faces while others are followed; without any, each measurement detects
TILES_MS = 900  # between two detections of small faces in large frames: every second one of the others
TURNED_MS = 400  # between two detections of faces that lie or are upside down, while no face is followed
MIN_BOX_PX = 40.0  # the mouth of a smaller face has about 12 px: it is not worth following
MAX_FACES = 8  # the largest are followed at once; a crowd would take minutes
SAME_PLACE = 0.3  # intersection over union of two boxes of the same face
MAX_RESIZE = 1.7  # a face does not grow or shrink by more between two measurements
BETTER = 1.02  # factor by which a new picture must be better than the kept one to replace it
GLIMPSE_MS = 500  # shorter tracklets are rarely a separate face: their pictures are not kept
LANDMARK_BYTES, COLOUR_BYTES = POINTS * 3 * 4, POINTS * 3

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Stored:
    """An `Observation` whose landmarks and colours were put aside; they are read whenever they are asked for."""

    records: Records
    place: int
    presence: float
    sharpness: float

    @classmethod
    def of(cls, seen: Observation, records: Records) -> Stored:
        """Put an observation aside."""
        place = records.put(seen.landmarks.tobytes() + seen.colours.tobytes())
        return cls(records, place, seen.presence, seen.sharpness)

    @property
    def landmarks(self) -> Float32Array:
        """(478, 3)."""
        return np.frombuffer(self.records.get(self.place, LANDMARK_BYTES), np.float32).reshape(POINTS, 3)

    @property
    def colours(self) -> Image:
        """(478, 3)."""
        place = self.place + LANDMARK_BYTES
        return np.frombuffer(self.records.get(place, COLOUR_BYTES), np.uint8).reshape(POINTS, 3)


@dataclass(eq=False, slots=True)
class Sample:
    """One face in one frame."""

    frame: int
    time_ms: int
    shot: int
    seen: Observation | Stored
    good: bool = True  # whether size, pose and position allow the mouth to be changed
    worth: float = 0.0  # quality of its picture: frontal, large and sharp is best

    @property
    def box(self) -> Box:
        """Bounding box of the points: left, top, right, bottom."""
        points = self.seen.landmarks[:, :2]
        low, high = points.min(0), points.max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


@dataclass(eq=False)
class Tracklet:
    """A face followed without a gap in one shot. best: the sample that `picture` (BGR) shows."""

    samples: list[Sample] = field(default_factory=list)
    best: Sample | None = None
    picture: Image | None = None

    def add(self, sample: Sample, frame: Frame) -> None:
        """Add the sample of the next frame."""
        self.samples.append(sample)
        if sample.good and (self.best is None or sample.worth > BETTER * self.best.worth):
            self.best, self.picture = sample, picture_of(frame, sample.seen.landmarks)

    def shows(self, sample: Sample) -> bool:
        """Whether `sample` shows this face, at a time when it was followed."""
        last = self.samples[-1]
        if last.shot != sample.shot or last.frame < sample.frame:
            return False
        near = next((one for one in reversed(self.samples) if one.frame <= sample.frame), None)
        return near is not None and _meet(near.box, sample.box)


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames of one shot, of which the last is measured. opens: whether it is the first of its shot."""

    shot: int
    frames: tuple[Frame, ...]
    opens: bool


@dataclass(frozen=True)
class Scan:
    """The result of the pass.

    size: width and height of the picture. shot_starts: first frame of every shot.
    fields: how the frames are interlaced.
    """

    tracklets: list[Tracklet]
    size: tuple[int, int]
    shot_starts: list[int]
    fields: Fields | None = None

    @property
    def pictures(self) -> dict[Sample, Image]:
        """The pictures that were kept, by the sample that each shows."""
        return {one.best: one.picture for one in self.tracklets if one.best is not None and one.picture is not None}


class _InterlacedError(Exception):
    """The frames that were taken for progressive are interlaced."""


def scan(video: Video, progress: Progress) -> Scan:
    """Follow every face of a video. Decoding and the search for cuts run beside the measuring.

    A video that was not examined yet is examined in the same pass. Where it is interlaced, the pass starts anew.
    """
    if not video.examined:
        stored = video.read_as(None)
        try:
            return _scanned(stored, _progressive(stored.frames(), video.examination()), progress)
        except _InterlacedError:
            video = video.read_as(video.fields)
    return _scanned(video, video.frames(), progress)


def _scanned(video: Video, frames: Iterable[Frame], progress: Progress) -> Scan:
    """The scan of all frames of an examined video."""
    times_ms = video.frame_times.starts_ms
    scanner = Scanner()
    for index in in_order(scanner.step, chunks(numbered(frames), step_of(times_ms)), 1):
        progress("finding faces", (index + 1) / len(times_ms))
    return Scan(scanner.finish(), scanner.size, scanner.shot_starts, video.fields)


def _progressive(frames: Iterable[Frame], examination: Examination) -> Iterator[Frame]:
    """The same frames. Raises `_InterlacedError` where they are."""
    for frame in frames:
        if frame.stored is not None and examination.interlaced(frame.index, frame.stored):
            raise _InterlacedError
        yield frame
    if examination.interlaced_in_the_end():
        raise _InterlacedError


def step_of(times_ms: IntArray) -> int:
    """Frames from one measurement to the next."""
    if len(times_ms) < 2:
        return 1
    return max(round(MEASURE_MS * (len(times_ms) - 1) / max(int(times_ms[-1] - times_ms[0]), 1)), 1)


def chunks(numbered_frames: Iterable[tuple[int, Frame]], step: int) -> Iterator[Chunk]:
    """Split frames into chunks of `step`. The first frame of a shot and its last, shorter part are chunks too."""
    held: list[Frame] = []
    now, opens = -1, False
    for shot, frame in numbered_frames:
        if shot != now:
            if held:
                yield Chunk(now, tuple(held), opens)
            held, now, opens = [], shot, True
        held.append(frame)
        if opens or len(held) == step:
            yield Chunk(now, tuple(held), opens)
            held, opens = [], False
    if held:
        yield Chunk(now, tuple(held), opens)


class Scanner:
    """Follows the faces through chunks, in order. Not thread-safe."""

    def __init__(self) -> None:
        self._detector, self._landmarker, self._records = Detector(), Landmarker(), Records()
        self._live: list[Tracklet] = []
        self._done: list[Tracklet] = []
        self._recent: list[Frame] = []  # of this shot, since the last detection
        self._looked_ms = self._tiled_ms = self._turned_ms = 0
        self.size = (0, 0)
        self.shot_starts: list[int] = []

    def step(self, chunk: Chunk) -> int:
        """Process a chunk and return the number of its last frame."""
        frame = chunk.frames[-1]
        self.size = frame.pixels.size
        if chunk.opens:
            self._close(self._live)
            self._recent = []
            self.shot_starts.append(chunk.frames[0].index)
        for tracklet in list(self._live):
            self._continue(tracklet, chunk)
        self._drop_doubles()
        self._recent += chunk.frames
        tiles = chunk.opens or frame.time_ms - self._tiled_ms >= TILES_MS
        if tiles or not self._live or frame.time_ms - self._looked_ms >= DETECT_MS:
            self._look(chunk, tiles=tiles)
        return frame.index

    def finish(self) -> list[Tracklet]:
        """All faces."""
        self._close(self._live)
        return self._done

    def _continue(self, tracklet: Tracklet, chunk: Chunk) -> None:
        """Measure a followed face; where it is lost or turns good or bad, in every frame of the chunk."""
        *between, frame = chunk.frames
        last = tracklet.samples[-1]
        sample = self._measure(frame, chunk.shot, last) or self._found_again(frame, chunk.shot, last)
        if sample is None or sample.good != last.good:
            for one in between:
                near = self._measure(one, chunk.shot, tracklet.samples[-1])
                if near is not None:
                    tracklet.add(near, one)
                elif sample is None:
                    break
        if sample is None:
            self._close([tracklet])
        else:
            tracklet.add(sample, frame)

    def _look(self, chunk: Chunk, *, tiles: bool) -> None:
        """Detect faces that are not followed yet, and follow them back to their first frame."""
        frame = chunk.frames[-1]
        self._looked_ms = frame.time_ms
        if tiles:
            self._tiled_ms = frame.time_ms
        self._follow_new(chunk, self._detector.find(frame.pixels, tiles=tiles))
        if not self._live:
            if not chunk.opens and frame.time_ms - self._turned_ms < TURNED_MS:
                return  # keep the recent frames for the next look
            self._turned_ms = frame.time_ms
            for quarters in (1, 2, 3):
                self._follow_new(chunk, self._detector.find(frame.pixels, tiles=chunk.opens, quarters=quarters))
        self._recent = self._recent[-1:]

    def _follow_new(self, chunk: Chunk, found: list[Detection]) -> None:
        frame = chunk.frames[-1]
        for detection in _largest_first(found):
            taken = any(_meet(detection.box, tracklet.samples[-1].box) for tracklet in self._live)
            if taken or len(self._live) >= MAX_FACES:
                continue
            first = self._observe(frame, chunk.shot, self._detector.upright(frame.pixels, detection).roi)
            # The detector's region is rough; a second measurement from the points' region is as exact as the rest.
            first = first and self._measure(frame, chunk.shot, first)
            if first is None or any(_meet(first.box, tracklet.samples[-1].box) for tracklet in self._live):
                continue
            back = [(first, frame)]
            for one in reversed(self._recent[:-1]):
                before = self._measure(one, chunk.shot, back[-1][0])
                if before is None or any(tracklet.shows(before) for tracklet in self._done):
                    break
                back.append((before, one))
            tracklet = Tracklet()
            for sample, one in reversed(back):
                tracklet.add(sample, one)
            self._live.append(tracklet)

    def _measure(self, frame: Frame, shot: int, near: Sample) -> Sample | None:
        roi = roi_of(near.seen.landmarks)
        sample = self._observe(frame, shot, roi)
        if sample is None:
            return None
        ratio = roi_of(sample.seen.landmarks).size / roi.size
        return sample if 1 / MAX_RESIZE < ratio < MAX_RESIZE else None

    def _found_again(self, frame: Frame, shot: int, last: Sample) -> Sample | None:
        """Find a face again with the detector after it moved too far from its last position."""
        angle = roi_of(last.seen.landmarks).angle
        quarters = round(2 * angle / np.pi) % 4
        for detection in self._detector.find(frame.pixels, tiles=False, quarters=quarters):
            if _meet(detection.box, last.box):
                sample = self._observe(frame, shot, detection.roi)
                return sample and self._measure(frame, shot, sample)
        return None

    def _observe(self, frame: Frame, shot: int, roi: Roi) -> Sample | None:
        seen = self._landmarker.observe(frame.pixels, roi, sharpness=True)
        if seen.presence < usable.MIN_PRESENCE:
            return None
        sample = Sample(frame.index, frame.time_ms, shot, seen)
        track = replace(track_of([sample]), colours=None)  # those of one frame show nothing
        pose = fit(track.landmarks)
        good = usable.usable_of(usable.checks(track, *self.size, pose))
        stored = Stored.of(seen, self._records)
        return replace(sample, seen=stored, good=bool(good[0]), worth=_worth(pose, seen.sharpness))

    def _drop_doubles(self) -> None:
        """If two tracklets follow the same face, keep the longer one."""
        for tracklet in sorted(self._live, key=lambda one: len(one.samples)):
            box = tracklet.samples[-1].box
            if any(other is not tracklet and _meet(box, other.samples[-1].box) for other in self._live):
                tracklet.samples.pop()
                self._close([tracklet])

    def _close(self, tracklets: list[Tracklet]) -> None:
        for tracklet in list(tracklets):
            self._live.remove(tracklet)
            if tracklet.samples:
                self._done.append(tracklet)
                if tracklet.samples[-1].time_ms - tracklet.samples[0].time_ms < GLIMPSE_MS:
                    tracklet.picture = None


def picture_of(frame: Frame, landmarks: Float32Array) -> Image:
    """A face cropped from a frame with the landmarker's margin: BGR."""
    roi = roi_of(landmarks)
    width, height = frame.pixels.size
    left, right = np.clip([round(roi.x - roi.size / 2), round(roi.x + roi.size / 2)], 0, width)
    top, bottom = np.clip([round(roi.y - roi.size / 2), round(roi.y + roi.size / 2)], 0, height)
    to_frame = np.array([[1, 0, left], [0, 1, top]], np.float64)
    square = frame.pixels.square(to_frame, int(max(right - left, bottom - top)))
    return square[: bottom - top, : right - left, ::-1].copy()


def track_of(samples: Sequence[Sample]) -> FaceTrack:
    """Samples as one track."""
    landmarks = np.empty((len(samples), POINTS, 3), np.float32)
    colours = np.empty((len(samples), POINTS, 3), np.uint8)
    for row, sample in enumerate(samples):
        landmarks[row], colours[row] = sample.seen.landmarks, sample.seen.colours
    return FaceTrack(
        frames=np.array([sample.frame for sample in samples], np.int64),
        times_ms=np.array([sample.time_ms for sample in samples], np.int64),
        landmarks=landmarks,
        presence=np.array([sample.seen.presence for sample in samples], np.float32),
        shots=np.array([sample.shot for sample in samples], np.int64),
        colours=colours,
    )


def _worth(pose: Pose, sharpness: float) -> float:
    """Quality of the picture of a sample with the pose of one frame."""
    yaw, pitch, _ = np.radians(pose.degrees[0])
    lips_px = float(usable.lips_width(pose)[0])
    return float(np.cos(yaw) * np.cos(pitch) * np.sqrt(lips_px) * max(sharpness, 1.0) ** 0.25)


def _largest_first(detections: list[Detection]) -> list[Detection]:
    widths = [(one.box[2] - one.box[0], one) for one in detections]
    return [one for width, one in sorted(widths, key=lambda pair: -pair[0]) if width >= MIN_BOX_PX]


def _meet(one: Box, other: Box) -> bool:
    return overlap(one, other) > SAME_PLACE
