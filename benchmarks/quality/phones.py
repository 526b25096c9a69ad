"""Closures, f and v, and the opening in generated speech, where phones and their times are known."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.engines import loudness_motion
from benchmarks.quality.lips import gestures
from duikou.speech.articulation import LIP_LEAD_S, articulate
from duikou.speech.motion import CURVES, MouthMotion
from training.phones import BILABIALS, PHONES
from training.score import correlation
from training.speech import Event, Spoken
from training.synthesizers.espeak import Espeak, Prosody
from training.targets import curves, timed
from training.texts import SENTENCES

VOICES = ("m3", "m7", "f3", "klatt3", "Annie", "Reed")
"""Voices of espeak-ng that the articulation network was not trained on."""

SENTENCES_EACH = 24
"""Sentences per voice: about a hundred closures per voice, eight minutes of speech in all."""

ASKED_LANGUAGES = ("en", "cmn", "de", "ja", "ar", "ko", "hi")
"""First the most important languages, then those that must not be worse than loudness."""

LANGUAGES = ("en", "de", "es", "fr", "it", "pl", "id", "sw")
SEED = 3
WORDS_PER_MINUTE = (150, 190)
NEAR_S = 0.04
"""How far from the phone the lips may meet: one frame at 25 per second."""


LABIODENTALS = frozenset(symbol for symbol, phone in PHONES.items() if phone.dental)


@dataclass(frozen=True)
class Found:
    """Counts for one kind of phone. phones: spoken ones. met: those during which the motion makes the gesture. made:
    gestures of the motion. right: gestures at such a phone.
    """

    phones: int
    met: int
    made: int
    right: int

    def __add__(self, other: Found) -> Found:
        return Found(self.phones + other.phones, self.met + other.met, self.made + other.made, self.right + other.right)

    @property
    def recall(self) -> float:
        """Share of the phones that have their gesture."""
        return self.met / max(self.phones, 1)

    @property
    def precision(self) -> float:
        """Share of the gestures that are at a phone of the kind."""
        return self.right / max(self.made, 1)


NONE = Found(0, 0, 0, 0)


@dataclass(frozen=True)
class Heard:
    """Detection of a voice's p, b and m, and of its f and v."""

    voice: str
    bilabials: Found
    labiodentals: Found


@dataclass(frozen=True)
class Language:
    """One language. r_gap, r_loudness: mean over sentences of r between the gap that the phones ask for and that of the
    product, and of loudness. bilabials: its p, b and m.
    """

    language: str
    r_gap: float
    r_loudness: float
    bilabials: Found


def heard(voices: tuple[str, ...] = VOICES, each: int = SENTENCES_EACH) -> list[Heard]:
    """Speak with every voice and look for the closures in the motion that `articulate` makes."""
    espeak, rng = Espeak(), random.Random(SEED)
    found = []
    for voice in voices:
        lips, teeth = NONE, NONE
        for _ in range(each):
            spoken = _said(espeak, rng, rng.choice(LANGUAGES), voice)
            motion = articulate(spoken.samples, spoken.rate)
            lips += compare(among(spoken.events, BILABIALS), motion, "closure")
            teeth += compare(among(spoken.events, LABIODENTALS), motion, "dental")
        found.append(Heard(voice, lips, teeth))
    return found


def by_language(languages: tuple[str, ...] = ASKED_LANGUAGES, each: int = SENTENCES_EACH) -> list[Language]:
    """Speak each language with these voices in turn; the loudness motion has the same lead."""
    espeak, rng = Espeak(), random.Random(SEED)
    found = []
    for language in languages:
        r, lips = [], NONE
        for number in range(each):
            spoken = _said(espeak, rng, language, VOICES[number % len(VOICES)])
            ours, loud = (listen(spoken.samples, spoken.rate) for listen in (articulate, loudness_motion))
            wanted = curves(spoken.events, len(ours.values))[:, CURVES.index("gap")]
            rows = min(len(wanted), len(loud.values))
            r.append([correlation(motion["gap"][:rows], wanted[:rows]) for motion in (ours, loud)])
            lips += compare(among(spoken.events, BILABIALS), ours, "closure")
        r_ours, r_loudness = np.mean(r, 0).tolist()
        found.append(Language(language, r_ours, r_loudness, lips))
    return found


def _said(espeak: Espeak, rng: random.Random, language: str, voice: str) -> Spoken:
    text = rng.choice(SENTENCES[language])
    prosody = Prosody(rng.randint(*WORDS_PER_MINUTE))
    return espeak.speak(text, language, voice, prosody=prosody, seed=SEED)


def among(events: list[Event], symbols: frozenset[str]) -> list[tuple[float, float]]:
    """Start and end in s of each phone among `symbols`; within a longer event, its share of the time."""
    return [(start, end) for event in events for sound, start, end in timed(event) if sound.symbol in symbols]


def compare(phones: list[tuple[float, float]], motion: MouthMotion, curve: str) -> Found:
    """Compare phones with the gestures of a curve. The lead of the lips is removed."""
    made = [(start + LIP_LEAD_S, end + LIP_LEAD_S) for start, end in gestures(motion, curve)]
    met = sum(any(_touch(phone, one) for one in made) for phone in phones)
    right = sum(any(_touch(phone, one) for phone in phones) for one in made)
    return Found(len(phones), met, len(made), right)


def _touch(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] - NEAR_S <= other[1] and other[0] <= one[1] + NEAR_S
