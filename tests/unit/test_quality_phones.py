"""Closures, f and v against known phones, on motion made of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.phones import LABIODENTALS, Found, among, by_language, compare, heard
from duikou.speech.articulation import LIP_LEAD_S
from duikou.speech.motion import CURVES, MouthMotion
from training.phones import BILABIALS
from training.speech import Event


def test_phones_have_their_share_of_an_event() -> None:
    events = [Event(0.0, 0.1, "ˈa"), Event(0.1, 0.2, "p"), Event(0.2, 0.5, "am"), Event(0.5, 0.6, "f")]
    assert among(events, BILABIALS) == [(0.1, 0.2), (pytest.approx(0.4), pytest.approx(0.5))]
    assert among(events, LABIODENTALS) == [(0.5, 0.6)]


@pytest.mark.parametrize("curve", ["closure", "dental"])
def test_gestures_are_met_right_or_neither(curve: str) -> None:
    values = np.zeros((300, len(CURVES)), np.float32)
    for start in (50, 150, 250):
        values[start : start + 8, CURVES.index(curve)] = 1
    motion = MouthMotion(values, 100.0, -LIP_LEAD_S)
    # Met; missed by 0.1 s; met twice by one closing.
    phones = [(0.5, 0.6), (1.68, 1.75), (2.45, 2.5), (2.58, 2.62)]
    found = compare(phones, motion, curve)
    assert found == Found(phones=4, met=3, made=3, right=2)
    assert (found.recall, found.precision) == (3 / 4, 2 / 3)
    assert compare(phones, motion, {"closure": "dental", "dental": "closure"}[curve]) == Found(4, 0, 0, 0)


def test_a_held_out_voice_is_heard() -> None:
    (one,) = heard(("f3",), each=4)
    assert one.bilabials.phones >= 4
    assert 0.5 <= one.bilabials.recall <= 1
    assert 0 < one.bilabials.precision <= 1
    assert 0 < one.labiodentals.met <= one.labiodentals.phones


def test_every_language_is_set_against_loudness() -> None:
    german, hindi = by_language(("de", "hi"), each=2)
    assert (german.language, hindi.language) == ("de", "hi")
    assert german.r_gap > german.r_loudness and hindi.r_gap > 0.3
    assert 0 < german.bilabials.met <= german.bilabials.phones
