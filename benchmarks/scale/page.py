"""The parts of `docs/scale.md` that follow from the paces of workers: the picture, and the table of the load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.scale.model import DAY_S, Capacity, Demand, Load, load
from benchmarks.scale.paces import Pace
from benchmarks.tables import Table, markdown, markers, write_between

PAGE = Path("docs/scale.md")
COMMAND = "make bench"
PICTURE, LOAD = (markers(name, COMMAND) for name in ("picture", "load"))
DAYS = (10_000, 100_000, 1_000_000)
OF_WORKERS = ("claim and publish", "beats")  # transactions; all others are of servers


def update(paces: Mapping[str, Pace], page: Path = PAGE) -> None:
    """Write both parts for these paces, by size; `1080p` and `720p` are needed."""
    write_between(page, PICTURE, picture(paces))
    write_between(page, LOAD, load_text(paces))


def demand(tasks_per_day: float, pace: Pace) -> Demand:
    """A day's tasks with workers of such a pace."""
    return Demand(tasks_per_day, pace=pace.render, look_pace=pace.identify)


def picture(paces: Mapping[str, Pace]) -> str:
    """Who sends how much to whom with the most tasks, as a Mermaid diagram."""
    found = load(demand(DAYS[-1], paces["1080p"]))
    by_workers = sum(found.transactions_per_s[name] for name in OF_WORKERS)
    by_servers = found.all_transactions_per_s - by_workers
    polls = found.transactions_per_s["polls"] / by_servers
    beats = found.transactions_per_s["beats"] / by_workers
    into, out = found.storage_in_mb_per_s / 1000, found.storage_out_mb_per_s / 1000
    return f"""```mermaid
flowchart LR
    callers -- "{found.calls_per_s:,.0f} calls/s" --> api["{found.servers} servers"]
    api -- "{rounded(by_servers)} transactions/s, {polls:.0%} of them polls" --> postgres[("PostgreSQL")]
    api -- "{found.messages_per_s:.0f} messages/s" --> rabbitmq[("RabbitMQ")]
    rabbitmq --> workers["{found.render_workers:,} + {found.identify_workers:,} workers"]
    workers -- "{rounded(by_workers)} transactions/s, {beats:.0%} of them heartbeats" --> postgres
    api & workers -- "{into:.1f} GB/s in, {out:.1f} GB/s out" --> s3[("S3")]
```"""


def load_text(paces: Mapping[str, Pace]) -> str:
    """The paces, the formula, and the table of the load at the peak."""
    large, small = paces["1080p"], paces["720p"]
    usual = demand(DAYS[-1], large)
    capacity = Capacity()
    even = 1000 * capacity.use * DAY_S / (large.render * usual.video_s) / 1e6
    return "\n".join(
        [
            f"A worker needs {large.render:.2f} s of its two cores to render a second of 1080p, and "
            f"{large.identify:.2f} s to",
            f"find the faces in it; {small.render:.2f} s and {small.identify:.2f} s at 720p.",
            "",
            markdown(load_table(paces)).split("\n", 2)[2],
            "",
            f"A thousand render workers handle {even:.1f} million tasks of {usual.video_s:.0f} s of 1080p in a day of "
            f"even load, {even / usual.peak_factor:.1f} million with such peaks.",
            "More tasks wait in the queue, in fair order.",
        ]
    )


def load_table(paces: Mapping[str, Pace]) -> Table:
    """The load at the peak for each number of tasks a day."""
    loads = [load(demand(day, paces["1080p"])) for day in DAYS]
    small = [load(demand(day, paces["720p"])) for day in DAYS]
    kept = [
        f"{one.database_rows / 1e6:,.1f} million, {one.database_gb:,.1f} GB, {one.storage_tb:,.0f} TB" for one in loads
    ]

    def row(name: str, of: Callable[[Load], str]) -> list[str]:
        return [name, *(of(one) for one in loads)]

    def both(name: str, of: Callable[[Load], int]) -> list[str]:
        return [name, *(f"{of(one):,} ({of(less):,})" for one, less in zip(loads, small, strict=True))]

    def kind(one: Load, *names: str) -> str:
        return rounded(sum(one.transactions_per_s[name] for name in names))

    return Table(
        "The load at the peak",
        ["tasks a day", *(f"{day:,}" for day in DAYS)],
        [
            row("tasks a second", lambda one: f"{one.tasks_per_s:.2g}"),
            both("render workers, 1080p (720p)", lambda one: one.render_workers),
            both("identify workers, 1080p (720p)", lambda one: one.identify_workers),
            row("servers, one core each", lambda one: f"{one.servers}"),
            row("transactions a second", lambda one: rounded(one.all_transactions_per_s)),
            row(
                "of these heartbeats; polls; finding faces",
                lambda one: "; ".join(
                    [kind(one, "beats"), kind(one, "polls"), kind(one, "identify", "awaiting faces")]
                ),
            ),
            row("PostgreSQL, cores", lambda one: f"{one.database_cores:.2g}"),
            row("messages a second", lambda one: f"{one.messages_per_s:.2g}"),
            row("requests to S3 a second", lambda one: f"{one.storage_requests_per_s:,.0f}"),
            row("S3, MB/s in and out", lambda one: f"{one.storage_in_mb_per_s:.0f}, {one.storage_out_mb_per_s:.0f}"),
            ["stored for 30 days: rows, database, files", *kept],
            row("the one sweeper is busy", lambda one: f"{100 * one.sweep_share:.2g} % of the day"),
        ],
    )


def rounded(value: float) -> str:
    """Two or three digits, which is what the model is good for."""
    return f"{value:,.0f}" if value < 1000 else f"{round(value, -1 if value < 10_000 else -2):,.0f}"
