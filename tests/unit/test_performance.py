"""The arithmetic of the benchmark, its tables and plots, and what it writes into the documentation."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.performance import __main__ as bench
from benchmarks.performance import encoders, page, parts, plots, revision
from benchmarks.performance.orders import Order, choice
from benchmarks.performance.rows import Bound, Row, Taken, medians, percentile, thinned
from benchmarks.scale import paces
from benchmarks.scale import page as scale_page
from benchmarks.scale.paces import Pace
from benchmarks.tables import markers, write_between
from demo import speech
from duikou.progress import Progress, silent
from duikou.timebase import Interval

ROOT = Path(__file__).parents[2]
TWICE = Bound(2.0, times_floor=True)
TAKEN = Taken("1 May 2026", "abc", "2 cores (X)", 5, 0.1)


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
    assert set(bench.MINUTES) == set(parts.PARTS)


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


def test_rows_survive_the_file(tmp_path: Path) -> None:
    one = row((1.0, 2.0), (1.0, 1.0), cpu=(1.0, 1.0), bounds=(TWICE,), stages={"a": 1.0}, series=((0.0, 5.0),))
    kept = [one.kept(TAKEN), row((3.0,), what="another")]
    file = tmp_path / "out/bench.json"
    assert bench.stored(file) == []
    bench.store(kept, file)
    assert bench.stored(file) == kept
    told = json.loads(file.read_text())["rows"][0]
    assert (told["median"], told["to_floor"], told["verdicts"]) == (1.5, 1.5, ["met"])
    assert list(file.parent.iterdir()) == [file]


def test_a_part_replaces_its_own_rows_and_leaves_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, plan = tmp_path / "bench.json", parts.Plan(tmp_path, 2, 10)
    old = [row((1.0,), what=what) for what in ("job", "no longer measured")]
    other = Row("start", "", "duikou --help", "s", (0.2,))
    bench.store([*old, other.kept(TAKEN)], file)

    def made(_plan: parts.Plan, _progress: Progress) -> Iterator[Row]:
        yield row((5.0,))

    monkeypatch.setitem(parts.PARTS, "made", made)
    assert bench.measure(["made"], plan, file, silent) == {}
    first, second = bench.stored(file)
    assert first.values == (5.0,) and first.taken is not None and first.taken.runs == 2
    assert second == other.kept(TAKEN)


def test_a_part_that_fails_keeps_what_it_has_measured_and_the_next_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(_plan: parts.Plan, _progress: Progress) -> Iterator[Row]:
        yield row((5.0,))
        raise RuntimeError("no face")

    def start(_plan: parts.Plan, _progress: Progress) -> Iterator[Row]:
        yield Row("start", "", "duikou --help", "s", (0.2,))

    file = tmp_path / "bench.json"
    monkeypatch.setitem(parts.PARTS, "made", made)
    monkeypatch.setitem(parts.PARTS, "start", start)
    bench.store([row((1.0,)).kept(TAKEN), row((1.0,), what="later").kept(TAKEN)], file)
    failed = bench.measure(["made", "start"], parts.Plan(tmp_path, 1, 10), file, silent)
    assert [str(error) for error in failed.values()] == ["no face"]
    found = {one.what: one for one in bench.stored(file)}
    assert (found["job"].median, found["later"].median, found["duikou --help"].median) == (5.0, 1.0, 0.2)
    assert found["later"].taken == TAKEN and found["job"].taken != TAKEN


def test_a_run_of_some_parts_or_a_quick_one_writes_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[Row]] = []

    def part(name: str) -> Callable[[parts.Plan, Progress], Iterator[Row]]:
        return lambda _plan, _progress: iter([Row(name, "", "x", "s", (1.0,))])

    for name in list(parts.PARTS):
        monkeypatch.setitem(parts.PARTS, name, part(name))
    monkeypatch.setattr(bench, "OUTPUT", tmp_path / "bench.json")
    monkeypatch.setattr(bench, "QUICK_OUTPUT", tmp_path / "quick.json")
    monkeypatch.setattr(bench, "write_documents", written.append)
    assert bench.main(["--rows", "start", "warm"]) == bench.main(["--quick"]) == 0
    assert written == []
    assert [one.part for one in bench.stored(tmp_path / "bench.json")] == ["start", "warm"]
    assert bench.main([]) == 0
    assert [one.part for one in written[0]] == parts.USUAL
    assert bench.main(["--rows", "hour", "--docs"]) == 0
    assert [one.part for one in written[1]] == list(parts.PARTS)


def test_figures_of_another_program_are_old(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x", *arguments], cwd=tmp_path, check=True)

    assert revision.measured(tmp_path) == "" and not revision.is_current("", tmp_path)
    git("init", "--quiet")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    commit = revision.measured(tmp_path)
    assert revision.is_current(commit, tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert revision.measured(tmp_path) == commit and revision.is_current(commit, tmp_path)
    (tmp_path / "src/a.py").write_text("2")
    changed = revision.measured(tmp_path)
    assert changed == f"{commit}+"
    assert not revision.is_current(changed, tmp_path) and not revision.is_current(commit, tmp_path)
    git("commit", "--quiet", "--all", "--message", "two")
    assert revision.measured(tmp_path) != commit and not revision.is_current(commit, tmp_path)
    assert not revision.is_current("0123456789", tmp_path)


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
    blocks = "\n".join("\n".join(pair) for pair in MARKED)
    document.write_text(f"by hand\n{blocks}\nby hand, too\n")
    measured = [one.kept(TAKEN) for one in MEASURED]
    written = page.write(measured, document, tmp_path / "docs/images")
    text = document.read_text()
    assert text.startswith("by hand\n") and text.endswith("by hand, too\n")
    assert "| made | 2 cores (X) | 1 May 2026 | abc, old | 5 | 0.10 |" in text
    assert page.TRIED_FILE.read_text().strip() in text
    assert (
        "| made 1080p, 10 s: whole job | s per s | 1 | one run | - | 0.5 | 2 | - | <= 2 x floor | met | abc, old |"
        in text
    )
    assert [path.name for path in written[1:]] == [f"performance-{name}.svg" for name in PLOTS]
    for path in written[1:]:
        assert f"](images/{path.name})" in text
    page.write(measured, document, tmp_path / "docs/images")
    assert document.read_text() == text
    tried = page.TRIED_FILE.read_text().strip()
    document.write_text(text.replace(tried, "of former times"))
    assert page.write([], document, tmp_path / "docs/images") == [document]
    assert document.read_text() == text


MARKED = (page.MACHINE, page.BOUNDS, page.FIGURES, page.TRIED)
PLOTS = ("stages", "growth", "memory", "workers")


def test_times_of_all_lengths_are_one_line() -> None:
    measured = [
        Row(part, f"made 1080p, {length} s", "duikou sync", "s per s", (pace,), length_s=length)
        for part, length, pace in (("hour", 60, 9.0), ("growth", 60, 1.0), ("growth", 5, 2.0), ("hour", 3600, 1.0))
    ]
    drawn = ET.fromstring(page.draw(measured[1:] + measured[:1])["growth"])
    (line,) = drawn.iter("{http://www.w3.org/2000/svg}polyline")
    across = [float(point.split(",")[0]) for point in line.get("points", "").split()]
    assert len(across) == 3 and across == sorted(across)


def test_a_decade_is_as_wide_as_another() -> None:
    drawn = ET.fromstring(plots.lines_over_decades("x", ("min", "s"), {"a": [(0.1, 1.0), (1.0, 1.0), (100.0, 0.5)]}))
    (line,) = drawn.iter("{http://www.w3.org/2000/svg}polyline")
    first, second, third = (float(point.split(",")[0]) for point in line.get("points", "").split())
    assert third - second == pytest.approx(2 * (second - first), rel=0.01)
    labels = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert labels[1:5] == ["0.1", "1", "10", "100"]


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
    pairs = (*MARKED, encoders.MARKED)
    assert [text.count(marker) for pair in pairs for marker in pair] == [1] * 2 * len(pairs)


def test_the_documentation_repeats_what_was_tried_and_names_every_part() -> None:
    text = (ROOT / page.PAGE).read_text()
    assert page.TRIED_FILE.read_text().strip() in text, "run `make bench`, or --docs --no-measuring"
    assert [f"| `{name}` | {minutes} |" in text for name, minutes in bench.MINUTES.items()] == [True] * len(parts.PARTS)


def test_a_load_of_the_machine_is_told() -> None:
    busy = [row((1.0,)).kept(replace(TAKEN, load=7.0, commit=""))]
    assert page.machine_table(busy).rows == [["made", "2 cores (X)", "1 May 2026", "unknown", "5", "7.00, not quiet"]]


def test_the_face_that_shows_longest_speaks_while_it_shows(tmp_path: Path) -> None:
    said = speech.speak(tmp_path / "speech.wav")  # about 6 s
    faces = {"0": Interval(0, 3_000), "1": Interval(2_000, 6_500)}
    found = choice(faces, Order(tmp_path / "v.mp4", said, tmp_path / "o.mp4"))
    assert (found.face_id, found.insert_ms, found.trim_end_ms) == ("1", 2_500, 3_500)
    found = choice(faces, Order(tmp_path / "v.mp4", said, tmp_path / "o.mp4", length_ms=1_000))
    assert found.trim_end_ms == 1_000
