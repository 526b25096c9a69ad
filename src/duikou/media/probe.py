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
from duikou.media import demux, limits
from duikou.timebase import Milliseconds, Rate, round_half_up

ELEMENTARY: Final = frozenset({"mp3", "wav", "aac"})
"""Containers without a time line of their own: time 0 is the first sample that sounds."""
_SKIP_SAMPLES: Final = "skip_samples"  # FFmpeg's packet side data: samples to drop at start and end, two uint32


@dataclass(frozen=True)
class AudioInfo:
    """The sound of a file: codec name, samples per second, channels and length."""

    codec: str
    sample_rate: int
    channels: int
    duration_ms: Milliseconds


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
    rate: Rate
    duration_ms: Milliseconds
    audio: AudioInfo | None


def probe_audio(path: Path, *, field: str = "sound") -> AudioInfo:
    """Read a sound file's headers and packets; nothing is decoded. The content decides, not the file's name.

    Raises `MediaError` that names `field` for what is not mp3, wav, m4a or aac.
    """
    with demux.opened(path, field=field) as (file, container):
        if any(not s.disposition & av.stream.Disposition.attached_pic for s in file.streams.video):
            raise MediaError("the file is a video, a sound must be mp3, wav, m4a or aac.", field=field)
        if demux.audio_stream(file, field=field) is None:
            raise MediaError(f"the {container} file has no sound that can be read.", field=field)
    info = audio_info(path, field=field)
    if info is None:
        raise MediaError("the sound is empty.", field=field)
    return info


def audio_info(path: Path, *, field: str) -> AudioInfo | None:
    """The sound of a file that has a track of it; `None` where the track holds nothing."""
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file, field=field)
        assert stream is not None
        context = stream.codec_context
        duration = _sounding_ms(file, stream, from_zero=container not in ELEMENTARY, field=field)
        limits.check_length(duration, "sound", field=field)
        if duration <= 0:
            return None
        return AudioInfo(context.codec.canonical_name, context.sample_rate, context.channels, duration)


def _sounding_ms(file: InputContainer, stream: AudioStream, *, from_zero: bool, field: str) -> int:
    """Milliseconds up to the end of the last sample, counted from the time line's 0 or from the first sample."""
    rate = stream.codec_context.sample_rate
    base = stream.time_base or Fraction(1, rate)
    # Whole numbers of a unit that both time stamps and samples are multiples of: fractions take ten times as long.
    unit, tick, sample = Fraction(1, base.denominator * rate), base.numerator * rate, base.denominator
    start, end = None, 0
    demux.only(file, stream)
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        if packet.pts is None or not demux.is_shown(packet):
            continue
        drop_first, drop_last = _skipped(packet)
        begins = packet.pts * tick + drop_first * sample
        ends = (packet.pts + (packet.duration or 0)) * tick - drop_last * sample
        if ends > begins:
            start = begins if start is None else min(start, begins)
            end = max(end, ends)
    if start is None:
        return 0
    return round_half_up((end if from_zero else end - start) * unit * 1000)


def _skipped(packet: Packet[AudioStream]) -> tuple[int, int]:
    if not packet.has_sidedata(_SKIP_SAMPLES):
        return 0, 0
    first, last = struct.unpack_from("<2I", bytes(packet.get_sidedata(_SKIP_SAMPLES)))
    return first, last
