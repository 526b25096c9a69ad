"""What decoder, encoder and probe must agree on: how a file is opened, which stream counts, and when each frame shows.

Times are presentation times after the file's edit list: 0 is the moment at which a player starts.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from duikou.arrays import IntArray
from duikou.errors import MediaError
from duikou.media import iso, limits, sniff
from duikou.timebase import pts_to_ms

VIDEO_CODECS: Final = frozenset({"h264", "hevc", "mpeg4", "av1", "libdav1d", "vp9", "prores", "mjpeg"})
"""Decoders that a picture may need: what cameras, phones and editors put into mp4 and mov."""
_CODED: Final = frozenset(
    {"aac", "alac", "mp3", "mp3float", "mp2", "mp2float", "opus", "flac", "ac3", "eac3", "amrnb", "amrwb"}
)
_ADPCM: Final = frozenset({"adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt"})
_PCM: Final = frozenset({"pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw"})
_WIDE_PCM: Final = frozenset(
    f"pcm_{kind}{order}" for kind in ("s16", "s24", "s32", "f32", "f64") for order in ("le", "be")
)
AUDIO_CODECS: Final = _CODED | _ADPCM | _PCM | _WIDE_PCM
"""Decoders that a sound may need."""
_DECODERS: Final = ",".join(sorted(VIDEO_CODECS | AUDIO_CODECS))
_DECODER_OPTIONS: Final = {"codec_whitelist": _DECODERS, "max_pixels": str(limits.DECODER_PIXELS)}
"""FFmpeg's own fences, so that neither looking for a stream's parameters nor decoding goes past ours."""


@dataclass(frozen=True)
class FrameTimes:
    """When each frame of a video shows.

    pts: (N,) int64, strictly rising, in units of `time_base` seconds.
    keyframes: (K,) int64, the pts of those at which decoding can start.
    last_duration: how long the last frame stays, in the same unit.
    """

    pts: IntArray
    keyframes: IntArray
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
    def starts_ms(self) -> IntArray:
        """(N,) when each frame begins to show."""
        return self.edges_ms[:-1]

    @property
    def edges_ms(self) -> IntArray:
        """(N + 1,) when each frame begins to show, and when the last one ends."""
        return np.array([self.ms(int(pts)) for pts in (*self.pts, self.end)], np.int64)

    @property
    def duration_ms(self) -> int:
        """When the last frame ends."""
        return self.ms(self.end)

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
    if sniff.DEMUXERS[name] == "mov":
        iso.check(path, field=field)
    limits.fence_memory()
    try:
        with _opened(path, name, field=field) as file:
            limits.check_streams(len(file.streams), field=field)
            yield file, name
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            what = "asks for more streams or memory than it may have"
        else:
            what = f"is damaged and cannot be read ({error.strerror})"
        raise MediaError(f"the file {what}.", field=field) from error


def _opened(path: Path, name: str, *, field: str) -> InputContainer:
    began = time.monotonic()
    try:
        file = av.open(
            f"file:{Path(path).absolute()}",  # "file:" keeps a name that looks like a URL from being taken for one
            format=sniff.DEMUXERS[name],
            options=_DECODER_OPTIONS,
            container_options={
                "format_whitelist": sniff.DEMUXERS[name],
                "protocol_whitelist": "file",
                "max_streams": str(2 * limits.MAX_STREAMS),  # how many there are is known up to here
                "skip_initial_bytes": str(sniff.tag_bytes(path)),
            },
            metadata_errors="replace",
            timeout=(limits.OPEN_S, None),
        )
    except av.FFmpegError:
        limits.check_opening(time.monotonic() - began, field=field)
        raise
    try:
        # FFmpeg takes what it has when its time is up for the whole: tracks and frames would be missing without a word.
        limits.check_opening(time.monotonic() - began, field=field)
    except MediaError:
        file.close()
        raise
    return file


def video_stream(file: InputContainer, *, field: str) -> VideoStream:
    """The stream that a player shows, ready for decoding in several threads. An attached picture is not one."""
    shown = [s for s in file.streams.video if not s.disposition & (Disposition.attached_pic | Disposition.still_image)]
    if not shown:
        raise MediaError("the file has no picture.", field=field)
    stream = next((s for s in shown if s.disposition & Disposition.default), shown[0])
    context = stream.codec_context
    if context is None or context.name not in VIDEO_CODECS:
        codec = "unknown" if context is None else context.name
        raise MediaError(f"pictures coded as {codec} cannot be read.", field=field)
    limits.check_picture(context.width, context.height, field=field)
    context.options = dict(_DECODER_OPTIONS)
    stream.thread_type = "AUTO"
    return stream


def audio_stream(file: InputContainer, *, field: str) -> AudioStream | None:
    """The sound that a player plays, ready for decoding, or `None` where there is none that FFmpeg knows."""
    known = [s for s in file.streams.audio if s.codec_context is not None]
    if not known:
        return None
    stream = next((s for s in known if s.disposition & Disposition.default), known[0])
    context = stream.codec_context
    if context.name not in AUDIO_CODECS:
        raise MediaError(f"sound coded as {context.codec.canonical_name} cannot be read.", field=field)
    limits.check_sound(context.sample_rate, context.channels, field=field)
    context.options = dict(_DECODER_OPTIONS)
    return stream


def only(file: InputContainer, wanted: Stream) -> None:
    """Have FFmpeg pass over the packets of every other stream, of which there may be any number."""
    for stream in file.streams:
        stream.discard = Discard.default if stream.index == wanted.index else Discard.all


def read_frame_times(file: InputContainer, stream: VideoStream, *, field: str) -> FrameTimes:
    """When each frame shows, from the packets alone; nothing is decoded. Leaves `file` at its end."""
    pts: list[int] = []
    keyframes: list[int] = []
    durations: dict[int, int] = {}
    packets = 0
    only(file, stream)
    for packet in file.demux(stream):
        packets += packet.size > 0
        limits.check_packets(packets, field=field)
        shown = packet.pts
        if shown is None or not is_shown(packet):
            continue
        pts.append(shown)
        durations[shown] = packet.duration or 0
        if packet.is_keyframe:
            keyframes.append(shown)
        limits.check_frames(len(pts), field=field)
    if not pts or not stream.time_base:
        raise MediaError("the video has no frames.", field=field)
    # Two frames at one moment: a player shows only one of them.
    unique = np.unique(np.array(pts, np.int64))
    last, end = int(unique[-1]), _end(stream, whole=packets >= stream.frames)
    timeline = FrameTimes(
        unique,
        np.unique(np.array(keyframes, np.int64)),
        stream.time_base,
        end - last if end > last else max(durations[last], 1),
    )
    check(timeline, stream.codec_context.width, stream.codec_context.height, field=field)
    return timeline


def check(timeline: FrameTimes, width: int, height: int, *, field: str) -> None:
    """Whether a video of that many pixels may show so many frames, so fast and so long."""
    limits.check_length(timeline.ms(int(timeline.pts[0])), "video", field=field)
    limits.check_length(timeline.ms(timeline.end), "video", field=field)
    if len(timeline) > 1:  # one alone lasts as long as a file says, which may be nothing
        limits.check_rate(timeline.rate, field=field)
    limits.check_total(width, height, len(timeline), field=field)


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
