"""A video file as a stream of upright frames, in the order and at the times a player shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from duikou.arrays import Image, IntArray
from duikou.errors import MediaError
from duikou.media import demux, limits
from duikou.media.picture import Converter, Picture
from duikou.media.pixels import Pixels
from duikou.units import MIB

BLOCK_BYTES, MIN_BLOCK = 96 * MIB, 4
"""Stored pixels, and frames, held while a video is played backwards: 30 frames of 1080p."""


class Frame:
    """One frame of a video.

    index: from 0, of the frames that a player shows.
    pts: presentation time in the stream's own units, after the edit list.
    time_ms: the same in ms, on the time line on which the file's sound begins at 0; so the first frame of a file whose
        picture starts late is later than 0.
    stored: the decoded frame in the file's own pixels, which the encoder can take as it is; `None` where there is none.
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
        """(H, W, 3) uint8, blue green red, upright. Converted when first asked for, so skipping frames is cheap."""
        if self._image is None:
            assert self.stored is not None
            assert self._converter is not None
            self._image = self._converter.bgr(self.stored)
        return self._image

    @property
    def pixels(self) -> Pixels:
        """The same picture, to take small ones from: far cheaper than `image` where little of it is looked at."""
        if self._pixels is None:
            if self._converter is None:
                self._pixels = Pixels.of(self.image)
            else:
                assert self.stored is not None
                self._pixels = Pixels.stored(self.stored, self._converter)
        return self._pixels

    def moved(self, index: int, pts: int, time_ms: int) -> Frame:
        """The same picture under another number and at another time."""
        return Frame(index, pts, time_ms, self._image, stored=self.stored, converter=self._converter)

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, pts={self.pts}, time_ms={self.time_ms})"


def times(path: Path, *, field: str = "video") -> IntArray:
    """(N,) ms at which each frame shows: the `time_ms` of all `frames`, without decoding."""
    return read_frame_times(path, field=field).starts_ms


def read_frame_times(path: Path, *, field: str = "video") -> demux.FrameTimes:
    """When each frame of a file shows, from its packets alone."""
    with demux.opened(path, field=field) as (file, _):
        return demux.read_frame_times(file, demux.video_stream(file, field=field), field=field)


def frames(
    path: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    frame_times: demux.FrameTimes | None = None,
    field: str = "video",
) -> Iterator[Frame]:
    """Stream the frames numbered `start` to `stop` (exclusive; `None` is the end), a few in memory at a time.

    frame_times: when they show, where the caller knows it; without them the index of the file is read first.

    Decoding begins at the key frame before `start`; numbers and pixels are the same as from the beginning. A frame that
    cannot be decoded shows the one before it, as in a player, so that frames and `times` always agree.
    Raises `MediaError` that names `field` where the file or all of its frames cannot be read.
    """
    frame_times = frame_times or read_frame_times(path, field=field)
    stop = len(frame_times) if stop is None else min(stop, len(frame_times))
    if start < 0 or start >= stop:
        return
    with demux.opened(path, field=field) as (file, _):
        stream = demux.video_stream(file, field=field)
        converter: Converter | None = None
        for index, stored in _filled(_from(file, stream, frame_times, start, field=field), frame_times, start, stop):
            if converter is None:
                converter = Converter(Picture.of(stream, stored))
            pts = int(frame_times.pts[index])
            yield Frame(index, pts, frame_times.ms(pts), stored=stored, converter=converter)
        if converter is None:
            raise MediaError("none of the frames can be decoded.", field=field)


def backwards(
    path: Path, *, start: int, stop: int, frame_times: demux.FrameTimes | None = None, field: str = "video"
) -> Iterator[Frame]:
    """The `frames` numbered `start` to `stop`, the last one first, decoded in blocks of about `BLOCK_BYTES`.

    Every block is decoded from the key frame before it: the longer a file's groups of pictures, the slower.
    """
    frame_times = frame_times or read_frame_times(path, field=field)
    stop = min(stop, len(frame_times))
    # One decoder for all blocks: PyAV keeps every one that was opened until cycles are next collected.
    with demux.opened(path, field=field) as (file, _):
        stream = demux.video_stream(file, field=field)
        converter: Converter | None = None
        size = MIN_BLOCK
        while stop > start:
            first = max(stop - size, start)
            file.seek(int(frame_times.pts[0]), stream=stream)
            found = _filled(_from(file, stream, frame_times, first, field=field), frame_times, first, stop)
            block = _within(found, 2 * BLOCK_BYTES)
            if not block:
                raise MediaError(f"frame {first} cannot be decoded.", field=field)
            if len(block) < stop - first and len(block) > MIN_BLOCK:
                size = MIN_BLOCK  # its pictures grow: once more with fewer of them
                continue
            converter = converter or Converter(Picture.of(stream, block[0][1]))
            size = max(BLOCK_BYTES // _bytes(block[0][1]), MIN_BLOCK)
            stop = first
            while block:
                index, stored = block.pop()
                pts = int(frame_times.pts[index])
                yield Frame(index, pts, frame_times.ms(pts), stored=stored, converter=converter)


def _within(found: Iterator[tuple[int, VideoFrame]], most: int) -> list[tuple[int, VideoFrame]]:
    """The first of the numbered frames, as many as have `most` bytes of stored pixels and `MIN_BLOCK` at least."""
    block: list[tuple[int, VideoFrame]] = []
    held = 0
    for index, stored in found:
        block.append((index, stored))
        held += _bytes(stored)
        if held > most and len(block) > MIN_BLOCK:
            break
    return block


def _bytes(stored: VideoFrame) -> int:
    return sum(plane.buffer_size for plane in stored.planes)


def first_frame(file: InputContainer, stream: VideoStream, *, field: str) -> VideoFrame:
    """The first frame that can be decoded, of a file that was just opened."""
    stream.codec_context.thread_count = 1  # more would hold a large picture each, for nothing
    for frame in _decoded(file, stream, field=field):
        return frame
    raise MediaError("none of the frames can be decoded.", field=field)


def _decoded(file: InputContainer, stream: VideoStream, *, field: str) -> Iterator[VideoFrame]:
    demux.only(file, stream)
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        try:
            found = packet.decode()
        except av.FFmpegError:
            continue  # a damaged packet costs its own frame only
        for frame in found:
            limits.check_picture(frame.width, frame.height, field=field)  # a stream may outgrow what its file says
            yield frame


def _from(
    file: InputContainer, stream: VideoStream, frame_times: demux.FrameTimes, start: int, *, field: str
) -> Iterator[VideoFrame]:
    """Decoded frames from the last key frame whose pts is not after frame `start`.

    Frames that are decoded after such a key frame and shown after it do not need anything older, open groups of
    pictures included (their leading frames show before it).
    """
    wanted = frame_times.pts[start]
    before = frame_times.keyframes[frame_times.keyframes <= wanted]
    if len(before) and before[-1] > frame_times.pts[0]:
        file.seek(int(before[-1]), stream=stream)
    return _decoded(file, stream, field=field)


def _filled(
    decoded: Iterator[VideoFrame], frame_times: demux.FrameTimes, start: int, stop: int
) -> Iterator[tuple[int, VideoFrame]]:
    """One decoded frame for each number from `start` to `stop`: a missing one is shown as the one before it."""
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
