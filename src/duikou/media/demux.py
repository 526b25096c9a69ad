"""Opens files, selects streams and reads frame times, in the same way for probe, decoder and encoder.

Times are presentation times after the file's edit list: 0 is the moment at which a player starts.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
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
from duikou.media import iso, limits, riff, sniff
from duikou.timebase import pts_to_ms

VIDEO_CODECS: Final = frozenset({"h264", "hevc", "mpeg4", "av1", "libdav1d", "vp9", "prores", "mjpeg"})
"""Allowed video decoders: those for what cameras, phones and editors write into mp4 and mov."""
_CODED: Final = frozenset({"aac", "alac", "opus", "flac", "ac3", "eac3", "amrnb", "amrwb"})
_MPEG: Final = frozenset({"mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float"})
_ADPCM: Final = frozenset({"adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt"})
_PCM: Final = frozenset({"pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw"})
_WIDE_PCM: Final = frozenset(
    f"pcm_{kind}{order}" for kind in ("s16", "s24", "s32", "f32", "f64") for order in ("le", "be")
)
AUDIO_CODECS: Final = _CODED | _MPEG | _ADPCM | _PCM | _WIDE_PCM
"""Allowed audio decoders."""
PHOTO_CODECS: Final = frozenset({"mjpeg", "png", "webp"})
"""Allowed decoders of photos."""


def _decoder_options(codecs: frozenset[str]) -> dict[str, str]:
    """Make FFmpeg apply the same limits while it probes stream parameters and while it decodes."""
    return {"codec_whitelist": ",".join(sorted(codecs)), "max_pixels": str(limits.DECODER_PIXELS)}


_DECODER_OPTIONS: Final = _decoder_options(VIDEO_CODECS | AUDIO_CODECS)
_PHOTO_OPTIONS: Final = _decoder_options(PHOTO_CODECS)


@dataclass(frozen=True)
class FrameTimes:
    """When each frame of a video shows.

    pts: (N,) int64, strictly rising, in units of `time_base` seconds.
    keyframes: (K,) int64, the pts of frames at which decoding can start.
    last_duration: how long the last frame shows, in the same unit.
    """

    pts: IntArray
    keyframes: IntArray
    time_base: Fraction
    last_duration: int

    def __len__(self) -> int:
        return len(self.pts)

    def ms(self, pts: int) -> int:
        """Milliseconds on the file's timeline."""
        return pts_to_ms(pts, self.time_base)

    @property
    def end(self) -> int:
        """The pts at which the last frame ends."""
        return int(self.pts[-1]) + self.last_duration

    @property
    def starts_ms(self) -> IntArray:
        """(N,) start of each frame in ms."""
        return self.edges_ms[:-1]

    @property
    def edges_ms(self) -> IntArray:
        """(N + 1,) start of each frame and end of the last one, in ms."""
        return np.array([self.ms(int(pts)) for pts in (*self.pts, self.end)], np.int64)

    @property
    def duration_ms(self) -> int:
        """End of the last frame in ms."""
        return self.ms(self.end)

    @property
    def rate(self) -> Fraction:
        """Mean frames per second."""
        return len(self) / ((self.end - int(self.pts[0])) * self.time_base)

    def duration(self, pts: int) -> int:
        """How long the frame at `pts` shows, in `time_base`. Raises `ValueError` where no frame has that pts."""
        index = int(np.searchsorted(self.pts, pts))
        if index == len(self) or self.pts[index] != pts:
            raise ValueError(f"the source has no frame at pts {pts}")
        following = int(self.pts[index + 1]) if index + 1 < len(self) else self.end
        return following - pts


@contextmanager
def opened(path: Path, *, field: str, formats: Sequence[str] = sniff.FORMATS) -> Iterator[tuple[InputContainer, str]]:
    """The open file and the name of its container. Turns FFmpeg's errors into `MediaError` that names `field`.

    formats: see `sniff.container`.
    """
    content = sniff.recognised(path, field=field, formats=formats)
    name = content.container
    assert name is not None
    demuxer = sniff.DEMUXERS[name]
    if demuxer == "mov":
        iso.check(path, field=field)
    with _readable(path, demuxer, _DECODER_OPTIONS, field=field, start=content.start) as file:
        yield file, name


@contextmanager
def opened_photo(path: Path, kind: str, *, field: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open file of a photo and its one stream. kind: see `sniff.photo`. Raises `MediaError` that names `field`."""
    with _readable(path, sniff.PHOTO_DEMUXERS[kind], _PHOTO_OPTIONS, field=field) as file:
        stream = file.streams.video[0]
        context = stream.codec_context
        if context.name not in PHOTO_CODECS:
            raise MediaError(f"the codec {context.name} of the photo is not supported.", field=field)
        if not context.width:  # the decoder has refused what the header declares
            raise MediaError(f"the photo is damaged or has more than {limits.MAX_PIXELS} pixels.", field=field)
        limits.check_picture(context.width, context.height, field=field)
        context.options = dict(_PHOTO_OPTIONS)
        yield file, stream


@contextmanager
def _readable(
    path: Path, demuxer: str, options: dict[str, str], *, field: str, start: int = 0
) -> Iterator[InputContainer]:
    """The open file, its number of streams checked. options: of its decoders. start: where the content begins."""
    limits.limit_allocations()
    try:
        with _opened(path, demuxer, options, field=field, start=start) as file:
            limits.check_streams(len(file.streams), field=field)
            yield file
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            what = "needs more streams or memory than is allowed"
        else:
            what = f"is damaged and cannot be read ({error.strerror})"
        raise MediaError(f"the file {what}.", field=field) from error


def _opened(path: Path, demuxer: str, options: dict[str, str], *, field: str, start: int) -> InputContainer:
    began = time.monotonic()
    try:
        file = av.open(
            f"file:{Path(path).absolute()}",  # without "file:", FFmpeg would parse a name like a URL as one
            format=demuxer,
            options=options,
            container_options={
                "format_whitelist": demuxer,
                "protocol_whitelist": "file",
                "max_streams": str(2 * limits.MAX_STREAMS),  # up to here the error states the number
                "skip_initial_bytes": str(start),
                **({"ignore_length": "1"} if demuxer == "wav" and riff.is_cut_short(path, start) else {}),
            },
            metadata_errors="replace",
            timeout=(limits.OPEN_S, None),
        )
    except av.FFmpegError:
        limits.check_opening(time.monotonic() - began, field=field)
        raise
    try:
        # At the timeout FFmpeg returns what it has read without an error, so tracks and frames would be missing.
        limits.check_opening(time.monotonic() - began, field=field)
    except MediaError:
        file.close()
        raise
    return file


def video_stream(file: InputContainer, *, field: str) -> VideoStream:
    """The video stream that a player shows, ready for decoding in several threads. Attached pictures do not count."""
    shown = [s for s in file.streams.video if not s.disposition & (Disposition.attached_pic | Disposition.still_image)]
    if not shown:
        raise MediaError("the file has no video track.", field=field)
    stream = next((s for s in shown if s.disposition & Disposition.default), shown[0])
    context = stream.codec_context
    if context is None or context.name not in VIDEO_CODECS:
        codec = "unknown" if context is None else context.name
        raise MediaError(f"the video codec {codec} is not supported.", field=field)
    limits.check_picture(context.width, context.height, field=field)
    context.options = dict(_DECODER_OPTIONS)
    stream.thread_type = "AUTO"
    return stream


def audio_stream(file: InputContainer, *, field: str) -> AudioStream | None:
    """The audio stream that a player plays, ready for decoding; `None` where there is none that FFmpeg knows."""
    known = [s for s in file.streams.audio if s.codec_context is not None]
    if not known:
        return None
    stream = next((s for s in known if s.disposition & Disposition.default), known[0])
    context = stream.codec_context
    if context.name not in AUDIO_CODECS:
        raise MediaError(f"the audio codec {context.codec.canonical_name} is not supported.", field=field)
    limits.check_audio(context.sample_rate, context.channels, field=field)
    context.options = dict(_DECODER_OPTIONS)
    return stream


def select_stream(file: InputContainer, wanted: Stream) -> None:
    """Make FFmpeg skip the packets of every other stream."""
    for stream in file.streams:
        stream.discard = Discard.default if stream.index == wanted.index else Discard.all


def read_frame_times(file: InputContainer, stream: VideoStream, *, field: str) -> FrameTimes:
    """Read when each frame shows from the packets, without decoding. Leaves `file` at its end."""
    pts: list[int] = []
    keyframes: list[int] = []
    durations: dict[int, int] = {}
    packets = 0
    select_stream(file, stream)
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
    # Of two frames with one pts a player shows only one.
    unique = np.unique(np.array(pts, np.int64))
    last, end = int(unique[-1]), _end_pts(stream, whole=packets >= stream.frames)
    frame_times = FrameTimes(
        unique,
        np.unique(np.array(keyframes, np.int64)),
        stream.time_base,
        end - last if end > last else max(durations[last], 1),
    )
    check_frame_times(frame_times, stream.codec_context.width, stream.codec_context.height, field=field)
    return frame_times


def check_frame_times(frame_times: FrameTimes, width: int, height: int, *, field: str) -> None:
    """Check length, rate and total pixels of a video with frames of `width` x `height`."""
    limits.check_length(frame_times.ms(int(frame_times.pts[0])), "video", field=field)
    limits.check_length(frame_times.duration_ms, "video", field=field)
    if len(frame_times) > 1:  # the duration of a single frame is whatever the file declares, even 0
        limits.check_rate(frame_times.rate, field=field)
    limits.check_total(width, height, len(frame_times), field=field)


def _end_pts(stream: VideoStream, *, whole: bool) -> int:
    """The pts at which the track ends, after its edit list; 0 where the header lacks it or the file is truncated.

    The last packet's duration does not help: it counts to the next packet to decode, not to the next frame to show.
    """
    if not whole or stream.duration is None or stream.start_time is None:
        return 0
    return stream.start_time + stream.duration


def is_shown(packet: Packet[VideoStream] | Packet[AudioStream]) -> bool:
    """Whether a player shows a packet: it is not the end marker and the edit list does not cut it away."""
    return packet.pts is not None and packet.size > 0 and not packet.is_discard
