"""Reads audio from any file onto the file's timeline, and mixes speech into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from scipy.ndimage import convolve1d, minimum_filter1d

from duikou.arrays import Float32Array
from duikou.errors import InputError, MediaError
from duikou.media import demux, limits
from duikou.media.probe import ELEMENTARY
from duikou.media.scope import OriginalScope
from duikou.timebase import Interval, ms_to_samples, round_half_up, samples_to_ms
from duikou.units import MAX_VOLUME

Samples = Float32Array
"""(n, C) audio, full scale is 1."""

_JITTER_S: Final = Fraction(5, 1000)  # time stamps may be rounded to a coarse clock; a gap of 5 ms is inaudible
_RAMP_MS: Final = 10  # long enough that a change of gain does not click, shorter than a consonant
_CEILING: Final = 10 ** (-0.1 / 20)  # -0.1 dBFS: leaves room for what the encoder's rounding adds
_LOOK_AHEAD_MS: Final = 5  # the limiter's gain falls over this time before a peak and rises over the same time after it
_STEREO: Final = 2


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
        samples = _with_channels(self.samples, channels or self.channels)
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
    are applied, and gaps become silence, so the audio of a video lies on the timeline of its frames.
    rate: resamples; `None` keeps the file's rate.
    channels: mixes down or up; `None` keeps mono and stereo, and mixes more channels down to stereo.
    Raises `MediaError` that names `field` for a file without audio, damaged, or longer than `limits.MAX_AUDIO_MS`.
    """
    if start_ms < 0 or (end_ms is not None and end_ms <= start_ms):
        raise InputError(f"the range from {start_ms} ms to {end_ms} ms is empty or begins before 0.", field=field)
    with demux.opened(path, field=field) as (file, container):
        stream = demux.audio_stream(file, field=field)
        if stream is None:
            raise MediaError("the file has no audio.", field=field)
        pieces = _pieces(file, stream, field=field)
        if container in ELEMENTARY:
            pieces = _from_first(pieces)
        elif stream.duration and stream.start_time is not None and stream.time_base is not None:
            pieces = _until(pieces, (stream.start_time + stream.duration) * stream.time_base)
        found = _collect(pieces, start_ms, end_ms, field=field)
    return found.converted(rate=rate, channels=channels)


@dataclass(frozen=True)
class _Piece:
    start_s: Fraction
    samples: Samples
    rate: int


def _pieces(file: InputContainer, stream: AudioStream, *, field: str) -> Iterator[_Piece]:
    """Decoded pieces in time order, without damaged packets."""
    resampler: AudioResampler | None = None
    shape: tuple[int, str, str] | None = None
    total = 0
    demux.select_stream(file, stream)
    for count, packet in enumerate(file.demux(stream)):
        limits.check_packets(count, field=field)
        try:
            decoded: Sequence[AudioFrame] = packet.decode()
        except av.FFmpegError:
            continue
        for frame in decoded:
            if frame.pts is None or frame.time_base is None or not frame.samples:
                continue
            if shape is not None and frame.sample_rate != shape[0]:
                raise MediaError(
                    f"the sample rate of the audio changes from {shape[0]} to {frame.sample_rate}.",
                    field=field,
                )
            limits.check_audio(frame.sample_rate, frame.layout.nb_channels, field=field)
            total += frame.samples
            limits.check_length(samples_to_ms(total, frame.sample_rate), "audio", field=field)
            start = frame.pts * frame.time_base
            now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if resampler is None or now != shape:
                layout = "stereo" if frame.layout.nb_channels > _STEREO else frame.layout
                resampler, shape = AudioResampler(format="flt", layout=layout), now
            try:
                flattened = resampler.resample(frame)
            except av.FFmpegError as error:
                channels = frame.layout.nb_channels
                raise MediaError(f"audio of {channels} channels cannot be mixed to stereo.", field=field) from error
            for flat in flattened:
                samples = flat.to_ndarray().reshape(-1, flat.layout.nb_channels)
                yield _Piece(start, samples.astype(np.float32, copy=False), frame.sample_rate)


def _from_first(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """The same pieces on a timeline that begins with the first one."""
    origin: Fraction | None = None
    for piece in pieces:
        origin = piece.start_s if origin is None else origin
        yield replace(piece, start_s=piece.start_s - origin)


def _until(pieces: Iterator[_Piece], end_s: Fraction) -> Iterator[_Piece]:
    """The same pieces up to the end of the track. A codec's last frame may extend past it."""
    for piece in pieces:
        room = round_half_up((end_s - piece.start_s) * piece.rate)
        if room > 0:
            yield replace(piece, samples=piece.samples[:room])


def _collect(pieces: Iterator[_Piece], start_ms: int, end_ms: int | None, *, field: str) -> Audio:
    """Place pieces by their times and keep the requested range."""
    kept: list[Samples] = []
    rate = width = first = cursor = expected = 0
    last: int | None = None
    for piece in pieces:
        if not rate:
            rate, width = piece.rate, piece.samples.shape[1]
            first = cursor = ms_to_samples(start_ms, rate)
            last = None if end_ms is None else ms_to_samples(end_ms, rate)
            expected = round_half_up(piece.start_s * rate)
        at = round_half_up(piece.start_s * rate)
        if abs(at - expected) <= _JITTER_S * rate:
            at = expected
        expected = at + len(piece.samples)
        if last is not None and at >= last:
            break
        samples = _with_channels(piece.samples, width)[max(cursor - at, 0) :]
        if not len(samples):
            continue
        most = min(ms_to_samples(limits.MAX_AUDIO_MS, rate), limits.MAX_AUDIO_SAMPLES // width)
        if expected - first > most:
            raise MediaError(f"the audio is longer than {samples_to_ms(most, rate) // 60_000} minutes.", field=field)
        if at > cursor:
            kept.append(np.zeros((at - cursor, width), np.float32))
        kept.append(samples)
        cursor = expected
    if not kept:
        what = f"has no audio between {start_ms} ms and {end_ms} ms" if rate else "has no audio that can be decoded"
        raise MediaError(f"the file {what}.", field=field)
    return Audio(np.concatenate(kept)[: None if last is None else last - first], rate)


def _with_channels(samples: Samples, channels: int) -> Samples:
    """(n, C) samples with `channels` columns: the mean for one; mono goes to both left and right."""
    has = samples.shape[1]
    if has == channels:
        return samples
    mono: Samples = samples if has == 1 else samples.mean(axis=1, keepdims=True, dtype=np.float32)
    if channels == 1:
        return mono
    wide = np.zeros((len(samples), channels), np.float32)
    wide[:, :_STEREO] = samples[:, :_STEREO] if has >= _STEREO else mono
    return wide


def mix(original: Audio | None, inserts: Sequence[Insert], duration_ms: int) -> Audio:
    """Mix `inserts` over `original` (silence where it is `None`) for `duration_ms`.

    Where a volume of the original applies, the result is original x `original_volume` + speech x `volume`; where
    several apply, the smallest holds. Elsewhere the original is unchanged, bit for bit. Its gain changes over 10 ms,
    inside the insert. A look-ahead limiter keeps what is changed below -0.1 dBFS and leaves quieter audio unchanged.
    Rate and channels are the original's. Without an original they are the highest among the inserts.
    """
    if duration_ms < 0:
        raise InputError(f"{duration_ms} ms is negative.", field="duration_ms")
    if original is None:
        rate = max((insert.audio.rate for insert in inserts), default=48_000)
        channels = max((insert.audio.channels for insert in inserts), default=1)
    else:
        rate, channels = original.rate, original.channels
    total = ms_to_samples(duration_ms, rate)
    mixed = np.zeros((total, channels), np.float32)
    if original is not None:
        mixed[: len(original.samples)] = original.samples[:total]
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
