"""The inner edge of the lips, on drawn lips with notches, and marks beside the corners."""

from __future__ import annotations

import numpy as np
import pytest
from mouth_maker import Drawn, draw_mouth, draw_mouths

from benchmarks.quality import edge

GAPS = (0.1, 0.14, 0.18)


def roughness(ragged: float) -> float:
    return float(np.median([edge.roughness(draw_mouth(Drawn(gap, ragged=ragged))) for gap in GAPS]))


def test_the_deeper_the_notches_the_rougher_the_edge() -> None:
    found = [roughness(ragged) for ragged in (0.0, 0.006, 0.01, 0.015)]
    assert found[0] < 0.0003
    assert found == sorted(found)
    assert found[2] > 2.5 * found[0]


def test_the_edge_is_found_beside_its_landmarks() -> None:
    mouth = draw_mouth(Drawn(teeth=0))
    upper, lower = edge.course(mouth)
    assert np.abs(np.median(upper)) < 0.006 and np.abs(np.median(lower)) < 0.006
    lifted = edge.course(type(mouth)(**{**mouth.__dict__, "points": mouth.points - [0, 0.012 * mouth.unit, 0]}))
    assert np.median(lifted[0] - upper) == pytest.approx(0.012, abs=0.004)


def test_a_dark_mark_that_the_person_does_not_have_is_left_over() -> None:
    real = draw_mouths(10, Drawn())
    marked = edge.compare("a", [*real, *draw_mouths(10, Drawn(mark=60), ours=True)])
    clean = edge.compare("a", [*real, *draw_mouths(10, Drawn(), ours=True)])
    assert marked is not None and clean is not None
    assert (marked.left, marked.left_real) == (1.0, 0.0)
    assert (clean.left, clean.left_real) == (0.0, 0.0)


def test_a_mole_that_the_person_has_is_not_left_over() -> None:
    mole = Drawn(mark=60)
    found = edge.compare("a", [*draw_mouths(10, mole), *draw_mouths(10, mole, ours=True)])
    assert found is not None
    assert found.left < 0.2


def test_ours_is_set_against_the_real_edge() -> None:
    real = [draw_mouth(Drawn(gap, ragged=0.006), grain=number) for number, gap in enumerate(GAPS * 3)]
    rough = [draw_mouth(Drawn(gap, ragged=0.015), ours=True, grain=number) for number, gap in enumerate(GAPS * 3)]
    found = edge.compare("a", [*real, *rough])
    assert found is not None and found.ratio is not None
    assert found.ratio > 1.5
    narrow = edge.compare("a", [*draw_mouths(9, Drawn(gap=0.01, teeth=0)), *rough])
    assert narrow is not None and narrow.ratio is None and narrow.rough_real is None
    assert edge.compare("a", real) is None
