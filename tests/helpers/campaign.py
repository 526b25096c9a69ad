"""Reads many mutants in worker processes and counts the outcomes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import mutants
from mutants import Outcome

from duikou.errors import WorkerError
from duikou.sandbox.process import SandboxProcess
from duikou.sandbox.restrictions import Limits

BATCH = 100  # mutants for one child: starting it takes as long as some ten of them
LIMITS = Limits(wall_s=60, memory_mb=1024)  # a batch takes 2 s and 300 MB
SLOW_S = 40  # a single mutant may take this long, on a busy machine
WORKERS = 2


@dataclass
class Report:
    """The outcomes of all mutants. findings: mutants that broke something, as "seed:number: what"."""

    accepted: int = 0
    refused: int = 0
    deaths: int = 0
    limits_hit: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    peak_mb: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        """How many were read."""
        return self.accepted + self.refused + self.deaths + self.limits_hit

    def add(self, outcomes: list[Outcome]) -> None:
        """Count the outcomes of one worker process."""
        for one in outcomes:
            self.accepted += one.accepted
            self.refused += not one.accepted
            self.peak_mb = max(self.peak_mb, one.peak_mb)
            if one.seconds > self.slowest_s:
                self.slowest_s, self.slowest = one.seconds, one.mutant
            if one.bug:
                self.findings.append(f"{one.mutant}: {one.bug}")
            if one.seconds > SLOW_S:
                self.findings.append(f"{one.mutant}: took {one.seconds:.0f} s")
        if outcomes and outcomes[-1].open_files > outcomes[0].open_files:
            opened = f"{outcomes[0].open_files} open files became {outcomes[-1].open_files}"
            self.findings.append(f"{outcomes[0].mutant} to {outcomes[-1].mutant}: {opened}")


def numbered(start: int, count: int) -> Iterator[tuple[str, int]]:
    """`count` mutants, taking the seeds in turn, from number `start` on."""
    names = list(mutants.SEEDS)
    return ((names[one % len(names)], start + one // len(names)) for one in range(count))


def run(wanted: Iterable[tuple[str, int]], folder: Path, done: Callable[[int], object] = lambda count: None) -> Report:
    """Read every mutant in worker processes, two at a time. done: receives how many more were read."""
    report, lock, left = Report(), threading.Lock(), iter(wanted)

    def work() -> None:
        while True:
            with lock:
                batch = list(islice(left, BATCH))
            if not batch:
                return
            while batch:
                outcomes, rest, error = _tried(batch, folder)
                with lock:
                    report.add(outcomes)
                    if error is not None:
                        _blame(report, batch[len(batch) - len(rest) - 1], error)
                    done(len(batch) - len(rest))
                batch = rest

    for name in mutants.SEEDS:
        mutants.seed(name)
    with ThreadPoolExecutor(WORKERS) as pool:
        for one in [pool.submit(work) for _ in range(WORKERS)]:
            one.result()
    return report


def _blame(report: Report, mutant: tuple[str, int], error: WorkerError) -> None:
    """Count a mutant that ended its worker process."""
    if "died" in str(error):
        report.deaths += 1
    else:
        report.limits_hit += 1
    report.findings.append(f"{mutant[0]}:{mutant[1]}: {error}")


def _tried(
    batch: list[tuple[str, int]], folder: Path
) -> tuple[list[Outcome], list[tuple[str, int]], WorkerError | None]:
    """The outcomes of a batch, and if its worker process died, the mutants after the fatal one and the error."""
    in_hand = [0]

    def report(stage: str, share: float) -> bool:
        in_hand[0] = int(stage)
        return True

    try:
        return _in_a_child(batch, folder, report), [], None
    except WorkerError as error:
        place = in_hand[0]
        return _in_a_child(batch[:place], folder, report), batch[place + 1 :], error  # those before it once more


def _in_a_child(batch: list[tuple[str, int]], folder: Path, report: Callable[[str, float], bool]) -> list[Outcome]:
    worker = SandboxProcess(LIMITS, threading.Event(), preload=mutants.__name__)
    try:
        outcomes: list[Outcome] = worker.run(mutants.try_all, batch, folder, report=report)
        return outcomes
    finally:
        worker.stop()
