"""Whether teeth stay as they are, on drawn teeth of known size and place."""

from __future__ import annotations

import numpy as np
import pytest
from mouth_maker import Drawn, draw_mouth

from benchmarks.quality import teeth
from benchmarks.quality.mouths import Mouth

GAPS = np.linspace(0.12, 0.2, 8)


def drawn(*, ours: bool, size: float = 1.0, moved: tuple[float, float] = (0.0, 0.0)) -> list[Mouth]:
    return [
        draw_mouth(Drawn(float(gap), size, moved), ours=ours, grain=50 * ours + number)
        for number, gap in enumerate(GAPS)
    ]


FILMED = drawn(ours=False)


@pytest.mark.parametrize(
    ("size", "moved"),
    [(1.0, (0.0, 0.0)), (1.1, (0.0, 0.0)), (0.9, (0.0, 0.0)), (1.0, (0.02, 0.0)), (1.0, (0.0, 0.015))],
)
def test_size_and_place_are_found(size: float, moved: tuple[float, float]) -> None:
    (report,) = teeth.compare("a", [*FILMED, *drawn(ours=True, size=size, moved=moved)])
    assert (report.row, report.painted) == ("upper", False)
    assert report.real is not None and report.ours is not None
    assert report.real.across[1] == pytest.approx(1, abs=0.01)
    assert report.ours.across[1] == pytest.approx(size, abs=0.015)
    assert report.real.away < 0.003
    assert report.ours.away == pytest.approx(np.hypot(*moved), abs=0.004)
    assert report.plain()["ours"]["rows"] == report.ours.rows


def test_painted_teeth_are_compared_with_each_other() -> None:
    closed = [draw_mouth(Drawn(gap=0.005, teeth=0), grain=number) for number in range(5)]
    (report,) = teeth.compare("a", [*closed, *drawn(ours=True, size=1.1)])
    assert report.painted and report.real is None and report.ours is not None
    assert report.ours.across[1] == pytest.approx(1, abs=0.01)
    assert report.plain()["real"] is None


def test_no_teeth_no_report() -> None:
    dark = [draw_mouth(Drawn(teeth=0), ours=ours, grain=number) for number in range(6) for ours in (True, False)]
    assert teeth.compare("a", dark) == []


def test_lower_teeth_move_with_the_jaw() -> None:
    row = teeth.rows(FILMED[0])["upper"]
    low = teeth.Row(row.light, row.compared, 0.5)
    by = 0.01
    down = np.roll(row.light, round(teeth.JAW_SHARE * by * teeth.PIXELS), axis=0)
    found = teeth.find(teeth.Row(down, row.compared, 0.5 + by), low)
    assert found is not None
    assert np.abs(found.away).max() < 0.008
    still = teeth.find(teeth.Row(row.light, row.compared, 0.5 + by), low)
    assert still is not None
    assert still.away[1] < -0.5 * teeth.JAW_SHARE * by


def test_something_else_is_not_found() -> None:
    row = teeth.rows(FILMED[0])["upper"]
    noise = np.random.default_rng(1).normal(50, 20, row.light.shape).astype(np.float32)
    assert teeth.find(teeth.Row(noise, row.compared, 0.0), row) is None
