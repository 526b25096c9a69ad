"""Decodes a video file into a stream of upright frames, in the order and at the times a player shows them."""

from __future__ import annotations

from collections.abc import Iterator
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
from duikou.media.fields import EXAMINED, Fields, deinterlaced, judge, kinds, places
from duikou.media.picture import Converter, Picture
from duikou.media.pixels import Pixels
from duikou.units import MIB

BLOCK_BYTES: Final = 96 * MIB
"""Stored pixels held in memory while a video is played backwards: about 30 frames of 1080p."""
MIN_BLOCK: Final = 4
"""Minimum number of frames in a block, for frames of any size."""


class Frame:
    """One frame of a video.

    index: number of the frame, from 0, among those that a player shows.
    pts: presentation time in the stream's time base, after the edit list.
    time_ms: the same in ms, on the timeline on which the file's audio begins at 0. Where the video starts late, the
        first frame is later than 0.
    stored: the decoded frame in the file's pixel format, which the encoder can take unchanged; `None` without one.
    """

    __slots__ = ("_converter", "_image", "_pixels", "index", "pts", "stored", "time_ms")

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
        self._image, self._converter = image, converter
        self._pixels: Pixels | None = None

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8, blue green red, upright. Converted on first use, so skipped frames cost nothing."""
        if self._image is None:
            assert self.stored is not None
            assert self._converter is not None
            self._image = self._converter.bgr(self.stored)
        return self._image

    @property
    def pixels(self) -> Pixels:
        """The same picture, for cutting small parts out of it: far cheaper than `image` where few pixels are read."""
        if self._pixels is None:
            if self._converter is None:
                self._pixels = Pixels.of(self.image)
            else:
                assert self.stored is not None
                self._pixels = Pixels.stored(self.stored, self._converter)
        return self._pixels

    def moved(self, index: int, pts: int, time_ms: int) -> Frame:
        """The same picture with another number and time."""
        return Frame(index, pts, time_ms, self._image, stored=self.stored, converter=self._converter)

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, pts={self.pts}, time_ms={self.time_ms})"


def times(path: Path, *, field: str = "video") -> IntArray:
    """(N,) the `time_ms` of all `frames`, without decoding."""
    return read_frame_times(path, field=field).starts_ms


def read_frame_times(path: Path, *, field: str = "video") -> demux.FrameTimes:
    """Read when each frame of a file shows from its packets."""
    with demux.opened(path, field=field) as (file, _):
        return demux.read_frame_times(file, demux.video_stream(file, field=field), field=field)


def frames(
    path: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    frame_times: demux.FrameTimes | None = None,
    fields: Fields | None = None,
    field: str = "video",
) -> Iterator[Frame]:
    """Stream the frames numbered `start` to `stop` (exclusive; `None` is the end), a few in memory at a time.

    Decoding begins at the key frame before `start`; numbers and pixels are the same as when decoding from frame 0. A
    frame that cannot be decoded repeats the one before it, as in a player, so frames and `times` always agree.
    frame_times: those of the file; without them its index is read first.
    fields: how to make interlaced frames progressive; by default frames come as they are stored.
    Raises `MediaError` that names `field` where the file or all of its frames cannot be read.
    """
    frame_times = frame_times or read_frame_times(path, field=field)
    stop = len(frame_times) if stop is None else min(stop, len(frame_times))
    if start < 0 or start >= stop:
        return
    with demux.opened(path, field=field) as (file, _):
        stream = demux.video_stream(file, field=field)
        converter: Converter | None = None
        decoded = _from(file, stream, frame_times, start, fields, field=field)
        for index, stored in _filled(decoded, frame_times, start, stop):
            if converter is None:
                converter = Converter(Picture.of(stream, stored))
            pts = int(frame_times.pts[index])
            yield Frame(index, pts, frame_times.ms(pts), stored=stored, converter=converter)
        if converter is None:
            raise MediaError("none of the frames can be decoded.", field=field)


def backwards(
    path: Path,
    *,
    start: int,
    stop: int,
    frame_times: demux.FrameTimes | None = None,
    fields: Fields | None = None,
    field: str = "video",
) -> Iterator[Frame]:
    """Stream the `frames` numbered `start` to `stop` in reverse, decoded in blocks of about `BLOCK_BYTES`.

    Every block is decoded from the key frame before it, so files with long groups of pictures take longer.
    """
    frame_times = frame_times or read_frame_times(path, field=field)
    stop = min(stop, len(frame_times))
    # One decoder for all blocks: PyAV frees a closed one only at the next collection of cycles.
    with demux.opened(path, field=field) as (file, _):
        stream = demux.video_stream(file, field=field)
        converter: Converter | None = None
        size = MIN_BLOCK
        while stop > start:
            first = max(stop - size, start)
            file.seek(int(frame_times.pts[0]), stream=stream)
            found = _filled(_from(file, stream, frame_times, first, fields, field=field), frame_times, first, stop)
            block = _block(found, 2 * BLOCK_BYTES)
            if not block:
                raise MediaError(f"frame {first} cannot be decoded.", field=field)
            if len(block) < stop - first and len(block) > MIN_BLOCK:
                size = MIN_BLOCK  # the frames became larger: decode a smaller block
                continue
            converter = converter or Converter(Picture.of(stream, block[0][1]))
            size = max(BLOCK_BYTES // _bytes(block[0][1]), MIN_BLOCK)
            stop = first
            while block:
                index, stored = block.pop()
                pts = int(frame_times.pts[index])
                yield Frame(index, pts, frame_times.ms(pts), stored=stored, converter=converter)


def _block(found: Iterator[tuple[int, VideoFrame]], most: int) -> list[tuple[int, VideoFrame]]:
    """The first numbered frames: at least `MIN_BLOCK`, and no more than fit into `most` bytes, by one frame."""
    block: list[tuple[int, VideoFrame]] = []
    held = 0
    for index, stored in found:
        block.append((index, stored))
        held += _bytes(stored)
        if held > most and len(block) > MIN_BLOCK:
            break
    return block


def _bytes(stored: VideoFrame) -> int:
    """Bytes of a frame's stored pixels."""
    return sum(plane.buffer_size for plane in stored.planes)


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
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        try:
            found = packet.decode()
        except av.FFmpegError:
            continue  # a damaged packet loses only its own frame
        for frame in found:
            limits.check_picture(frame.width, frame.height, field=field)  # may be larger than the header declares
            yield frame


def _from(
    file: InputContainer,
    stream: VideoStream,
    frame_times: demux.FrameTimes,
    start: int,
    fields: Fields | None = None,
    *,
    field: str,
) -> Iterator[VideoFrame]:
    """Decoded frames from the last key frame whose pts is not after frame `start`, or those that `fields` needs too.

    Frames that are decoded and shown after such a key frame need no earlier ones. This holds for open groups of
    pictures too, because their leading frames show before the key frame.
    """
    wanted = frame_times.pts[max(start - fields.reach, 0) if fields else start]
    before = frame_times.keyframes[frame_times.keyframes <= wanted]
    if len(before) and before[-1] > frame_times.pts[0]:
        file.seek(int(before[-1]), stream=stream)
    decoded = _decoded(file, stream, field=field)
    return deinterlaced(decoded, fields) if fields else decoded


def examine(path: Path, *, frame_times: demux.FrameTimes, field: str = "video") -> Fields | None:
    """Decide from some dozens of frames, at places all over a file, how to make it progressive; `None` if it is.

    Raises `MediaError` that names `field` where the file cannot be read.
    """
    starts = places(np.searchsorted(frame_times.pts, frame_times.keyframes), len(frame_times))
    found: list[list[str]] = []
    flagged = False
    with demux.opened(path, field=field) as (file, _):
        stream = demux.video_stream(file, field=field)
        for start in starts.tolist():
            file.seek(int(frame_times.pts[0]), stream=stream)
            seen, says = kinds(_from(file, stream, frame_times, start, field=field), EXAMINED // len(starts))
            found.append(seen)
            flagged = flagged or says
    return judge(found, flagged)


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
