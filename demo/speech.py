"""A sentence spoken by the espeak-ng library in the package `espeakng-loader`."""

from __future__ import annotations

from pathlib import Path

from training.speech import write_wave
from training.synthesizers.espeak import Espeak, Prosody

SENTENCE = "Hello from orbit! My lips move with these words, made by a small, open program on an ordinary computer."
VOICE = ("en-us", "f3")  # American English, the third female variant
WORDS_PER_MINUTE = 172
PITCH = 58  # on espeak's scale, 0 to 100


def speak(path: Path, sentence: str = SENTENCE, voice: tuple[str, str] = VOICE) -> Path:
    """Write `sentence` as mono 16-bit WAV at espeak's rate (22,050 per second) and return `path`.

    voice: language and variant. Raises `RuntimeError` if the library cannot be used, `ValueError` for an unknown
    voice.
    """
    spoken = Espeak().speak(sentence, *voice, prosody=Prosody(WORDS_PER_MINUTE, PITCH))
    return write_wave(path, spoken.samples, spoken.rate)
