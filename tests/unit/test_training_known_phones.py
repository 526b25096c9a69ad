"""Phones of speech whose text is not known, found by a recogniser."""

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="espeakng-loader is in the dev extra")
pytest.importorskip("pocketsphinx", reason="pocketsphinx comes with `make train`")

from duikou.speech.features import RATE, resample
from training.known_phones import GRID_GRAMMAR, phones
from training.speech import Spoken
from training.synthesizers import espeak


def said(text: str) -> Spoken:
    return espeak.Espeak().speak(text, "en-us", prosody=espeak.Prosody(words_per_minute=150))


def test_phones_are_found_where_they_are_said() -> None:
    spoken = said("place blue by q five now")
    found = phones(resample(spoken.samples, spoken.rate), GRID_GRAMMAR)
    ours = [event for event in found if event.ipa]
    assert "".join(event.ipa for event in ours).replace("ˈ", "") == "pleɪsbluːbaɪkjuːfaɪvnaʊ".replace("ː", "")
    closures = [event for event in spoken.events if event.ipa in {"p", "b"}]
    heard = [event for event in ours if event.ipa.strip("ˈ") in {"p", "b"}]
    for true, guess in zip(closures, heard, strict=True):
        assert guess.start_s == pytest.approx(true.start_s, abs=0.06)


def test_nothing_is_found_in_silence() -> None:
    assert [event for event in phones(np.zeros(RATE, np.float32), GRID_GRAMMAR) if event.ipa] == []
