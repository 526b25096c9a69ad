"""Where the face networks run: on one core of the processor, or on a GPU if it may be used and proves faster.

A GPU adds numbers in another order, so that the same job need not give the same bytes. So none is used unless
`allow_gpu` was called. Then each network is tried once in a process: a GPU is chosen only if its answers are the
processor's and it gives them sooner. The voice detector stays on the processor: its steps are tiny and wait for one
another, 31 in a second of sound, and take 6 ms of it.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from duikou.arrays import Float32Array

Run: TypeAlias = Callable[[Float32Array], Mapping[str, Float32Array]]
"""Runs a network on one input (H, W, 3); outputs by name. Not thread-safe."""

TOLERANCE: Final = 0.05
"""Largest difference of two answers: of a picture's side of 192 or 256, and of logits."""
FASTER: Final = 0.8
"""A GPU must take no more than this share of the processor's time."""
_RUNS: Final = 9
_DEVICES: Final = ("dev/dri/renderD*", "dev/nvidia[0-9]*")

_lock: Final = threading.RLock()
_trials: Final[dict[str, Trial]] = {}
_allowed = False


@dataclass(frozen=True)
class Trial:
    """How a network did on both. cpu_ms, gpu_ms: medians of one run. reason: why a GPU is not used; empty if it is."""

    cpu_ms: float = 0.0
    gpu_ms: float = 0.0
    reason: str = ""


def allow_gpu(*, allowed: bool = True) -> None:
    """Let networks that are made from now on run on a GPU."""
    global _allowed  # noqa: PLW0603 - a choice of the whole process
    _allowed = allowed


def gpu_is_there(root: Path = Path("/")) -> bool:
    """Whether it is worth trying. Only LiteRT itself can tell whether a GPU works."""
    return sys.platform in {"darwin", "win32"} or any(any(root.glob(name)) for name in _DEVICES)


def chosen(name: str, processor: Run, gpu: Callable[[], Run], side: int) -> Run:
    """The faster of two ways to run a network on pictures of `side` x `side`. gpu: makes the second one."""
    if not _allowed:
        return processor
    with _lock:
        if name not in _trials:
            _trials[name] = trial(processor, gpu, side)
    return processor if _trials[name].reason else gpu()


def trial(processor: Run, gpu: Callable[[], Run], side: int) -> Trial:
    """Run a network on both. Never raises."""
    if not gpu_is_there():
        return Trial(reason="there is no GPU")
    try:
        with _quiet():
            other = gpu()
        picture = _picture(side)
        expected, found = processor(picture), other(picture)
        difference = max(float(np.abs(found[name] - answer).max()) for name, answer in expected.items())
        cpu_ms, gpu_ms = _ms(processor, picture), _ms(other, picture)
    except Exception as error:  # whatever a driver does, the processor is there
        words = str(error) or type(error).__name__
        return Trial(reason=f"LiteRT cannot use it ({words.splitlines()[0]})")
    if not difference <= TOLERANCE:  # not a number is no agreement
        return Trial(cpu_ms, gpu_ms, f"its answers differ by {difference:.2g}")
    if gpu_ms > cpu_ms * FASTER:
        return Trial(cpu_ms, gpu_ms, f"it takes {gpu_ms:.1f} ms and the processor {cpu_ms:.1f} ms")
    return Trial(cpu_ms, gpu_ms)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what LiteRT writes to standard error, from C++, where a driver fails."""
    with Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _picture(side: int) -> Float32Array:
    """Something to look at (side, side, 3), with smooth and rough parts."""
    across, down = np.meshgrid(np.linspace(0, 1, side, dtype=np.float32), np.linspace(0, 1, side, dtype=np.float32))
    rough = np.random.default_rng(0).random((side, side), dtype=np.float32)
    return np.stack([across, down, rough], axis=2)


def _ms(run: Run, picture: Float32Array) -> float:
    """The median of several runs."""
    took = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run(picture)
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)
