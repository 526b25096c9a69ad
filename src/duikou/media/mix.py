"""Mixes speech into a sound, and repeats sound as a longer video does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Final

import numpy as np
from scipy.ndimage import convolve1d, minimum_filter1d

from duikou.arrays import Float32Array, Float64Array
from duikou.errors import InputError
from duikou.media.downmix import Samples
from duikou.media.scope import OriginalScope
from duikou.media.sound import PIECE, Audio, Reader, Sound
from duikou.timebase import Interval, ms_to_samples
from duikou.units import MAX_VOLUME

_RAMP_MS: Final = 10  # long enough that a change of gain does not click, shorter than a consonant
_CEILING: Final = 10 ** (-0.1 / 20)  # -0.1 dBFS: leaves room for what the encoder's rounding adds
MAX_RATE: Final = 96_000
"""Samples per second of a mix, at most: the highest rate of AAC."""
_USUAL_RATE: Final = 48_000  # of video; nobody hears what a higher one adds
_LOOK_AHEAD_MS: Final = 5  # the limiter's gain falls over this time before a peak and rises over the same time after it


@dataclass(frozen=True)
class Insert:
    """Speech mixed over other sound from `at_ms` on.

    volume: factor of the speech. original_volume: factor of the original. Both in [0, 2].
    original_scope: where `original_volume` applies.
    """

    sound: Sound
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


def mix(original: Sound | None, inserts: Sequence[Insert], duration_ms: int) -> Mix:
    """Mix `inserts` over `original` (silence where it is `None`) for `duration_ms`.

    Where a volume of the original applies, the result is original x `original_volume` + speech x `volume`; where
    several apply, the smallest holds. Elsewhere the original is unchanged, bit for bit if it has the highest rate. Its
    gain changes over 10 ms, inside the insert. A look-ahead limiter keeps what is changed below -0.1 dBFS and leaves
    quieter sound unchanged.
    The result has the highest rate among the original and the inserts, at most `MAX_RATE`, and the most channels. What
    has a lower rate is resampled, and mono goes to both left and right.
    """
    if duration_ms < 0:
        raise InputError(f"{duration_ms} ms is negative.", field="duration_ms")
    sounds = [one for one in (original, *(insert.sound for insert in inserts)) if one is not None]
    rate = min(max((one.rate for one in sounds), default=_USUAL_RATE), MAX_RATE)
    channels = max((one.channels for one in sounds), default=1)
    return Mix(original, tuple(inserts), rate, channels, ms_to_samples(duration_ms, rate))


@dataclass(frozen=True)
class Mix(Sound):
    """A sound with speech mixed in, made whenever it is read. total: its length in samples."""

    original: Sound | None
    inserts: tuple[Insert, ...]
    rate: int
    channels: int
    total: int

    def __len__(self) -> int:
        return self.total

    def pieces(self) -> Iterator[Samples]:
        """See `Sound.pieces`."""
        original = Reader(Audio(np.zeros((0, self.channels), np.float32), self.rate))
        if self.original is not None:
            original = Reader(self.original.converted(rate=self.rate, channels=self.channels))
        changed = _unions(self._placed) if self._usual == 1 else [(0, self.total)]
        at = 0
        for start, end in changed:
            yield from (original.take(size) for _, size in _steps(at, start))
            yield from _limited(self._spoken(original, start, end), ms_to_samples(_LOOK_AHEAD_MS, self.rate))
            at = end
        yield from (original.take(size) for _, size in _steps(at, self.total))

    @cached_property
    def _volumes(self) -> list[float]:
        """The volumes of the original that hold throughout."""
        return [one.original_volume for one in self.inserts if one.original_scope is OriginalScope.VIDEO]

    @property
    def _usual(self) -> float:
        """The gain of the original where nobody speaks."""
        return min(self._volumes, default=1.0)

    @cached_property
    def _placed(self) -> list[_Placed]:
        """The speech that plays before the end."""
        most = min(self._volumes, default=MAX_VOLUME)
        found = []
        for one in self.inserts:
            start = ms_to_samples(one.at_ms, self.rate)
            sound = one.sound.converted(rate=self.rate, channels=self.channels)
            end = min(start + len(sound), self.total)
            if end > start:
                found.append(_Placed(start, end, sound, one.volume, min(one.original_volume, most)))
        return found

    def _spoken(self, original: Reader, start: int, end: int) -> Iterator[Samples]:
        """The samples from `start` to `end`, with the speech, before the limiter."""
        inside = [one for one in self._placed if start <= one.start < end]
        gain = _Gain.of(inside, self._usual, ramp=ms_to_samples(_RAMP_MS, self.rate))
        readers: dict[int, Reader] = {}
        for at, size in _steps(start, end):
            piece = original.take(size) * gain.at(at, at + size)[:, None]
            for number, one in enumerate(inside):
                first, last = max(one.start, at), min(one.end, at + size)
                if first < last:
                    if number not in readers:
                        readers[number] = Reader(one.sound)
                    piece[first - at : last - at] += readers[number].take(last - first) * np.float32(one.volume)
                if one.end <= at + size:
                    readers.pop(number, None)
            yield piece


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
    """Speech in a mix, in its rate and channels, from sample `start` to `end`. gain: of the original during it."""

    start: int
    end: int
    sound: Sound
    volume: float
    gain: float


def _unions(placed: Iterable[_Placed]) -> list[tuple[int, int]]:
    """Ranges that inserts cover without a gap, `[start, end)` in samples."""
    stretches: list[tuple[int, int]] = []
    for one in sorted(placed, key=lambda one: one.start):
        if stretches and one.start <= stretches[-1][1]:
            stretches[-1] = stretches[-1][0], max(stretches[-1][1], one.end)
        else:
            stretches.append((one.start, one.end))
    return stretches


@dataclass(frozen=True)
class _Gain:
    """The original's gain: steps with linear ramps inside the inserts.

    usual: without speech. covered: for each covered range its start, its end, and samples with the gains there.
    """

    usual: float
    covered: tuple[tuple[int, int, list[int], list[float]], ...]

    @classmethod
    def of(cls, inside: Sequence[_Placed], usual: float, *, ramp: int) -> _Gain:
        """The gain under some inserts, `usual` at both ends of every covered range."""
        covered = []
        for start, end in _unions(inside):
            here = [one for one in inside if start <= one.start < end]
            edges = sorted({edge for one in here for edge in (one.start, one.end)})
            at, gains, before = [start], [usual], usual
            for left, right in pairwise(edges):
                gain = min(one.gain for one in here if one.start <= left < one.end)
                slope = min(ramp, (right - left) // 2)
                at += [left, left + slope, right - slope if right == end else right]
                gains += [before, gain, gain]
                before = gain
            covered.append((start, end, [*at, end], [*gains, usual]))
        return cls(usual, tuple(covered))

    def at(self, first: int, last: int) -> Float32Array:
        """(last - first,) gains."""
        gain = np.full(last - first, self.usual, np.float32)
        for start, end, at, gains in self.covered:
            left, right = max(start, first), min(end, last)
            if left < right:
                gain[left - first : right - first] = np.interp(np.arange(left, right), at, gains)
        return gain


def _steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where each piece from `start` to `end` begins, and its size."""
    return ((at, min(PIECE, end - at)) for at in range(start, end, PIECE))


def _limited(pieces: Iterable[Samples], reach: int) -> Iterator[Samples]:
    """The samples of a stretch with peaks reduced to the ceiling by a gain that changes smoothly over `reach` samples
    each way."""
    around = 2 * reach  # samples to either side on which a gain depends
    known: list[Samples] = []
    done = 0  # samples of `known` that were given out
    for piece in chain(pieces, [None]):
        known += [] if piece is None else [piece]
        if not known:
            return
        joined = known[0] if len(known) == 1 else np.concatenate(known)
        stop = len(joined) if piece is None else max(len(joined) - around, done)
        if stop > done:
            yield _held_down(joined, reach)[done:stop]
        first = max(stop - around, 0)
        known, done = [joined[first:]], stop - first


def _held_down(samples: Samples, reach: int) -> Samples:
    """`samples` with the limiter's gain.

    Each sample first takes the smallest gain needed within `reach`. The weighted mean of these gains over the same
    reach never exceeds the gain that a sample needs.
    """
    peaks = np.abs(samples).max(axis=1)
    if peaks.max(initial=0.0) <= _CEILING:
        return samples
    needed = np.minimum(1.0, _CEILING / np.maximum(peaks, 1e-9)).astype(np.float64)
    window: Float64Array = np.hanning(2 * reach + 3)[1:-1]
    held = minimum_filter1d(needed, 2 * reach + 1, mode="nearest")
    gain = np.minimum(convolve1d(held, window / window.sum(), mode="nearest"), needed)
    limited: Samples = (samples * gain[:, None]).astype(np.float32)
    return limited
