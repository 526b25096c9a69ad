"""From phones to the curves that are learned."""

import random

import numpy as np
import pytest

from duikou.speech.motion import CURVES
from training import texts
from training.phones import PHONES, VOWELS, sounds, unknown
from training.speech import Event
from training.targets import curves

pytest.importorskip("espeakng_loader", reason="espeakng-loader is in the dev extra")


def spoken(*phones: str, each_s: float = 0.1) -> dict[str, np.ndarray]:
    """Curves of phones of equal length, with half a second of silence to either side."""
    events, now = [Event(0.0, 0.5, "")], 0.5
    for phone in phones:
        events.append(Event(now, now + each_s, phone))
        now += each_s
    events.append(Event(now, now + 0.5, ""))
    return dict(zip(CURVES, curves(events, round((now + 0.5) * 100)).T, strict=True))


def at(curve: np.ndarray, phone: int, each_s: float = 0.1) -> float:
    return float(curve[round((0.5 + (phone + 0.5) * each_s) * 100)])


@pytest.mark.parametrize("bilabial", ["p", "b", "m"])
def test_lips_close_between_open_vowels(bilabial: str) -> None:
    said = spoken("ˈa", bilabial, "ˈa")
    assert at(said["closure"], 1) > 0.95
    assert at(said["gap"], 1) < 0.02
    assert at(said["gap"], 0) > 0.6 and at(said["gap"], 2) > 0.6


@pytest.mark.parametrize("each_s", [0.03, 0.05, 0.1])
def test_closures_last_two_video_frames_however_fast(each_s: float) -> None:
    said = spoken("ˈa", "p", "ˈa", each_s=each_s)
    assert (said["closure"] > 0.5).sum() >= 5


def test_fast_speech_opens_less() -> None:
    slow, fast = (spoken("t", "ˈa", "t", each_s=each)["gap"].max() for each in (0.15, 0.05))
    assert fast < 0.8 * slow


def test_rounding_is_prepared_and_spreads_over_consonants() -> None:
    said = spoken("ˈi", "k", "ˈu")
    assert at(said["round"], 1) > 0.3
    assert at(said["width"], 0) > 0.4
    assert at(said["width"], 2) < 0.0
    later = spoken("ˈu", "k", "ˈi")["round"]
    assert at(said["round"], 1) > at(later, 1)  # look-ahead is stronger than carry-over


def test_teeth_and_tongue() -> None:
    said = spoken("ˈa", "f", "ˈa", "l", "ˈa")
    assert at(said["dental"], 1) > 0.9 and at(said["dental"], 3) < 0.1
    assert at(said["tongue"], 3) > 0.9 and at(said["tongue"], 1) < 0.1
    assert at(said["gap"], 1) < 0.4 * at(said["gap"], 2)


def test_silence_is_rest_and_short_silence_is_bridged() -> None:
    said = spoken("ˈa")
    assert said["gap"][:35].max() < 0.02 and said["voice"][:40].max() < 0.02
    events = [Event(0.0, 0.2, "ˈa"), Event(0.2, 0.3, ""), Event(0.3, 0.5, "ˈa")]
    assert curves(events, 50)[25, CURVES.index("voice")] > 0.9


def test_vowels_open_as_they_are_high_or_low() -> None:
    opening = [at(spoken(f"ˈ{vowel}")["gap"], 0) for vowel in "iɛa"]
    assert opening == sorted(opening)
    assert at(spoken("a")["gap"], 0) < at(spoken("ˈa")["gap"], 0)


def test_ipa_events_come_apart() -> None:
    assert [sound.symbol for sound in sounds("ˈaɪ")] == ["a", "ɪ"]
    assert [sound.symbol for sound in sounds("tɕh")] == ["t", "ɕ"]
    assert [sound.symbol for sound in sounds("ẽ")] == ["e"]
    assert sounds("uː")[0].weight > sounds("u")[0].weight
    assert sounds("(en)") == ()
    assert unknown("aʘ") == {"ʘ"}


def test_every_vowel_and_consonant_has_targets_in_range() -> None:
    for phone in PHONES.values():
        assert 0 <= phone.gap <= 1 and 0 <= phone.jaw <= 1 and -1 <= phone.width <= 1 and 0 <= phone.round <= 1
    assert all(PHONES[vowel].vowel for vowel in VOWELS)


def test_every_language_is_spoken_in_known_phones() -> None:
    from training.synthesizers.espeak import Espeak

    engine, rng = Espeak(), random.Random(0)
    for language in sorted(set(texts.languages())):
        for voice in texts.ACCENTS.get(language, (language,)):
            said = engine.speak(rng.choice(texts.SENTENCES.get(language, ("12 345, 678 910",))), voice)
            assert len(said.samples) > said.rate / 2, voice
            assert {letter for event in said.events for letter in unknown(event.ipa)} == set(), voice
            ends = [event.end_s for event in said.events]
            assert ends == sorted(ends) and ends[-1] == pytest.approx(len(said.samples) / said.rate)
