"""The work of a server's child processes, in the sandbox, as the server has it done."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from functools import cache
from pathlib import Path

import duikou
import duikou.workers.preload
from duikou.progress import Progress
from duikou.provenance import certificates
from duikou.provenance.notary import Notary
from duikou.sandbox.process import SandboxProcess
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.timebase import Interval
from duikou.workers import work

EMPTY_RUNS = 50  # of a piece of work that does nothing


@cache
def ready() -> SandboxProcess:
    """A child process that has done something: later ones are forked beforehand."""
    process = SandboxProcess(Limits(wall_s=600, memory_mb=4096), threading.Event(), preload=__name__)
    process.run(nothing)
    return process


def nothing(_progress: Progress) -> None:
    """The smallest piece of work."""


def whole_job(video: Path, sound: Path, folder: Path, insert_ms: int, progress: Progress) -> None:
    """Find the faces, make the first one speak and sign the result, each in a child of its own.

    folder: for what is made; what it held is removed. insert_ms: when the speech begins.
    """
    shutil.rmtree(folder, ignore_errors=True)
    session, made = folder / "session", folder / "made"
    for one in (session, made):
        one.mkdir(parents=True)
    found = ready().run(work.identify, video, session, allowed=AllowedPaths((video,), (session,)))
    progress("finding faces in a child", 1.0)
    choice = duikou.FaceChoice(sound, found.faces[0].id, insert_ms=insert_ms)
    job = work.RenderJob(session, video, (choice,), (sound,), made / "result.mp4", "duikou", "bench")
    length_ms = ready().run(work.render, job, allowed=job.allowed_paths)
    progress("lip sync in a child", 1.0)
    certificate = certificates.self_signed(folder)
    faces = ((choice.face_id, Interval(insert_ms, length_ms)),)
    order = work.SignJob(video, ((job.output, False),), faces, None, *certificate.public())
    sign = Notary(certificate, [job.output.name]).sign
    ready().run(work.sign, order, allowed=order.allowed_paths, answer=sign)
    progress("signing in a child", 1.0)


def empty_work_ms() -> float:
    """Milliseconds that a piece of work takes which does nothing, in a child of its own: the median of many."""
    took: list[float] = []
    for _ in range(EMPTY_RUNS):
        start = time.perf_counter()
        ready().run(nothing, allowed=AllowedPaths())
        took.append(time.perf_counter() - start)
        time.sleep(statistics.median(took))  # the next child is made meanwhile, as between two tasks
    return statistics.median(took) * 1000
