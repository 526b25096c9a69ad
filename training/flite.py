"""A second synthesizer where the system has it: flite (Debian's package `flite`), recorded English voices."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np

from training.espeak import Spoken
from training.targets import Event

VOICES = ("awb", "rms", "slt", "kal16")
_IPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b", "ch": "tʃ",
    "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɝ", "ey": "eɪ", "f": "f",
    "g": "g", "hh": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n", "ng": "ŋ",
    "nx": "n", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "pau": "", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ",
    "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip
_REDUCED = frozenset({"ax", "axr", "ih", "el", "em", "en"})
"""Flite does not tell stress; these are mostly unstressed."""


def available() -> bool:
    """Whether flite is installed."""
    return shutil.which("flite") is not None


def speak(text: str, voice: str, stretch: float, scratch: Path) -> Spoken:
    """Speak English `text`; `stretch` lengthens every phone. Raises `subprocess.CalledProcessError`."""
    command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.2f}", "-psdur", "-t", text]
    listed = subprocess.run([*command, "-o", str(scratch)], capture_output=True, text=True, check=True).stdout
    with wave.open(str(scratch), "rb") as file:
        rate, content = file.getframerate(), file.readframes(file.getnframes())
    samples = np.frombuffer(content, np.int16).astype(np.float32) / 32768.0
    events, start = [], 0.0
    for item in listed.split():
        name, end = item.rsplit(":", 1)
        ipa = _IPA[name]
        events.append(Event(start, float(end), ipa if name in _REDUCED or not ipa else "ˈ" + ipa))
        start = float(end)
    return Spoken(samples, rate, events)
