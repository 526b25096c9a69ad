"""What a media file is, read from its headers and packets before anything but one frame is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from duikou.errors import MediaError
from duikou.media import demux
from duikou.media.decode import first_frame
from duikou.media.picture import Picture
from duikou.timebase import round_half_up

ELEMENTARY: Final = frozenset({"mp3", "wav", "aac"})
"""Containers without a time line of their own: time 0 is the first sample that sounds."""
_PICTURE_CONTAINERS: Final = ("mp4", "mov")
_SKIP_SAMPLES: Final = "skip_samples"  # FFmpeg's packet side data: samples to drop at start and end, two uint32
AUDIO_CODECS: Final = ("aac", "alac", "mp3", "mp2", "pcm_", "adpcm_", "opus", "flac", "ac3", "eac3", "amrnb", "amrwb")
"""Beginnings of the names of decoders that a sound may need."""


@dataclass(frozen=True)
class AudioInfo:
    """The sound of a file: codec name, samples per second, channels and length."""

    codec: str
    sample_rate: int
    channels: int
    duration_ms: int


@dataclass(frozen=True)
class VideoInfo:
    """The picture of a file, as a player shows it.

    container: `mp4` or `mov`. codec: FFmpeg's name, `h264`, `hevc`, ...
    width, height: pixels of the upright picture, after the rotation flag.
    rotation: degrees clockwise that the stored picture is turned by to stand upright: 0, 90, 180 or 270.
    frames: number of frames that a player shows.
    rate: mean frames per second.
    duration_ms: when the last frame ends on the file's time line, on which sound begins at 0. That is the length of the
        picture, and that much more where the first frame shows later than 0.
    audio: the sound, or `None` for a silent file. Its length counts from 0 on the same time line.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    frames: int
    rate: Fraction
    duration_ms: int
    audio: AudioInfo | None


def probe_video(path: Path, *, field: str = "video") -> VideoInfo:
    """Read a video file's headers and packets, and decode its first frame to see that it can be read.

    Raises `MediaError` that names `field` for what is not an mp4 or mov with one readable picture.
    """
    with demux.opened(path, field=field) as (file, container):
        if container not in _PICTURE_CONTAINERS:
            raise MediaError(f"{field}: the file is {container}, a video must be mp4 or mov.", field=field)
        stream = demux.video_stream(file, field=field)
        timeline = demux.read_timeline(file, stream, field=field)
        audio = demux.audio_stream(file)
        codec = stream.codec_context.codec.canonical_name
    with demux.opened(path, field=field) as (file, _):
        stream = demux.video_stream(file, field=field)
        picture = Picture.of(stream, first_frame(file, stream, field=field))
    width, height = picture.size
    return VideoInfo(
        container,
        codec,
        width,
        height,
        picture.orientation.degrees,
        len(timeline),
        timeline.rate,
        timeline.ms(timeline.end),
        None if audio is None else _audio_info(path, field=field),
    )


def probe_audio(path: Path, *, field: str = "sound") -> AudioInfo:
    """Read a sound file's headers and packets; nothing is decoded. The content decides, not the file's name.

    Raises `MediaError` that names `field` for what is not mp3, wav, m4a or aac.
    """
    with demux.opened(path, field=field) as (file, container):
        if any(not s.disposition & av.stream.Disposition.attached_pic for s in file.streams.video):
            raise MediaError(f"{field}: the file is a video, a sound must be mp3, wav, m4a or aac.", field=field)
        if demux.audio_stream(file) is None:
            raise MediaError(f"{field}: the {container} file has no sound that can be read.", field=field)
    info = _audio_info(path, field=field)
    if info is None:
        raise MediaError(f"{field}: the sound is empty.", field=field)
    return info


def _audio_info(path: Path, *, field: str) -> AudioInfo | None:
    """The sound of a file that has a track of it; `None` where the track holds nothing."""
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file)
        assert stream is not None
        context = stream.codec_context
        codec = context.codec.canonical_name
        if not codec.startswith(AUDIO_CODECS):
            raise MediaError(f"{field}: sound coded as {codec} cannot be read.", field=field)
        if context.sample_rate <= 0 or context.channels <= 0:
            raise MediaError(f"{field}: the sound names no sample rate or no channels.", field=field)
        duration = _sounding_ms(file, stream, from_zero=container not in ELEMENTARY)
        return AudioInfo(codec, context.sample_rate, context.channels, duration) if duration > 0 else None


def _sounding_ms(file: InputContainer, stream: AudioStream, *, from_zero: bool) -> int:
    """Milliseconds up to the end of the last sample, counted from the time line's 0 or from the first sample."""
    base, rate = stream.time_base or Fraction(1, stream.codec_context.sample_rate), stream.codec_context.sample_rate
    start, end = None, Fraction(0)
    for packet in file.demux(stream):
        if packet.pts is None or not demux.is_shown(packet):
            continue
        drop_first, drop_last = _skipped(packet)
        begins = packet.pts * base + Fraction(drop_first, rate)
        ends = (packet.pts + (packet.duration or 0)) * base - Fraction(drop_last, rate)
        if ends > begins:
            start = begins if start is None else min(start, begins)
            end = max(end, ends)
    if start is None:
        return 0
    return round_half_up((end if from_zero else end - start) * 1000)


def _skipped(packet: Packet[AudioStream]) -> tuple[int, int]:
    if not packet.has_sidedata(_SKIP_SAMPLES):
        return 0, 0
    first, last = struct.unpack_from("<2I", bytes(packet.get_sidedata(_SKIP_SAMPLES)))
    return first, last
