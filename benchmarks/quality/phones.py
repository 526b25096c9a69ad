"""Closures and opening in generated speech, where phones and their times are known."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.engines import loudness_motion
from benchmarks.quality.lips import closures
from duikou.speech.articulation import LIP_LEAD_S, articulate
from duikou.speech.motion import CURVES, MouthMotion
from training.phones import BILABIALS
from training.score import correlation
from training.speech import Event, Spoken
from training.synthesizers.espeak import Espeak
from training.targets import curves, timed
from training.texts import SENTENCES

VOICES = ("m3", "m7", "f3", "klatt3", "Annie", "Reed")
"""Voices of espeak-ng's own that the articulation network has never heard in training."""

SENTENCES_EACH = 24
"""Sentences of each voice: about a hundred closures a voice, eight minutes of speech in all."""

ASKED_LANGUAGES = ("en", "cmn", "de", "ja", "ar", "ko", "hi")
"""First those that matter most, then those that must not be worse than loudness."""

LANGUAGES = ("en", "de", "es", "fr", "it", "pl", "id", "sw")
SEED = 3
WORDS_PER_MINUTE = (150, 190)
NEAR_S = 0.04
"""How far from the phone the lips may meet, a frame's time at 25 per second."""


@dataclass(frozen=True)
class Heard:
    """phones: p, b and m that were spoken. met: those during which the motion closes the lips. made: closures of the
    motion. right: those of them that are at a p, b or m.
    """

    voice: str
    phones: int
    met: int
    made: int
    right: int


@dataclass(frozen=True)
class Language:
    """r_gap, r_loudness: mean over sentences of r of the gap with what the phones ask for, ours and loudness's.
    phones, met: as in `Heard`.
    """

    language: str
    r_gap: float
    r_loudness: float
    phones: int
    met: int


def heard(voices: tuple[str, ...] = VOICES, each: int = SENTENCES_EACH) -> list[Heard]:
    """Speak with every voice and look for the closures in what `articulate` makes of the sound."""
    espeak, rng = Espeak(), random.Random(SEED)
    found = []
    for voice in voices:
        counts = np.zeros(4, int)
        for _ in range(each):
            spoken = _said(espeak, rng, rng.choice(LANGUAGES), voice)
            counts += compare(bilabials(spoken.events), articulate(spoken.samples, spoken.rate))
        found.append(Heard(voice, *counts.tolist()))
    return found


def by_language(languages: tuple[str, ...] = ASKED_LANGUAGES, each: int = SENTENCES_EACH) -> list[Language]:
    """Speak each language with those voices in turn; loudness is given the same lead."""
    espeak, rng = Espeak(), random.Random(SEED)
    found = []
    for language in languages:
        r, counts = [], np.zeros(4, int)
        for number in range(each):
            spoken = _said(espeak, rng, language, VOICES[number % len(VOICES)])
            ours, loud = (listen(spoken.samples, spoken.rate) for listen in (articulate, loudness_motion))
            wanted = curves(spoken.events, len(ours.values))[:, CURVES.index("gap")]
            rows = min(len(wanted), len(loud.values))
            r.append([correlation(motion["gap"][:rows], wanted[:rows]) for motion in (ours, loud)])
            counts += compare(bilabials(spoken.events), ours)
        r_ours, r_loudness = np.mean(r, 0).tolist()
        found.append(Language(language, r_ours, r_loudness, int(counts[0]), int(counts[1])))
    return found


def _said(espeak: Espeak, rng: random.Random, language: str, voice: str) -> Spoken:
    text = rng.choice(SENTENCES[language])
    return espeak.speak(text, language, voice, words_per_minute=rng.randint(*WORDS_PER_MINUTE), seed=SEED)


def bilabials(events: list[Event]) -> list[tuple[float, float]]:
    """Start and end in s of each p, b and m; of a longer event its share."""
    return [(start, end) for event in events for sound, start, end in timed(event) if sound.symbol in BILABIALS]


def compare(phones: list[tuple[float, float]], motion: MouthMotion) -> tuple[int, int, int, int]:
    """Phones, those met, closures made, those of them that are right. The lead of the lips is taken out."""
    made = [(start + LIP_LEAD_S, end + LIP_LEAD_S) for start, end in closures(motion)]
    met = sum(any(_touch(phone, one) for one in made) for phone in phones)
    right = sum(any(_touch(phone, one) for phone in phones) for one in made)
    return len(phones), met, len(made), right


def _touch(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] - NEAR_S <= other[1] and other[0] <= one[1] + NEAR_S
