"""flite (Debian's package `flite`): recorded American and Scottish voices."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from training import texts
from training.speech import Event, Spoken, read_wave
from training.synthesizers import american

TRAINED = ("awb", "rms", "kal16")
HELD_OUT = ("slt",)


def available() -> bool:
    """Whether flite is installed."""
    return shutil.which("flite") is not None


class Voices:
    """flite's voices."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def speaker(self, rng: random.Random, *, held_out: bool) -> Callable[[], Spoken]:
        """One voice at one tempo."""
        voice, stretch = rng.choice(HELD_OUT if held_out else TRAINED), rng.uniform(0.75, 1.3)
        return lambda: speak(texts.draw("en", rng), voice, stretch, self._scratch / "flite.wav")


def speak(text: str, voice: str, stretch: float, scratch: Path) -> Spoken:
    """Speak English `text`; `stretch` lengthens every phone. Raises `subprocess.CalledProcessError`."""
    command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.2f}", "-psdur", "-t", text]
    listed = subprocess.run([*command, "-o", str(scratch)], capture_output=True, text=True, check=True).stdout
    events, start = [], 0.0
    for item in listed.split():
        name, end = item.rsplit(":", 1)
        events.append(Event(start, float(end), american.ipa(name)))
        start = float(end)
    return Spoken(*read_wave(scratch), events)
