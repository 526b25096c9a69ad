"""The jobs: what is timed, each in a process of its own so that nothing is inherited."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duikou
import duikou.pipeline.sync
from benchmarks.performance import sandboxed
from benchmarks.performance.orders import Order, choice
from benchmarks.performance.processes import cpu_s
from duikou.media import decode
from duikou.media.encode import VideoWriter
from duikou.media.video import Video
from duikou.progress import Progress, silent

Stages = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """Wall and processor seconds of one job, and wall seconds of its stages."""

    seconds: float
    cpu_s: float
    stages: Stages


class StageClock:
    """A `Progress` that books the time since the last call on the stage that reports: stages tell what they did."""

    def __init__(self) -> None:
        self.seconds: Stages = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str, _share: float) -> None:
        """Book the time."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def decode_alone(order: Order) -> Timed:
    """Every frame of the video as it is stored."""
    return _timed(lambda _clock: sum(1 for _ in decode.frames(order.video)))


def decode_to_bgr(order: Order) -> Timed:
    """Every frame of the video as BGR."""
    return _timed(lambda _clock: sum(frame.image.shape[0] for frame in decode.frames(order.video)))


def decode_and_encode(order: Order) -> Timed:
    """Every frame decoded and encoded again, nothing else: the floor."""

    def work(_clock: StageClock) -> None:
        with VideoWriter(order.output, Video.open(order.video)) as writer:
            for frame in decode.frames(order.video):
                writer.copy(frame)

    return _timed(work)


def identify(order: Order) -> Timed:
    """Finding the faces."""
    return _timed(lambda clock: duikou.identify(order.video, progress=clock))


def whole_job(order: Order) -> Timed:
    """From the file to the file: finding the faces, then making one of them speak."""

    def work(clock: StageClock) -> None:
        session = duikou.identify(order.video)
        clock("finding faces", 1.0)
        duikou.lip_sync(session, [_choice(session, order)], order.output, progress=clock)

    return _timed(work)


def known_session(order: Order) -> Timed:
    """Making a face speak, where the faces are known and stored."""

    def work(clock: StageClock) -> None:
        session = duikou.Session.load(_session_folder(order), order.video)
        duikou.lip_sync(session, [_choice(session, order)], order.output, progress=clock)

    return _timed(work)


def in_the_sandbox(order: Order) -> Timed:
    """The whole job as a server's children do it, signature included."""
    sandboxed.ready()
    return _timed(lambda clock: sandboxed.whole_job(order, clock))


JOBS: dict[str, Callable[[Order], Timed]] = {
    "decode": decode_alone,
    "decode to BGR": decode_to_bgr,
    "decode and encode": decode_and_encode,
    "identify": identify,
    "whole job": whole_job,
    "known session": known_session,
    "whole job in the sandbox": in_the_sandbox,
}


def _choice(session: duikou.Session, order: Order) -> duikou.FaceChoice:
    return choice({face.id: face.interval for face in session.faces}, order)


def _session_folder(order: Order) -> Path:
    return order.output.with_suffix(".session")


def _store_session(order: Order) -> None:
    duikou.identify(order.video).save(_session_folder(order))


def _timed(work: Callable[[StageClock], object]) -> Timed:
    clock = StageClock()
    before, start = cpu_s(os.getpid()), time.perf_counter()
    work(clock)
    return Timed(time.perf_counter() - start, cpu_s(os.getpid()) - before, clock.seconds)


def perform(name: str, order: Order) -> Timed:
    """Do a job once, in a new process."""
    return in_a_process(JOBS[name], order)


def in_a_process(function: Callable[..., T], *arguments: object) -> T:
    """What a function of this package returns, in a new process that has imported the package beforehand."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imports are no part of a job
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def floors_per_hour(clip: Path, workers: int) -> float:
    """How often so many processes, each on a core of its own, decode and encode a clip in an hour.

    More of them bring less than twice the work where cores share memory and caches, whatever the program.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with tempfile.TemporaryDirectory(prefix="duikou-bench-") as name, ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, context)) for _ in range(workers)]
        for core, pool in zip(sorted(os.sched_getaffinity(0)), pools, strict=False):
            pool.submit(os.sched_setaffinity, 0, [core]).result()
        orders = [Order(clip, clip, Path(name) / f"{number}.mp4") for number in range(workers)]
        start = time.perf_counter()
        for done in [pool.submit(decode_and_encode, order) for pool, order in zip(pools, orders, strict=True)]:
            done.result()
        return workers * 3600 / (time.perf_counter() - start)


def rounds(names: Sequence[str], order: Order, runs: int, progress: Progress = silent) -> dict[str, list[Timed]]:
    """Each job so often, in turn, so that what slows the machine for a while slows all of them."""
    found: dict[str, list[Timed]] = {name: [] for name in names}
    if "known session" in names:
        in_a_process(_store_session, order)
    for number in range(runs):
        for place, name in enumerate(names):
            progress(name, (number * len(names) + place) / (runs * len(names)))
            found[name].append(perform(name, order))
    shutil.rmtree(_session_folder(order), ignore_errors=True)
    return found
