"""Speech, pauses and their edges."""

import numpy as np
import pytest

from duikou.errors import ModelError
from duikou.model_files import VOICE_DETECTOR
from duikou.speech.silence import voice_curve, voice_probability


def spoken(rows: int, *stretches: tuple[int, int]) -> np.ndarray:
    """What a sure detector and a sure network say: voice in those rows."""
    values = np.zeros(rows, np.float32)
    for start, end in stretches:
        values[start:end] = 1.0
    return values


def test_mouth_prepares_and_settles_softly_around_speech() -> None:
    voice = voice_curve(spoken(400, (100, 300)), spoken(400, (100, 300)))
    assert voice[:90].max() == 0.0 and voice[310:].max() == 0.0
    assert voice[100:300].min() > 0.8 and voice[110:290].min() > 0.99
    assert 0.0 < voice[95] < 0.9 and 0.0 < voice[303] < 0.9
    assert np.abs(np.diff(voice)).max() < 0.2


@pytest.mark.parametrize(("pause_ms", "rests"), [(80, False), (180, False), (300, True), (600, True)])
def test_pauses_rest_and_closures_do_not(pause_ms: int, rests: bool) -> None:
    both = spoken(400, (50, 200), (200 + pause_ms // 10, 350))
    middle = 200 + pause_ms // 20
    assert (voice_curve(both, both)[middle] < 0.05) == rests


def test_clicks_are_not_speech() -> None:
    assert voice_curve(spoken(200, (100, 104)), spoken(200, (100, 104))).max() == 0.0


def test_noise_that_only_one_of_both_takes_for_speech_is_none() -> None:
    everywhere, nowhere = np.ones(300, np.float32), np.zeros(300, np.float32)
    assert voice_curve(everywhere, nowhere).max() == 0.0
    assert voice_curve(nowhere, everywhere).max() == 0.0


def test_speech_at_the_very_ends_is_kept() -> None:
    voice = voice_curve(np.ones(100, np.float32), np.ones(100, np.float32))
    assert voice.min() > 0.99


def test_detector_hears_nothing_in_silence_and_has_one_row_per_10_ms() -> None:
    found = voice_probability([np.zeros(16_000, np.float32)])
    assert found.shape == (101,)
    assert found.max() < 0.3


def test_missing_detector_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(VOICE_DETECTOR), "locate", lambda _self: None)
    with pytest.raises(ModelError, match=r"pip install --no-deps .*silero-vad==6\.2\.3"):
        voice_probability([np.zeros(1600, np.float32)])
