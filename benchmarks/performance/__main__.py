"""Measures every row that has a bound, beside its floor, prints tables and keeps them in `out/bench.json`.

    python -m benchmarks.performance [--rows PART ...] [--long] [--quick] [--docs] [--no-measuring]

Without `--rows` it measures all parts but the hour, which takes about 50 minutes on two quiet cores, and writes the
documents: `docs/performance.md` with its plots, and the load of `docs/scale.md`. With `--rows` it measures these parts;
the rows of others stay as they were, each with the commit that it measured, and the documents too unless `--docs` is
given. A run that is stopped has kept what it has measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import tables
from benchmarks.performance import page, revision
from benchmarks.performance.parts import PARTS, USUAL, Plan, hour
from benchmarks.performance.rows import Row, Taken
from benchmarks.scale import paces as scale_paces
from benchmarks.scale import page as scale_page
from duikou.cli.terminal import show_progress
from duikou.parallel import cores
from duikou.progress import Progress, scaled, split

OUTPUT, QUICK_OUTPUT, CLIPS = Path("out/bench.json"), Path("out/bench-quick.json"), Path("out/bench")
RUNS, CLIP_S = 5, 10
FILE_WIDTH = 190  # columns of the tables where there is no terminal
MINUTES = {
    "made": 6,
    "real": 10,
    "minute": 5,
    "minute_real": 5,
    "growth": 12,
    "growth_real": 6,
    "hour": 80,
    "start": 1,
    "warm": 2,
    "queries": 2,
    "workers": 4,
}
"""Approximate time of the parts, on two quiet cores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write. The exit status is 1 if a part failed."""
    options = _options(arguments)
    output = QUICK_OUTPUT if options.quick else OUTPUT
    plan = Plan(CLIPS, options.runs or (1 if options.quick else RUNS), options.seconds, options.quick)
    names = [] if options.no_measuring else options.rows or [*USUAL, *([hour.__name__] if options.long else [])]
    began = time.monotonic()
    with show_progress("bench") as progress:
        failed = measure(names, plan, output, progress)
    rows = stored(output)
    console = Console()
    tables.show(
        [*page.figure_tables(rows), page.bounds_table(rows)],
        console if console.is_terminal else Console(width=FILE_WIDTH),
    )
    print(f"measured in {(time.monotonic() - began) / 60:.0f} minutes; kept in {output}")
    for name, error in failed.items():
        print(f"{name} failed: {error}", file=sys.stderr)
    whole = not failed and set(names) >= set(USUAL)
    if not options.quick and (options.docs or options.no_measuring or whole):
        write_documents(rows)
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast and how light duikou is, beside its floors and bounds.")
    parser.add_argument("--rows", choices=list(PARTS), nargs="+", help="the parts to measure; by default all but hour")
    parser.add_argument("--long", action="store_true", help="the hour as well, which takes more than an hour")
    parser.add_argument("--quick", action="store_true", help="once, on short clips, to try it out; writes no document")
    parser.add_argument("--runs", type=int, help=f"rounds of each job, by default {RUNS}")
    parser.add_argument("--seconds", type=int, default=CLIP_S, help="length of the generated clips")
    parser.add_argument("--docs", action="store_true", help="write the documents, also after some parts")
    parser.add_argument("--no-measuring", action="store_true", help="write the documents from out/bench.json")
    return parser.parse_args(arguments)


def measure(names: Sequence[str], plan: Plan, output: Path, progress: Progress) -> dict[str, Exception]:
    """Measure parts and keep each row as soon as it is known. Returns what failed; its earlier rows stay."""
    failed: dict[str, Exception] = {}
    shares = split([MINUTES[name] for name in names]) if names else []
    for name, share in zip(names, shares, strict=True):
        taken = taken_now(plan.runs)
        measured: list[Row] = []
        try:
            for row in PARTS[name](plan, scaled(progress, *share)):
                measured.append(row.kept(taken))
                store(replaced(stored(output), measured), output)
        except Exception as error:
            traceback.print_exc()
            failed[name] = error
        else:
            others = [row for row in stored(output) if row.part != name]
            store([*others, *measured], output)  # rows that the part no longer has go
    return failed


def replaced(rows: Iterable[Row], new: Sequence[Row]) -> list[Row]:
    """The rows with new ones in the place of those of the same quantity."""
    keys = {row.key for row in new}
    return [*(row for row in rows if row.key not in keys), *new]


def stored(output: Path) -> list[Row]:
    """The rows that are kept, in the order of the parts. Those of parts that there are no longer are left out."""
    if not output.exists():
        return []
    rows = [Row.of_json(row) for row in json.loads(output.read_text())["rows"]]
    return [row for name in PARTS for row in rows if row.part == name]


def store(rows: Sequence[Row], output: Path) -> None:
    """Keep what was measured. What is there stays whole if this is cut off."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    part.write_text(json.dumps({"rows": [row.as_json() for row in rows]}, indent=1) + "\n")
    part.replace(output)


def taken_now(runs: int) -> Taken:
    """When and on what the next rows are measured."""
    machine = f"{cores()} cores ({processor()}), Python {platform.python_version()}"
    return Taken(time.strftime("%d %B %Y"), revision.measured(), machine, runs, os.getloadavg()[0])


def processor() -> str:
    """The name of the processor."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_documents(rows: Sequence[Row]) -> None:
    """Write the figures into the documents, and print what the README should say."""
    for path in page.write(rows):
        print(f"written: {path}")
    found = page.paces(rows)
    if set(found) == set(scale_paces.PACES):
        scale_paces.write(found)
        scale_page.update(scale_paces.read())
        print(f"written: {scale_paces.FILE}, {scale_page.PAGE}")
        print(f"README.md should say:\n{page.readme_line(found, rows)}")


if __name__ == "__main__":
    sys.exit(main())
