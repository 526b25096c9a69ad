"""Measure how convincing the mouth is and report which bounds are met.

Uses clips of real people from `../shared/media` and measured mouths from `../shared/tracks`; without them it generates
a talking portrait. Prints tables and writes `out/quality/quality.json`, one sheet for each face and, after a complete
run on real people, the tables of `docs/quality.md`. Also writes large contact sheets of idle faces and numbered mouths.

    python -m benchmarks.quality [--quick] [--clip NAME]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console

from benchmarks.quality import classifier, clips, edge, inside, phones, report, sheet, teeth, told_apart, tracks, wider
from benchmarks.quality.clips import Clip
from benchmarks.quality.hard import alter
from benchmarks.quality.report import Measured
from benchmarks.quality.run import FaceReport, UnmeasuredError, measure
from benchmarks.tables import show
from duikou import __version__
from duikou.arrays import Image
from duikou.cli.terminal import show_progress
from duikou.errors import DuikouError
from duikou.parallel import cores
from duikou.progress import Progress, scaled

T = TypeVar("T")

OUTPUT = Path("out/quality")
PAGE = Path("docs/quality.md")
QUICK_CLIPS, QUICK_S, QUICK_SENTENCES = 2, 3.0, 3
MADE_S = 6.0
WITHHELD = ", withheld"
"""After the name of a talking clip whose open mouths were withheld, so that they were painted."""
FILE_WIDTH = 120  # columns of the tables where there is no terminal


@dataclass(frozen=True)
class Job:
    """What all clips share. folder: for temporary files. sheets: folder of the sheets. speech: what idle faces say."""

    folder: Path
    sheets: Path
    speech: Path


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLIPS} clips of {QUICK_S:g} s and one idle one")
    parser.add_argument("--clip", action="append", default=[], help="measure only this clip; may be repeated")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="duikou-quality-") as name, show_progress("quality") as progress:
        found = measured(Path(name), OUTPUT, options.clip, progress, quick=options.quick)
    made = report.tables(found)
    console = Console()
    show(made, console if console.is_terminal else Console(width=FILE_WIDTH))
    about = {"duikou": __version__, "cores": cores(), "seconds": round(time.monotonic() - start)}
    report.write_json(OUTPUT / "quality.json", found, about)
    print(f"written: {OUTPUT / 'quality.json'}, sheets beside it")
    if clips.MEDIA.is_dir() and not options.quick and not options.clip:
        report.write_between_markers(PAGE, made)
        print(f"written: the tables in {PAGE}")
    return 0


def measured(folder: Path, sheets: Path, names: list[str], progress: Progress, *, quick: bool) -> Measured:
    """All measures on the available clips. names: only these clips, if any; speech alone is then left out."""
    talking, idle, speech = _clips(folder, quick=quick)
    known = [clip.name for clip in (*talking, *idle)]
    unknown = set(names) - set(known)
    if unknown:
        raise SystemExit(f"unknown clip {', '.join(sorted(unknown))}; the clips are {', '.join(known)}")
    chosen = [clip for clip in (*talking, *idle) if not names or clip.name in names]
    faces: list[FaceReport] = []
    hardened: list[FaceReport] = []
    insides: list[inside.InsideReport] = []
    widths: list[wider.WiderReport] = []
    left_out: list[tuple[str, str]] = []
    job = Job(folder, sheets, speech)
    for number, clip in enumerate(chosen):
        part = scaled(progress, number / len(chosen), (number + 1) / len(chosen))
        found = hardened if clip.altered else faces
        try:
            found += _clip(job, clip, scaled(part, 0, 0.7), talks=clip in talking)
            if clip in talking and not clip.altered:
                insides += _withheld(inside.compare, job, clip, scaled(part, 0.7, 0.85))
                if clip.name in wider.CLIPS:
                    widths += _withheld(wider.compare, job, clip, scaled(part, 0.85, 1))
        except (DuikouError, UnmeasuredError) as error:
            left_out.append((clip.name, str(error)))
    measures = Measured(faces, hardened, insides, [], [], [], left_out, widths, *_single(faces, insides, sheets))
    if names:
        return measures
    sets = [] if quick else tracks.scores()
    if not sets:
        left_out.append(("measured mouths", "left out of a quick run" if quick else f"{tracks.FOLDER} does not exist"))
    each = QUICK_SENTENCES if quick else phones.SENTENCES_EACH
    return replace(measures, sets=sets, heard=phones.heard(each=each), languages=phones.by_language(each=each))


def _clips(folder: Path, *, quick: bool) -> tuple[tuple[Clip, ...], tuple[Clip, ...], Path]:
    """The talking clips, hard cases last; the idle clips; and the speech for the idle ones."""
    if not clips.MEDIA.is_dir():
        talking, idle, speech = clips.made(folder, QUICK_S if quick else MADE_S)
        return (talking, talking.hardened(clips.MADE_HARD)), (idle,), speech
    if not quick:
        return (*clips.TALKING, *clips.HARD), clips.IDLE, clips.IDLE_SPEECH
    short = tuple(replace(clip, seconds=QUICK_S) for clip in clips.TALKING[:QUICK_CLIPS])
    return short, clips.IDLE[:1], clips.IDLE_SPEECH


def _clip(job: Job, clip: Clip, progress: Progress, *, talks: bool) -> list[FaceReport]:
    """The faces of one clip. Raises `UnmeasuredError` or `DuikouError` with the reason if it cannot be measured."""

    def report_stage(stage: str, share: float) -> None:
        progress(f"{clip.name}: {stage}", share)

    if not clip.video.is_file():
        raise UnmeasuredError("the file does not exist")
    with tempfile.TemporaryDirectory(dir=job.folder) as name:
        place = Path(name)
        clip = alter(clip, place) if clip.altered else clip
        take = clips.reenactment(clip, place) if talks else clips.with_a_pause(clip, job.speech, place)
        return list(measure(take, place, job.sheets, report_stage, talks=talks))


def _withheld(compare: Callable[[Clip, Path, Progress], T | None], job: Job, clip: Clip, progress: Progress) -> list[T]:
    """The comparison of one clip with what was withheld of it, if it shows enough."""
    with tempfile.TemporaryDirectory(dir=job.folder) as name:
        found = compare(clip, Path(name), progress)
    return [] if found is None else [found]


def _single(
    faces: list[FaceReport], insides: list[inside.InsideReport], sheets: Path
) -> tuple[list[edge.EdgeReport], list[teeth.TeethReport], list[classifier.ToldApart]]:
    """All measures of single mouths; also writes contact sheets and numbered sheets."""
    talking = [mouth for face in faces if face.rows for mouth in face.mouths]
    idle = [mouth for face in faces if not face.rows for mouth in face.mouths]
    withheld = [mouth for one in insides for mouth in one.mouths]
    for face in faces:
        if not face.rows and any(mouth.ours for mouth in face.mouths):
            sheet.contact(sheets / "contact" / f"{face.name}.png", _large(face))
    folder = sheets / "told_apart"
    shown = told_apart.talking(talking)
    told_apart.write(folder, "talking", shown)
    told_apart.write(folder, "idle", told_apart.idle(idle, withheld, talking, shown))
    groups = {"talking": classifier.talking(talking), "idle": classifier.idle(idle, withheld, talking)}
    told = [classifier.tell(name, mouths, folder / f"{name}_map.png") for name, mouths in groups.items()]
    edges = [edge.compare(face.name, face.mouths) for face in faces]
    rows = [row for face in faces for row in teeth.compare(face.name, face.mouths)]
    for one in insides:
        filmed = [mouth for mouth in talking if not mouth.ours and one.mouths and mouth.face == one.mouths[0].face]
        edges.append(edge.compare(f"{one.name}{WITHHELD}", [*one.mouths, *filmed]))
        rows += teeth.compare(f"{one.name}{WITHHELD}", one.mouths)
    return [one for one in edges if one is not None], rows, [one for one in told if one is not None]


def _large(face: FaceReport) -> list[Image]:
    """The most different of our mouths of a face, in time order."""
    ours = [mouth for mouth in face.mouths if mouth.ours]
    gap, width = (np.array([getattr(mouth, name) for mouth in ours]) for name in ("gap", "width"))
    chosen = sheet.different(gap, width, sheet.CONTACT_MOUTHS)
    return [ours[row].at(ours[row].unit, sheet.CONTACT_CELL) for row in chosen]


if __name__ == "__main__":
    sys.exit(main())
