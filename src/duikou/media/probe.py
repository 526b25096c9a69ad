"""Describes media files by their headers and packets, without decoding audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from duikou.bounds import AtMost, Text, Whole
from duikou.errors import MediaError
from duikou.media import demux, limits, sniff
from duikou.media.clock import Clock
from duikou.media.losses import Loss
from duikou.timebase import Milliseconds, Rate, round_half_up, samples_to_ms

ELEMENTARY: Final = frozenset({"mp3", "wav", "aac"})
"""Containers without a timeline: time 0 is the first audible sample."""
_MOVIE_TICK_S: Final = Fraction(1, 1000)  # edit lists usually count in ms, rounded down
_LONGEST: Final = 4  # times the longest packet before it: few encoders vary the length, and those by less


@dataclass(frozen=True)
class AudioInfo:
    """The audio of a file: codec name, samples per second, channels and length."""

    codec: Annotated[str, Text(40)]
    sample_rate: Annotated[int, Whole(1, limits.MAX_SAMPLE_RATE)]
    channels: Annotated[int, Whole(1, limits.MAX_CHANNELS)]
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

    container: Annotated[str, Text(10)]
    codec: Annotated[str, Text(40)]
    width: Annotated[int, Whole(1, limits.MAX_SIDE)]
    height: Annotated[int, Whole(1, limits.MAX_SIDE)]
    rotation: Annotated[int, Whole(0, 270)]
    frames: Annotated[int, Whole(0, limits.MAX_FRAMES)]
    rate: Rate
    duration_ms: Milliseconds
    audio: AudioInfo | None
    losses: Annotated[tuple[Loss, ...], AtMost(20)] = ()


def probe_audio(path: Path, *, field: str = "audio") -> AudioInfo:
    """Read the headers and packets of an audio file without decoding it. The file name is ignored.

    Raises `MediaError` that names `field` for anything but mp3, wav, m4a or aac.
    """
    with demux.opened(path, field=field, formats=sniff.AUDIO_FORMATS) as (file, container):
        if any(not s.disposition & av.stream.Disposition.attached_pic for s in file.streams.video):
            raise MediaError("the file is a video; audio must be mp3, wav, m4a or aac.", field=field)
        stream = demux.audio_stream(file, field=field)
        if stream is None:
            raise MediaError(f"the {container} file has no audio that can be read.", field=field)
        info = _described(file, container, stream, demux.read_clock(path, field=field), field=field)
    if info is None:
        raise MediaError("the audio is empty.", field=field)
    return info


def audio_info(path: Path, clock: Clock, *, field: str) -> AudioInfo | None:
    """The audio of a file that has an audio track; `None` where the track is empty. clock: of the file."""
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file, field=field)
        assert stream is not None
        return _described(file, container, stream, clock, field=field)


def _described(
    file: InputContainer, container: str, stream: AudioStream, clock: Clock, *, field: str
) -> AudioInfo | None:
    """The audio of an open file; `None` where its track is empty."""
    context = stream.codec_context
    zero_s = None if container in ELEMENTARY else clock.sound
    span = audible(sound_packets(file, stream, field=field), stream, zero_s)
    if span is None:
        return None
    duration = samples_to_ms(span.samples(context.sample_rate), context.sample_rate)
    limits.check_length(duration, "audio", field=field)
    if duration <= 0:
        return None
    return AudioInfo(context.codec.canonical_name, context.sample_rate, context.channels, duration)


@dataclass(frozen=True)
class AudibleSpan:
    """What a player plays of an audio track. zero_s: where time 0 is. end_s: end of the last sample.

    Both are seconds on the clock of the track's packets.
    """

    zero_s: Fraction
    end_s: Fraction

    def samples(self, rate: int) -> int:
        """Length from time 0, in samples."""
        return round_half_up((self.end_s - self.zero_s) * rate)


def sound_packets(file: InputContainer, stream: AudioStream, *, field: str) -> Iterator[Packet[AudioStream]]:
    """The packets of an audio track, and the empty one that ends it. Leaves `file` at its end."""
    demux.select_stream(file, stream)
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        yield packet


def audible(
    packets: Iterable[Packet[AudioStream]],
    stream: AudioStream,
    zero_s: Fraction | None,
    *,
    until_s: Fraction | None = None,
) -> AudibleSpan | None:
    """The audible span of an audio track by its packets; `None` for an empty track.

    What the header says of the length only counts where it cuts the last packet, as the padding of a codec or an edit
    list does: headers of files that were cut or streamed are often wrong, and packets are what is played.
    zero_s: time 0 on the clock of the packets; `None` for the first audible sample.
    until_s: where the caller stops reading, in seconds after time 0; packets after it are not read.
    """
    rate = stream.codec_context.sample_rate
    base = stream.time_base or Fraction(1, rate)
    # Integer multiples of a unit that divides both time stamps and samples: ten times as fast as fractions.
    unit, tick, sample = Fraction(1, base.denominator * rate), base.numerator * rate, base.denominator
    zero, stop = (None if time is None else round_half_up(time / unit) for time in (zero_s, until_s))
    first: int | None = None
    last = end = expected = usual = 0
    for packet in packets:
        if not packet.size or packet.is_discard:
            continue
        drop_first, drop_last = demux.skipped_samples(packet)
        pts = packet.dts if packet.pts is None else packet.pts
        at = expected if pts is None else pts * tick
        length = _length(stream, (packet.duration or 0) * tick, usual)
        usual, expected = max(usual, length), at + length
        begins, ends = at + drop_first * sample, expected - drop_last * sample
        if ends > begins:
            first = begins if first is None else min(first, begins)
            last, end = max(last, begins), max(end, ends)
            if stop is not None and end - (first if zero is None else zero) > stop:
                break
    if first is None:
        return None
    if zero_s is None:
        return AudibleSpan(first * unit, end * unit)
    return AudibleSpan(zero_s, _cut_by_header(stream, last * unit, end * unit))


def _length(stream: AudioStream, declared: int, usual: int) -> int:
    """How long a packet sounds. usual: the longest one before it, 0 for the first.

    Some writers leave out the duration, or let that of the last packet reach to where the header says the track ends.
    That of PCM is right, since its packets are as long as their bytes.
    """
    if not declared:
        return usual
    exact = not usual or stream.codec_context.name.startswith("pcm_")
    return declared if exact or declared <= _LONGEST * usual else usual


def _cut_by_header(stream: AudioStream, last_s: Fraction, end_s: Fraction) -> Fraction:
    """End of a track whose last packet begins at `last_s` and ends at `end_s`."""
    if stream.duration is None or stream.start_time is None or stream.time_base is None:
        return end_s
    header_s = (stream.start_time + stream.duration) * stream.time_base
    return header_s if last_s < header_s <= end_s - _MOVIE_TICK_S else end_s
