"""The arithmetic of the benchmark, its tables and plots, and what it writes into the documentation."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.performance import __main__ as bench
from benchmarks.performance import page, parts, plots
from benchmarks.performance.orders import Order, choice
from benchmarks.performance.rows import Bound, Row, medians, percentile, thinned
from benchmarks.scale import paces
from benchmarks.scale import page as scale_page
from benchmarks.scale.paces import Pace
from benchmarks.tables import markers, write_between
from demo import speech
from duikou.timebase import Interval

ROOT = Path(__file__).parents[2]
TWICE = Bound(2.0, times_floor=True)
ABOUT = {
    "date": "1 May 2026",
    "cores": 2,
    "processor": "X",
    "python": "3.12",
    "duikou": "1",
    "load": [0.1, 0.2],
    "runs": 5,
}


def row(values: tuple[float, ...], floor: tuple[float, ...] = (), **more: Any) -> Row:
    return Row("made", more.pop("clip", "made 1080p, 10 s"), more.pop("what", "job"), "s per s", values, floor, **more)


def test_the_median_and_the_spread_are_of_all_rounds() -> None:
    found = row((4.0, 1.0, 2.0))
    assert (found.median, found.spread) == (2.0, 1.5)
    assert row((0.0,)).spread == 0.0


def test_the_ratio_to_the_floor_is_the_median_of_the_rounds_own_ratios() -> None:
    assert row((2.0, 6.0, 30.0), (1.0, 3.0, 10.0)).to_floor == 2.0  # medians alone would say 6 / 3, too
    assert row((2.0, 30.0, 6.0), (1.0, 10.0, 2.0)).to_floor == 3.0  # and here 6 / 2, of different rounds
    assert row((2.0,)).to_floor is None
    assert row((2.0,), cpu=(0.0,), cpu_floor=(0.0,)).cpu_to_floor is None  # a system that tells no processor time


def test_a_bound_is_met_or_missed_by_the_value_or_by_the_ratio() -> None:
    assert row((1.9,), (1.0,), bounds=(TWICE, Bound(1.0))).verdicts == ["met", "missed: 1.9"]
    assert row((2.1,), (1.0,), bounds=(TWICE, Bound(2, at_least=True))).verdicts == ["missed: 2.1", "met"]
    assert [bound.text for bound in (TWICE, Bound(200, at_least=True))] == ["<= 2 x floor", ">= 200"]
    with pytest.raises(ValueError, match="no floor"):
        _ = row((1.0,), bounds=(TWICE,)).verdicts


def test_the_bounds_are_those_that_were_set() -> None:
    assert [parts.WHOLE_JOB[size].text for size in ("1080p", "720p")] == ["<= 2 x floor", "<= 2.5 x floor"]
    assert parts.KNOWN_SESSION["1080p"].limit == 1.6
    assert parts.PEAK_MIB.limit * 2**20 == 600_000_000
    assert list(bench.SHARES) == list(parts.PARTS)


def test_a_stage_that_a_round_lacks_took_no_time_in_it() -> None:
    assert medians([{"a": 1.0, "b": 4.0}, {"a": 3.0}, {"a": 2.0, "b": 2.0}]) == {"a": 2.0, "b": 2.0}


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([3.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_long_series_keeps_its_peak() -> None:
    series = [(float(at), 1000.0 if at == 777 else 1.0) for at in range(1000)]
    short = thinned(series, 10)
    assert len(short) == 10
    assert (777.0, 1000.0) in short
    assert thinned(series[:5], 10) == tuple(series[:5])


def test_rows_survive_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [row((1.0, 2.0), (1.0, 1.0), cpu=(1.0, 1.0), bounds=(TWICE,), stages={"a": 1.0}, series=((0.0, 5.0),))]
    monkeypatch.setattr(bench, "OUTPUT", tmp_path / "out/bench.json")
    assert bench.stored() == ([], {})
    bench.store(kept, ABOUT)
    assert bench.stored() == (kept, ABOUT)
    told = json.loads((tmp_path / "out/bench.json").read_text())["rows"][0]
    assert (told["median"], told["to_floor"], told["verdicts"]) == (1.5, 1.5, ["met"])


MEASURED = [
    row((1.0,), (0.5,), what="whole job", bounds=(TWICE,), stages={"finding faces": 0.2, "rendering": 0.8}),
    row((1.2,), (0.5,), what="whole job in the sandbox", stages={"finding faces in a child": 0.3, "rest": 0.9}),
    row(
        (0.6,),
        what="whole job in the sandbox",
        clip="made 720p, 10 s",
        stages={"finding faces in a child": 0.1, "rest": 0.5},
    ),
    row((0.4,), (0.2,), what="whole job", clip="made 720p, 10 s", stages={"finding faces": 0.1}),
    Row("growth", "made 1080p, 5 s", "duikou sync", "s per s", (1.0,), length_s=5),
    Row("growth", "made 1080p, 5 s", "memory", "MiB", (300.0,), series=((0.0, 100.0), (2.0, 300.0))),
    Row("workers", "made 720p, 4 s", "one worker on one core", "tasks an hour", (900.0,)),
    Row("workers", "made 720p, 4 s", "two workers on two cores (floor: one)", "tasks an hour", (1700.0,), (900.0,)),
]


def test_a_page_gets_tables_and_plots(tmp_path: Path) -> None:
    document = tmp_path / "docs/performance.md"
    document.parent.mkdir()
    blocks = "\n".join("\n".join(pair) for pair in (page.MACHINE, page.BOUNDS, page.FIGURES))
    document.write_text(f"by hand\n{blocks}\nby hand, too\n")
    written = page.write(MEASURED, ABOUT, document, tmp_path / "docs/images")
    text = document.read_text()
    assert text.startswith("by hand\n") and text.endswith("by hand, too\n")
    assert "1 May 2026, 2 cores (X)" in text
    assert "| made 1080p, 10 s: whole job | s per s | 1 | one run | - | 0.5 | 2 | - | <= 2 x floor | met |" in text
    assert [path.name for path in written[1:]] == [f"performance-{name}.svg" for name in PLOTS]
    for path in written[1:]:
        assert f"](images/{path.name})" in text
    page.write(MEASURED, ABOUT, document, tmp_path / "docs/images")
    assert document.read_text() == text


PLOTS = ("stages", "growth", "memory", "workers")


def test_plots_show_what_they_are_given() -> None:
    drawn = {name: ET.fromstring(plot) for name, plot in page.draw(MEASURED).items()}
    assert tuple(drawn) == PLOTS
    titles = [title.text or "" for title in drawn["stages"].iter("{http://www.w3.org/2000/svg}title")]
    assert titles[:2] == [
        "made 1080p, 10 s, finding faces: 0.2 s per s of video",
        "made 1080p, 10 s, rendering: 0.8 s per s of video",
    ]
    boxes = [float(box.get("width", "0")) for box in bars(drawn["stages"])]
    assert boxes[1] == pytest.approx(4 * boxes[0], rel=0.01)


def bars(root: ET.Element) -> list[ET.Element]:
    """The boxes that stand for a value."""
    return [box for box in root.iter("{http://www.w3.org/2000/svg}rect") if len(box)]


@pytest.mark.parametrize(
    ("highest", "steps"),
    [(1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (6.0, [0, 1, 2, 3, 4, 5, 6]), (0.0, [0, 1]), (700, [0, 200, 400, 600, 800])],
)
def test_axes_have_round_steps(highest: float, steps: list[float]) -> None:
    assert plots.steps(highest) == pytest.approx(steps)


def test_the_pace_of_a_worker_is_all_that_it_does_after_finding_faces() -> None:
    assert page.paces(MEASURED) == {"1080p": Pace(1.2 - 0.3, 0.3), "720p": Pace(0.5, 0.1)}
    line = page.readme_line(page.paces(MEASURED), MEASURED)
    assert "0.30 s and rendering 0.90 s at 1080p, 0.10 s and 0.50 s at 720p" in line
    assert "2.0 times as long as decoding and encoding alone at 1080p, 2.0 times at 720p" in line


def test_paces_are_written_as_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "paces.json"
    paces.write({"720p": Pace(0.123, 0.1), "1080p": Pace(1.2, 0.3)}, file)
    assert paces.read(file) == {"720p": Pace(0.12, 0.1), "1080p": Pace(1.2, 0.3)}


def test_the_documents_hold_what_follows_from_the_paces(tmp_path: Path) -> None:
    copy = tmp_path / "scale.md"
    copy.write_text((ROOT / scale_page.PAGE).read_text())
    scale_page.update(paces.PACES, copy)
    assert copy.read_text() == (ROOT / scale_page.PAGE).read_text(), "run `make bench`, or --docs --no-measuring"


def test_faster_workers_are_fewer() -> None:
    fast: Mapping[str, Pace] = {size: replace(pace, render=pace.render / 2) for size, pace in paces.PACES.items()}
    workers = [scale_page.load_table(one).rows[1][-1] for one in (paces.PACES, fast)]
    slow, quick = (int(cell.split(" ")[0].replace(",", "")) for cell in workers)
    assert quick == pytest.approx(slow / 2, abs=1)


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ValueError, match="markers"):
        write_between(tmp_path / "page.md", markers("figures", "make bench"), "text")


def test_the_documentation_has_markers() -> None:
    text = (ROOT / page.PAGE).read_text()
    assert [text.count(marker) for pair in (page.MACHINE, page.BOUNDS, page.FIGURES) for marker in pair] == [1] * 6


def test_the_face_that_shows_longest_speaks_while_it_shows(tmp_path: Path) -> None:
    said = speech.speak(tmp_path / "speech.wav")  # about 6 s
    faces = {"0": Interval(0, 3_000), "1": Interval(2_000, 6_500)}
    found = choice(faces, Order(tmp_path / "v.mp4", said, tmp_path / "o.mp4"))
    assert (found.face_id, found.insert_ms, found.trim_end_ms) == ("1", 2_500, 3_500)
    found = choice(faces, Order(tmp_path / "v.mp4", said, tmp_path / "o.mp4", length_ms=1_000))
    assert found.trim_end_ms == 1_000
