"""What the processes under trial run in place of real work, and a wall clock of theirs that can be set."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import stub_work

from duikou.progress import Progress
from duikou.workers.work import RenderJob, Work

CLOCK = "FAULTS_CLOCK"  # variable: the file that holds by how many seconds the process's wall clock is off
STEP_S = 0.05


def render(order: RenderJob, progress: Progress) -> int:
    """Take as many `seconds` as the sound says."""
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
    identify=stub_work.identify,
    render=render,
)


def set_clock(place: Path, off_s: int) -> None:
    """Put a process's wall clock wrong from now on, at once."""
    new = place.with_suffix(".new")
    new.write_text(str(off_s))
    new.rename(place)


def follow_clock() -> None:
    """Have this process's wall clock be off by what its file says. The clock that only rises stays as it is."""
    place, right, right_ns = Path(os.environ[CLOCK]), time.time, time.time_ns
    time.time = lambda: right() + int(place.read_text())
    time.time_ns = lambda: right_ns() + int(place.read_text()) * 1_000_000_000
