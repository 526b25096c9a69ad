"""Sound that is read in pieces, so that its length takes no memory, and its conversion to other rates and channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr

from duikou.media import downmix
from duikou.media.downmix import STEREO, Samples
from duikou.timebase import samples_to_ms

PIECE: Final = 1 << 16  # samples of each channel: more than a second, half a megabyte of stereo


class Sound(ABC):
    """A stretch of sound. It can be read from its beginning as often as wanted, and holds no open file.

    rate: samples per second. channels: their number. Its length, `len`, is in samples of one channel.
    """

    rate: int
    channels: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def pieces(self) -> Iterator[Samples]:
        """The samples in order, (n, C) float32 at a time, full scale is 1. Raises `MediaError` for a damaged file."""

    @property
    def duration_ms(self) -> int:
        """Length in ms."""
        return samples_to_ms(len(self), self.rate)

    def converted(self, *, rate: int | None = None, channels: int | None = None) -> Sound:
        """The same sound at another rate (soxr, high quality, no delay) and with another number of channels."""
        sound: Sound = self
        if channels not in (None, self.channels):
            sound = _Remixed(sound, channels)
        return sound if rate in (None, self.rate) else _Resampled(sound, rate)

    def mapped(self, function: Callable[[Samples], Samples]) -> Sound:
        """The same sound with `function` applied to its samples, which treats each of them alone."""
        return _Mapped(self, function)

    def held(self) -> Audio:
        """The same sound in memory."""
        return Audio(np.concatenate([np.zeros((0, self.channels), np.float32), *self.pieces()]), self.rate)

    def peak(self) -> float:
        """The largest absolute sample. Reads the whole sound."""
        return max((float(np.abs(piece).max(initial=0.0)) for piece in self.pieces()), default=0.0)


@dataclass(frozen=True)
class Audio(Sound):
    """Sound in memory. samples: (n, C) float32, full scale is 1. rate: samples per second."""

    samples: Samples
    rate: int

    @property
    def channels(self) -> int:  # type: ignore[override]
        """Number of channels."""
        return int(self.samples.shape[1])

    def __len__(self) -> int:
        return len(self.samples)

    def pieces(self) -> Iterator[Samples]:
        """See `Sound.pieces`."""
        return (self.samples[start : start + PIECE] for start in range(0, len(self.samples), PIECE))

    def held(self) -> Audio:
        """See `Sound.held`."""
        return self


@dataclass(frozen=True)
class _Remixed(Sound):
    """A sound with another number of channels."""

    source: Sound
    channels: int

    @property
    def rate(self) -> int:  # type: ignore[override]
        return self.source.rate

    def __len__(self) -> int:
        return len(self.source)

    def pieces(self) -> Iterator[Samples]:
        pieces = self.source.pieces()
        if self.channels == 1:
            mixer = downmix.Mixer(self.rate)
            return (mixer.mono(stretch) for stretch in blocks(pieces, downmix.STRETCH_S * self.rate))
        return (widened(piece, self.channels) for piece in pieces)


@dataclass(frozen=True)
class _Resampled(Sound):
    """A sound at another rate."""

    source: Sound
    rate: int

    @property
    def channels(self) -> int:  # type: ignore[override]
        return self.source.channels

    def __len__(self) -> int:
        return int(len(self.source) * self.rate / self.source.rate + 0.5)

    def pieces(self) -> Iterator[Samples]:
        """Bit for bit what `soxr.resample` makes of the whole."""
        stream = soxr.ResampleStream(self.source.rate, self.rate, self.channels, dtype="float32")
        for piece in self.source.pieces():
            yield stream.resample_chunk(np.ascontiguousarray(piece))
        yield stream.resample_chunk(np.zeros((0, self.channels), np.float32), last=True)


@dataclass(frozen=True)
class _Mapped(Sound):
    """A sound whose samples are changed one by one."""

    source: Sound
    function: Callable[[Samples], Samples]

    @property
    def rate(self) -> int:  # type: ignore[override]
        return self.source.rate

    @property
    def channels(self) -> int:  # type: ignore[override]
        return self.source.channels

    def __len__(self) -> int:
        return len(self.source)

    def pieces(self) -> Iterator[Samples]:
        return (self.function(piece) for piece in self.source.pieces())


@dataclass(frozen=True)
class Joined(Sound):
    """Sounds of one rate and width after each other, with silence between them.

    parts: each with the sample at which it begins, in order. A part ends where the next one begins. total: the length.
    """

    parts: tuple[tuple[int, Sound], ...]
    total: int

    @property
    def rate(self) -> int:  # type: ignore[override]
        """Samples per second."""
        return self.parts[0][1].rate

    @property
    def channels(self) -> int:  # type: ignore[override]
        """Number of channels."""
        return self.parts[0][1].channels

    def __len__(self) -> int:
        return self.total

    def pieces(self) -> Iterator[Samples]:
        """See `Sound.pieces`."""
        yield from silence(self.parts[0][0], self.channels)
        ends = [start for start, _ in self.parts[1:]]
        for (start, sound), end in zip(self.parts, [*ends, self.total], strict=True):
            reader = Reader(sound)
            for at in range(start, end, PIECE):
                yield reader.take(min(PIECE, end - at))


class Reader:
    """Takes the samples of a sound one after the other; after its end comes silence."""

    def __init__(self, sound: Sound) -> None:
        self._pieces = sound.pieces()
        self._left = np.zeros((0, sound.channels), np.float32)

    def take(self, count: int) -> Samples:
        """The next `count` samples, (count, C), as an array of its own."""
        out = np.zeros((count, self._left.shape[1]), np.float32)
        done = 0
        while done < count:
            while not len(self._left):
                piece = next(self._pieces, None)
                if piece is None:
                    return out
                self._left = piece
            part = self._left[: count - done]
            out[done : done + len(part)] = part
            self._left = self._left[len(part) :]
            done += len(part)
        return out


def blocks(pieces: Iterable[Samples], size: int) -> Iterator[Samples]:
    """The same samples in pieces of `size`, of which the last may be shorter."""
    waiting: list[Samples] = []
    count = 0
    for piece in pieces:
        rest = piece
        while count + len(rest) >= size:
            cut = size - count
            yield np.concatenate([*waiting, rest[:cut]])
            waiting, count, rest = [], 0, rest[cut:]
        if len(rest):
            waiting.append(rest)
            count += len(rest)
    if waiting:
        yield np.concatenate(waiting)


def silence(count: int, channels: int) -> Iterator[Samples]:
    """`count` silent samples, in pieces."""
    for start in range(0, count, PIECE):
        yield np.zeros((min(PIECE, count - start), channels), np.float32)


def widened(samples: Samples, channels: int) -> Samples:
    """(n, C) samples with `channels` columns, at least two: mono goes to left and right, other columns are silent."""
    if samples.shape[1] == channels:
        return samples
    wide = np.zeros((len(samples), channels), np.float32)
    wide[:, :STEREO] = samples[:, :STEREO]
    return wide
