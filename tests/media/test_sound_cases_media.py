"""Sounds that public reports led to: each is read whole, and a mouth hears it."""

from pathlib import Path

import numpy as np
import pytest

from duikou.media.audio import read_audio
from duikou.media.probe import probe_audio
from duikou.media.sound import Audio

CASES = Path(__file__).parents[3] / "shared" / "cases"

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(not CASES.is_dir(), reason="the folder of files ../shared/cases is not there"),
]


@pytest.fixture(scope="module")
def speech() -> Audio:
    """The speech that the cases hold, in mono."""
    return read_audio(CASES / "speech_en_4500ms.wav", channels=1)


@pytest.mark.parametrize(
    ("name", "duration_ms"),
    [
        ("sound_adpcm_ms_48k.wav", 4_539),  # whole blocks
        ("sound_antiphase_stereo.wav", 4_500),
        ("sound_header_says_94ms.m4a", 4_500),
        ("sound_two_id3_tags.mp3", 4_500),
    ],
)
def test_a_sound_of_a_report_is_the_speech(speech: Audio, name: str, duration_ms: int) -> None:
    found = read_audio(CASES / name, channels=1)
    assert probe_audio(CASES / name).duration_ms == found.duration_ms == duration_ms
    count = len(speech.samples)
    likeness = np.corrcoef(found.samples[:count, 0], speech.samples[:, 0])[0, 1]
    assert likeness > 0.99
    assert np.abs(found.samples).max() > 0.5 * np.abs(speech.samples).max()
