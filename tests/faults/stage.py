"""The stub work of the processes under test, and a wall clock that can be set for each of them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import stub_work

from duikou.progress import Progress
from duikou.workers.work import RenderJob, Work

CLOCK = "FAULTS_CLOCK"  # variable: the file with the offset of the process's wall clock, in seconds
STEP_S = 0.05


def render(order: RenderJob, progress: Progress) -> int:
    """Work for the `seconds` that the sound gives."""
    seconds = json.loads(order.audio[0].read_bytes())["seconds"]
    began = time.monotonic()
    while (gone := time.monotonic() - began) < seconds:
        progress("rendering", gone / seconds)
        time.sleep(STEP_S)
    return stub_work.render(order, progress)


WORK = Work(
    probe_video=stub_work.probe_video,
    probe_audio=stub_work.probe_audio,
    probe_upload=stub_work.probe_upload,
    probe_reference=stub_work.probe_reference,
    identify=stub_work.identify,
    render=render,
    sign=stub_work.sign,
    preload=__name__,
)


def set_clock(place: Path, off_s: int) -> None:
    """Set the offset of a process's wall clock, from now on."""
    new = place.with_suffix(".new")
    new.write_text(str(off_s))
    new.rename(place)


def follow_clock() -> None:
    """Shift this process's wall clock by the offset in its file. The monotonic clock is unchanged."""
    place, right, right_ns = Path(os.environ[CLOCK]), time.time, time.time_ns
    time.time = lambda: right() + int(place.read_text())
    time.time_ns = lambda: right_ns() + int(place.read_text()) * 1_000_000_000
