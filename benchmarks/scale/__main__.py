"""How duikou grows: the load model, then the simulation. Prints tables and writes `out/scale.json`.

    python -m benchmarks.scale [--workers N] [--processes N] [--seconds N] [--finished N] [--waiting N] [--only PART]

About ten minutes on two cores. Machines are shared: processor time and ratios say more than rates.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.scale import calls, model, simulate, size
from benchmarks.scale.crowd import Calls, Place, hush, running
from benchmarks.scale.services import Services, floor, services
from duikou.database.engine import Database
from duikou.tasks.states import TaskStatus

OUTPUT = Path("out/scale.json")
WORKERS, PROCESSES = 1000, 4
SECONDS = 30
DAYS = (10_000, 100_000, 1_000_000)  # tasks a day
TIMES = (1, 3, 10)  # of a million tasks a day
BUSY = 0.6  # share of the workers that a paced load keeps busy
LONGEST_WORK_MS = 20_000
BURST = 3_000
FEW_WORKERS, FLOOD, FLOOD_WORK_MS, SMALL = 20, 300, 2_000, 10
HTTP_CALLS = 300
FLOOR_S = 4
FINISHED, WAITING = 1_000_000, 100_000
PARTS = ("model", "floor", "calls", "size", "fleet")


def main() -> int:
    """Compute, simulate, print and write."""
    parser = argparse.ArgumentParser(description="How duikou grows: a load model and a simulation.")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--processes", type=int, default=PROCESSES, help="in which the workers are")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each paced load")
    parser.add_argument("--finished", type=int, default=FINISHED, help="tasks in the tables that have ended")
    parser.add_argument("--waiting", type=int, default=WAITING, help="tasks in the tables that wait")
    parser.add_argument("--only", choices=PARTS, action="append", help="by default all")
    options = parser.parse_args()
    parts = options.only or PARTS
    hush()
    found: dict[str, Any] = {"workers": options.workers}
    if "model" in parts:
        found["model"] = model_table()
    if set(parts) - {"model"}:
        with services() as some, tempfile.TemporaryDirectory(prefix="duikou-scale-") as name:
            if "floor" in parts:
                found["floor"] = floor(some.postgres, FLOOR_S)
                show("bare PostgreSQL, transactions a second", ("", "a second"), found["floor"].items())
            if "calls" in parts:
                (folder := Path(name) / "calls").mkdir()
                found["calls"] = [asdict(cost) for cost in calls.costs(some, folder, HTTP_CALLS)]
                show_all("a call of HTTP, processor ms", found["calls"])
            if "size" in parts:
                found |= sizes(some, options.finished, options.waiting)
            if "fleet" in parts:
                found |= simulated(some, Path(name), options.workers, options.processes, options.seconds)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n")
    print(f"written: {OUTPUT}")
    return 0


def model_table() -> dict[str, Any]:
    """The load at the peak of each size of day."""
    loads = {f"{day:,}": model.load(model.Demand(day)) for day in DAYS}
    rows = {name: asdict(load) for name, load in loads.items()}
    transactions = {name: row.pop("transactions_per_s") for name, row in rows.items()}
    for title, columns in (("load at the peak", rows), ("of these, transactions a second", transactions)):
        fields = next(iter(columns.values()))
        show(title, ("tasks a day", *columns), ((field, *(row[field] for row in columns.values())) for field in fields))
    return {name: asdict(load) for name, load in loads.items()}


def sizes(some: Services, finished: int, waiting: int) -> dict[str, Any]:
    """Calls of the store with empty tables, with finished tasks, and with waiting ones besides."""
    url = some.postgres.fresh()
    Database(url).close()
    size.fill(url, TaskStatus.PROCESSING, 0, size.IN_HAND)
    rows = size.timed(url, 0, 0)
    size.fill(url, TaskStatus.SUCCEED, size.IN_HAND, finished)
    rows += size.timed(url, finished, 0)
    bytes_of = size.row_bytes(url)
    size.fill(url, TaskStatus.SUBMITTED, size.IN_HAND + finished, waiting)
    rows += size.timed(url, finished, waiting)
    columns = list(dict.fromkeys((row.finished, row.waiting) for row in rows))
    table = {row.call: [other.ms for other in rows if other.call == row.call] for row in rows}
    titles = ("", *(f"{done:,} finished, {waits:,} waiting" for done, waits in columns))
    show("calls of the store, ms", titles, ((call, *ms) for call, ms in table.items()))
    show("bytes of a row with its indexes", ("", "bytes"), bytes_of.items())
    return {"size": [asdict(row) for row in rows], "bytes": bytes_of}


def simulated(some: Services, folder: Path, workers: int, processes: int, seconds: int) -> dict[str, Any]:
    """Nothing, a burst, paced loads, and one account beside another that floods the queue of a few workers."""
    average = model.Demand(DAYS[-1]).average_per_s
    places = [Place(some.postgres.fresh(), some.rabbit.fresh(), folder / name) for name in ("many", "few")]
    with running(places[0], workers, processes) as fleet:
        nothing = simulate.idle(fleet, some, SECONDS / 3)
        show("nothing to do, a second", ("", "a second"), nothing.items())
        burst = Calls(BURST, 0, 0, simulate.ACCOUNTS)
        rows = [simulate.measured("all at once", fleet, some, burst, figures_s=simulate.BROKER_S)]
        for times in TIMES:
            per_s = times * average
            work_ms = min(round(BUSY * workers / per_s * 1000), LONGEST_WORK_MS)
            paced = Calls(round(per_s * seconds), per_s, work_ms, simulate.ACCOUNTS)
            rows.append(simulate.measured(f"{times}x", fleet, some, paced, figures_s=simulate.BROKER_S))
    with running(places[1], FEW_WORKERS, 1) as fleet:
        flood = Calls(FLOOD, 0, FLOOD_WORK_MS, (simulate.FLOOD,))
        small = Calls(SMALL, 1.0, FLOOD_WORK_MS, (simulate.SMALL,), callers=1)
        rows.append(simulate.measured("flood", fleet, some, flood, small, figures_s=simulate.BROKER_S))
    show_all("simulation", [asdict(row) for row in rows])
    return {"idle": nothing, "fleet": [asdict(row) for row in rows]}


def show_all(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as columns: there are more fields than rows."""
    names = list(rows[0])
    show(title, ("", *(row[names[0]] for row in rows)), ((name, *(row[name] for row in rows)) for name in names[1:]))


def show(title: str, columns: Sequence[str], rows: Any) -> None:
    """One table on standard output."""
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for name, *values in rows:
        table.add_row(str(name), *(f"{value:,.3g}" if isinstance(value, float) else str(value) for value in values))
    Console(width=160).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
