"""Open JTalk (Debian's package `open-jtalk`) with the voice Mei (in the wheel of `pyopenjtalk-plus`): Japanese."""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from training import texts
from training.speech import Event, Spoken, read_wave

DICTIONARY = Path("/var/lib/mecab/dic/open-jtalk/naist-jdic")
_TICK_S = 1e-7  # unit of its labels
_IPA = {
    "a": "a", "i": "i", "u": "ɯ", "e": "e", "o": "o", "A": "a", "I": "i", "U": "ɯ", "N": "ɴ", "cl": "", "pau": "",
    "sil": "", "k": "k", "ky": "kj", "g": "g", "gy": "gj", "s": "s", "sh": "ɕ", "z": "z", "j": "dʑ", "t": "t",
    "ty": "tj", "d": "d", "dy": "dj", "ts": "ts", "ch": "tɕ", "n": "n", "ny": "ɲ", "h": "h", "hy": "ç", "f": "ɸ",
    "b": "b", "by": "bj", "p": "p", "py": "pj", "m": "m", "my": "mj", "y": "j", "r": "ɾ", "ry": "ɾj", "w": "w",
    "v": "v",
}  # fmt: skip
_STRESSED = frozenset("aiueo")


def _voice() -> Path | None:
    found = importlib.util.find_spec("pyopenjtalk")
    file = Path(found.origin).parent / "htsvoice" / "mei_normal.htsvoice" if found and found.origin else None
    return file if file and file.is_file() else None


def available() -> bool:
    """Whether the program, its dictionary and the voice are installed."""
    return shutil.which("open_jtalk") is not None and DICTIONARY.is_dir() and _voice() is not None


class Voices:
    """Mei, with throats of several lengths."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def speaker(self, rng: random.Random, *, held_out: bool) -> Callable[[], Spoken]:
        """The voice at one tempo, pitch and length of the throat; there is no held-out voice."""
        if held_out:
            raise ValueError("Open JTalk has only one voice, which is used for training")
        manner = {"-r": rng.uniform(0.75, 1.35), "-fm": rng.uniform(-6.0, 4.0), "-a": rng.uniform(0.50, 0.60)}
        return lambda: speak(texts.draw("ja", rng), manner, self._scratch)


def speak(text: str, manner: dict[str, float], scratch: Path) -> Spoken:
    """Speak Japanese `text`; `manner` holds options of the program. Raises `subprocess.CalledProcessError`."""
    sound, trace = scratch / "jtalk.wav", scratch / "jtalk.txt"
    options = [word for name, value in manner.items() for word in (name, f"{value:.3f}")]
    command = ["open_jtalk", "-x", str(DICTIONARY), "-m", str(_voice()), "-ow", str(sound), "-ot", str(trace)]
    subprocess.run([*command, *options], input=text.replace(" ", "").encode(), capture_output=True, check=True)
    events = []
    labels = trace.read_text(encoding="utf-8").partition("[Output label]")[2].partition("[")[0]
    for start, end, phone in re.findall(r"^(\d+) (\d+) [^-]+-([a-zA-Z]+)\+", labels, re.MULTILINE):
        ipa = _IPA[phone]
        events.append(Event(int(start) * _TICK_S, int(end) * _TICK_S, "ˈ" + ipa if phone in _STRESSED else ipa))
    return Spoken(*read_wave(sound), events)
