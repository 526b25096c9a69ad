"""Augmentation that makes clean synthetic speech resemble people in rooms. It works on mel power, where it is cheap.

All functions take and return power (B, N, 80): B crops of N rows.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from duikou.arrays import Float64Array
from duikou.speech.features import BANDS

Generator = np.random.Generator

LONGEST_STRETCH = 1.5  # rows of a crop that one row of the stretched crop may span


def augment(power: Float64Array, others: Float64Array, rng: Generator) -> Float64Array:
    """Vary throat, room, microphone and background. others: (B, N, 80) speech of other people."""
    power = power / (power.mean((1, 2), keepdims=True) + 1e-12)
    others = others / (others.mean((1, 2), keepdims=True) + 1e-12)
    power = smear(warp_formants(power, rng), rng)
    power = power * gain_drift(power, rng) * texture(power, rng)
    power = reverberate(power, rng)
    power = power + noise(power, rng) + music(power, rng) + babble(others, rng)
    power = power * equaliser(power, rng) * hole(power, rng)
    return power + 10.0 ** rng.uniform(-6.0, -2.5, (len(power), 1, 1))


def stretch(power: Float64Array, targets: Float64Array, rows: int, rng: Generator) -> tuple[Float64Array, Float64Array]:
    """Crops (B, M, c) played faster or slower and unevenly, as (B, rows, c); M must be `LONGEST_STRETCH` times `rows`.

    The tempo of synthesizers is constant; that of people is not.
    """
    crops, given = power.shape[:2]
    tempo = np.exp(_knotted(rng, crops, 8, rows, 0.15) + rng.uniform(-0.2, 0.2, (crops, 1)))
    at = np.cumsum(np.clip(tempo, 0.6, LONGEST_STRETCH), 1)
    at = np.clip(at - at[:, :1], 0, given - 1.001)
    low = at.astype(int)
    share, crop = (at - low)[..., None], np.arange(crops)[:, None]
    fast, values = power[crop, low] * (1 - share) + power[crop, low + 1] * share, targets[crop, low] * (1 - share)
    return fast, values + targets[crop, low + 1] * share


def warp_formants(power: Float64Array, rng: Generator) -> Float64Array:
    """Scale and shift the spectrum along the mel axis: throats 15 % shorter to 18 % longer."""
    stretch, shift = rng.uniform(0.85, 1.18, (len(power), 1)), rng.uniform(-2.0, 2.0, (len(power), 1))
    at = np.clip(np.arange(BANDS) * stretch + shift, 0, BANDS - 1.001)
    low = at.astype(int)
    share = (at - low)[:, None, :]
    rows = np.arange(len(power))[:, None, None]
    columns = np.arange(power.shape[1])[None, :, None]
    return power[rows, columns, low[:, None, :]] * (1 - share) + power[rows, columns, low[:, None, :] + 1] * share


def smear(power: Float64Array, rng: Generator) -> Float64Array:
    """Blur formants and harmonics of half of the crops: breathy, nasal, hoarse."""
    for crop in np.flatnonzero(rng.random(len(power)) < 0.5):
        power[crop] = gaussian_filter1d(power[crop], rng.uniform(0.3, 1.5), axis=1)
    return power


def texture(power: Float64Array, rng: Generator) -> Float64Array:
    """Small random gains in time and frequency, 0 to 4 dB: no two periods of a real voice are alike."""
    field = gaussian_filter1d(gaussian_filter1d(rng.normal(0, 1, power.shape), 2.0, axis=2), 1.5, axis=1)
    return np.exp(rng.uniform(0.0, 1.0, (len(power), 1, 1)) * field / field.std())


def hole(power: Float64Array, rng: Generator) -> Float64Array:
    """Gains (B, 1, 80) that remove up to a quarter of the spectrum in 30 % of the crops: no single cue is reliable."""
    out = np.ones((len(power), 1, BANDS))
    for crop in np.flatnonzero(rng.random(len(power)) < 0.3):
        start, width = rng.integers(0, BANDS), rng.integers(2, BANDS // 4)
        out[crop, :, start : start + width] = 10.0 ** rng.uniform(-4, -1)
    return out


def gain_drift(power: Float64Array, rng: Generator) -> Float64Array:
    """Gains (B, N, 1) of people who come nearer and move away: up to about 6 dB over a crop."""
    return _curve(rng, len(power), 4, power.shape[1], 0.6)[..., None]


def reverberate(power: Float64Array, rng: Generator) -> Float64Array:
    """Add a room to 60 % of the crops: an exponential tail of 20 to 200 ms, duller than the direct sound."""
    from scipy.signal import lfilter  # takes half a second

    dull = np.exp(-np.linspace(0, 1, BANDS))
    for crop in np.flatnonzero(rng.random(len(power)) < 0.6):
        decay, level = np.exp(-1 / rng.uniform(2.0, 20.0)), rng.uniform(0.01, 0.25)
        power[crop] += level * dull * lfilter([0.0, 1.0], [1.0, -decay], power[crop], axis=0)
    return power


def noise(power: Float64Array, rng: Generator) -> Float64Array:
    """Coloured noise 3 to 45 dB below the speech in 85 % of the crops; a third of it rises and falls."""
    crops, rows, _ = power.shape
    colour = _curve(rng, crops, 8, BANDS, 1.5)[:, None, :]
    swell = _curve(rng, crops, 6, rows, 1.0)[:, :, None]
    swell = np.where(rng.random((crops, 1, 1)) < 0.33, swell, 1.0)
    level = _level(rng, crops, 0.85, 3.0, 45.0)
    return level * colour * swell * rng.gamma(2.0, 0.5, power.shape)


def music(power: Float64Array, rng: Generator) -> Float64Array:
    """Chords 5 to 30 dB below the speech in a quarter of the crops: harmonics with attack, hold and decay."""
    out = np.zeros_like(power)
    rows = power.shape[1]
    for crop in np.flatnonzero(rng.random(len(power)) < 0.25):
        for _ in range(rng.integers(3, 14)):
            start, length = int(rng.integers(-60, rows)), int(rng.integers(15, 150))
            hz = 55.0 * 2.0 ** rng.uniform(0, 4) * np.arange(1, 20)
            mel = 2595.0 * np.log10(1 + hz / 700.0)
            bands = np.round(mel / 2840.0 * BANDS).astype(int) - 2
            keep = (bands >= 0) & (bands < BANDS)
            tone = np.zeros(BANDS)
            np.add.at(tone, bands[keep], np.exp(-rng.uniform(0.1, 0.8) * np.arange(19))[keep])
            held = np.exp(-np.arange(length) / rng.uniform(8.0, 120.0))
            first, last = max(start, 0), min(start + length, rows)
            if last > first:
                out[crop, first:last] += held[first - start : last - start, None] * gaussian_filter1d(tone, 0.7)
        out[crop] /= out[crop].mean() + 1e-12
    return out * 10.0 ** (-rng.uniform(5.0, 30.0, (len(power), 1, 1)) / 10)


def babble(others: Float64Array, rng: Generator) -> Float64Array:
    """One to three other speakers 8 to 30 dB below the speech, in a third of the crops."""
    crowd = sum(np.roll(others, int(step), axis=0) for step in rng.integers(1, len(others) + 1, rng.integers(1, 4)))
    return np.asarray(crowd * _level(rng, len(others), 0.33, 8.0, 30.0))


def equaliser(power: Float64Array, rng: Generator) -> Float64Array:
    """Gains (B, 1, 80) of microphone and file format; a tenth are telephones or low-rate files."""
    colour = _curve(rng, len(power), 6, BANDS, 1.2)
    for crop in np.flatnonzero(rng.random(len(power)) < 0.1):
        colour[crop, rng.integers(45, 72) :] *= 1e-4
        colour[crop, : rng.integers(0, 8)] *= 1e-3
    return np.asarray(colour[:, None, :])


def _knotted(rng: Generator, count: int, knots: int, length: int, spread: float) -> Float64Array:
    """`count` smooth random lines (count, length) through normal knots of that spread."""
    grid = np.linspace(0, knots - 1, length)
    return np.stack([np.interp(grid, np.arange(knots), rng.normal(0, spread, knots)) for _ in range(count)])


def _curve(rng: Generator, count: int, knots: int, length: int, spread: float) -> Float64Array:
    """`count` smooth random gains (count, length), log-normal with that spread in nepers of power."""
    return np.exp(_knotted(rng, count, knots, length, spread))


def _level(rng: Generator, crops: int, share: float, nearest_db: float, farthest_db: float) -> Float64Array:
    """Gains (crops, 1, 1): between these levels, in dB down, in that share of the crops; 0 in the others."""
    gain = 10.0 ** (-rng.uniform(nearest_db, farthest_db, (crops, 1, 1)) / 10)
    return np.where(rng.random((crops, 1, 1)) < share, gain, 0.0)
