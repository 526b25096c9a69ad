"""Closures against known phones, on motion made of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.phones import bilabials, by_language, compare, heard
from duikou.speech.articulation import LIP_LEAD_S
from duikou.speech.motion import CURVES, MouthMotion
from training.speech import Event


def test_bilabials_have_their_share_of_an_event() -> None:
    events = [Event(0.0, 0.1, "ˈa"), Event(0.1, 0.2, "p"), Event(0.2, 0.5, "am"), Event(0.5, 0.6, "f")]
    assert bilabials(events) == [(0.1, 0.2), (pytest.approx(0.4), pytest.approx(0.5))]


def test_closings_are_met_right_or_neither() -> None:
    values = np.zeros((300, len(CURVES)), np.float32)
    for start in (50, 150, 250):
        values[start : start + 8, CURVES.index("closure")] = 1
    motion = MouthMotion(values, 100.0, -LIP_LEAD_S)
    # Met; missed by 0.1 s; met twice by one closing.
    phones = [(0.5, 0.6), (1.68, 1.75), (2.45, 2.5), (2.58, 2.62)]
    assert compare(phones, motion) == (4, 3, 3, 2)


def test_a_held_out_voice_is_heard() -> None:
    (one,) = heard(("f3",), each=2)
    assert one.phones >= 4
    assert 0.5 <= one.met / one.phones <= 1
    assert 0 < one.right <= one.made


def test_every_language_is_set_against_loudness() -> None:
    german, hindi = by_language(("de", "hi"), each=2)
    assert (german.language, hindi.language) == ("de", "hi")
    assert german.r_gap > german.r_loudness and hindi.r_gap > 0.3
    assert german.met <= german.phones
