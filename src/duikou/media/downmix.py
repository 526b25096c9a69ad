"""Mixes channels to fewer ones, and keeps the sound that such a mix would cancel."""

from __future__ import annotations

from itertools import groupby
from typing import Final

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from duikou.arrays import Float32Array, Float64Array, IntArray

Samples = Float32Array
"""(n, C) audio, full scale is 1."""

STEREO: Final = 2
STRETCH_S: Final = 5  # seconds that are mixed at a time: long against a block, little memory
_BLOCK_S: Final = 0.05  # seconds: a syllable has several blocks
_NEAR: Final = 21  # blocks around a block, about a second, whose sound is compared
_SHARE: Final = 1 / 6  # of the power near a block that must be lost: less may be chance in ordinary stereo
_PAUSE: Final = 10 ** (-26 / 10)  # of the greatest power near a block: noise between words
_LOST: Final = 10 ** (-9 / 10)  # power. One silent channel of two leaves -6 dB, independent ones leave -3 dB
_FOLLOW: Final = 10 ** (-6 / 10)  # power that a chosen channel may lose before another one is chosen
_AUDIBLE: Final = 10 ** (-60 / 10)  # power, relative to full scale
_LOW_HZ: Final = 80  # offsets and rumble do not count: voices begin above it, subwoofers' channels mostly end there
_RAMP_S: Final = 0.01  # long enough that a change does not click
_MIX: Final = -1  # in place of the number of a channel


def mono(samples: Samples, rate: int) -> Samples:
    """(n, 1) the mean of the channels. Where that is far weaker than a channel, as with a channel that is the negative
    of another one, it is the strongest channel."""
    mixer, step = Mixer(rate), STRETCH_S * rate
    stretches = [mixer.mono(samples[start : start + step]) for start in range(0, len(samples), step)]
    return np.concatenate([np.zeros((0, 1), np.float32), *stretches])


class Mixer:
    """Puts the strongest channel where a mix has lost it, in successive stretches of one recording."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._choice = _MIX
        self._began = False

    def mono(self, source: Samples) -> Samples:
        """(n, 1) the mean of the channels of a source (n, C), mended."""
        return self.mend(source.mean(axis=1, keepdims=True, dtype=np.float32), source)

    def mend(self, mix: Samples, source: Samples) -> Samples:
        """The mix (n, K) of a source (n, C), with the strongest channel of the source in each column where it is lost.

        Where nothing is lost the mix is unchanged, bit for bit.
        """
        size = max(round(_BLOCK_S * self._rate), 1)
        if not len(mix):
            return mix
        before, choices = self._choice, self._choices(mix, source, size)
        if before == _MIX and not (choices != _MIX).any():
            self._began = True
            return mix
        out, at = mix.copy(), 0
        for choice, run in groupby(choices.tolist()):
            end = min(at + len(list(run)) * size, len(mix))
            out[at:end] = _signal(choice, mix, source, at, end)
            if choice != before and (at or self._began):
                _blend(out[at:end], _signal(before, mix, source, at, end), round(_RAMP_S * self._rate))
            before, at = choice, end
        self._choice, self._began = before, True
        return out

    def _choices(self, mix: Samples, source: Samples, size: int) -> IntArray:
        """(B,) for each block the channel to take, or `_MIX`. Pauses go on as what comes before them."""
        strength, left = _powers(source, size, self._rate), _powers(mix, size, self._rate).max(axis=1)
        most = strength.max(axis=1)
        pause = most <= np.maximum(_AUDIBLE, _PAUSE * maximum_filter1d(most, _NEAR))
        taken = (left < _LOST * most) & ~pause
        near = uniform_filter1d(np.where(taken, most, 0), _NEAR), uniform_filter1d(most, _NEAR)
        taken &= near[0] > _SHARE * near[1]
        choices, choice = np.full(len(most), _MIX), self._choice
        for block in range(len(most)) if taken.any() or choice != _MIX else ():
            if not (taken[block] or pause[block]):
                choice = _MIX
            elif taken[block] and (choice == _MIX or strength[block, choice] < _FOLLOW * most[block]):
                choice = int(strength[block].argmax())
            choices[block] = choice
        return choices


def _powers(samples: Samples, size: int, rate: int) -> Float64Array:
    """(B, C) mean power of each channel above `_LOW_HZ` in blocks of `size` samples."""
    blocks = -(-len(samples) // size)
    whole = np.zeros((blocks * size, samples.shape[1]), np.float32)
    whole[: len(samples)] = samples
    shaped = whole.reshape(blocks, size, -1) * np.hanning(size + 2)[1:-1, None].astype(np.float32)
    spectrum = np.abs(np.fft.rfft(shaped, axis=1)) ** 2
    low = -(-_LOW_HZ * size // rate)
    # Parseval; the window lets 3/8 of the power through.
    return np.asarray(2 * spectrum[:, low:].sum(axis=1) / (3 / 8 * size**2), np.float64)


def _signal(choice: int, mix: Samples, source: Samples, at: int, end: int) -> Samples:
    return mix[at:end] if choice == _MIX else np.repeat(source[at:end, choice : choice + 1], mix.shape[1], axis=1)


def _blend(samples: Samples, before: Samples, ramp: int) -> None:
    """Let `before` pass into the samples over `ramp` samples, in place."""
    count = min(ramp, len(samples))
    share = np.linspace(1, 0, count, endpoint=False, dtype=np.float32)[:, None]
    samples[:count] += share * (before[:count] - samples[:count])
