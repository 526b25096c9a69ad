"""Tables and verdicts, on figures made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import report
from benchmarks.quality.classifier import ToldApart
from benchmarks.quality.edge import EdgeReport
from benchmarks.quality.inside import Inside, InsideReport
from benchmarks.quality.lips import LAGS_MS, Agreement
from benchmarks.quality.phones import Found, Heard, Language
from benchmarks.quality.picture import Picture
from benchmarks.quality.run import FaceReport
from benchmarks.quality.silence import Calm
from benchmarks.quality.teeth import Rigid, TeethReport
from benchmarks.quality.tracks import SetScore
from benchmarks.quality.wider import WiderReport
from benchmarks.tables import Table


def agreed(r: float, lag_ms: int = 0, met: int = 9) -> Agreement:
    by_lag = r - ((LAGS_MS - lag_ms) / 400.0) ** 2
    return Agreement(r, r / 2, lag_ms, by_lag, 0.03, met, 10, 4, 5)


def face(name: str, ours: float, loudness: float, *, lag_ms: int = 0, sharpness: float = 1.0) -> FaceReport:
    rows = {
        "real": agreed(1.0),
        "ours": agreed(ours, lag_ms),
        "loudness only": agreed(loudness),
        "no change": agreed(0),
    }
    calm = {"real": Calm(1.0, 0.02, 0.2), "ours": Calm(1.0, 0.03, 0.2)}
    picture = Picture(100, 0, sharpness, 0.9, 1.0, 0.02, 1.1, 1.25, {"light": 1.0, "mouth": 0.8, "landmarks": 1.3})
    return FaceReport(name, 100, 40.0, (1.0, 9.0), rows, 0.5, 0.95, 10, calm, picture)


def inside(light: float) -> Inside:
    return Inside(0.1, np.full(5, light), np.array([1.0, 1.2]), np.array([1.1, 2.4]))


def rigid(across: float, away: float) -> Rigid:
    return Rigid(20, np.array([across - 0.02, across, across + 0.02]), np.array([0.9, 1.0, 1.2]), away)


MEASURED = report.Measured(
    [face("a", 0.6, 0.3), face("b", 0.2, 0.3, lag_ms=100, sharpness=0.7)],
    [face("a_turned", 0.5, 0.2)],
    [InsideReport("a", [(0.08, 0.13)], [inside(0.5)], [inside(0.6)])],
    [SetScore("grid", 36, 0.73, 0.5, 0.2, -20), SetScore("talkvid", 19, 0.3, 0.1, 0.2, 0)],
    [Heard("m3", Found(20, 18, 22, 17), Found(9, 5, 8, 6))],
    [Language("de", 0.7, 0.4, Found(30, 27, 28, 26)), Language("ja", 0.5, 0.52, Found(10, 9, 9, 9))],
    [("c", "no face is found")],
    [WiderReport("a", 30, (0.11, 0.16), 9.5, None)],
    [EdgeReport("a", 80, 0.0010, 0.0012, 0.07, 0.01), EdgeReport("b", 80, None, 0.002, 0.0, 0.0)],
    [
        TeethReport("a", "upper", False, rigid(1.0, 0.002), rigid(0.92, 0.013)),
        TeethReport("b", "lower", True, None, rigid(1.0, 0.004)),
        TeethReport("c", "upper", False, rigid(1.0, 0.002), None),
    ],
    [ToldApart("talking", {"a": 0.5, "b": 0.6}, 80, 80), ToldApart("idle", {"a": 0.9, "b": 1.0}, 80, 70)],
)


def verdict(about: str) -> report.Verdict:
    made = [one for one in report.verdicts(MEASURED) if ("hard cases" in one.about) == ("hard cases" in about)]
    (found,) = [one for one in made if about in one.about]
    return found


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ("times that of loudness", "met"),
        ("behind the motion", "met"),
        ("closures of the speech", "met"),
        ("f and v of the speech", "missed by 0.1"),
        ("best lag", "missed by 10"),
        ("p, b, m", "met"),
        ("every language", "missed by 0.02"),
        ("motion in pauses", "missed by 0.01"),
        ("pixels changed outside", "met"),
        ("sharpness", "missed by 0.15"),
        ("flicker of light", "met"),
        ("flicker of landmarks", "missed by 0.1"),
        ("mask's edge", "met"),
        ("sliding", "missed by 0.05"),
        ("painted against real", "missed by 0.02"),
        ("scale of teeth across", "missed by 0.05"),
        ("motion of teeth", "missed by 0.003"),
        ("roughness of the inner lip edge", "missed by 0.1"),
        ("marks left", "missed by 0.02"),
        ("classifier, talking", "met"),
        ("classifier, idle", "missed by 0.2"),
        ("hard cases: r(gap) shown", "met"),
        ("hard cases: sliding", "missed by 0.05"),
        ("on grid", "met"),
        ("on talkvid", "missed by 0.08"),
    ],
)
def test_bounds_are_judged(about: str, text: str) -> None:
    assert verdict(about).text == text


def test_loudness_below_zero_asks_for_no_less_than_zero() -> None:
    about = "times that of loudness"
    measured = report.Measured([face("a", -0.1, -0.3)], [], [], [], [], [], [])
    (found,) = [one for one in report.verdicts(measured) if about in one.about]
    assert found.text == "missed by 0.1"


def test_teeth_are_judged_by_what_real_ones_measure() -> None:
    rows = [TeethReport("a", "upper", False, rigid(0.93, 0.012), rigid(0.925, 0.015))]
    scale, motion = report.verdicts(report.Measured([], [], [], [], [], [], [], teeth=rows))
    assert scale.text == "missed by 0.005"
    assert scale.found == "1 of 1 outside, a upper 0.91 to 0.95"
    assert motion.text == "missed by 0.003"


def test_the_worst_clip_is_named() -> None:
    assert "1 of 2 outside, b 0.70" in verdict("sharpness").found


def test_no_table_is_written_for_what_was_not_measured() -> None:
    made = report.tables(report.Measured([], [], [], [], [], [], [("a", "why")]))
    assert [table.title for table in made] == ["Left out"]
    assert made[0].rows == [["a", "why"]]


def test_rows_are_as_long_as_the_columns() -> None:
    for table in report.tables(MEASURED):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_page_gets_the_tables_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.MARKERS[0]}\nold\n{report.MARKERS[1]}\nafter\n")
    made = [Table("T", ["a", "b"], [["1", "2"]], "note")]
    for _ in range(2):
        report.write_between_markers(page, made)
        table = "**T**\n\nnote\n\n| a | b |\n| --- | ---: |\n| 1 | 2 |"
        assert page.read_text() == f"before\n{report.MARKERS[0]}\n\n{table}\n\n{report.MARKERS[1]}\nafter\n"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="markers"):
        report.write_between_markers(page, made)


def test_what_a_face_does_not_show_is_a_dash() -> None:
    made = {table.title.partition(".")[0]: table for table in report.tables(MEASURED)}
    assert list(made)[5:10] == ["3a", "3b", "3c", "3d", "3e"]
    assert made["3b"].rows == [["a", "30", "0.11 to 0.16", "9.5", "-"]]
    assert made["3c"].rows[0][:6] == ["a", "upper", "20", "0.90 / 0.92 / 0.94", "0.90 / 1.00 / 1.20", "1.3 %"]
    assert made["3c"].rows[1][1] == "lower, painted" and made["3c"].rows[1][6:] == ["-"] * 4
    assert made["3d"].rows[1][2:5] == ["2.00", "-", "-"]
    assert made["3e"].rows[1] == ["idle", "70, 80", "0.95", "a 0.90, b 1.00"]


def test_json_holds_every_face(tmp_path: Path) -> None:
    report.write_json(tmp_path / "quality.json", MEASURED, {"seconds": 3})
    kept = json.loads((tmp_path / "quality.json").read_text())
    assert kept["seconds"] == 3
    assert [one["name"] for one in kept["faces"]] == ["a", "b"]
    assert kept["faces"][1]["rows"]["ours"]["lag_ms"] == 100
    assert len(kept["faces"][0]["rows"]["ours"]["by_lag"]) == len(LAGS_MS)
    assert not np.isnan(kept["faces"][0]["picture"]["seam"])
    assert "mouths" not in kept["faces"][0]
    assert (kept["wider"][0]["ours"], kept["wider"][0]["alike"]) == (9.5, None)
    assert kept["teeth"][0]["ours"]["across"][1] == pytest.approx(0.92)
    assert kept["edges"][1]["rough_real"] is None
    assert kept["told_apart"][1]["area"] == pytest.approx(0.95)


def test_the_documentation_has_markers() -> None:
    page = Path(__file__).parents[2] / "docs/quality.md"
    assert page.read_text().count(report.MARKERS[0]) == page.read_text().count(report.MARKERS[1]) == 1
