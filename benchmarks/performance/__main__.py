"""Measures every row that has a bound, beside its floor, prints tables and writes `out/bench.json`.

    python -m benchmarks.performance [--rows PART ...] [--runs N] [--seconds N] [--long] [--docs] [--no-measuring]

Without `--rows` it measures all parts, which takes about half an hour on two quiet cores, and writes the figures and
plots of `docs/performance.md` and the load of `docs/scale.md`. With it, the rows of other parts stay in
`out/bench.json` as they were, and the documents as well unless `--docs` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import tables
from benchmarks.performance import page
from benchmarks.performance.parts import PARTS, Plan
from benchmarks.performance.rows import Row
from benchmarks.scale import paces as scale_paces
from benchmarks.scale import page as scale_page
from duikou import __version__
from duikou.cli.terminal import show_progress
from duikou.parallel import cores
from duikou.progress import scaled

OUTPUT, CLIPS = Path("out/bench.json"), Path("out/bench")
RUNS, CLIP_S = 5, 10
FILE_WIDTH = 170  # columns of the tables where there is no terminal
SHARES = {"made": 5, "real": 8, "minute": 5, "growth": 14, "start": 1, "warm": 2, "queries": 2, "workers": 3}
"""Approximate minutes of the parts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="How fast and how light duikou is, beside its floors and bounds.")
    parser.add_argument("--rows", choices=list(PARTS), action="append", help="the part to measure; by default all")
    parser.add_argument("--runs", type=int, default=RUNS, help="rounds of each job")
    parser.add_argument("--seconds", type=int, default=CLIP_S, help="length of the generated clips")
    parser.add_argument("--long", action="store_true", help="an hour of 1080p, too; takes an hour and more")
    parser.add_argument("--docs", action="store_true", help="write the documents, also after a part")
    parser.add_argument("--no-measuring", action="store_true", help="use what out/bench.json holds")
    options = parser.parse_args(arguments)
    names = [] if options.no_measuring else options.rows or list(PARTS)
    kept, about = stored()
    rows = [row for row in kept if row.part not in names]
    load, began = os.getloadavg()[0], time.monotonic()
    plan = Plan(CLIPS, options.runs, options.seconds, options.long)
    with show_progress("bench") as progress:
        total, done = sum(SHARES[name] for name in names), 0
        for name in names:
            share = done / total, (done + SHARES[name]) / total
            rows += PARTS[name](plan, scaled(progress, *share))
            done += SHARES[name]
            about = described(options.runs, load)
            store(rows, about)  # a run that is stopped keeps what it has measured
    rows.sort(key=lambda row: list(PARTS).index(row.part))
    console = Console()
    tables.show(
        [*page.figure_tables(rows), page.bounds_table(rows)],
        console if console.is_terminal else Console(width=FILE_WIDTH),
    )
    print(f"measured in {(time.monotonic() - began) / 60:.0f} minutes; written: {OUTPUT}")
    if options.docs or options.no_measuring or set(names) == set(PARTS):
        write_documents(rows, about)
    return 0


def stored() -> tuple[list[Row], dict[str, Any]]:
    """The rows of earlier runs, and what is known of them."""
    if not OUTPUT.exists():
        return [], {}
    about = json.loads(OUTPUT.read_text())
    return [Row.of_json(row) for row in about.pop("rows")], about


def store(rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Write what was measured."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(about | {"rows": [row.as_json() for row in rows]}, indent=1) + "\n")


def described(runs: int, load: float) -> dict[str, Any]:
    """When, where and of what the measurements are. load: of the machine before them."""
    return {
        "date": time.strftime("%d %B %Y"),
        "duikou": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": cores(),
        "runs": runs,
        "load": [load, os.getloadavg()[0]],
    }


def processor() -> str:
    """The name of the processor."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_documents(rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Write the figures into the documents, and print what the README should say."""
    for path in page.write(rows, about):
        print(f"written: {path}")
    found = page.paces(rows)
    if set(found) == set(scale_paces.PACES):
        scale_paces.write(found)
        scale_page.update(scale_paces.read())
        print(f"written: {scale_paces.FILE}, {scale_page.PAGE}")
        print(f"README.md should say:\n{page.readme_line(found, rows)}")


if __name__ == "__main__":
    sys.exit(main())
