"""Decodes a video file into a stream of upright frames, in the order and at the times a player shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from duikou.arrays import Image, IntArray
from duikou.errors import MediaError
from duikou.media import demux, limits
from duikou.media.crop import Box, cut, overlap
from duikou.media.fields import EXAMINED, Fields, Place, deinterlaced, judge, places
from duikou.media.fit import Fitter
from duikou.media.picture import Converter, Picture
from duikou.media.pixels import Pixels
from duikou.units import MIB

BLOCK_BYTES: Final = 96 * MIB
"""Stored pixels held in memory while a video is played backwards: about 30 frames of 1080p."""
READ_AHEAD: Final = 32
"""Frames that a decoder may have read beyond the last one that it returned: one for each thread and 16 out of order."""
MIN_BLOCK: Final = 4
"""Minimum number of frames in a block, for frames of any size."""


@dataclass(frozen=True)
class Patch:
    """New pixels of a part of a frame, which begins at `left` and `top`. pixels: (H, W, 3) uint8 BGR, upright."""

    left: int
    top: int
    pixels: Image

    @property
    def box(self) -> Box:
        """The part that it covers."""
        height, width = self.pixels.shape[:2]
        return self.left, self.top, self.left + width, self.top + height


class Frame:
    """One frame of a video, and what was painted on it.

    index: number of the frame, from 0, among those that a player shows.
    pts: presentation time in the stream's time base, after the edit list.
    time_ms: the same in ms, on the timeline on which the file's audio begins at 0. Where the video starts late, the
        first frame is later than 0.
    stored: the decoded frame in the file's pixel format, which the encoder can take unchanged; `None` without one.
    patches: what was painted, the latest one on top. `stored` shows nothing of it.
    """

    __slots__ = ("_converted", "_converter", "_pixels", "index", "patches", "pts", "stored", "time_ms")

    def __init__(
        self,
        index: int,
        pts: int,
        time_ms: int,
        image: Image | None = None,
        *,
        stored: VideoFrame | None = None,
        converter: Converter | None = None,
    ) -> None:
        if image is None and (stored is None or converter is None):
            raise ValueError("a frame needs an image, or a stored frame and its converter")
        self.index, self.pts, self.time_ms = index, pts, time_ms
        self.stored = stored
        self.patches: tuple[Patch, ...] = ()
        self._converter = converter
        # Parts of the unpainted image; the first one is all of it where there is no stored frame.
        self._converted = [] if image is None else [((0, 0, image.shape[1], image.shape[0]), image)]
        self._pixels: Pixels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        return self._converted[0][0][2:] if self._converter is None else self._converter.picture.size

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8, blue green red, upright. Converted on first use, so skipped frames cost nothing."""
        return self.part((0, 0, *self.size))

    def part(self, box: Box) -> Image:
        """`image[top:bottom, left:right]`, bit for bit, at a cost that grows with the box. Do not write to it.

        box: left, top, right, bottom. Raises `ValueError` for an empty box and for one that reaches out of the frame.
        """
        self._check(box)
        image = self._bare_part(box)
        shared = [(patch, both) for patch in self.patches if (both := overlap(patch.box, box))]
        if shared:
            image = image.copy()
        for patch, both in shared:
            cut(image, box, both)[:] = cut(patch.pixels, patch.box, both)
        return image

    def _bare_part(self, box: Box) -> Image:
        """A part without what was painted. It is cut out of a larger one that was converted before, if there is one."""
        for place, image in self._converted:
            if overlap(place, box) == box:
                return cut(image, place, box)
        assert self.stored is not None
        assert self._converter is not None
        image = self._converter.part(self.stored, box)
        self._converted.append((box, image))
        return image

    @property
    def pixels(self) -> Pixels:
        """The same picture, for cutting small parts out of it: far cheaper than `image` where few pixels are read."""
        if self._pixels is None:
            if self.patches or self._converter is None:
                self._pixels = Pixels.of(self.image)
            else:
                assert self.stored is not None
                self._pixels = Pixels.stored(self.stored, self._converter)
        return self._pixels

    def painted(self, patch: Patch) -> Frame:
        """The same frame with a patch over it. Raises `ValueError` for one that reaches out of the frame."""
        self._check(patch.box)
        return self._with(self.index, self.pts, self.time_ms, (*self.patches, patch))

    @property
    def bare(self) -> Frame:
        """The same frame without what was painted on it."""
        return self._with(self.index, self.pts, self.time_ms, ())

    def moved(self, index: int, pts: int, time_ms: int) -> Frame:
        """The same picture with another number and time."""
        return self._with(index, pts, time_ms, self.patches)

    def _with(self, index: int, pts: int, time_ms: int, patches: tuple[Patch, ...]) -> Frame:
        frame = copy(self)
        frame.index, frame.pts, frame.time_ms, frame.patches = index, pts, time_ms, patches
        frame._pixels = None if patches else self._pixels
        return frame

    def _check(self, box: Box) -> None:
        left, top, right, bottom = box
        width, height = self.size
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"the box {box} is no part of a frame of {width}x{height}")

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, pts={self.pts}, time_ms={self.time_ms})"


def times(path: Path, *, field: str = "video") -> IntArray:
    """(N,) the `time_ms` of all `frames`, without decoding."""
    return read_frame_times(path, field=field).starts_ms


def read_frame_times(path: Path, *, field: str = "video") -> demux.FrameTimes:
    """Read when each frame of a file shows from its packets."""
    clock = demux.read_clock(path, field=field)
    with demux.opened(path, field=field) as (file, _):
        return demux.read_frame_times(file, demux.video_stream(file, field=field), clock, field=field)


def frames(
    path: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    frame_times: demux.FrameTimes | None = None,
    picture: Picture | None = None,
    field: str = "video",
) -> Iterator[Frame]:
    """Stream the frames numbered `start` to `stop` (exclusive; `None` is the end), a few in memory at a time.

    Decoding begins at the key frame before `start`; numbers and pixels are the same as when decoding from frame 0. A
    frame that cannot be decoded repeats the one before it, as in a player, so frames and `times` always agree. One in
    another format than the first is fitted into that, see `fit`.
    frame_times, picture: those of the file; without them its index and its first frame are read first. Interlaced
        frames become progressive where the picture says how.
    Raises `MediaError` that names `field` where the file or all of its frames cannot be read.
    """
    frame_times = frame_times or read_frame_times(path, field=field)
    stop = len(frame_times) if stop is None else min(stop, len(frame_times))
    if start < 0 or start >= stop:
        return
    picture = picture or read_picture(path, field=field)
    converter = Converter(picture)
    with _source(path, frame_times, picture, field=field) as source:
        index = -1
        for index, stored in source.numbered(start, stop):
            pts = int(frame_times.pts[index])
            yield Frame(index, pts, frame_times.ms(pts), stored=stored, converter=converter)
        if index < 0:
            raise MediaError("none of the frames can be decoded.", field=field)


def backwards(
    path: Path,
    *,
    start: int,
    stop: int,
    frame_times: demux.FrameTimes | None = None,
    picture: Picture | None = None,
    field: str = "video",
) -> Iterator[Frame]:
    """Stream the `frames` numbered `start` to `stop` in reverse, decoded in blocks of about `BLOCK_BYTES`.

    Every block is decoded from the key frame before it, so files with long groups of pictures take longer.
    """
    frame_times = frame_times or read_frame_times(path, field=field)
    picture = picture or read_picture(path, field=field)
    stop, converter = min(stop, len(frame_times)), Converter(picture)
    size, ahead, varies = MIN_BLOCK, READ_AHEAD, False
    with ExitStack() as files:
        source: _Source | None = None
        while stop > start:
            if source is None or varies:
                # A decoder that has met another format may not know the first one any more. Otherwise one decoder
                # serves all blocks: PyAV frees a closed one only when it collects cycles.
                files.close()
                source = files.enter_context(_source(path, frame_times, picture, field=field))
            source.seek(int(frame_times.pts[0]))
            first, beyond = max(stop - size, start), min(stop + ahead, len(frame_times))
            block = [(index, stored) for index, stored in source.numbered(first, beyond) if index < stop]
            if not block:
                raise MediaError(f"frame {first} cannot be decoded.", field=field)
            varies, ahead = varies or source.varies, 0  # frames behind the next blocks have been met now
            size = max(BLOCK_BYTES // sum(plane.buffer_size for plane in block[0][1].planes), MIN_BLOCK)
            stop = first
            while block:
                index, stored = block.pop()
                pts = int(frame_times.pts[index])
                yield Frame(index, pts, frame_times.ms(pts), stored=stored, converter=converter)


def read_picture(path: Path, *, field: str = "video") -> Picture:
    """Decode the first frame of a file and return its format. Raises `MediaError` that names `field`."""
    with demux.opened(path, field=field) as (file, _):
        stream = demux.video_stream(file, field=field)
        return Picture.first(stream, first_frame(file, stream, field=field))


def first_frame(file: InputContainer, stream: VideoStream, *, field: str) -> VideoFrame:
    """The first decodable frame of a file that was just opened."""
    stream.codec_context.thread_count = 1  # each further thread would allocate a picture and do nothing
    for frame in _decoded(file, stream, field=field):
        if frame.interlaced_frame and stream.codec_context.codec.canonical_name == "hevc":
            # FFmpeg flags only pictures that are single fields, and returns these as they are, half as high.
            raise MediaError(
                "the video stores its fields as separate HEVC pictures; export it progressive.", field=field
            )
        return frame
    raise MediaError("none of the frames can be decoded.", field=field)


def _decoded(file: InputContainer, stream: VideoStream, *, field: str) -> Iterator[VideoFrame]:
    demux.select_stream(file, stream)
    pixels = 0
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        try:
            found = packet.decode()
        except av.FFmpegError:
            continue  # a damaged packet loses only its own frame
        for frame in found:
            # Frames may be larger than the header declares.
            limits.check_picture(frame.width, frame.height, field=field)
            pixels += frame.width * frame.height
            limits.check_decoded(pixels, field=field)
            yield frame


@contextmanager
def _source(path: Path, frame_times: demux.FrameTimes, picture: Picture, *, field: str) -> Iterator[_Source]:
    """The open file of a video. picture: the format of its first frame, which all frames get."""
    with demux.opened(path, field=field) as (file, _):
        yield _Source(file, frame_times, picture, field=field)


class _Source:
    """See `_source`."""

    def __init__(self, file: InputContainer, frame_times: demux.FrameTimes, picture: Picture, *, field: str) -> None:
        self._file, self._stream = file, demux.video_stream(file, field=field)
        self._times, self._field = frame_times, field
        self._fitter, self._fields = Fitter(self._stream, picture), picture.fields

    @property
    def varies(self) -> bool:
        """Whether a frame in another format was met."""
        return self._fitter.used

    def seek(self, pts: int) -> None:
        """Go to the last key frame whose pts is not after `pts`."""
        self._file.seek(pts + self._times.origin, stream=self._stream)

    def numbered(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """One frame for each number from `start` to `stop`; a missing frame repeats the one before it."""
        if self._fields is None:
            return _filled(self.fitted(start), self._times, start, stop)
        found = deinterlaced(self.fitted(max(start - self._fields.reach, 0)), self._fields)
        return _filled(found, self._times, start, stop)

    def fitted(self, start: int) -> Iterator[VideoFrame]:
        """Decoded frames from the last key frame whose pts is not after frame `start`, with pts on the file's timeline.

        Frames that are decoded and shown after such a key frame need no earlier ones. This holds for open groups of
        pictures too, because their leading frames show before the key frame.
        """
        return self._fitter.fitted(self._from(start))

    def _from(self, start: int) -> Iterator[VideoFrame]:
        """What `fitted` fits."""
        times = self._times
        before = times.keyframes[times.keyframes <= times.pts[start]]
        if len(before) and before[-1] > times.pts[0]:
            self.seek(int(before[-1]))
        for frame in _decoded(self._file, self._stream, field=self._field):
            if frame.pts is not None:
                frame.pts -= times.origin
            yield frame


def examine(path: Path, *, frame_times: demux.FrameTimes, picture: Picture, field: str = "video") -> Fields | None:
    """Decide from some dozens of frames, at places all over a file, how to make it progressive; `None` if it is.

    Raises `MediaError` that names `field` where the file cannot be read.
    """
    starts = places(np.searchsorted(frame_times.pts, frame_times.keyframes), len(frame_times))
    seen = [Place(EXAMINED // len(starts)) for _ in starts]
    for start, place in zip(starts.tolist(), seen, strict=True):
        with _source(path, frame_times, picture, field=field) as source:
            for frame in source.fitted(start):
                place.see(frame)
                if place.done:
                    break
            else:
                place.end()
    return judge([place.kinds for place in seen], any(place.flagged for place in seen))


def _filled(
    decoded: Iterator[VideoFrame], frame_times: demux.FrameTimes, start: int, stop: int
) -> Iterator[tuple[int, VideoFrame]]:
    """One decoded frame for each number from `start` to `stop`; a missing frame repeats the one before it."""
    index, shown = start, None
    for frame in decoded:
        if frame.pts is None:
            continue
        while index < stop and frame_times.pts[index] < frame.pts:
            yield index, shown or frame
            index += 1
        if index < stop and frame_times.pts[index] == frame.pts:
            yield index, frame
            index += 1
        shown = frame
        if index >= stop:
            return
    while shown is not None and index < stop:
        yield index, shown
        index += 1
