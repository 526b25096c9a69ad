"""`make fuzz`: sends any number of damaged files through the real worker and prints a table.

The exit status is 1 if any of them did harm; `out/fuzz` keeps those, named after their seed and number.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import campaign  # noqa: E402
import mutants  # noqa: E402

OUTPUT = ROOT / "out" / "fuzz"


def main() -> int:
    """Run and report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="how many mutants, of all seeds in turn")
    parser.add_argument("--start", type=int, default=10_000, help="number of each seed's first; `make test` has 0 on")
    asked = parser.parse_args()
    console = Console()
    began = time.monotonic()
    columns = (TextColumn("mutants"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        task = progress.add_task("mutants", total=asked.count)
        report = campaign.run(
            campaign.numbered(asked.start, asked.count), Path(folder), lambda count: progress.advance(task, count)
        )
    console.print(_table(report, time.monotonic() - began))
    for finding in report.findings:
        console.print(f"{finding}\n-> {_kept(finding)}", markup=False)
    return 1 if report.findings else 0


def _table(report: campaign.Report, seconds: float) -> Table:
    table = Table("", "figure", title="Damaged media files")
    for name, figure in (
        ("mutants", f"{report.mutants:,} in {seconds:.0f} s"),
        ("accepted", f"{report.accepted:,}"),
        ("refused", f"{report.refused:,}"),
        ("deaths", f"{report.deaths:,}"),
        ("limits hit", f"{report.limits_hit:,}"),
        ("findings", f"{len(report.findings):,}"),
        ("slowest", f"{report.slowest_s:.1f} s, {report.slowest}"),
        ("peak memory", f"{report.peak_mb:,} MB"),
    ):
        table.add_row(name, figure)
    return table


def _kept(finding: str) -> Path:
    """Where the mutant that a finding names is written to."""
    name, number = finding.split(":")[:2]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}-{int(number.split()[0])}"
    path.write_bytes(mutants.bytes_of(name, int(number.split()[0])))
    return path


if __name__ == "__main__":
    sys.exit(main())
