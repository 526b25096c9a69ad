"""Speech to mouth motion: features, network, silence, and rules that turn the network's curves into a mouth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from duikou.arrays import Float32Array, smoothstep
from duikou.errors import InputError
from duikou.media.sound import Audio, Sound
from duikou.speech.features import BANDS, CONTEXT, FRAME_RATE, RATE, loud_level, loudness, mel_parts, normalise
from duikou.speech.motion import CURVES, MouthMotion
from duikou.speech.network import REACH as NETWORK_REACH
from duikou.speech.network import raw_curves
from duikou.speech.silence import voice_curve, voice_probability

LIP_LEAD_S = 0.03  # real lips lead the sound: the lead that fits measured mouths best (docs/models/articulation.md)
# Trained on squared error, the network hedges: these factors bring its 95th percentile on held-out voices to that of
# the targets.
STRETCH = {"gap": 1.2, "jaw": 1.1, "width": 1.2, "round": 1.2}
# Share of width and rounding by which spread lips part further than the network's gap and rounded lips less, as in
# measured mouths (docs/models/articulation.md); there it hedges most.
SPREAD_PARTS = 0.3
CLOSED_FROM, CLOSED_AT = 0.28, 0.48  # height of a closure's peak from which the lips close, and at which they meet
DENTAL_FROM, DENTAL_AT = 0.35, 0.55  # the same for the lower lip and the teeth
DENTAL_SHUTS = 0.7  # share of the gap that f and v close: measured lips keep a quarter to a half
PEAK_ROWS = 11  # a peak is the highest within 50 ms to either side: closures do not follow each other faster
SHOULDER_FROM, SHOULDER_AT = 0.45, 0.80  # shares of its peak at which a closure begins and is complete
GAP_ROWS = 3.5  # lips are slower than the network's ripple; r with measured lips is highest near this value
SMOOTH_ROWS = 1.0  # 10 ms: removes the network's ripple and keeps a closure of two video frames shut
QUIET_DB, QUIET_GAIN = -25.0, 0.75  # a vowel 25 dB below loud ones opens three quarters as far
LOUD_GAIN = 1.1
HELD_ROWS, PART_ROWS = (
    3,
    2.0,
)  # a closure is widened by 10 ms to either side and blurred by 20 ms: soft edges, same core
SYLLABLE_ROWS = 6.0  # loudness of the syllable, not of the glottal pulse
AUDIBLE = 1e-5  # of full scale: audio that never exceeds -100 dB is silence
MAX_RATE = 768_000  # samples per second; no audio file has more

REACH = CONTEXT + NETWORK_REACH  # rows to either side on which the network's curves depend
ROWS_AT_ONCE = 6_000  # rows at a time, a minute, to limit memory
HELD_SAMPLES = 60 * RATE  # shorter sound is read into memory, so that it is resampled once
HELD_MONO = 60 * 48_000  # the same before, so that it is decoded and mixed once: 12 MB

_GAP, _JAW, _WIDTH, _ROUND, _CLOSURE, _DENTAL, _TONGUE, _VOICE = range(len(CURVES))


def articulate(samples: Float32Array, rate: int) -> MouthMotion:
    """The motion of `articulate_sound` for mono audio `samples` (n,) float32 in -1 to 1 at `rate` per second.

    Raises `InputError` for invalid samples or rate, `ModelError` if the voice detector's file is missing.
    """
    if samples.ndim != 1:
        raise InputError(f"the shape {samples.shape} is not that of mono audio, (n,)", field="samples")
    return articulate_sound(Audio(np.asarray(samples, np.float32)[:, None], rate))


def articulate_sound(sound: Sound) -> MouthMotion:
    """Mouth motion at 100 rows per second for a sound, of which the mean of the channels counts.

    The motion is on the time line of the sound and already leads it as lips do (`LIP_LEAD_S`): sample it at the video's
    times. Louder and quieter recordings of the same speech give the same motion. Without speech the mouth rests.
    Long sound is read four times, a minute at a time, and short sound once. Raises `InputError` for invalid samples or
    rate, `ModelError` if the voice detector's file is missing, and what reading the sound raises.
    """
    if not 0 < sound.rate <= MAX_RATE:
        raise InputError(f"{sound.rate} samples per second is not between 1 and {MAX_RATE}", field="rate")
    mono = sound.converted(channels=1)
    if len(mono) <= HELD_MONO:
        mono = mono.held()
    peak, count = 0.0, 0
    for piece in mono.pieces():
        if not np.isfinite(piece).all():
            raise InputError(f"{int((~np.isfinite(piece)).sum())} values are not finite numbers", field="samples")
        peak, count = max(peak, float(np.abs(piece).max(initial=0.0))), count + len(piece)
    rows = 1 + int(count * FRAME_RATE / sound.rate) if count else 0
    if rows == 0 or peak < AUDIBLE:
        return MouthMotion(np.zeros((rows, len(CURVES)), np.float32), float(FRAME_RATE), -LIP_LEAD_S)
    # The voice detector depends on the level, so all audio is scaled to the same peak.
    scale = np.float32(0.5 / peak)
    heard = mono.mapped(lambda piece: piece * scale).converted(rate=RATE)
    if len(heard) <= HELD_SAMPLES:
        heard = heard.held()
    detected = voice_probability(_flat(heard))
    energy = np.concatenate([part.mean(-1) for part in mel_parts(_flat(heard))])
    level = loud_level(energy)
    curves = np.concatenate(
        [raw_curves(normalise(power, level))[own] for power, own in _overlapping(mel_parts(_flat(heard)))]
    )
    voice = voice_curve(detected, curves[:, _VOICE])
    return MouthMotion(_mouth(curves, voice, loudness(energy)), float(FRAME_RATE), -LIP_LEAD_S)


def _flat(sound: Sound) -> Iterator[Float32Array]:
    """The samples of a mono sound, (n,) at a time."""
    return (piece[:, 0] for piece in sound.pieces())


def _overlapping(parts: Iterable[Float32Array]) -> Iterator[tuple[Float32Array, slice]]:
    """Consecutive rows of mel power in pieces of about `ROWS_AT_ONCE`, each with the rows around it on which its motion
    depends; and which rows of the piece are its own."""
    known, before = [np.zeros((0, BANDS), np.float32)], 0  # the first rows of `known` belong to the piece before
    for part in chain(parts, [None]):
        known += [] if part is None else [part]
        size = sum(len(one) for one in known)
        if part is None or size >= before + ROWS_AT_ONCE + 2 * REACH:
            rows = np.concatenate(known)
            stop = size if part is None else size - REACH
            yield rows, slice(before, stop)
            first = max(stop - REACH, 0)
            known, before = [rows[first:]], stop - first


def _mouth(raw: Float32Array, voice: Float32Array, level: Float32Array) -> Float32Array:
    """Final curves (N, len(CURVES)) from those of the network, the voice curve (N,) and the loudness in dB (N,)."""
    curves = gaussian_filter1d(raw, SMOOTH_ROWS, axis=0, mode="nearest")
    parted = raw[:, _GAP] + SPREAD_PARTS * (raw[:, _WIDTH] - raw[:, _ROUND])
    curves[:, _GAP] = gaussian_filter1d(parted, GAP_ROWS, mode="nearest")
    curves *= np.array([STRETCH.get(name, 1.0) for name in CURVES], np.float32)
    effort = np.interp(
        gaussian_filter1d(level, SYLLABLE_ROWS, mode="nearest"), [QUIET_DB, 0.0], [QUIET_GAIN, LOUD_GAIN]
    )
    curves[:, _CLOSURE] = _reached(curves[:, _CLOSURE], CLOSED_FROM, CLOSED_AT)
    curves[:, _DENTAL] = _reached(curves[:, _DENTAL], DENTAL_FROM, DENTAL_AT)
    # Lips need about 50 ms to part, however sudden the burst; the closure keeps its length.
    shut = gaussian_filter1d(maximum_filter1d(curves[:, _CLOSURE], HELD_ROWS), PART_ROWS, mode="nearest")
    curves[:, _DENTAL] *= 1.0 - shut  # closed lips do not touch the teeth
    curves[:, _GAP] *= effort * (1.0 - shut) * (1.0 - DENTAL_SHUTS * curves[:, _DENTAL])
    curves[:, _JAW] *= effort
    lowest = np.array([-1.0 if name == "width" else 0.0 for name in CURVES])
    curves = np.clip(curves, lowest, 1.0) * voice[:, None]
    curves[:, _VOICE] = voice
    return np.asarray(curves, np.float32)


def _reached(chance: Float32Array, start: float, end: float) -> Float32Array:
    """Gestures (N,), made completely or not at all, from their probability (N,): half a p looks wrong."""
    peak = np.asarray(maximum_filter1d(chance, PEAK_ROWS), np.float32)
    shoulder = (chance / np.maximum(peak, start) - SHOULDER_FROM) / (SHOULDER_AT - SHOULDER_FROM)
    return np.asarray(smoothstep(shoulder) * smoothstep((peak - start) / (end - start)), np.float32)
