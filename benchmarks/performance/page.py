"""The figures as tables, on the terminal and in the documentation, with their plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.performance import plots, revision
from benchmarks.performance.parts import PEAK_MIB, SANDBOXED, WHOLE
from benchmarks.performance.rows import Row
from benchmarks.performance.sandboxed import FINDING
from benchmarks.scale.paces import Pace
from benchmarks.tables import Table, markdown, markers, write_between

PAGE, IMAGES = Path("docs/performance.md"), Path("docs/images")
TRIED_FILE: Final = Path(__file__).with_name("tried.md")
"""What was tried, written by hand; the page repeats it."""
COMMAND = "make bench"
MACHINE, BOUNDS, FIGURES = (markers(name, COMMAND) for name in ("machine", "bounds", "figures"))
TRIED = markers("tried", f"{COMMAND}` from `benchmarks/performance/{TRIED_FILE.name}")
QUIET = 0.5
"""Load of a machine that does nothing else, at most."""
NOTE = (
    "Median of the rounds. Spread: the largest less the smallest, as a share of the median. CPU: processor time of all "
    "threads and processes. To floor: median of the ratios to the floor of the same round, by wall clock and by CPU."
)


def bounds_table(rows: Sequence[Row]) -> Table:
    """Every bound, with the figure and the verdict."""
    columns = ["job", "unit", "median", "spread", "CPU", "floor", "to floor", "by CPU", "bound", "verdict", "commit"]
    current, made = current_commits(rows), []
    for row in rows:
        for bound, verdict in zip(row.bounds, row.verdicts, strict=True):
            made.append([_name(row), row.unit, *_figures(row), bound.text, verdict, _commit(row, current)])
    return Table("Bounds", columns, made, NOTE)


def current_commits(rows: Sequence[Row]) -> set[str]:
    """The commits that measured what is here now."""
    return {commit for commit in {row.taken.commit for row in rows if row.taken} if revision.is_current(commit)}


def machine_table(rows: Sequence[Row]) -> Table:
    """When and on what each part was measured."""
    current, made = current_commits(rows), dict[tuple[str, ...], None]()
    for row in rows:
        if row.taken is not None:
            load = f"{row.taken.load:.2f}" + ("" if row.taken.load <= QUIET else ", not quiet")
            line = (row.part, row.taken.machine, row.taken.date, _commit(row, current), str(row.taken.runs), load)
            made[line] = None
    note = (
        "An old commit: the program has changed since, so that the figures are no longer its own. With `+`: it had "
        "changes that no commit holds. Load: of the machine before the part, the average of one minute."
    )
    return Table("Measured", ["part", "machine", "date", "commit", "rounds", "load"], list(map(list, made)), note)


def figure_tables(rows: Sequence[Row]) -> list[Table]:
    """All rows, a table for each part; then the stages of the whole jobs."""
    columns = ["job", "unit", "median", "spread", "CPU", "floor", "to floor", "by CPU"]
    made = []
    for part in dict.fromkeys(row.part for row in rows):
        table = Table(part.capitalize(), columns, [])
        for row in rows:
            if row.part == part:
                table.rows.append([_name(row), row.unit, *_figures(row)])
        made.append(table)
    return [*made, *stage_tables(rows)]


def stage_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """What the stages of a whole job take, one column for each clip, in seconds for each second of video."""
    jobs = [row for row in rows if row.stages and row.what in (WHOLE, SANDBOXED)]
    for what in (WHOLE, SANDBOXED):
        found = {row.clip: row for row in jobs if row.what == what}
        names = list(dict.fromkeys(name for row in found.values() for name in row.stages))
        lines = [[name, *(_number(row.stages.get(name)) for row in found.values())] for name in names]
        lines.append([what, *(_number(row.median) for row in found.values())])
        if found:
            yield Table(f"Stages of the {what}, s per s", ["stage", *found], lines)


def write(rows: Sequence[Row], page: Path = PAGE, images: Path = IMAGES) -> list[Path]:
    """Write what was tried, the tables and the plots; returns the paths of all that was written.

    Without rows, as on a machine that has measured nothing, tables and plots stay as they are.
    """
    written = [page]
    write_between(page, TRIED, TRIED_FILE.read_text().strip())
    if not rows:
        return written
    images.mkdir(parents=True, exist_ok=True)
    for name, plot in draw(rows).items():
        path = images / f"performance-{name}.svg"
        path.write_text(plot)
        written.append(path)
    shown = "\n".join(f"![{path.stem}]({_relative(path, page)})" for path in written[1:])
    write_between(page, MACHINE, markdown(machine_table(rows)))
    write_between(page, BOUNDS, markdown(bounds_table(rows)))
    write_between(page, FIGURES, "\n\n".join([shown, *map(markdown, figure_tables(rows))]))
    return written


def draw(rows: Sequence[Row]) -> dict[str, str]:
    """The plots for which there are measurements, as SVG by name."""
    made: dict[str, str] = {}
    jobs = {row.clip: row for row in rows if row.what == WHOLE and row.stages}
    if jobs:
        floors = {row.clip: row.floor_median or 0.0 for row in jobs.values()}
        stages = {clip: row.stages for clip, row in jobs.items()}
        made["stages"] = plots.stacked(
            "Stages of the whole job; black line: decode and encode alone", "s per s of video", stages, floors
        )
    grown: dict[str, dict[float, float]] = {}
    for row in rows:
        if row.length_s:
            grown.setdefault(row.clip.partition(",")[0], {}).setdefault(row.length_s / 60, row.median)
    if grown:
        lines = {clip: sorted(points.items()) for clip, points in grown.items()}
        made["growth"] = plots.lines_over_decades(
            "Time for a second of video as it grows", ("minutes of video", "s per s"), lines
        )
    memory = {row.clip: [(x / row.series[-1][0], y) for x, y in row.series] for row in rows if len(row.series) > 1}
    if memory:
        made["memory"] = plots.lines(
            "Memory of all processes over a job", ("share of the time", "MiB"), memory, limit=PEAK_MIB.limit
        )
    hours = {row.what.partition(" (")[0]: {"tasks": row.median} for row in rows if row.part == "workers"}
    if hours:
        made["workers"] = plots.stacked("Tasks an hour, 4 s of 720p", "tasks an hour", hours, {})
    return made


def paces(rows: Sequence[Row]) -> dict[str, Pace]:
    """How fast a sandboxed worker is on the generated clips, by size."""
    found = {}
    for row in rows:
        if row.what == SANDBOXED:
            size = row.clip.split()[1].rstrip(",")
            finding = row.stages[FINDING]
            found[size] = Pace(row.median - finding, finding)
    return found


def readme_line(found: Mapping[str, Pace], rows: Sequence[Row]) -> str:
    """What the README says of speed."""
    large, small = found["1080p"], found["720p"]
    times = {row.clip.split()[1].rstrip(","): row.to_floor for row in rows if row.what == WHOLE and row.part == "made"}
    return (
        f"* **Speed** on two x86-64 cores (`make bench`): for each second of video, finding faces takes "
        f"{large.identify:.2f} s and rendering {large.render:.2f} s at 1080p, {small.identify:.2f} s and "
        f"{small.render:.2f} s at 720p. The whole job takes {times['1080p'] or 0:.1f} times as long as decoding and "
        f"encoding alone at 1080p, {times['720p'] or 0:.1f} times at 720p. [docs/performance.md](docs/performance.md)"
    )


def _name(row: Row) -> str:
    return f"{row.clip}: {row.what}" if row.clip else row.what


def _commit(row: Row, current: set[str]) -> str:
    """The commit that a row was measured of, and whether that is still the program."""
    if row.taken is None or not row.taken.commit:
        return "unknown"
    return row.taken.commit + ("" if row.taken.commit in current else ", old")


def _figures(row: Row) -> list[str]:
    """Median, spread, processor time, floor, ratios to it by wall clock and by processor time."""
    spread = f"{row.spread:.0%}" if len(row.values) > 1 else "one run"
    more = [row.cpu_median, row.floor_median, row.to_floor, row.cpu_to_floor]
    return [_number(row.median), spread, *map(_number, more)]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _relative(path: Path, page: Path) -> str:
    return path.relative_to(page.parent).as_posix()
