"""Commands in processes of their own: their time, their processor time, and the memory of all their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from duikou.units import MIB

SAMPLE_S = 0.1  # between two looks at the memory; a shorter peak may be missed
PROC = Path("/proc")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
DUIKOU = (sys.executable, "-m", "duikou")
LOG_LINES = 20  # of a failed command's standard error to show


@dataclass(frozen=True)
class Ran:
    """A command that has ended. cpu_s: processor time of its processes. memory: (seconds, MiB) of all of them."""

    seconds: float
    cpu_s: float
    memory: tuple[tuple[float, float], ...] = ()

    @property
    def peak_mib(self) -> float:
        """The most that all processes together had at one time."""
        return max((mib for _, mib in self.memory), default=0.0)


class MemoryWatch:
    """Samples the memory of a process and all its descendants while the block runs. Linux only.

    Counts the proportional set size: a page that several processes share is divided among them, so that the sum counts
    it once.
    """

    def __init__(self, pid: int, every_s: float = SAMPLE_S) -> None:
        self.samples: list[tuple[float, float]] = []
        self._pid, self._every_s = pid, every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="bench-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        start = time.perf_counter()
        while not self._done.is_set():
            mib = together_mib(self._pid)
            if mib:
                self.samples.append((time.perf_counter() - start, mib))
            self._done.wait(self._every_s)


def descendants(pid: int) -> list[int]:
    """The process and all that it and its children started, as far as they live and their parents do."""
    found = [pid]
    for one in found:
        with suppress(OSError):  # it has ended meanwhile
            for thread in (PROC / str(one) / "task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def together_mib(pid: int) -> float:
    """Memory of a process and all its descendants: the smaller sum of two looks, in order and back. What one of them
    stops sharing between two readings counts twice in one of these sums at most."""
    family = descendants(pid)
    looks = [family] if len(family) == 1 else [family, family[::-1]]
    return min(sum(map(pss_mib, look)) for look in looks)


def pss_mib(pid: int) -> float:
    """Proportional set size of one process; 0 for one that is gone or belongs to another user."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0.0
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1]) * 1024 / MIB


def cpu_s(pid: int) -> float:
    """Processor time of a process, of its children that are over and of those that live. Linux only."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        threads = (PROC / str(pid) / "task").iterdir()
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * TICK_S + sum(cpu_s(int(child)) for child in children)


def memory_is_measurable() -> bool:
    """Whether this system tells the proportional set size."""
    return (PROC / "self/smaps_rollup").exists()


def run(
    command: Sequence[str], *, watched: bool = False, cores: int = 0, environment: Mapping[str, str] | None = None
) -> Ran:
    """Run a command to its end. cores: how many it may use; 0 is all. Raises `RuntimeError` if it fails."""
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, **(environment or {})}
        )
        pin(process.pid, cores)
        watch = stack.enter_context(MemoryWatch(process.pid)) if watched else None
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            tail = "\n".join(log.read().decode(errors="replace").splitlines()[-LOG_LINES:])
            raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}:\n{tail}")
        return Ran(seconds, usage.ru_utime + usage.ru_stime, tuple(watch.samples) if watch else ())


def pin(pid: int, cores: int) -> None:
    """Let a process, and what it starts from now on, use only so many cores; 0 is all."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, sorted(os.sched_getaffinity(0))[:cores])
