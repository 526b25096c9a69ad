"""Input features of the articulation network: log-mel power, normalised for level and microphone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import soxr

from duikou.arrays import Float32Array, Float64Array

LoudLevel = np.floating | Float32Array | Float64Array
"""The mean power of loud frames, one number or one for each recording."""

RATE = 16_000  # samples per second: speech articulation lies below 8 kHz
HOP = 160  # samples, 10 ms: a closure of two video frames still spans six rows
FRAME_RATE = RATE // HOP  # rows per second
WINDOW = 400  # samples, 25 ms: usual in speech recognition
FFT = 512  # samples, the next power of two
BANDS = 80  # mel bands: they resolve formants, but not single harmonics of low voices
LOW_HZ, HIGH_HZ = 50.0, 7600.0
FLOOR = 1e-5  # of the mean power of loud frames: -50 dB, below the noise of any room
LOUD_PERCENTILE = 95.0  # the level is taken from loud frames, so pauses do not change it
CONTEXT = 150  # rows to either side for a voice's mean spectrum, 1.5 s: about two words
SPREAD_GUARD = 0.8  # log units added to the spread, so that steady noise is not amplified until it looks like speech
ROWS = 4096  # rows per Fourier transform, to limit memory


def resample(samples: Float32Array, rate: int) -> Float32Array:
    """Mono audio (n,) at `rate` resampled to 16 kHz: (n * 16000 / rate,) float32."""
    samples = np.ascontiguousarray(samples, np.float32)
    return samples if rate == RATE else soxr.resample(samples, rate, RATE).astype(np.float32)


def mel_power(samples: Float32Array) -> Float32Array:
    """Power in mel bands (N, 80) of mono audio (n,) at 16 kHz; row k is centred on sample 160 k, N = 1 + n // 160."""
    return np.concatenate(list(mel_parts([samples])))


def mel_parts(pieces: Iterable[Float32Array]) -> Iterator[Float32Array]:
    """The rows of `mel_power` of consecutive pieces of audio, up to `ROWS` at a time."""
    window, bank = np.hanning(WINDOW).astype(np.float32), _mel_bank()
    ahead, total, done = np.zeros(WINDOW // 2, np.float32), 0, 0
    for piece in chain(pieces, [None]):
        if piece is None:
            ahead = np.concatenate([ahead, np.zeros(WINDOW // 2 + HOP, np.float32)])
        else:
            ahead, total = np.concatenate([ahead, piece]), total + len(piece)
        while True:
            last = 1 + total // HOP - done if piece is None else ROWS
            count = min(ROWS, last)
            if count <= 0 or len(ahead) < (count - 1) * HOP + WINDOW:
                break
            frames = np.lib.stride_tricks.sliding_window_view(ahead, WINDOW)[::HOP][:count]
            power = np.abs(np.fft.rfft(frames * window, FFT, axis=1)) ** 2 @ bank
            yield power.astype(np.float32)
            ahead, done = ahead[count * HOP :], done + count


def normalise(power: Float32Array, level: LoudLevel | None = None) -> Float32Array:
    """Mel power (..., N, 80) normalised as the network expects it, same shape.

    First the level is removed (division by the power of the loud frames). Then, in log, the mean spectrum and the
    spread of the 3 s around each row are removed, with more weight on loud rows: the colour of voice, room and
    microphone. Scaling the audio changes nothing.
    level: the power of the loud frames of a longer recording of which these rows are a part.
    """
    energy = power.mean(-1)
    loud = np.asarray(loud_level(energy) if level is None else level)[..., None, None]
    log = np.log(power / np.maximum(loud, 1e-20) + FLOOR)
    weight = np.sqrt(energy[..., None] / np.maximum(loud, 1e-20)) + 1e-2
    total = _running_sum(weight)
    mean = _running_sum(log * weight) / total
    spread = np.sqrt(np.maximum(_running_sum(log**2 * weight) / total - mean**2, 0.0))
    return np.asarray((log - mean) / (spread * 0.5 + SPREAD_GUARD), np.float32)


def loud_level(energy: Float32Array) -> LoudLevel:
    """The mean power of loud frames (...), from that of all frames (..., N)."""
    return np.percentile(energy, LOUD_PERCENTILE, axis=-1)


def loudness(energy: Float32Array) -> Float32Array:
    """Loudness (N,) in dB of rows with the mean power `energy` (N,), relative to that of loud frames; 0 dB is loud."""
    return np.asarray(10.0 * np.log10(energy / np.maximum(loud_level(energy), 1e-20) + FLOOR), np.float32)


def _running_sum(values: Float32Array) -> Float64Array:
    """Sums of (..., N, c) over `CONTEXT` rows to either side, fewer at the ends."""
    rows = values.shape[-2]
    sums = np.cumsum(values, axis=-2, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[..., :1, :]), sums], axis=-2)
    at = np.arange(rows)
    last, first = np.minimum(at + CONTEXT + 1, rows), np.maximum(at - CONTEXT, 0)
    return np.asarray(sums[..., last, :] - sums[..., first, :], np.float64)


def _mel_bank() -> Float32Array:
    """Triangular filters (FFT / 2 + 1, BANDS), evenly spaced in mel (O'Shaughnessy 1987: 2595 log10(1 + f / 700))."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (LOW_HZ, HIGH_HZ))
    corners = 700.0 * (10.0 ** (np.linspace(low, high, BANDS + 2) / 2595.0) - 1.0) * FFT / RATE
    bins = np.arange(FFT // 2 + 1)[:, None]
    # A filter narrower than a bin still takes the bin that contains it.
    rise = (bins - corners[:-2]) / np.maximum(corners[1:-1] - corners[:-2], 1.0)
    fall = (corners[2:] - bins) / np.maximum(corners[2:] - corners[1:-1], 1.0)
    return np.clip(np.minimum(rise, fall), 0.0, 1.0).astype(np.float32)
