"""Reads the sound of any file, on the file's timeline."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.packet import Packet

from duikou.errors import InputError, MediaError
from duikou.media import demux, downmix, limits
from duikou.media.clock import Clock
from duikou.media.downmix import STEREO, Samples
from duikou.media.probe import ELEMENTARY, AudibleSpan, audible, sound_packets
from duikou.media.sound import Audio, Sound, silence, widened
from duikou.media.video import Video
from duikou.timebase import ms_to_samples, round_half_up, samples_to_ms

_JITTER_S: Final = Fraction(5, 1000)  # time stamps may be rounded to a coarse clock; a gap of 5 ms is inaudible


@dataclass(frozen=True)
class FileSound(Sound):
    """The sound of a file between two samples of its timeline, decoded whenever it is read.

    span: what a player plays of the track. first, last: samples of the timeline.
    """

    path: Path
    field: str
    span: AudibleSpan
    rate: int
    channels: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def pieces(self) -> Generator[Samples, None, None]:
        """See `Sound.pieces`. What cannot be decoded is silence; there are no pieces where nothing can be."""
        with closing(_decoded_pieces(self.path, field=self.field)) as pieces:
            yield from self._placed(_mended(pieces))

    def _placed(self, pieces: Iterator[_Piece]) -> Iterator[Samples]:
        """Place pieces by their times and keep those from `first` to `last`. What no piece covers is silence."""
        first, last, rate = self.first, self.last, self.rate
        cursor, found = first, False
        expected: int | None = None
        for piece in pieces:
            at = round_half_up((piece.start_s - self.span.zero_s) * piece.rate)
            if expected is None or abs(at - expected) <= _JITTER_S * rate:
                at = at if expected is None else expected
            expected = at + len(piece.samples)
            if at >= last:
                break
            samples = _with_channels(piece.samples, self.channels, rate)[max(cursor - at, 0) : max(last - at, 0)]
            if not len(samples):
                continue
            yield from silence(at - cursor, self.channels)
            yield samples
            cursor, found = expected, True
        if found:
            yield from silence(last - cursor, self.channels)


def open_sound(
    path: Path,
    *,
    start_ms: int = 0,
    end_ms: int | None = None,
    clock: Clock | None = None,
    field: str = "audio",
) -> FileSound:
    """The sound of an audio or video file, from `start_ms` to `end_ms` of its timeline (`None` is its end).

    Time 0 is the moment a player starts: a codec's priming is dropped. In mp4, mov and m4a, edit lists and late starts
    are applied, and gaps become silence, so the sound of a video lies on the timeline of its frames. The length is that
    of `probe`, by the packets: what cannot be decoded is silence. Mono and stereo stay, and more channels are mixed
    down to stereo; where a mix would cancel sound, the strongest channel takes its place (`downmix`).
    Reads all packets, and decodes the beginning. Raises `MediaError` that names `field` for a file without sound or a
    damaged one.
    clock: of the file; without it, it is read first.
    """
    if start_ms < 0 or (end_ms is not None and end_ms <= start_ms):
        raise InputError(f"the range from {start_ms} ms to {end_ms} ms is empty or begins before 0.", field=field)
    until_s = None if end_ms is None else Fraction(end_ms, 1000)
    clock = clock or demux.read_clock(path, field=field)
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file, field=field)
        if stream is None:
            raise MediaError("the file has no audio.", field=field)
        packets = sound_packets(file, stream, field=field)
        zero_s = None if container in ELEMENTARY else clock.sound
        span = audible(packets, stream, zero_s, until_s=until_s)
    if span is None:
        raise MediaError("the file has no audio that can be decoded.", field=field)
    with closing(_decoded_pieces(path, field=field)) as pieces:
        begin = next(pieces, None)
        if begin is None:
            raise MediaError("the file has no audio that can be decoded.", field=field)
        rate = begin.rate
        first, last = ms_to_samples(start_ms, rate), span.samples(rate)
        last = last if end_ms is None else min(last, ms_to_samples(end_ms, rate))
        found = FileSound(path, field, span, rate, begin.samples.shape[1], first, last)
        if next(found._placed(_mended(chain([begin], pieces))), None) is None:
            raise MediaError(f"the file has no audio between {start_ms} ms and {end_ms} ms.", field=field)
        return found


def sound_of(video: Video) -> FileSound:
    """The sound of a video while its frames show: audio may continue for hours after them. See `open_sound`."""
    return open_sound(video.path, end_ms=video.info.duration_ms, clock=video.clock, field="video")


def read_audio(
    path: Path,
    *,
    rate: int | None = None,
    channels: int | None = None,
    start_ms: int = 0,
    end_ms: int | None = None,
    field: str = "audio",
) -> Audio:
    """Read the sound of `open_sound` into memory.

    rate: resamples; `None` keeps the file's rate. channels: see `Sound.converted`; `None` keeps those of `open_sound`.
    Raises `MediaError` as `open_sound` does, and for sound longer than `limits.MAX_AUDIO_MS`.
    """
    found = open_sound(path, start_ms=start_ms, end_ms=end_ms, field=field)
    limits.check_samples(len(found), found.rate, found.channels, field=field)
    return found.converted(rate=rate, channels=channels).held()


@dataclass(frozen=True)
class _Piece:
    """Decoded samples. start_s: when the first one plays, on the clock of the packets.

    source: (n, C) the channels that were mixed to stereo; `None` for mono and stereo.
    """

    start_s: Fraction
    samples: Samples
    rate: int
    source: Samples | None = None

    @property
    def end_s(self) -> Fraction:
        """When the last sample ends."""
        return self.start_s + Fraction(len(self.samples), self.rate)


def _decoded_pieces(path: Path, *, field: str) -> Generator[_Piece, None, None]:
    """The pieces of the audio track of a file."""
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file, field=field)
        assert stream is not None
        if container == "mp3":
            # Headers often count frames wrongly, and FFmpeg would drop samples where they say that the file ends.
            stream.codec_context.flags2 |= Flags2.skip_manual
        yield from _pieces(sound_packets(file, stream, field=field), stream, field=field)


def _pieces(packets: Iterable[Packet[AudioStream]], stream: AudioStream, *, field: str) -> Iterator[_Piece]:
    """Decoded pieces, without damaged packets. A frame without a time goes on where the one before it ended."""
    flat: _Flattener | None = None
    total = 0
    end_s = Fraction(0)
    for frame in _decoded(packets):
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if flat is not None and rate != flat.shape[0]:
            raise MediaError(f"the sample rate of the audio changes from {flat.shape[0]} to {rate}.", field=field)
        limits.check_audio(rate, channels, field=field)
        total += frame.samples
        limits.check_length(samples_to_ms(total, rate), "audio", field=field)
        pts, time_base = frame.dts if frame.pts is None else frame.pts, frame.time_base or stream.time_base
        start_s = end_s if pts is None or time_base is None else pts * time_base
        if flat is None or flat.shape != _shape(frame):
            flat = _Flattener(frame)
        try:
            piece = flat.piece(frame, start_s)
        except av.FFmpegError as error:
            raise MediaError(f"audio of {channels} channels cannot be mixed to stereo.", field=field) from error
        end_s = piece.end_s
        yield piece


def _shape(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


class _Flattener:
    """Makes interleaved 32-bit floats of frames of one shape, and stereo of more channels."""

    def __init__(self, frame: AudioFrame) -> None:
        self.shape = _shape(frame)
        more = frame.layout.nb_channels > STEREO
        self._mix = AudioResampler(format="flt", layout="stereo" if more else frame.layout)
        self._keep = AudioResampler(format="flt", layout=frame.layout) if more else None

    def piece(self, frame: AudioFrame, start_s: Fraction) -> _Piece:
        """The frame's samples. Raises `av.FFmpegError` for channels that FFmpeg cannot mix."""
        source = None if self._keep is None else _flat(self._keep, frame)
        return _Piece(start_s, _flat(self._mix, frame), frame.sample_rate, source)


def _flat(resampler: AudioResampler, frame: AudioFrame) -> Samples:
    parts = [one.to_ndarray().reshape(-1, one.layout.nb_channels) for one in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float32, copy=False)


def _mended(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    """The same pieces, with what mixing has cancelled. Those of more than two channels are joined to longer ones."""
    mixer: downmix.Mixer | None = None
    waiting: list[_Piece] = []
    for piece in chain(pieces, [None]):
        if waiting and (piece is None or not _joins(waiting, piece)):
            mixer = mixer or downmix.Mixer(waiting[0].rate)
            mix = np.concatenate([one.samples for one in waiting])
            source = np.concatenate([one.source for one in waiting if one.source is not None])
            yield _Piece(waiting[0].start_s, mixer.mend(mix, source), waiting[0].rate)
            waiting = []
        if piece is not None and piece.source is None:
            yield piece
        elif piece is not None:
            waiting.append(piece)


def _joins(waiting: Sequence[_Piece], piece: _Piece) -> bool:
    """Whether a piece goes on where those that wait end, with the same channels, and they are not long enough yet."""
    first = waiting[0]
    if first.source is None or piece.source is None or piece.source.shape[1] != first.source.shape[1]:
        return False
    length_s = Fraction(sum(len(one.samples) for one in waiting), first.rate)
    return length_s < downmix.STRETCH_S and abs(first.start_s + length_s - piece.start_s) <= _JITTER_S


def _decoded(packets: Iterable[Packet[AudioStream]]) -> Iterator[AudioFrame]:
    """Decoded frames, without those of damaged packets."""
    for packet in packets:
        try:
            decoded: Sequence[AudioFrame] = packet.decode()
        except av.FFmpegError:
            continue
        yield from (frame for frame in decoded if frame.samples)


def _with_channels(samples: Samples, channels: int, rate: int) -> Samples:
    """(n, C) samples with `channels` columns."""
    if channels == 1 < samples.shape[1]:
        return downmix.mono(samples, rate)
    return widened(samples, channels)
