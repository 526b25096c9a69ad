"""Reads audio from any file onto the file's timeline, and mixes speech into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.packet import Packet
from scipy.ndimage import convolve1d, minimum_filter1d

from duikou.arrays import Float32Array
from duikou.errors import InputError, MediaError
from duikou.media import demux, downmix, limits
from duikou.media.downmix import STEREO, Samples
from duikou.media.probe import ELEMENTARY, AudibleSpan, audible, sound_packets
from duikou.media.scope import OriginalScope
from duikou.timebase import Interval, ms_to_samples, round_half_up, samples_to_ms
from duikou.units import MAX_VOLUME

_JITTER_S: Final = Fraction(5, 1000)  # time stamps may be rounded to a coarse clock; a gap of 5 ms is inaudible
_RAMP_MS: Final = 10  # long enough that a change of gain does not click, shorter than a consonant
_CEILING: Final = 10 ** (-0.1 / 20)  # -0.1 dBFS: leaves room for what the encoder's rounding adds
MAX_RATE: Final = 96_000
"""Samples per second of a mix, at most: the highest rate of AAC."""
_USUAL_RATE: Final = 48_000  # of video; nobody hears what a higher one adds
_LOOK_AHEAD_MS: Final = 5  # the limiter's gain falls over this time before a peak and rises over the same time after it


@dataclass(frozen=True)
class Audio:
    """Audio in memory. samples: (n, C) float32, full scale is 1. rate: samples per second."""

    samples: Samples
    rate: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[1])

    @property
    def duration_ms(self) -> int:
        """Length in ms."""
        return samples_to_ms(len(self.samples), self.rate)

    def converted(self, *, rate: int | None = None, channels: int | None = None) -> Audio:
        """The same audio at another rate (soxr, high quality, no delay) and with another number of channels."""
        samples = _with_channels(self.samples, channels or self.channels, self.rate)
        if rate is None or rate == self.rate:
            return Audio(samples, self.rate)
        return Audio(soxr.resample(samples, self.rate, rate).astype(np.float32, copy=False), rate)


@dataclass(frozen=True)
class Insert:
    """Speech mixed over other audio from `at_ms` on.

    volume: factor of the speech. original_volume: factor of the original. Both in [0, 2].
    original_scope: where `original_volume` applies.
    """

    audio: Audio
    at_ms: int
    volume: float
    original_volume: float
    original_scope: OriginalScope = OriginalScope.SPEECH

    def __post_init__(self) -> None:
        if self.at_ms < 0:
            raise InputError(f"{self.at_ms} ms is negative.", field="at_ms")
        for field in ("volume", "original_volume"):
            value = getattr(self, field)
            if not 0 <= value <= MAX_VOLUME:
                raise InputError(f"{value:g} is not between 0 and {MAX_VOLUME:g}.", field=field)


def read_audio(
    path: Path,
    *,
    rate: int | None = None,
    channels: int | None = None,
    start_ms: int = 0,
    end_ms: int | None = None,
    field: str = "audio",
) -> Audio:
    """Read the audio of an audio or video file, from `start_ms` to `end_ms` of its timeline (`None` is its end).

    Time 0 is the moment a player starts: a codec's priming is dropped. In mp4, mov and m4a, edit lists and late starts
    are applied, and gaps become silence, so the audio of a video lies on the timeline of its frames. The length is that
    of `probe`, by the packets: what cannot be decoded is silence.
    rate: resamples; `None` keeps the file's rate.
    channels: mixes down or up; `None` keeps mono and stereo, and mixes more channels down to stereo. Where a mix would
        cancel sound, the strongest channel takes its place (`downmix`).
    Raises `MediaError` that names `field` for a file without audio, damaged, or longer than `limits.MAX_AUDIO_MS`.
    """
    if start_ms < 0 or (end_ms is not None and end_ms <= start_ms):
        raise InputError(f"the range from {start_ms} ms to {end_ms} ms is empty or begins before 0.", field=field)
    until_s = None if end_ms is None else Fraction(end_ms, 1000)
    clock = demux.read_clock(path, field=field)
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file, field=field)
        if stream is None:
            raise MediaError("the file has no audio.", field=field)
        packets = sound_packets(file, stream, field=field)
        zero_s = None if container in ELEMENTARY else clock.sound
        span = audible(packets, stream, zero_s, until_s=until_s)
    if span is None:
        raise MediaError("the file has no audio that can be decoded.", field=field)
    with demux.opened(path, field=field) as (file, container):  # again, since the packets have been read
        stream = demux.audio_stream(file, field=field)
        assert stream is not None
        if container == "mp3":
            # Headers often count frames wrongly, and FFmpeg would drop samples where they say that the file ends.
            stream.codec_context.flags2 |= Flags2.skip_manual
        pieces = _pieces(sound_packets(file, stream, field=field), stream, field=field)
        found = _collect(_mended(pieces), span, start_ms, end_ms, field=field)
    return found.converted(rate=rate, channels=channels)


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


def _collect(pieces: Iterator[_Piece], span: AudibleSpan, start_ms: int, end_ms: int | None, *, field: str) -> Audio:
    """Place pieces by their times and keep the requested range of the span. What no piece covers is silence."""
    kept: list[Samples] = []
    rate = width = first = last = cursor = expected = 0
    for piece in pieces:
        at = round_half_up((piece.start_s - span.zero_s) * piece.rate)
        if not rate:
            rate, width = piece.rate, piece.samples.shape[1]
            first = cursor = ms_to_samples(start_ms, rate)
            last = span.samples(rate)
            last = last if end_ms is None else min(last, ms_to_samples(end_ms, rate))
            limits.check_samples(last - first, rate, width, field=field)
            expected = at
        if abs(at - expected) <= _JITTER_S * rate:
            at = expected
        expected = at + len(piece.samples)
        if at >= last:
            break
        samples = _with_channels(piece.samples, width, rate)[max(cursor - at, 0) : max(last - at, 0)]
        if not len(samples):
            continue
        if at > cursor:
            kept.append(np.zeros((at - cursor, width), np.float32))
        kept.append(samples)
        cursor = expected
    if not kept:
        what = f"has no audio between {start_ms} ms and {end_ms} ms" if rate else "has no audio that can be decoded"
        raise MediaError(f"the file {what}.", field=field)
    if cursor < last:
        kept.append(np.zeros((last - cursor, width), np.float32))
    return Audio(np.concatenate(kept), rate)


def _with_channels(samples: Samples, channels: int, rate: int) -> Samples:
    """(n, C) samples with `channels` columns: see `downmix.mono` for one; mono goes to both left and right."""
    has = samples.shape[1]
    if has == channels:
        return samples
    mono = samples if has == 1 else downmix.mono(samples, rate)
    if channels == 1:
        return mono
    wide = np.zeros((len(samples), channels), np.float32)
    wide[:, :STEREO] = samples[:, :STEREO] if has >= STEREO else mono
    return wide


def mix(original: Audio | None, inserts: Sequence[Insert], duration_ms: int) -> Audio:
    """Mix `inserts` over `original` (silence where it is `None`) for `duration_ms`.

    Where a volume of the original applies, the result is original x `original_volume` + speech x `volume`; where
    several apply, the smallest holds. Elsewhere the original is unchanged, bit for bit if it has the highest rate. Its
    gain changes over 10 ms, inside the insert. A look-ahead limiter keeps what is changed below -0.1 dBFS and leaves
    quieter audio unchanged.
    The result has the highest rate among the original and the inserts, at most `MAX_RATE`, and the most channels. What
    has a lower rate is resampled, and mono goes to both left and right.
    """
    if duration_ms < 0:
        raise InputError(f"{duration_ms} ms is negative.", field="duration_ms")
    rate, channels = _mix_format([one for one in (original, *(insert.audio for insert in inserts)) if one], duration_ms)
    total = ms_to_samples(duration_ms, rate)
    mixed = np.zeros((total, channels), np.float32)
    if original is not None:
        samples = original.converted(rate=rate, channels=channels).samples[:total]
        mixed[: len(samples)] = samples
    throughout = [one.original_volume for one in inserts if one.original_scope is OriginalScope.VIDEO]
    usual, most = (min(throughout),) * 2 if throughout else (1.0, MAX_VOLUME)
    placed = [_place(insert, most, rate, channels, total) for insert in inserts]
    placed = [one for one in placed if one.end > one.start]
    for start, end in _unions(placed) if usual == 1 else [(0, total)]:
        inside = [one for one in placed if start <= one.start < end]
        gain = _gain(inside, (start, end), usual, ramp=ms_to_samples(_RAMP_MS, rate))
        stretch = mixed[start:end] * gain[:, None]
        for one in inside:
            stretch[one.start - start : one.end - start] += one.samples
        mixed[start:end] = _limited(stretch, ms_to_samples(_LOOK_AHEAD_MS, rate))
    return Audio(mixed, rate)


def _mix_format(audio: Sequence[Audio], duration_ms: int) -> tuple[int, int]:
    """Samples per second and channels of a mix."""
    rate = min(max((one.rate for one in audio), default=_USUAL_RATE), MAX_RATE)
    channels = max((one.channels for one in audio), default=1)
    if duration_ms * rate * channels > 1000 * limits.MAX_AUDIO_SAMPLES:
        rate = min(rate, _USUAL_RATE)
    return rate, channels


def repeated(audio: Audio, part: Interval, starts_ms: Sequence[int]) -> Audio:
    """`audio` up to the end of `part`, then `part` again at each of `starts_ms`, which rise from its end on.

    It fades over 10 ms at every cut to avoid clicks. Where `audio` is shorter than `part`, the rest is silence.
    """
    rate, ramp = audio.rate, ms_to_samples(_RAMP_MS, audio.rate)
    first, end = ms_to_samples(part.start_ms, rate), ms_to_samples(part.end_ms, rate)
    whole = np.zeros((end, audio.channels), np.float32)
    whole[: len(audio.samples)] = audio.samples[:end]
    _fade(whole[::-1], ramp)
    piece = whole[first:].copy()
    _fade(piece, ramp)
    starts = [ms_to_samples(ms, rate) for ms in starts_ms]
    out = np.zeros((starts[-1] + len(piece) if starts else end, audio.channels), np.float32)
    out[:end] = whole
    for start in starts:
        out[start : start + len(piece)] = piece
    return Audio(out, rate)


def _fade(samples: Samples, ramp: int) -> None:
    """Fade samples in over `ramp` samples, in place."""
    count = min(ramp, len(samples))
    samples[:count] *= np.linspace(0, 1, count, endpoint=False, dtype=np.float32)[:, None]


@dataclass(frozen=True)
class _Placed:
    """Speech at its volume, from sample `start` of the result. gain: of the original during it."""

    start: int
    samples: Samples
    gain: float

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


def _place(insert: Insert, most: float, rate: int, channels: int, total: int) -> _Placed:
    """Place speech. most: the largest gain of the original that other inserts allow."""
    start = ms_to_samples(insert.at_ms, rate)
    speech = insert.audio.converted(rate=rate, channels=channels).samples[: max(total - start, 0)]
    return _Placed(start, speech * np.float32(insert.volume), min(insert.original_volume, most))


def _unions(placed: Sequence[_Placed]) -> list[tuple[int, int]]:
    """Ranges that inserts cover without a gap, `[start, end)` in samples."""
    stretches: list[tuple[int, int]] = []
    for one in sorted(placed, key=lambda one: one.start):
        if stretches and one.start <= stretches[-1][1]:
            stretches[-1] = stretches[-1][0], max(stretches[-1][1], one.end)
        else:
            stretches.append((one.start, one.end))
    return stretches


def _gain(inside: Sequence[_Placed], span: tuple[int, int], usual: float, *, ramp: int) -> Float32Array:
    """(N,) the original's gain over the samples of `span`: steps with linear ramps inside the inserts.

    usual: the gain without speech.
    """
    gain = np.full(span[1] - span[0], usual, np.float32)
    for start, end in _unions(inside):
        gain[start - span[0] : end - span[0]] = _covered_gain(inside, (start, end), usual, ramp=ramp)
    return gain


def _covered_gain(inside: Sequence[_Placed], span: tuple[int, int], usual: float, *, ramp: int) -> Float32Array:
    """(N,) the original's gain over one covered range, `usual` at both ends."""
    start, end = span
    here = [one for one in inside if start <= one.start < end]
    edges = sorted({edge for one in here for edge in (one.start, one.end)})
    at, gains, before = [start], [usual], usual
    for left, right in pairwise(edges):
        gain = min(one.gain for one in here if one.start <= left < one.end)
        slope = min(ramp, (right - left) // 2)
        at += [left, left + slope, right - slope if right == end else right]
        gains += [before, gain, gain]
        before = gain
    return np.interp(np.arange(start, end), [*at, end], [*gains, usual]).astype(np.float32)


def _limited(samples: Samples, reach: int) -> Samples:
    """`samples` with peaks reduced to the ceiling by a gain that changes smoothly over `reach` samples each way.

    Each sample first takes the smallest gain needed within `reach`. The weighted mean of these gains over the same
    reach never exceeds the gain that a sample needs.
    """
    peaks = np.abs(samples).max(axis=1)
    if peaks.max(initial=0.0) <= _CEILING:
        return samples
    needed = np.minimum(1.0, _CEILING / np.maximum(peaks, 1e-9)).astype(np.float64)
    window = np.hanning(2 * reach + 3)[1:-1]
    held = minimum_filter1d(needed, 2 * reach + 1, mode="nearest")
    gain = np.minimum(convolve1d(held, window / window.sum(), mode="nearest"), needed)
    limited: Samples = (samples * gain[:, None]).astype(np.float32)
    return limited
