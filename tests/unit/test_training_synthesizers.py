"""The other synthesizers: their phones in IPA, and when they are said."""

import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="espeakng-loader is in the dev extra")

from training.phones import sounds, unknown
from training.speech import Event
from training.synthesizers import ALL, HELD_OUT, american, festival, hibari, open_jtalk

MAPS = {
    "american": american.IPA,
    "open_jtalk": open_jtalk._IPA,
    "hibari": hibari._IPA,
    **{name: voice.phones for name, voice in festival.VOICES.items()},
}


@pytest.mark.parametrize("name", sorted(MAPS))
def test_every_phone_has_targets(name: str) -> None:
    assert {letter for ipa in MAPS[name].values() for letter in unknown(ipa)} == set()
    assert all(sounds(ipa) for ipa in MAPS[name].values() if ipa)


def test_labels_of_festival_are_read() -> None:
    label = "#\n0.22 100 pau\n0.3100 100 m\n0.45 100 ay\n"
    assert festival._events(label, festival.VOICES["ked_diphone"].phones) == [
        Event(0.0, 0.22, ""),
        Event(0.22, 0.31, "ˈm"),
        Event(0.31, 0.45, "ˈaɪ"),
    ]
    with pytest.raises(KeyError):
        festival._events("#\n0.1 100 qq\n", festival.VOICES["ked_diphone"].phones)


def test_the_time_of_a_stress_mark_is_its_vowels() -> None:
    events = hibari._events(["", "m", "ˈ", "A", " "], np.array([0.0, 0.1, 0.2, 0.25, 0.4, 0.5]))
    assert events == [Event(0.0, 0.1, ""), Event(0.1, 0.2, "m"), Event(0.2, 0.4, "ˈeɪ"), Event(0.4, 0.5, "")]


@pytest.mark.parametrize("name", [name for name in ALL if name != "espeak"])
def test_what_is_said_fills_the_sound(name: str, tmp_path: Path) -> None:
    there, start = ALL[name]
    if not there():
        pytest.skip(f"{name} is not installed: it is needed for training only")
    pytest.importorskip("wordfreq", reason="wordfreq is needed for training only")
    for held_out in (False, True) if name in HELD_OUT else (False,):
        spoken = start(tmp_path).speaker(random.Random(0), held_out=held_out)()
        seconds = len(spoken.samples) / spoken.rate
        assert seconds > 0.3 and spoken.events[-1].end_s == pytest.approx(seconds, abs=0.15)
        ends = [event.end_s for event in spoken.events]
        assert ends == sorted(ends)
        assert any(sounds(event.ipa) for event in spoken.events)
