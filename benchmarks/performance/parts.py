"""The parts of the benchmark. Each yields rows, with the bounds that they are held to."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from benchmarks.performance import clips, processes, sandboxed, serving
from benchmarks.performance.clips import Clip
from benchmarks.performance.jobs import Timed, floors_per_hour, in_a_process, rounds
from benchmarks.performance.orders import Order
from benchmarks.performance.rows import Bound, Row, medians, thinned
from duikou.media.video import probe_video
from duikou.progress import Progress, scaled, split

FLOOR, WHOLE, KNOWN, SANDBOXED = "decode and encode", "whole job", "known session", "whole job in the sandbox"
MINUTE_S = 60
INSERT_MS = 5_000
SHORT_MS = 3_000
LENGTHS_S, LONG_S = (5, 20, MINUTE_S, 600), (MINUTE_S, 3_600)
REAL_LENGTHS_S, REAL_LONG_S = (MINUTE_S, 240), (MINUTE_S, 600)
QUICK_S, QUICK_LENGTHS_S = 12, (5, 12, 24)
LONG_RUNS_S = 120  # of video in all runs of one length, where one run is shorter
SERVED_S, QUERIED_S, WORKER_S = 5, 20, 4  # lengths of clips for the server

WHOLE_JOB = {"1080p": Bound(2.0, times_floor=True), "720p": Bound(2.5, times_floor=True)}
KNOWN_SESSION = {"1080p": Bound(1.6, times_floor=True)}
INSERTED = Bound(0.30, times_floor=True)
IDENTIFIED = (Bound(1.5, times_floor=True), Bound(8))
PEAK_MIB = Bound(600e6 / 2**20)  # 600 MB
NOT_GROWING = Bound(1.1)  # noise of one run is a few per cent
LINEAR = Bound(1.1)
HELP_S, READY_S = Bound(0.3), Bound(2)
NO_SLOWER = Bound(1.05)  # the same job differs by that much from run to run
QUERIES_PER_S, QUERIES_MS = Bound(200, at_least=True), Bound(100)
TWO_WORKERS = Bound(1.8, at_least=True)


@dataclass(frozen=True)
class Plan:
    """How to measure. folder: for generated clips, which are kept. seconds: of clips. quick: on short ones alone."""

    folder: Path
    runs: int
    seconds: int
    quick: bool = False

    @property
    def minute_s(self) -> int:
        """Length of what stands for a minute."""
        return QUICK_S if self.quick else MINUTE_S

    def lengths_s(self, usual: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths of clips that are compared."""
        return QUICK_LENGTHS_S if self.quick else usual


@dataclass(frozen=True)
class Rows:
    """Makes the rows of one part and clip. length_s: what times are divided by."""

    part: str
    clip: str
    unit: str
    length_s: float

    @classmethod
    def of(cls, part: str, clip: Clip) -> Self:
        """Rows of seconds for each second of a clip."""
        return cls(part, clip.name, "s per s", probe_video(clip.video).duration_ms / 1000)

    def row(self, what: str, done: Sequence[Timed], floor: Sequence[Timed] = (), bounds: tuple[Bound, ...] = ()) -> Row:
        """The row of a job and, of the same rounds, its floor."""
        stages = {name: took / self.length_s for name, took in medians(one.stages for one in done).items()}
        wall, wall_floor = (tuple(one.seconds / self.length_s for one in timed) for timed in (done, floor))
        cpu, cpu_floor = (tuple(one.cpu_s / self.length_s for one in timed) for timed in (done, floor))
        return Row(self.part, self.clip, what, self.unit, wall, wall_floor, cpu, cpu_floor, bounds, stages)


def made(plan: Plan, progress: Progress) -> Iterator[Row]:
    """Generated clips of both sizes: every job, and what the sandbox of a server adds."""
    names = ("decode", "decode to BGR", FLOOR, "identify", WHOLE, KNOWN, SANDBOXED)
    for size, share in zip(clips.SIZES, split([1, 2]), strict=True):
        clip = clips.made(plan.folder, size, plan.seconds)
        yield from _jobs("made", clip, names, plan.runs, scaled(progress, *share))


def real(plan: Plan, progress: Progress) -> Iterator[Row]:
    """Real clips, where they are present; of the longest also 3 s of speech."""
    names = ("decode", FLOOR, "identify", WHOLE, KNOWN)
    present = clips.real()
    for clip, share in zip(present, split([1] * len(present)), strict=True):
        whole, short = (scaled(scaled(progress, *share), *part) for part in split([3, 1]))
        yield from _jobs("real", clip, names, plan.runs, whole)
        if clip.name == clips.LONGEST:
            few = _measured(clip, (FLOOR, WHOLE, KNOWN), plan.runs, short, SHORT_MS)
            for name in (WHOLE, KNOWN):
                yield Rows.of("real", clip).row(f"{name}, {SHORT_MS // 1000} s of speech", few[name], few[FLOOR])


def minute(plan: Plan, progress: Progress) -> Iterator[Row]:
    """A minute of 1080p: finding its faces, and 5 s of speech."""
    yield from _inserted("minute", clips.made(plan.folder, "1080p", plan.minute_s), plan.runs, progress)


def minute_real(plan: Plan, progress: Progress) -> Iterator[Row]:
    """The same of a real clip that is repeated for a minute, where it is present."""
    for clip in _repeated(plan, (plan.minute_s,)).values():
        yield from _inserted("minute_real", clip, plan.runs, progress)


def _inserted(part: str, clip: Clip, runs: int, progress: Progress) -> Iterator[Row]:
    names = ("decode", FLOOR, "identify", WHOLE, KNOWN)
    done = _measured(clip, names, runs, progress, INSERT_MS)
    rows = Rows(part, clip.name, "s", 1.0)
    yield rows.row("decode", done["decode"], done[FLOOR])
    yield rows.row(FLOOR, done[FLOOR])
    yield rows.row("identify (floor: decode)", done["identify"], done["decode"], IDENTIFIED)
    for name in (KNOWN, WHOLE):
        yield rows.row(f"{name}, {INSERT_MS // 1000} s of speech", done[name], done[FLOOR], (INSERTED,))


def growth(plan: Plan, progress: Progress) -> Iterator[Row]:
    """The command on clips of growing length, all of which is spoken: time per second, memory of all processes."""
    yield from _grown("growth", _long(plan, plan.lengths_s(LENGTHS_S)), plan, progress)


def growth_real(plan: Plan, progress: Progress) -> Iterator[Row]:
    """The same of a real clip that is repeated, where it is present: its mouth opens and closes."""
    yield from _grown("growth_real", _repeated(plan, plan.lengths_s(REAL_LENGTHS_S)), plan, progress)


def hour(plan: Plan, progress: Progress) -> Iterator[Row]:
    """The same up to an hour, and up to ten minutes of the real clip."""
    first, second = (scaled(progress, *share) for share in split([5, 1]))
    yield from _grown("hour", _long(plan, plan.lengths_s(LONG_S)), plan, first)
    yield from _grown("hour", _repeated(plan, plan.lengths_s(REAL_LONG_S)), plan, second)


def _long(plan: Plan, lengths: Sequence[int]) -> dict[int, Clip]:
    return {length: clips.made(plan.folder, "1080p", length) for length in lengths}


def _repeated(plan: Plan, lengths: Sequence[int]) -> dict[int, Clip]:
    found = [clip for clip in clips.real() if clip.name == clips.REPEATED]
    return {length: clips.repeated(plan.folder, clip, length) for clip in found for length in lengths}


def start(plan: Plan, progress: Progress) -> Iterator[Row]:
    """How soon the command and the server answer."""
    helped, ready = [], []
    for run in range(plan.runs):
        progress("duikou --help and duikou serve", run / plan.runs)
        helped.append(processes.run([*processes.DUIKOU, "--help"]))
        ready.append(serving.ready_s())
    times = tuple(ran.seconds for ran in helped)
    cpu = tuple(ran.cpu_s for ran in helped)
    yield Row("start", "", "duikou --help", "s", times, cpu=cpu, bounds=(HELP_S,))
    yield Row("start", "", "duikou serve, new folder, until ready", "s", tuple(ready), bounds=(READY_S,))
    empty = tuple(in_a_process(sandboxed.empty_work_ms) for _ in range(plan.runs))
    yield Row("start", "", "a piece of work that does nothing, in a child of its own", "ms", empty)


def warm(plan: Plan, progress: Progress) -> Iterator[Row]:
    """The first and the second job of a server's worker; the floor of the first is the second."""
    clip = clips.made(plan.folder, "720p", SERVED_S)
    found = []
    for run in range(plan.runs):
        progress("first and second job", run / plan.runs)
        found.append(serving.first_and_second(clip))
    for place, name in enumerate(("identify", "lip sync")):
        first, second = (tuple(one[which][place] for one in found) for which in (0, 1))
        bound = replace(NO_SLOWER, times_floor=True)
        yield Row("warm", clip.name, f"first {name} (floor: the second)", "s", first, second, bounds=(bound,))


def queries(plan: Plan, progress: Progress) -> Iterator[Row]:
    """Calls for a task while the server renders on the same core."""
    clip = clips.made(plan.folder, "1080p", QUERIED_S)
    found = []
    for run in range(plan.runs):
        progress("calls while rendering", run / plan.runs)
        found.append(serving.queries(clip))
    rates, middle, slow = zip(*((one.per_s, one.median_ms, one.slowest_ms) for one in found), strict=True)
    yield Row("queries", clip.name, "calls while rendering, one core", "a second", rates, bounds=(QUERIES_PER_S,))
    yield Row("queries", clip.name, "a call takes, median", "ms", middle)
    yield Row("queries", clip.name, "a call takes, 99 %", "ms", slow, bounds=(QUERIES_MS,))


def workers(plan: Plan, progress: Progress) -> Iterator[Row]:
    """Tasks of one worker on one core, and of two on two; and what two cores bring to decoding and encoding alone."""
    clip = clips.made(plan.folder, "720p", WORKER_S)
    one, two, alone, both = [], [], [], []
    for run in range(plan.runs):
        progress("one worker, two workers", run / plan.runs)
        one.append(serving.tasks_per_hour(clip, 1))
        two.append(serving.tasks_per_hour(clip, 2))
        alone.append(floors_per_hour(clip.video, 1))
        both.append(floors_per_hour(clip.video, 2))
    bound = replace(TWO_WORKERS, times_floor=True)
    what = f"{FLOOR}, two processes on two cores (floor: one)"
    yield Row("workers", clip.name, what, "clips an hour", tuple(both), tuple(alone))
    yield Row("workers", clip.name, "one worker on one core", "tasks an hour", tuple(one))
    yield Row(
        *("workers", clip.name, "two workers on two cores (floor: one)", "tasks an hour"),
        *(tuple(two), tuple(one)),
        bounds=(bound,),
    )


PARTS: dict[str, Callable[[Plan, Progress], Iterator[Row]]] = {
    one.__name__: one
    for one in (made, real, minute, minute_real, growth, growth_real, hour, start, warm, queries, workers)
}
USUAL = [name for name in PARTS if name != hour.__name__]
"""Parts that are measured unless some are asked for."""


def _measured(
    clip: Clip, names: Sequence[str], runs: int, progress: Progress, length_ms: int | None = None
) -> dict[str, list[Timed]]:
    with tempfile.TemporaryDirectory(prefix="duikou-bench-") as name:
        order = Order(clip.video, clip.speech, Path(name) / "out.mp4", length_ms=length_ms)
        return rounds(names, order, runs, lambda job, share: progress(f"{clip.name}, {job}", share))


def _jobs(part: str, clip: Clip, names: Sequence[str], runs: int, progress: Progress) -> Iterator[Row]:
    """A row for each job."""
    done, rows = _measured(clip, names, runs, progress), Rows.of(part, clip)
    bounds = {WHOLE: WHOLE_JOB, KNOWN: KNOWN_SESSION}
    for name in names:
        bound = bounds.get(name, {}).get(clip.size)
        yield rows.row(name, done[name], done[FLOOR], (bound,) if bound else ())


def _grown(part: str, series: Mapping[int, Clip], plan: Plan, progress: Progress) -> Iterator[Row]:
    """The command on each clip, by its seconds, and how the longest compares with shorter ones.

    The shortest one runs again after the longest: in the time that this takes, a shared machine changes its pace.
    """
    if not series:
        return
    paces: dict[int, Row] = {}
    peaks: dict[int, Row] = {}
    longest, least = max(series), min(series)
    for (length, clip), share in zip(series.items(), split(list(series)), strict=True):
        progress(f"duikou sync, {clip.name}", share[0])
        done = _runs(clip, length, plan)
        paces[length] = _pace(part, clip, "duikou sync", length, done)
        yield paces[length]
        if processes.memory_is_measurable():
            values = tuple(ran.peak_mib for ran in done)
            highest = max(done, key=lambda ran: ran.peak_mib)
            bounds = (PEAK_MIB,) if length >= plan.minute_s else ()
            peaks[length] = Row(
                *(part, clip.name, "duikou sync, memory of all processes", "MiB", values),
                bounds=bounds,
                series=thinned(highest.memory),
            )
            yield peaks[length]
    if longest > least:
        shortest, what = series[least], f"duikou sync, after {longest} s"
        yield (after := _pace(part, shortest, what, least, _runs(shortest, least, plan)))
        both = replace(after, values=paces[least].values + after.values, cpu=paces[least].cpu + after.cpu)
        yield _compared(f"time for a second, against {least} s", paces[longest], both, LINEAR)
    if longest > plan.minute_s and plan.minute_s in peaks:
        what = f"memory, against {plan.minute_s} s"
        yield _compared(what, peaks[longest], peaks[plan.minute_s], NOT_GROWING)


def _pace(part: str, clip: Clip, what: str, length: int, done: Sequence[processes.Ran]) -> Row:
    """Seconds for a second of a clip."""
    times, cpu = (tuple(getattr(ran, name) / length for ran in done) for name in ("seconds", "cpu_s"))
    return Row(part, clip.name, what, "s per s", times, cpu=cpu, length_s=length)


def _runs(clip: Clip, length: int, plan: Plan) -> list[processes.Ran]:
    """The command on a clip as often as asked, on a long one less often."""
    return [_synced(clip) for _ in range(max(1, min(plan.runs, LONG_RUNS_S // length)))]


def _synced(clip: Clip) -> processes.Ran:
    """`duikou sync` on a clip, with speech for all of it."""
    with tempfile.TemporaryDirectory(prefix="duikou-bench-") as name:
        options = ["--at", str(clips.LEAD_MS), "--sync-mode", "cut_off", "--quiet", "-o", f"{name}/out.mp4"]
        return processes.run([*processes.DUIKOU, "sync", str(clip.video), str(clip.speech), *options], watched=True)


def _compared(what: str, row: Row, other: Row, bound: Bound) -> Row:
    cpu = (row.cpu_median / other.cpu_median,) if row.cpu_median and other.cpu_median else ()
    return Row(row.part, row.clip, what, "times", (row.median / other.median,), cpu=cpu, bounds=(bound,))
