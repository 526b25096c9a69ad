"""Describes media files by their headers and packets, without decoding audio."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from duikou.errors import MediaError
from duikou.media import demux, limits, sniff
from duikou.media.clock import Clock
from duikou.media.losses import Loss
from duikou.timebase import Milliseconds, Rate, round_half_up

ELEMENTARY: Final = frozenset({"mp3", "wav", "aac"})
"""Containers without a timeline: time 0 is the first audible sample."""


@dataclass(frozen=True)
class AudioInfo:
    """The audio of a file: codec name, samples per second, channels and length."""

    codec: str
    sample_rate: int
    channels: int
    duration_ms: Milliseconds


@dataclass(frozen=True)
class VideoInfo:
    """The video of a file, as a player shows it.

    container: `mp4` or `mov`. codec: FFmpeg's name, `h264`, `hevc`, ...
    width, height: pixels of the upright picture, after the rotation flag.
    rotation: clockwise degrees by which a player turns the stored picture: 0, 90, 180 or 270.
    frames: number of frames that a player shows.
    rate: mean frames per second.
    duration_ms: end of the last frame on the file's timeline, on which audio begins at 0. Where the first frame shows
        later than 0, that time is included.
    audio: `None` for a file without audio. Its length counts from 0 on the same timeline.
    losses: what of the picture a result cannot keep.
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
    losses: tuple[Loss, ...] = ()


def probe_audio(path: Path, *, field: str = "audio") -> AudioInfo:
    """Read the headers and packets of an audio file without decoding it. The file name is ignored.

    Raises `MediaError` that names `field` for anything but mp3, wav, m4a or aac.
    """
    with demux.opened(path, field=field, formats=sniff.AUDIO_FORMATS) as (file, container):
        if any(not s.disposition & av.stream.Disposition.attached_pic for s in file.streams.video):
            raise MediaError("the file is a video; audio must be mp3, wav, m4a or aac.", field=field)
        if demux.audio_stream(file, field=field) is None:
            raise MediaError(f"the {container} file has no audio that can be read.", field=field)
    info = audio_info(path, demux.read_clock(path, field=field), field=field)
    if info is None:
        raise MediaError("the audio is empty.", field=field)
    return info


def audio_info(path: Path, clock: Clock, *, field: str) -> AudioInfo | None:
    """The audio of a file that has an audio track; `None` where the track is empty. clock: of the file."""
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file, field=field)
        assert stream is not None
        context = stream.codec_context
        duration = _audible_ms(file, stream, None if container in ELEMENTARY else clock.sound, field=field)
        limits.check_length(duration, "audio", field=field)
        if duration <= 0:
            return None
        return AudioInfo(context.codec.canonical_name, context.sample_rate, context.channels, duration)


def _audible_ms(file: InputContainer, stream: AudioStream, zero_s: Fraction | None, *, field: str) -> int:
    """End of the last sample in ms, counted from `zero_s` on the track's clock, or else from the first sample."""
    rate = stream.codec_context.sample_rate
    base = stream.time_base or Fraction(1, rate)
    # Integer multiples of a unit that divides both time stamps and samples: ten times as fast as fractions.
    unit, tick, sample = Fraction(1, base.denominator * rate), base.numerator * rate, base.denominator
    start, end = None, 0
    demux.select_stream(file, stream)
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        if packet.pts is None or not demux.is_shown(packet):
            continue
        drop_first, drop_last = demux.skipped_samples(packet)
        begins = packet.pts * tick + drop_first * sample
        ends = (packet.pts + (packet.duration or 0)) * tick - drop_last * sample
        if ends > begins:
            start = begins if start is None else min(start, begins)
            end = max(end, ends)
    if start is None:
        return 0
    return round_half_up((end * unit - (start * unit if zero_s is None else zero_s)) * 1000)
