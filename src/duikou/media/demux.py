"""What decoder, encoder and probe must agree on: how a file is opened, which stream counts, and when each frame shows.

Times are presentation times after the file's edit list: 0 is the moment at which a player starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from duikou.errors import MediaError
from duikou.media import sniff
from duikou.timebase import pts_to_ms

MAX_PIXELS: Final = 8192 * 4352  # width x height; beyond 8K a frame alone takes more than 100 MB
MAX_STREAMS: Final = 64  # cameras write up to about 8; more is made to hurt
MAX_FRAMES: Final = 1_000_000  # over 4 hours at 60 frames per second
VIDEO_CODECS: Final = frozenset({"h264", "hevc", "mpeg4", "av1", "libdav1d", "vp9", "prores", "mjpeg"})
"""Decoders that a picture may need: what cameras, phones and editors put into mp4 and mov."""


@dataclass(frozen=True)
class Timeline:
    """When each frame of a video shows.

    pts: (N,) int64, strictly rising, in units of `time_base` seconds.
    keyframes: (K,) int64, the pts of those at which decoding can start.
    last_duration: how long the last frame stays, in the same unit.
    """

    pts: npt.NDArray[np.int64]
    keyframes: npt.NDArray[np.int64]
    time_base: Fraction
    last_duration: int

    def __len__(self) -> int:
        return len(self.pts)

    def ms(self, pts: int) -> int:
        """Milliseconds on the file's time line."""
        return pts_to_ms(pts, self.time_base)

    @property
    def end(self) -> int:
        """The pts at which the last frame ends."""
        return int(self.pts[-1]) + self.last_duration

    @property
    def rate(self) -> Fraction:
        """Mean frames per second."""
        return len(self) / ((self.end - int(self.pts[0])) * self.time_base)

    def duration(self, pts: int) -> int:
        """How long the frame at `pts` shows. Raises `ValueError` where no frame has that pts."""
        index = int(np.searchsorted(self.pts, pts))
        if index == len(self) or self.pts[index] != pts:
            raise ValueError(f"the source has no frame at pts {pts}")
        following = int(self.pts[index + 1]) if index + 1 < len(self) else self.end
        return following - pts


@contextmanager
def opened(path: Path, *, field: str) -> Iterator[tuple[InputContainer, str]]:
    """The open file and the name of its container. FFmpeg's errors leave it as `MediaError` that names `field`."""
    name = sniff.container(path, field=field)
    try:
        # "file:" keeps a name that looks like a URL or another protocol from being taken for one.
        with av.open(f"file:{Path(path).absolute()}", format=sniff.DEMUXERS[name], metadata_errors="replace") as file:
            if len(file.streams) > MAX_STREAMS:
                raise MediaError(
                    f"{field}: the file has {len(file.streams)} streams, more than {MAX_STREAMS}.", field=field
                )
            yield file, name
    except av.FFmpegError as error:
        raise MediaError(f"{field}: the file is damaged and cannot be read ({error.strerror}).", field=field) from error


def video_stream(file: InputContainer, *, field: str) -> VideoStream:
    """The stream that a player shows, ready for decoding in several threads. An attached picture is not one."""
    shown = [s for s in file.streams.video if not s.disposition & (Disposition.attached_pic | Disposition.still_image)]
    if not shown:
        raise MediaError(f"{field}: the file has no picture.", field=field)
    stream = next((s for s in shown if s.disposition & Disposition.default), shown[0])
    context = stream.codec_context
    if context is None or context.name not in VIDEO_CODECS:
        codec = "unknown" if context is None else context.name
        raise MediaError(f"{field}: pictures coded as {codec} cannot be read.", field=field)
    if not 0 < context.width * context.height <= MAX_PIXELS:
        raise MediaError(
            f"{field}: the picture has {context.width} x {context.height} pixels, at most {MAX_PIXELS} can be read.",
            field=field,
        )
    stream.thread_type = "AUTO"
    return stream


def audio_stream(file: InputContainer) -> AudioStream | None:
    """The sound that a player plays, or `None` where there is none that FFmpeg knows."""
    known = [s for s in file.streams.audio if s.codec_context is not None]
    return next((s for s in known if s.disposition & Disposition.default), known[0] if known else None)


def read_timeline(file: InputContainer, stream: VideoStream, *, field: str) -> Timeline:
    """When each frame shows, from the packets alone; nothing is decoded. Leaves `file` at its end."""
    pts: list[int] = []
    keyframes: list[int] = []
    durations: dict[int, int] = {}
    packets = 0
    for packet in file.demux(stream):
        packets += packet.size > 0
        shown = packet.pts
        if shown is None or not is_shown(packet):
            continue
        pts.append(shown)
        durations[shown] = packet.duration or 0
        if packet.is_keyframe:
            keyframes.append(shown)
        if len(pts) > MAX_FRAMES:
            raise MediaError(f"{field}: the video has more than {MAX_FRAMES} frames.", field=field)
    if not pts or stream.time_base is None:
        raise MediaError(f"{field}: the video has no frames.", field=field)
    # Two frames at one moment: a player shows only one of them.
    unique = np.unique(np.array(pts, np.int64))
    end = _end(stream, whole=packets >= stream.frames)
    return Timeline(
        unique,
        np.unique(np.array(keyframes, np.int64)),
        stream.time_base,
        end - int(unique[-1]) if end > unique[-1] else max(durations[int(unique[-1])], 1),
    )


def _end(stream: VideoStream, *, whole: bool) -> int:
    """The pts at which the track ends, after its edit list; 0 where the header does not know it or the file is cut off.

    A packet's own duration is no help: it is the time to the next one to decode, which need not be the next to show.
    """
    if not whole or stream.duration is None or stream.start_time is None:
        return 0
    return stream.start_time + stream.duration


def is_shown(packet: Packet[VideoStream] | Packet[AudioStream]) -> bool:
    """Whether a packet holds something that is shown: not the end marker, not cut away by the edit list."""
    return packet.pts is not None and packet.size > 0 and not packet.is_discard
