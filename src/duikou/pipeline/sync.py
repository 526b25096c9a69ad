"""Make the chosen faces of a session speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duikou.engines.base import Engine
from duikou.engines.native import NativeEngine
from duikou.media.audio import Insert, mix, read_audio
from duikou.media.probe import VideoInfo, probe_audio
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Timeline
from duikou.media.video import probe_video
from duikou.pipeline.choice import FaceChoice, Scene
from duikou.pipeline.output import Output, Outputs
from duikou.pipeline.paint import paint
from duikou.pipeline.plan import Planner, Spoken
from duikou.pipeline.session import Session
from duikou.progress import Progress, scaled, silent, split

LENGTHENING, PLANNING, PAINTING = 0.1, 0.35, 0.65
"""Shares of a lip sync's time, roughly; the first one only where the video becomes longer."""


@dataclass(frozen=True)
class Result:
    """A finished lip sync: the file, what it is, what was asked of each face, and the file with the visible mark."""

    video: Path
    info: VideoInfo
    spoken: tuple[Spoken, ...]
    watermark: Path | None = None


def lip_sync(
    session: Session,
    choices: Sequence[FaceChoice],
    output: str | Path | Output | None = None,
    *,
    sync_mode: SyncMode | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Result:
    """Make the chosen faces speak and write the video to `output` (by default beside the source, `NAME.synced.mp4`).

    Frame count, frame times and size are the source's, unless `sync_mode` makes the video longer. Each file appears
    only once it is complete, with the AIGC label and Content Credentials in it.
    output: the path of the mp4 file, or an `Output` that also says who answers for it and asks for a marked file.
    sync_mode: what to do with speech that is too long, which by default is an error.
    Raises `InputError` with the parameter at fault, `MediaError`, `NotFoundError`, `StorageError`.
    """
    source = session.source
    scene = Scene({face.id: face.interval for face in session.faces}, source.info.duration_ms, sync_mode)
    checked = scene.check_all(choices, _audio_lengths(choices))
    outputs = Outputs(source, Output.of(output))
    inserts = [_insert(choice) for choice in checked]
    last_ms = max(insert.at_ms + insert.audio.duration_ms for insert in inserts)
    timeline = Timeline.of(source.frame_times, sync_mode, last_ms)
    original = None
    if source.info.audio is not None:  # audio may go on for hours after the picture
        original = timeline.audio(read_audio(source.path, end_ms=source.info.duration_ms))
    mixed = mix(original, inserts, timeline.duration_ms)
    lengthening, planning, painting = split([LENGTHENING if timeline.added else 0.0, PLANNING, PAINTING])
    with timeline.footage(source, outputs.path, progress=scaled(progress, *lengthening)) as footage:
        planner = Planner(session, timeline, footage, engine or NativeEngine())
        plans = [
            planner.plan(choice, insert.audio, scaled(scaled(progress, *planning), *share))
            for choice, insert, share in zip(checked, inserts, split([1.0] * len(checked)), strict=True)
        ]
        spoken = tuple(one for _, one in plans)
        result, marked = outputs.writers(timeline, mixed, [(one.face_id, one.interval) for one in spoken])
        renderers = [renderer for renderer, _ in plans]
        paint(source, timeline, renderers, result, marked, scaled(progress, *painting))
    return Result(outputs.path, probe_video(outputs.path), spoken, outputs.marked)


def _audio_lengths(choices: Sequence[FaceChoice]) -> list[int]:
    """Length of each choice's audio in ms. Raises `MediaError` that names the choice."""
    return [
        probe_audio(Path(choice.audio), field=f"choices[{number}].audio").duration_ms
        for number, choice in enumerate(choices)
    ]


def _insert(choice: FaceChoice) -> Insert:
    """The speech of a checked choice, read."""
    audio = read_audio(Path(choice.audio), start_ms=choice.trim_start_ms, end_ms=choice.trim_end_ms)
    return Insert(audio, choice.insert_ms, choice.audio_volume, choice.original_volume)
