"""Turn timed phones into the curves that the network learns.

Coarticulation uses dominance functions after Cohen and Massaro (1993): every phone pulls each articulator towards its
target with a strength that decays around the phone; the result is the weighted mean. Rounding starts before the sound
(look-ahead), and bilabials close completely, however open their neighbours are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from duikou.arrays import Float32Array, Float64Array
from duikou.speech.features import FRAME_RATE
from duikou.speech.motion import CURVES
from training.phones import BILABIALS, PHONES, UNSTRESSED, Sound, sounds
from training.speech import Event

LIPS_S = 0.035  # spread of a phone's pull on lips and jaw beyond its core: they cross a syllable in about 100 ms
ROUND_BEFORE_S = 0.100  # rounding is prepared over the consonants before the vowel (look-ahead model)
ROUND_AFTER_S = 0.060
CORE = 0.5  # middle share of a phone within which its pull is full
CLOSED_S = 0.060  # least duration of a closure: two frames at 30 per second
EDGE_S = 0.012  # softness of the edges of closure, teeth and tongue
PAUSE_S = 0.200  # a silence at least this long is rest; a shorter one is bridged
PREPARE_S = 0.100  # the mouth opens this long before the first sound
SETTLE_S = 0.080  # and is back at rest this long after the last
REST_FIRM, BRIDGE_FIRM = 1.5, 0.2  # pull of a pause and of a short silence

_GAP, _JAW, _WIDTH, _ROUND, _CLOSURE, _DENTAL, _TONGUE, _VOICE = range(len(CURVES))


@dataclass(frozen=True)
class _Part:
    """One phone or pause: its time, its targets and firmness (of gap, jaw, width, rounding), and whether it is rest."""

    start_s: float
    end_s: float
    symbol: str
    rest: bool
    target: tuple[float, ...]
    firm: tuple[float, ...]


def curves(events: list[Event], rows: int) -> Float32Array:
    """Curves (rows, len(CURVES)) at 100 rows per second of the speech that `events` describe, in time order."""
    parts = _parts(_merge_silence(events))
    times = np.arange(rows, dtype=np.float64)[:, None] / FRAME_RATE
    out = np.zeros((rows, len(CURVES)))
    if not parts:
        return out.astype(np.float32)
    starts, ends = np.array([p.start_s for p in parts]), np.array([p.end_s for p in parts])
    targets, firm = np.array([p.target for p in parts]), np.array([p.firm for p in parts])
    margin = (ends - starts) * (1.0 - CORE) / 2
    before, after = np.maximum(starts + margin - times, 0.0), np.maximum(times - ends + margin, 0.0)
    lips = np.exp(-0.5 * ((before + after) / LIPS_S) ** 2) + 1e-9
    rounding = np.exp(-0.5 * ((before / ROUND_BEFORE_S) ** 2 + (after / ROUND_AFTER_S) ** 2)) + 1e-9
    for column, pull in ((_GAP, lips), (_JAW, lips), (_WIDTH, rounding), (_ROUND, rounding)):
        strength = pull * firm[:, column]
        out[:, column] = strength @ targets[:, column] / strength.sum(1)
    for part in parts:
        _mark(out, part)
    sigma = EDGE_S * FRAME_RATE
    for column in (_CLOSURE, _DENTAL, _TONGUE):
        out[:, column] = gaussian_filter1d(out[:, column], sigma)
    out[:, _VOICE] = gaussian_filter1d(out[:, _VOICE], 2 * sigma)
    out[:, _GAP] *= 1.0 - out[:, _CLOSURE]
    return np.clip(out, -1.0, 1.0).astype(np.float32)


def timed(event: Event) -> list[tuple[Sound, float, float]]:
    """The sounds of one event, each with its start and end in s: its share of the event's time."""
    spoken = sounds(event.ipa)
    share = np.cumsum([0.0] + [sound.weight for sound in spoken])
    edges = event.start_s + (event.end_s - event.start_s) * share / max(share[-1], 1e-9)
    return list(zip(spoken, edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _merge_silence(events: list[Event]) -> list[Event]:
    """Merge neighbouring silences, so that a pause has its full length."""
    merged: list[Event] = []
    for event in events:
        silent = not sounds(event.ipa)
        if silent and merged and not merged[-1].ipa:
            merged[-1] = Event(merged[-1].start_s, event.end_s, "")
        else:
            merged.append(Event(event.start_s, event.end_s, "" if silent else event.ipa))
    return merged


def _parts(events: list[Event]) -> list[_Part]:
    parts: list[_Part] = []
    for event in events:
        spoken = timed(event)
        if not spoken:
            parts.append(_pause(event))
            continue
        for sound, start, end in spoken:
            phone = PHONES[sound.symbol]
            scale = UNSTRESSED if phone.vowel and not sound.stressed else 1.0
            target = (phone.gap * scale, phone.jaw * scale, phone.width * scale, phone.round)
            firm = (phone.lips_firm, phone.jaw_firm, phone.round_firm, phone.round_firm)
            parts.append(_Part(start, end, sound.symbol, False, target, firm))
    return parts


def _pause(event: Event) -> _Part:
    rest = event.end_s - event.start_s >= PAUSE_S
    start = event.start_s + (SETTLE_S if rest else 0.0)
    end = event.end_s - (PREPARE_S if rest else 0.0)
    firm = REST_FIRM if rest else BRIDGE_FIRM
    return _Part(start, max(start, end), "", rest, (0.0,) * 4, (firm,) * 4)


def _mark(out: Float64Array, part: _Part) -> None:
    """Write closure, teeth, tongue tip and voice of one part; the caller softens the edges."""
    start, end = part.start_s, part.end_s
    rows = slice(round(start * FRAME_RATE), max(round(end * FRAME_RATE), round(start * FRAME_RATE) + 1))
    if not part.rest:
        out[rows, _VOICE] = 1.0
    if not part.symbol:
        return
    phone = PHONES[part.symbol]
    out[rows, _DENTAL], out[rows, _TONGUE] = phone.dental, phone.tongue
    if part.symbol in BILABIALS:
        short = max(CLOSED_S - (end - start), 0.0) / 2
        first = max(round((start - short) * FRAME_RATE), 0)
        out[first : max(round((end + short) * FRAME_RATE), first + 1), _CLOSURE] = 1.0
