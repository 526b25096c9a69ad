"""The encoder's settings compared: bytes, processor time, likeness of the picture, memory.

    python -m benchmarks.performance.encoders [--seconds N] [--only SETTING ...] [--again] [--docs]

Each clip is encoded with every setting, in a process of its own. Likeness is SSIM and XPSNR of the encoded and decoded
pictures, by FFmpeg's filters. Takes about a quarter of an hour. What was measured is kept in `out/encoders.json` and
not measured again, so that a run that is stopped can go on; `--again` measures it again.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final

import av
from av.filter import Graph
from av.video.frame import PictureType, VideoFrame
from rich.console import Console

from benchmarks import tables
from benchmarks.performance import clips
from benchmarks.performance.jobs import in_a_process
from benchmarks.performance.page import PAGE
from benchmarks.tables import Table, markdown, markers, write_between
from duikou.cli.terminal import show_progress
from duikou.media import decode
from duikou.media.encode import DELIVERY
from duikou.media.video import Video
from duikou.units import MIB

OUTPUT, CLIPS = Path("out/encoders.json"), Path("out/bench")
SECONDS = 2
CHOSEN: Final = "as chosen"
MARKED = markers("encoder", "python -m benchmarks.performance.encoders --docs")
REAL = ("talking_zh", "talking_glasses", "portrait_hevc_gestures")

PRESETS = {
    "ultrafast": (17, 20),
    "superfast": (17, 19, 21),
    "veryfast": (16, 18),
    "faster": (17, 18),
    "fast": (17,),
    "medium": (17,),
}
"""Qualities (CRF) at which each preset is tried; those without a macroblock tree spend more bytes at the same one."""

Options = Mapping[str, str]
BASE: Options = {"preset": DELIVERY.preset, "crf": str(DELIVERY.crf), "bf": "0"}


def settings() -> dict[str, Options]:
    """What is compared, by name: presets at several qualities, and single options beside what was chosen."""
    found: dict[str, Options] = {CHOSEN: BASE}
    for preset, qualities in PRESETS.items():
        for crf in qualities:
            found[f"{preset}, CRF {crf}"] = {**BASE, "preset": preset, "crf": str(crf)}
    single: dict[str, Options] = {
        "bf 3": {"bf": "3"},
        "threads 1": {"threads": "1"},
        "threads 2": {"threads": "2"},
        "threads 6": {"threads": "6"},
        "slices in place of frames": {"x264-params": "sliced-threads=1"},
        "rc-lookahead 0": {"rc-lookahead": "0"},
        "rc-lookahead 5": {"rc-lookahead": "5"},
        "rc-lookahead 20": {"rc-lookahead": "20"},
        "no macroblock tree": {"x264-params": "mbtree=0"},
        "no macroblock tree, rc-lookahead 0": {"rc-lookahead": "0", "x264-params": "mbtree=0"},
        "sync-lookahead 0": {"x264-params": "sync-lookahead=0"},
        "aq-mode 0": {"aq-mode": "0"},
        "aq-mode 2": {"aq-mode": "2"},
        "aq-mode 3": {"aq-mode": "3"},
        "subme 1": {"x264-params": "subme=1"},
        "subme 4": {"x264-params": "subme=4"},
        "no weighted prediction": {"x264-params": "weightp=0"},
        "trellis 1": {"trellis": "1"},
        "2 references": {"refs": "2"},
    }
    return found | {name: {**BASE, **options} for name, options in single.items()}


@dataclass(frozen=True)
class Encoded:
    """One clip with one setting, for each frame: bytes, processor ms; SSIM and XPSNR (dB); MiB that encoding took."""

    name: str
    clip: str
    frame_bytes: float
    cpu_ms: float
    ssim: float
    xpsnr: float
    memory_mib: float


def measure(name: str, options: Options, clip: str, video: Path, seconds: float) -> Encoded:
    """Encode the beginning of a video with a setting, and compare the pictures with its own."""
    source = Video.open(video)
    count = math.ceil(seconds * source.frame_times.rate)
    given = [frame.stored for frame in islice(decode.frames(video), count) if frame.stored is not None]
    given = [frame.reformat(format="yuv420p") for frame in given]
    before_mib, before = _peak_mib(), time.process_time()
    content = encode(given, options, source)
    cpu_s, memory_mib = time.process_time() - before, _peak_mib() - before_mib
    ssim, xpsnr = likeness(given, content)
    return Encoded(name, clip, len(content) / len(given), cpu_s * 1000 / len(given), ssim, xpsnr, memory_mib)


def encode(frames: Sequence[VideoFrame], options: Options, source: Video) -> bytes:
    """The frames as an H.264 stream, with a key frame every two seconds as in results."""
    with io.BytesIO() as file:
        with av.open(file, "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=source.frame_times.rate, options=dict(options))
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
            stream.codec_context.gop_size = round(2 * source.frame_times.rate)
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.time_base = 1 / source.frame_times.rate
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base, frame.pict_type = number, 1 / source.frame_times.rate, PictureType.NONE
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return file.getvalue()


def likeness(given: Sequence[VideoFrame], content: bytes) -> tuple[float, float]:
    """Mean SSIM of all planes and mean XPSNR of brightness (dB) of a stream, compared with the given pictures."""
    shown = decoded(content)
    ssim = [float(told["lavfi.ssim.All"]) for told in _compared("ssim", given, shown)]
    xpsnr = [float(told["lavfi.xpsnr.xpsnr.y"]) for told in _compared("xpsnr", given, shown)]
    return statistics.fmean(ssim), statistics.fmean(xpsnr)


def decoded(content: bytes) -> list[VideoFrame]:
    """The pictures of a stream."""
    with io.BytesIO(content) as file, av.open(file, "r", format="h264") as container:
        return list(container.decode(video=0))


def _compared(name: str, given: Sequence[VideoFrame], shown: Sequence[VideoFrame]) -> Iterator[dict[str, str]]:
    """What a filter that takes two pictures tells of each pair."""
    if len(given) != len(shown):
        raise ValueError(f"{len(given)} pictures were encoded and {len(shown)} came out")
    graph = Graph()
    first, second = (
        graph.add_buffer(
            width=one.width, height=one.height, format=one.format, name=f"in{number}", time_base=Fraction(1, 1000)
        )
        for number, one in enumerate((shown[0], given[0]))
    )
    compare, sink = graph.add(name), graph.add("buffersink")
    first.link_to(compare, 0, 0)
    second.link_to(compare, 0, 1)
    compare.link_to(sink)
    graph.configure()
    for number, pair in enumerate(zip(shown, given, strict=True)):
        for buffer, frame in zip((first, second), pair, strict=True):
            frame.pts, frame.time_base = number, Fraction(1, 1000)
            buffer.push(frame)
        yield dict(sink.pull().metadata)


def table(found: Sequence[Encoded]) -> Table:
    """Each setting beside the chosen one: medians of the clips' ratios and differences."""
    chosen = {one.clip: one for one in found if one.name == CHOSEN}
    rows = []
    for name in dict.fromkeys(one.name for one in found):
        pairs = [(one, chosen[one.clip]) for one in found if one.name == name and one.clip in chosen]
        if len(pairs) < len(chosen):
            continue  # not measured on every clip yet
        size, cpu = (
            statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs)
            for field in ("frame_bytes", "cpu_ms")
        )
        ssim, least = (pick(one.ssim - other.ssim for one, other in pairs) * 1000 for pick in (statistics.median, min))
        xpsnr = statistics.median(one.xpsnr - other.xpsnr for one, other in pairs)
        memory = statistics.median(one.memory_mib for one, _ in pairs)
        rows.append(
            [name, f"{size:.2f}", f"{cpu:.2f}", f"{ssim:+.2f}", f"{least:+.2f}", f"{xpsnr:+.2f}", f"{memory:.0f}"]
        )
    columns = ["setting", "bytes", "CPU", "SSIM x 1000", "worst clip", "XPSNR, dB", "memory, MiB"]
    mean = {field: statistics.fmean(getattr(one, field) for one in chosen.values()) for field in ("cpu_ms", "ssim")}
    note = (
        f"Beside the chosen setting ({DELIVERY.preset}, CRF {DELIVERY.crf}, no B-frames), which takes "
        f"{mean['cpu_ms']:.1f} ms of processor time a frame at an SSIM of {mean['ssim']:.4f}: ratios of bytes and CPU, "
        f"differences of SSIM and XPSNR, medians of {len(chosen)} clips of 1080p."
    )
    return Table("Settings of x264", columns, rows, note)


def stored() -> list[Encoded]:
    """What earlier runs have measured."""
    return [Encoded(**one) for one in json.loads(OUTPUT.read_text())] if OUTPUT.exists() else []


def store(found: Sequence[Encoded]) -> None:
    """Keep what was measured."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Settings of the encoder compared.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each clip")
    parser.add_argument("--docs", action="store_true", help=f"write the table into {PAGE}")
    parser.add_argument("--only", nargs="+", choices=list(settings()), help="the settings to try; by default all")
    parser.add_argument("--again", action="store_true", help="measure again what is kept")
    options = parser.parse_args(arguments)
    chosen = settings()
    if options.only:
        chosen = {name: chosen[name] for name in (CHOSEN, *options.only)}
    present = [clip for clip in clips.real() if clip.name in REAL]
    present.append(clips.made(CLIPS, "1080p", 10))
    found = [one for one in stored() if not options.again or one.name not in chosen]
    known = {(one.name, one.clip) for one in found}
    tries = [(name, clip) for name in chosen for clip in present if (name, clip.name) not in known]
    with show_progress("encoders") as progress:
        for number, (name, clip) in enumerate(tries):
            progress(f"{clip.name}, {name}", number / len(tries))
            found.append(in_a_process(measure, name, chosen[name], clip.name, clip.video, options.seconds))
            store(found)
    made = table(found)
    tables.show([made], Console(width=120))
    if options.docs:
        write_between(PAGE, MARKED, markdown(made))
    return 0


def _peak_mib() -> float:
    """Peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak * 1024 / MIB


if __name__ == "__main__":
    sys.exit(main())
