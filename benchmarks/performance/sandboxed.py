"""The work of a server's child processes, in the sandbox, as the server has it done."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from functools import cache

from benchmarks.performance.orders import Order, choice
from duikou.progress import Progress
from duikou.provenance import certificates
from duikou.provenance.notary import Notary
from duikou.sandbox.process import SandboxProcess
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.timebase import Interval
from duikou.workers import work

FINDING = "finding faces in a child"  # a stage
EMPTY_RUNS = 50  # of a piece of work that does nothing


@cache
def ready() -> SandboxProcess:
    """A child process that has done something: later ones are forked beforehand."""
    process = SandboxProcess(Limits(wall_s=600, memory_mb=4096), threading.Event(), preload=__name__)
    process.run(nothing)
    return process


def nothing(_progress: Progress) -> None:
    """The smallest piece of work."""


def whole_job(order: Order, progress: Progress) -> None:
    """Find the faces, make one speak and sign the result, each in a child of its own."""
    folder = order.output.with_suffix(".d")
    shutil.rmtree(folder, ignore_errors=True)
    session, made = folder / "session", folder / "made"
    for one in (session, made):
        one.mkdir(parents=True)
    found = ready().run(work.identify, order.video, session, allowed=AllowedPaths((order.video,), (session,)))
    progress(FINDING, 1.0)
    chosen = choice({face.id: face.interval for face in found.faces}, order)
    job = work.RenderJob(session, order.video, (chosen,), (order.speech,), made / "result.mp4", "duikou", "bench")
    length_ms = ready().run(work.render, job, allowed=job.allowed_paths)
    progress("lip sync in a child", 1.0)
    certificate = certificates.self_signed(folder)
    faces = ((chosen.face_id, Interval(chosen.insert_ms, length_ms)),)
    sealed = work.SignJob(order.video, ((job.output, False),), faces, None, *certificate.public())
    sign = Notary(certificate, [job.output.name]).sign
    ready().run(work.sign, sealed, allowed=sealed.allowed_paths, answer=sign)
    progress("signing in a child", 1.0)
    shutil.rmtree(folder)


def empty_work_ms() -> float:
    """Milliseconds that a piece of work takes which does nothing, in a child of its own: the median of many."""
    took: list[float] = []
    for _ in range(EMPTY_RUNS):
        start = time.perf_counter()
        ready().run(nothing, allowed=AllowedPaths())
        took.append(time.perf_counter() - start)
        time.sleep(statistics.median(took))  # the next child is made meanwhile, as between two tasks
    return statistics.median(took) * 1000
