"""Seconds of work per second of video by stage, and peak memory, beside the floor of decoding and encoding alone; how
long it takes to find the faces of a minute of 1080p, beside decoding it alone; and what the sandbox of servers costs.

Every measurement runs in a process of its own, so that peaks are not inherited; each number is the median of several
runs. Prints a table and writes `out/bench.json`.

    python -m benchmarks.bench [--runs N] [--seconds N] [--clip 720p|1080p|minute]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

import duikou
import duikou.pipeline.sync  # loaded here: on first use its imports would be timed as work
from benchmarks import caged
from demo import portrait, speech
from duikou import __version__
from duikou.arrays import Image
from duikou.cli.terminal import show_progress
from duikou.media import decode
from duikou.media.encode import VideoWriter
from duikou.media.probe import probe_audio
from duikou.media.video import Video
from duikou.parallel import cores
from duikou.progress import Progress
from duikou.units import MIB

OUTPUT = Path("out/bench.json")
RUNS = 3
CLIP_S = 10
LEAD_MS = 500  # before and after the speech, so that the mouth eases in and out
MINUTE_S = 60
MINUTE_LIMIT_S = 15  # clients of the wire contract wait no longer for identify-face

Stages = dict[str, float]


@dataclass(frozen=True)
class Case:
    """What is measured on one clip. seconds: its length; `None` is what was asked for.

    jobs: names in `JOBS`. floor: the one that the others are compared with.
    """

    size: tuple[int, int]
    jobs: tuple[str, ...]
    floor: str
    seconds: int | None = None


@dataclass(frozen=True)
class Row:
    """One stage on one clip: work_s of work per second of video, its ratio to the clip's floor, peak resident MiB."""

    clip: str
    stage: str
    work_s: float
    to_floor: float
    peak_mib: int | None


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


def decode_alone(video: Path, _sound: Path, _output: Path) -> Stages:
    """Every frame of the video as it is stored."""
    for _ in decode.frames(video):
        pass
    return {}


def decode_to_bgr(video: Path, _sound: Path, _output: Path) -> Stages:
    """Every frame of the video as BGR."""
    for frame in decode.frames(video):
        _ = frame.image
    return {}


def decode_and_encode(video: Path, _sound: Path, output: Path) -> Stages:
    """Every frame decoded and encoded again, nothing else."""
    with VideoWriter(output, Video.open(video)) as writer:
        for frame in decode.frames(video):
            writer.copy(frame)
    return {}


def identify(video: Path, _sound: Path, _output: Path) -> Stages:
    """Finding the faces."""
    duikou.identify(video)
    return {}


def lip_sync(video: Path, sound: Path, output: Path) -> Stages:
    """The whole job from the file to the file, with the parts of lip sync apart."""
    session = duikou.identify(video)
    clock = StageClock()
    choice = duikou.FaceChoice(sound, session.faces[0].id, insert_ms=LEAD_MS)
    duikou.lip_sync(session, [choice], output, progress=clock)
    return clock.seconds


def in_the_sandbox(video: Path, sound: Path, output: Path) -> Stages:
    """The same job as a server's children do it."""
    clock = StageClock()
    caged.whole_job(video, sound, output.with_suffix(".d"), LEAD_MS, clock)
    return clock.seconds


JOBS: dict[str, Callable[[Path, Path, Path], Stages]] = {
    "decode": decode_alone,
    "decode to BGR": decode_to_bgr,
    "decode and encode": decode_and_encode,
    "identify": identify,
    "identify and lip sync": lip_sync,
    "the same in the sandbox": in_the_sandbox,
}
PREPARED: dict[str, Callable[[], object]] = {"the same in the sandbox": caged.ready}
"""What a job needs that a server has long before it."""
ALL_JOBS = tuple(JOBS), "decode and encode"
CASES = {
    "720p": Case((720, 1280), *ALL_JOBS),
    "1080p": Case((1920, 1080), *ALL_JOBS),
    "minute": Case((1920, 1080), ("decode", "identify"), "decode", MINUTE_S),
}


def measure(job: str, video: Path, sound: Path, output: Path) -> tuple[float, int, Stages]:
    """Run one job in this process: wall seconds, peak resident MiB (not of children), seconds of its stages."""
    prepare = PREPARED.get(job)
    if prepare is not None:
        prepare()
    start = time.perf_counter()
    stages = JOBS[job](video, sound, output)
    seconds = time.perf_counter() - start
    return seconds, peak_mib(), stages


def peak_mib() -> int:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: `ru_maxrss` would start at the parent's peak
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 // MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // MIB if sys.platform == "darwin" else peak * 1024 // MIB


def bench(clip: str, seconds: int, runs: int, folder: Path, progress: Progress) -> Iterator[Row]:
    """A case's jobs on its clip, which lasts `seconds` where the case does not say how long."""
    case = CASES[clip]
    seconds = case.seconds or seconds
    video, sound = make_clip(folder / f"{clip}.mp4", *case.size, seconds), make_speech(folder, seconds)
    floor = 0.0
    spawn = multiprocessing.get_context("spawn")
    for number, job in enumerate(case.jobs):
        results = []
        for run in range(runs):
            progress(f"{clip}, {job}", (number + run / runs) / len(case.jobs))
            with spawn.Pool(1) as pool:
                results.append(pool.apply(measure, (job, video, sound, folder / "out.mp4")))
        work = statistics.median(result[0] for result in results) / seconds
        peak = None if job in PREPARED else round(statistics.median(result[1] for result in results))
        floor = work if job == case.floor else floor
        for stage in results[0][2]:
            part = statistics.median(result[2].get(stage, 0.0) for result in results) / seconds
            yield Row(clip, f"  {stage}", part, part / floor if floor else 0.0, None)
        yield Row(clip, job, work, work / floor if floor else 0.0, peak)


def make_clip(path: Path, width: int, height: int, seconds: int) -> Path:
    """The demo's portrait for so many seconds; where the picture is wide, in the middle of its own blurred copy."""
    rate = Fraction(portrait.RATE)
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=rate, options={"crf": portrait.CRF, "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in portrait.frames(seconds * 1000):
            frame = av.VideoFrame.from_ndarray(_fitted(image, width, height), format="bgr24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def _fitted(image: Image, width: int, height: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    small = cv2.resize(image, (width // 16, height // 16), interpolation=cv2.INTER_AREA)
    page = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    inner = cv2.resize(image, (image.shape[1] * height // image.shape[0], height), interpolation=cv2.INTER_AREA)
    left = (width - inner.shape[1]) // 2
    page[:, left : left + inner.shape[1]] = inner
    return page.astype(np.uint8)


def make_speech(folder: Path, seconds: int) -> Path:
    """Speech that fits between the leads of a clip of so many seconds."""
    words = speech.SENTENCE.split()
    while True:
        path = speech.speak(folder / "speech.wav", " ".join(words))
        if probe_audio(path).duration_ms <= seconds * 1000 - 2 * LEAD_MS:
            return path
        words.pop()


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Seconds of work per second of video, by stage.")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seconds", type=int, default=CLIP_S, help="length of the clips")
    parser.add_argument("--clip", choices=list(CASES), action="append", help="by default all")
    options = parser.parse_args()
    clips = options.clip or list(CASES)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="duikou-bench-") as name, show_progress("bench") as progress:
        for clip in clips:
            rows += bench(clip, options.seconds, options.runs, Path(name), progress)
    print_table(rows)
    for row in rows:
        if (row.clip, row.stage) == ("minute", "identify"):
            took = row.work_s * MINUTE_S
            print(f"{MINUTE_S} s of 1080p: faces found in {took:.1f} s on {cores()} cores (limit {MINUTE_LIMIT_S} s)")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        empty_ms = pool.apply(caged.empty_work_ms)
    print(f"a piece of work that does nothing, in a child of its own: {empty_ms:.0f} ms")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "duikou": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": cores(),
        "runs": options.runs,
        "clip_seconds": options.seconds,
        "empty_work_ms": empty_ms,
    }
    OUTPUT.write_text(json.dumps(about | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    print(f"written: {OUTPUT}")
    return 0


def print_table(rows: list[Row]) -> None:
    """The rows as a table on standard output."""
    table = Table("clip", "stage", box=None, pad_edge=False)
    for title in ("work s per video s", "to floor", "peak MiB"):
        table.add_column(title, justify="right")
    for row in rows:
        peak = "" if row.peak_mib is None else str(row.peak_mib)
        table.add_row(row.clip, row.stage, f"{row.work_s:.3f}", f"{row.to_floor:.1f}" if row.to_floor else "", peak)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
