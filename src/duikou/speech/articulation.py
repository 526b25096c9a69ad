"""Speech to mouth motion: features, network, silence, and the rules that make a mouth of it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from duikou.arrays import Float32Array, smoothstep
from duikou.errors import InputError
from duikou.speech.features import FRAME_RATE, loudness, mel_power, normalise, resample
from duikou.speech.motion import CURVES, MouthMotion
from duikou.speech.network import raw_curves
from duikou.speech.silence import voice_curve, voice_probability

LIP_LEAD_S = 0.03  # real lips lead the sound: the lag that fits measured mouths best (docs/models/articulation.md)
# Trained on squared error, the network hedges: this brings its 95th percentile on held-out voices to the targets'.
STRETCH = {"gap": 1.2, "jaw": 1.1, "width": 1.2, "round": 1.2}
# Measured mouths differ from what it says of the gap (docs/models/articulation.md): spread lips part further, rounded
# ones less, by this share of width and rounding, where it hedges most.
SPREAD_PARTS = 0.3
CLOSED_FROM, CLOSED_AT = 0.28, 0.48  # height of a closure's peak from which the lips approach, and meet
DENTAL_FROM, DENTAL_AT = 0.35, 0.55  # likewise for the lower lip and the teeth
DENTAL_SHUTS = 0.7  # of the gap, when the lower lip lies at the upper teeth: measured lips keep a quarter to a half
PEAK_ROWS = 11  # a peak is the highest of 50 ms to either side: closures follow each other no faster
SHOULDER_FROM, SHOULDER_AT = 0.45, 0.80  # shares of its peak between which a closure begins and is whole
GAP_ROWS = 3.5  # lips are slower than the network's ripple; r with measured lips is highest near this
SMOOTH_ROWS = 1.0  # 10 ms: takes the network's ripple away and leaves a closure of two video frames shut
QUIET_DB, QUIET_GAIN = -25.0, 0.75  # a vowel 25 dB below the loud ones opens three quarters as far
LOUD_GAIN = 1.1
HELD_ROWS, PART_ROWS = 3, 2.0  # closure is spread by 10 ms to either side and blurred by 20: soft edges, same core
SYLLABLE_ROWS = 6.0  # loudness is that of the syllable, not of the glottal pulse
AUDIBLE = 1e-5  # of full scale: a sound that never exceeds -100 dB is silence
MAX_RATE = 768_000  # samples per second that any sound file has

_GAP, _JAW, _WIDTH, _ROUND, _CLOSURE, _DENTAL, _TONGUE, _VOICE = range(len(CURVES))


def articulate(samples: Float32Array, rate: int) -> MouthMotion:
    """Mouth motion at 100 rows per second of mono sound `samples` (n,) float32 in -1 to 1 at `rate` per second.

    The motion is on the sound's own time line and already leads the sound as lips do (`LIP_LEAD_S`): sample it at
    the video's times. Louder or quieter recordings of the same speech move the mouth alike. Without speech it rests.
    Raises `InputError` for what is not such a sound, `ModelError` where the voice detector's file is missing.
    """
    _check(samples, rate)
    rows = 1 + int(len(samples) * FRAME_RATE / rate) if len(samples) else 0
    peak = float(np.abs(samples).max(initial=0.0))
    if rows == 0 or peak < AUDIBLE:
        return MouthMotion(np.zeros((rows, len(CURVES)), np.float32), float(FRAME_RATE), -LIP_LEAD_S)
    # The voice detector minds the level, so it hears everything at the same peak.
    sound = resample(np.asarray(samples, np.float32) * np.float32(0.5 / peak), rate)
    power = mel_power(sound)
    curves = raw_curves(normalise(power))
    voice = voice_curve(voice_probability(sound), curves[:, _VOICE])
    return MouthMotion(_mouth(curves, voice, loudness(power)), float(FRAME_RATE), -LIP_LEAD_S)


def _check(samples: Float32Array, rate: int) -> None:
    if not 0 < rate <= MAX_RATE:
        raise InputError(f"{rate} samples per second is not between 1 and {MAX_RATE}", field="rate")
    if samples.ndim != 1:
        raise InputError(f"the shape {samples.shape} is not that of mono audio, (n,)", field="samples")
    if not np.isfinite(samples).all():
        raise InputError(f"{int((~np.isfinite(samples)).sum())} values are not finite numbers", field="samples")


def _mouth(raw: Float32Array, voice: Float32Array, level: Float32Array) -> Float32Array:
    """Final curves (N, len(CURVES)) of the network's, given where speech is and how loud each row is in dB."""
    curves = gaussian_filter1d(raw, SMOOTH_ROWS, axis=0, mode="nearest")
    parted = raw[:, _GAP] + SPREAD_PARTS * (raw[:, _WIDTH] - raw[:, _ROUND])
    curves[:, _GAP] = gaussian_filter1d(parted, GAP_ROWS, mode="nearest")
    curves *= np.array([STRETCH.get(name, 1.0) for name in CURVES], np.float32)
    effort = np.interp(
        gaussian_filter1d(level, SYLLABLE_ROWS, mode="nearest"), [QUIET_DB, 0.0], [QUIET_GAIN, LOUD_GAIN]
    )
    curves[:, _CLOSURE] = _reached(curves[:, _CLOSURE], CLOSED_FROM, CLOSED_AT)
    curves[:, _DENTAL] = _reached(curves[:, _DENTAL], DENTAL_FROM, DENTAL_AT)
    # Lips need about 50 ms to part, however sudden the burst; they stay shut as long as before.
    shut = gaussian_filter1d(maximum_filter1d(curves[:, _CLOSURE], HELD_ROWS), PART_ROWS, mode="nearest")
    curves[:, _DENTAL] *= 1.0 - shut  # lips that meet are not at the teeth
    curves[:, _GAP] *= effort * (1.0 - shut) * (1.0 - DENTAL_SHUTS * curves[:, _DENTAL])
    curves[:, _JAW] *= effort
    lowest = np.array([-1.0 if name == "width" else 0.0 for name in CURVES])
    curves = np.clip(curves, lowest, 1.0) * voice[:, None]
    curves[:, _VOICE] = voice
    return np.asarray(curves, np.float32)


def _reached(chance: Float32Array, start: float, end: float) -> Float32Array:
    """Gestures (N,) that are made wholly or not at all, of how likely they are: half a p is seen as a fault."""
    peak = np.asarray(maximum_filter1d(chance, PEAK_ROWS), np.float32)
    shoulder = (chance / np.maximum(peak, start) - SHOULDER_FROM) / (SHOULDER_AT - SHOULDER_FROM)
    return np.asarray(smoothstep(shoulder) * smoothstep((peak - start) / (end - start)), np.float32)
