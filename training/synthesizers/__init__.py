"""Speech synthesizers that report the time of every phone. One module each; `ALL` lists them in a fixed order.

`make train` installs espeak-ng and hibari. flite, festival and Open JTalk are system programs (`training/README.md`):
without them there are fewer voices, and the weights are slightly worse.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from training.speech import Spoken
from training.synthesizers import espeak, festival, flite, hibari, open_jtalk

Speaker = Callable[[], Spoken]
"""One voice with one prosody: every call speaks another text."""


class Synthesizer(Protocol):
    """One engine with all its voices."""

    def speaker(self, rng: random.Random, *, held_out: bool) -> Speaker:
        """A voice drawn from the training voices, or from the held-out voices."""


ALL: dict[str, tuple[Callable[[], bool], Callable[[Path], Synthesizer]]] = {
    "espeak": (espeak.available, espeak.Voices),
    "flite": (flite.available, flite.Voices),
    "festival": (festival.available, festival.Voices),
    "open_jtalk": (open_jtalk.available, open_jtalk.Voices),
    "hibari": (hibari.available, hibari.Voices),
}
"""By name: whether it is there, and how to start it, given a folder for its scratch files."""

HELD_OUT = ("espeak", "flite", "festival")
"""Synthesizers some of whose voices are never trained on."""


def available() -> list[str]:
    """Names of the installed synthesizers."""
    return [name for name, (there, _) in ALL.items() if there()]
