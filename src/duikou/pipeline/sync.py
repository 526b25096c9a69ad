"""Makes the chosen faces of a session speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duikou.engines.base import Engine, Renderer
from duikou.engines.native import NativeEngine
from duikou.errors import InputError
from duikou.media.audio import Audio, Insert, mix, read_audio
from duikou.media.probe import VideoInfo
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Timeline
from duikou.media.video import Video, probe_video
from duikou.pipeline.auto import resolve
from duikou.pipeline.checks import audio_lengths, check_references
from duikou.pipeline.choice import ChoiceValidator, FaceChoice
from duikou.pipeline.output import Output, OutputFiles
from duikou.pipeline.paint import paint
from duikou.pipeline.plan import Planner, Spoken
from duikou.pipeline.session import Session
from duikou.progress import Progress, scaled, silent, split

LENGTHENING, PLANNING, PAINTING = 0.1, 0.35, 0.65
"""Approximate shares of a lip sync's time. The first one applies only where the video becomes longer."""


@dataclass(frozen=True)
class Result:
    """A finished lip sync.

    video: the file. info: its description. spoken: the requested motion of each face.
    watermark: the file with the visible mark, or `None`.
    """

    video: Path
    info: VideoInfo
    spoken: tuple[Spoken, ...]
    watermark: Path | None = None


def lip_sync(
    session: Session,
    choices: Sequence[FaceChoice],
    output: str | Path | Output | None = None,
    *,
    sync_mode: SyncMode | str | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Result:
    """Make the chosen faces speak and write the video to `output` (by default beside the source, `NAME.synced.mp4`).

    Size, frame count and frame times are the source's, unless `sync_mode` makes the video longer. Each file appears
    when it is complete, and carries the AIGC label and Content Credentials.
    output: path of the mp4 file, or an `Output` with a responsible producer and a second, visibly marked file.
    sync_mode: what to do with speech that is too long, a `SyncMode` or its value; by default it is an error.
    Raises `InputError` that names the parameter, `MediaError`, `NotFoundError`, `StorageError`.
    """
    source, mode = session.source, SyncMode.of(sync_mode)
    files = OutputFiles(source, Output.of(output))
    validator = ChoiceValidator({face.id: face.interval for face in session.faces}, source.info.duration_ms, mode)
    lengths = audio_lengths(choices)
    resolved = resolve(choices, lengths, session.faces, validator)
    checked = validator.check_all([one.choice for one in resolved], lengths)
    check_references(checked)
    inserts = [_insert(choice, number) for number, choice in enumerate(checked)]
    speech_end_ms = max(insert.at_ms + insert.audio.duration_ms for insert in inserts)
    timeline = Timeline.of(source.frame_times, mode, speech_end_ms)
    audio = _mixed(source, timeline, inserts)
    lengthening, planning, painting = split([LENGTHENING if timeline.added else 0.0, PLANNING, PAINTING])
    with timeline.footage(source, files.path, progress=scaled(progress, *lengthening)) as footage:
        planner = Planner(session, timeline, footage, engine or NativeEngine())
        plans = [
            _planned(planner, number, choice, insert.audio, scaled(scaled(progress, *planning), *share))
            for number, (choice, insert, share) in enumerate(
                zip(checked, inserts, split([1.0] * len(checked)), strict=True)
            )
        ]
        spoken = tuple(
            replace(one, warnings=(*filter(None, [about.doubt]), *one.warnings))
            for (_, one), about in zip(plans, resolved, strict=True)
        )
        result, watermarked = files.writers(timeline, audio, [(one.face_id, one.interval) for one in spoken])
        renderers = [renderer for renderer, _ in plans]
        paint(source, timeline, renderers, result, watermarked, scaled(progress, *painting))
    return Result(files.path, probe_video(files.path), spoken, files.watermark)


def _planned(
    planner: Planner, number: int, choice: FaceChoice, audio: Audio, progress: Progress
) -> tuple[Renderer, Spoken]:
    """Plan a choice. Errors of its references name the choice."""
    try:
        return planner.plan(choice, audio, progress)
    except InputError as error:
        if not error.field.startswith("references"):
            raise
        raise error.renamed(f"choices[{number}].{error.field}") from error


def _insert(choice: FaceChoice, number: int) -> Insert:
    """Read the speech of a checked choice. Raises `MediaError` that names the choice."""
    start_ms, end_ms = choice.trim_start_ms, choice.trim_end_ms
    audio = read_audio(Path(choice.audio), start_ms=start_ms, end_ms=end_ms, field=f"choices[{number}].audio")
    scope = OriginalScope.of(choice.original_scope)
    return Insert(audio, choice.insert_ms, choice.audio_volume, choice.original_volume, scope)


def _mixed(source: Video, timeline: Timeline, inserts: Sequence[Insert]) -> Audio:
    """The audio of the result: that of the source on `timeline`, with the speech mixed in."""
    original = None
    if source.info.audio is not None:
        # Audio may continue for hours after the video.
        original = timeline.audio(read_audio(source.path, end_ms=source.info.duration_ms, field="video"))
    return mix(original, inserts, timeline.duration_ms)
