"""Opens files, selects streams and reads frame times, in the same way for probe, decoder and encoder.

Times are presentation times after the file's edit list, on its `Clock`: 0 is the moment at which a player starts. Only
packets tell times: the durations of headers are wrong in many files.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from duikou.arrays import IntArray
from duikou.errors import MediaError
from duikou.media import h264, iso, limits, png, riff, sniff, tags
from duikou.media.clock import Clock, Span
from duikou.media.seen import Part, Seen
from duikou.parallel import cores
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
_SKIP_SAMPLES: Final = "skip_samples"  # FFmpeg's packet side data: samples to drop at start and end, two uint32


def _decoder_options(codecs: frozenset[str]) -> dict[str, str]:
    """Make FFmpeg apply the same limits while it probes stream parameters and while it decodes."""
    return {"codec_whitelist": ",".join(sorted(codecs)), "max_pixels": str(limits.DECODER_PIXELS)}


_DECODER_OPTIONS: Final = _decoder_options(VIDEO_CODECS | AUDIO_CODECS)
_PHOTO_OPTIONS: Final = _decoder_options(PHOTO_CODECS)


@dataclass(frozen=True)
class FrameTimes:
    """When each frame of a video shows.

    pts: (N,) int64, strictly rising, in units of `time_base` seconds on the file's timeline.
    keyframes: (K,) int64, the pts of frames at which decoding can start.
    last_duration: how long the last frame shows, in the same unit.
    origin: time 0 on the clock of the track's packets: these have the pts plus this.
    """

    pts: IntArray
    keyframes: IntArray
    time_base: Fraction
    last_duration: int
    origin: int = 0

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

    @cached_property
    def edges_ms(self) -> IntArray:
        """(N + 1,) start of each frame and end of the last one, in ms. Read-only."""
        edges = np.array([self.ms(int(pts)) for pts in (*self.pts, self.end)], np.int64)
        edges.flags.writeable = False
        return edges

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
    parts: list[Part] | None = None
    match demuxer:
        case "mov":
            iso.check(path, field=field)
        case "wav":
            parts = riff.parts(path, content.start, field=field)
        case _:
            parts = tags.parts(path, content.start, name, field=field)
    with _readable(path, demuxer, _DECODER_OPTIONS, field=field, parts=parts) as file:
        yield file, name


@contextmanager
def opened_photo(path: Path, kind: str, *, field: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open file of a photo and its one stream. kind: see `sniff.photo`. Raises `MediaError` that names `field`."""
    parts = png.parts(path, field=field) if kind == "png" else None
    with _readable(path, sniff.PHOTO_DEMUXERS[kind], _PHOTO_OPTIONS, field=field, parts=parts) as file:
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
    path: Path, demuxer: str, options: dict[str, str], *, field: str, parts: Sequence[Part] | None
) -> Iterator[InputContainer]:
    """The open file, its number of streams checked. options: of its decoders. parts: what FFmpeg sees, if not all."""
    limits.limit_allocations()
    try:
        with ExitStack() as stack:
            # Without "file:", FFmpeg would parse a name like a URL as one.
            source = f"file:{Path(path).absolute()}" if parts is None else stack.enter_context(Seen(path, parts))
            # FFmpeg moves a track to where its edit list starts, and takes no edit's end.
            endless = {"advanced_editlist": "0"} if demuxer == "mov" and iso.edits(path).endless else {}
            file = stack.enter_context(_opened(source, demuxer, options, endless, field=field))
            limits.check_streams(len(file.streams), field=field)
            yield file
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            what = "needs more streams or memory than is allowed"
        else:
            what = f"is damaged and cannot be read ({error.strerror})"
        raise MediaError(f"the file {what}.", field=field) from error


def _opened(
    source: str | Seen, demuxer: str, options: dict[str, str], more: Mapping[str, str], *, field: str
) -> InputContainer:
    """The open file. more: options of its demuxer."""
    began = time.monotonic()
    try:
        file = av.open(
            source,
            "r",
            format=demuxer,
            options=options,
            container_options={
                "format_whitelist": demuxer,
                "protocol_whitelist": "file",
                "max_streams": str(2 * limits.MAX_STREAMS),  # up to here the error states the number
                **more,
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


def shown_video(file: InputContainer) -> VideoStream | None:
    """The video stream that a player shows. Attached pictures do not count."""
    shown = [s for s in file.streams.video if not s.disposition & (Disposition.attached_pic | Disposition.still_image)]
    return next((s for s in shown if s.disposition & Disposition.default), shown[0] if shown else None)


def played_audio(file: InputContainer) -> AudioStream | None:
    """The audio stream that a player plays, among those that FFmpeg knows."""
    known = [s for s in file.streams.audio if s.codec_context is not None]
    return next((s for s in known if s.disposition & Disposition.default), known[0] if known else None)


def video_stream(file: InputContainer, *, field: str) -> VideoStream:
    """The stream of `shown_video`, checked and ready for decoding in several threads."""
    stream = shown_video(file)
    if stream is None:
        raise MediaError("the file has no video track.", field=field)
    context = stream.codec_context
    if context is None or context.name not in VIDEO_CODECS:
        codec = "unknown" if context is None else context.name
        raise MediaError(f"the video codec {codec} is not supported.", field=field)
    limits.check_picture(context.width, context.height, field=field)
    context.options = dict(_DECODER_OPTIONS)
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = cores()  # each holds pictures of its own
    return stream


def audio_stream(file: InputContainer, *, field: str) -> AudioStream | None:
    """The stream of `played_audio`, checked and ready for decoding; `None` where there is none."""
    stream = played_audio(file)
    if stream is None:
        return None
    context = stream.codec_context
    if context.name not in AUDIO_CODECS:
        raise MediaError(f"the audio codec {context.codec.canonical_name} is not supported.", field=field)
    limits.check_audio(context.sample_rate, context.channels, field=field)
    context.options = dict(_DECODER_OPTIONS)
    return stream


def select_stream(file: InputContainer, *wanted: Stream) -> None:
    """Make FFmpeg skip the packets of every other stream."""
    indexes = {stream.index for stream in wanted}
    for stream in file.streams:
        stream.discard = Discard.default if stream.index in indexes else Discard.all


def read_clock(path: Path, *, field: str) -> Clock:
    """Read where time 0 of a file lies from its first packets. Raises `MediaError` that names `field`.

    Files other than mp4, mov and m4a have no clock: the first sample is at 0.
    """
    container = sniff.recognised(path, field=field).container
    assert container is not None
    if sniff.DEMUXERS[container] != "mov":
        return Clock()
    with opened(path, field=field) as (file, _):
        edits, video, audio = iso.edits(path), shown_video(file), played_audio(file)
        spans = _spans(file, *[stream for stream in (video, audio) if stream is not None], field=field)
        picture = None if video is None else spans.get(video.index)
        sound = None if audio is None else spans.get(audio.index)
        if video is None or picture is None:
            return Clock() if sound is None else Clock.of_audio(sound, edits)
        clock = Clock.of_video(picture, sound, video.time_base or Fraction(1), edits)
        return replace(clock, picture_end=edits.ends.get(video.id) if edits.exact else None)


class _Reach:
    """The span of one track, while its packets are read."""

    def __init__(self, stream: VideoStream | AudioStream) -> None:
        self._stream, self._unit = stream, stream.time_base or Fraction(1)
        self._decodes: int | None = None
        self._start, self._end = 0, 0
        self._found = self.settled = False

    def add(self, packet: Packet[Any]) -> None:
        """Take the next packet of the track. From then on `settled` says whether the span's start is final."""
        if packet.dts is None or packet.pts is None:
            return
        self._decodes = packet.dts if self._decodes is None else self._decodes
        # Frames are decoded before they show, so none that follows shows earlier than this.
        self.settled |= self._found and packet.dts >= self._start
        if not is_shown(packet):
            return
        start, end = packet.pts, packet.pts + (packet.duration or 0)
        if isinstance(self._stream, AudioStream):
            skipped, rate = skipped_samples(packet)[0], self._stream.codec_context.sample_rate
            start += round(skipped / (rate * self._unit)) if rate else 0  # `audio_stream` refuses a rate of 0
        if end > start or not self._found:
            self._start, self._end = (min(self._start, start), max(self._end, end)) if self._found else (start, end)
            self._found = True

    @property
    def span(self) -> Span | None:
        """The span so far; `None` where nothing of the track is shown."""
        if not self._found or self._decodes is None:
            return None
        reordering = max(self._start - self._decodes, 0)
        return Span(self._start * self._unit, self._end * self._unit, reordering * self._unit)


def _spans(file: InputContainer, *streams: VideoStream | AudioStream, field: str) -> dict[int, Span]:
    """The spans of tracks by index, where something of them is shown.

    Their ends are final only where the tracks do not start near each other.
    """
    reaches = {stream.index: _Reach(stream) for stream in streams}
    select_stream(file, *streams)
    for count, packet in enumerate(file.demux(*streams) if streams else ()):
        limits.check_packets(count, field=field)
        reaches[packet.stream.index].add(packet)
        spans = [reach.span for reach in reaches.values() if reach.settled]
        known = [span for span in spans if span is not None]
        if len(known) == len(streams) and known[0].starts_near(known[-1]):
            break
    return {index: reach.span for index, reach in reaches.items() if reach.span is not None}


def read_frame_times(file: InputContainer, stream: VideoStream, clock: Clock, *, field: str) -> FrameTimes:
    """Read when each frame shows from the packets, without decoding. Leaves `file` at its end. clock: of the file."""
    pts: list[int] = []
    keyframes: list[int] = []
    durations: dict[int, int] = {}
    select_stream(file, stream)
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        shown = packet.pts
        if shown is None or not is_shown(packet):
            continue
        pts.append(shown)
        durations[shown] = packet.duration or 0
        if packet.is_keyframe and _decoding_begins(packet):
            keyframes.append(shown)
        limits.check_frames(len(pts), field=field)
    if not pts or not stream.time_base:
        raise MediaError("the video has no frames.", field=field)
    # Of two frames with one pts a player shows only one.
    unique, origin = np.unique(np.array(pts, np.int64)), int(clock.picture / stream.time_base)
    for edge in (int(unique[0]), int(unique[-1])):  # before a subtraction that may overflow
        limits.check_length(pts_to_ms(edge - origin, stream.time_base), "video", field=field)
    frame_times = FrameTimes(
        unique - origin,
        np.unique(np.array(keyframes, np.int64)) - origin,
        stream.time_base,
        _last_duration(int(unique[-1]), durations, clock.picture_end, stream.time_base),
        origin,
    )
    check_frame_times(frame_times, stream.codec_context.width, stream.codec_context.height, field=field)
    return frame_times


def _decoding_begins(packet: Packet[VideoStream]) -> bool:
    """Whether decoding can begin with a packet that the file calls a key frame. Encoders that refresh pictures part by
    part call so what is no such place."""
    context = packet.stream.codec_context
    if context.codec.canonical_name != "h264" or not h264.has_usual_lengths(context.extradata or b""):
        return True
    try:
        return h264.begins(memoryview(packet))
    except h264.BitstreamError:
        return True


def _last_duration(last: int, durations: Mapping[int, int], end: Fraction | None, unit: Fraction) -> int:
    """How long the frame at the pts `last` shows: until the edit list ends, or as long as its packet says.

    durations: of the packets. With frames out of order they count to the next packet to decode, not to the next frame
    to show, so the last frame's may be that of another packet. But it is not longer than the longest.
    end: of the edit list, in s on the track's clock.
    """
    edited = 0 if end is None else round(end / unit) - last
    if 0 < edited <= max(durations.values()):
        return edited
    return max(durations[last], 1)


def check_frame_times(frame_times: FrameTimes, width: int, height: int, *, field: str) -> None:
    """Check length, rate and total pixels of a video with frames of `width` x `height`."""
    limits.check_length(frame_times.ms(int(frame_times.pts[0])), "video", field=field)
    limits.check_length(frame_times.duration_ms, "video", field=field)
    if len(frame_times) > 1:  # the duration of a single frame is whatever the file declares, even 0
        limits.check_rate(frame_times.rate, field=field)
    limits.check_total(width, height, len(frame_times), field=field)


def skipped_samples(packet: Packet[VideoStream] | Packet[AudioStream]) -> tuple[int, int]:
    """Samples that a player drops at the start and at the end of a packet of audio."""
    if not packet.has_sidedata(_SKIP_SAMPLES):
        return 0, 0
    first, last = struct.unpack_from("<2I", bytes(packet.get_sidedata(_SKIP_SAMPLES)))
    return first, last


def is_shown(packet: Packet[VideoStream] | Packet[AudioStream]) -> bool:
    """Whether a player shows a packet: it is not the end marker and the edit list does not cut it away."""
    return packet.pts is not None and packet.size > 0 and not packet.is_discard
