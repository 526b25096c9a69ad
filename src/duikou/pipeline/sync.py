"""Makes the chosen faces of a session speak."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from duikou.engines.base import Engine
from duikou.engines.native import NativeEngine
from duikou.errors import InputError
from duikou.faces.track import FaceWarning
from duikou.media.audio import open_sound, sound_of
from duikou.media.encode import Frames
from duikou.media.groups import UnfitError
from duikou.media.mix import Insert, Mix, mix
from duikou.media.probe import VideoInfo
from duikou.media.scope import OriginalScope
from duikou.media.sound import Sound
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Timeline
from duikou.media.video import Video, probe_video
from duikou.parallel import without_blas_threads
from duikou.pipeline.auto import Resolved, resolve
from duikou.pipeline.checks import audio_lengths, check_references
from duikou.pipeline.choice import ChoiceValidator, FaceChoice
from duikou.pipeline.output import Output, OutputFiles
from duikou.pipeline.paint import paint
from duikou.pipeline.plan import Piece, Planner, Speech, Spoken, Talk
from duikou.pipeline.session import Session
from duikou.progress import Progress, rising, scaled, silent, split
from duikou.timebase import Interval

_log = logging.getLogger(__name__)

PLANNING, PAINTING = 0.35, 0.65
"""Approximate shares of a lip sync's time."""

HELD_SAMPLES = 12_000_000
"""Samples of speech, of all channels, that are read into memory: two minutes of stereo, 48 MB. Longer speech is decoded
whenever it is needed."""


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


@without_blas_threads
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
    inserts = _inserts(checked)
    speech_end_ms = max(insert.at_ms + insert.sound.duration_ms for insert in inserts)
    timeline = Timeline.of(source.frame_times, mode, speech_end_ms)
    audio = _mixed(source, timeline, inserts)
    planning, painting = split([PLANNING, PAINTING])
    planner, progress = Planner(session, timeline, engine or NativeEngine()), rising(progress)
    speeches = _speeches(checked, inserts)

    def written(refused: str = "") -> list[Talk]:
        """Plan what the faces say, and write the files. refused: why no packets are copied."""
        talks = [
            _planned(planner, speech, checked, scaled(scaled(progress, *planning), *share))
            for speech, share in zip(speeches, split([len(one.pieces) for one in speeches]), strict=True)
        ]
        said = [(one.face_id, interval) for one in talks for interval in one.intervals]
        changed = np.array([any(talk.renderer.changes(frame) for talk in talks) for frame in range(len(timeline))])
        result, watermarked = files.writers(timeline, audio, said, Frames(timeline.times, changed, refused))
        paint(source, timeline, talks, result, watermarked, scaled(progress, *painting))
        return talks

    try:
        talks = written()
    except UnfitError as error:
        _log.warning("the result is written anew without copied packets, because %s", error)
        talks = written(str(error))
    spoken = tuple(
        replace(one.spoken, warnings=(*_doubts(resolved, one.face_id), *one.spoken.warnings)) for one in talks
    )
    return Result(files.path, probe_video(files.path), spoken, files.watermark)


def _doubts(resolved: Sequence[Resolved], face_id: str) -> Iterator[FaceWarning]:
    """Why a face may be the wrong one."""
    return (one.doubt for one in resolved if one.doubt and one.choice.face_id == face_id)


def _speeches(checked: Sequence[FaceChoice], inserts: Sequence[Insert]) -> list[Speech]:
    """What each face says, in the order in which the faces are named. inserts: the speech of each choice."""
    found = []
    for face_id in dict.fromkeys(choice.face_id for choice in checked):
        own = [(choice, insert) for choice, insert in zip(checked, inserts, strict=True) if choice.face_id == face_id]
        pieces = sorted((Piece(insert.sound, insert.at_ms) for _, insert in own), key=lambda piece: piece.at_ms)
        exclude = sorted(Interval(*pair) for choice, _ in own for pair in choice.exclude)
        lent = next((tuple(choice.references) for choice, _ in own if choice.references), ())
        found.append(Speech(face_id, tuple(pieces), tuple(exclude), lent))
    return found


def _planned(planner: Planner, speech: Speech, checked: Sequence[FaceChoice], progress: Progress) -> Talk:
    """Plan what a face says. Errors of its references name the first choice that has them."""
    try:
        return planner.plan(speech, progress)
    except InputError as error:
        if not error.field.startswith("references"):
            raise
        number = next(
            number for number, choice in enumerate(checked) if choice.face_id == speech.face_id and choice.references
        )
        raise error.renamed(f"choices[{number}].{error.field}") from error


def _inserts(choices: Sequence[FaceChoice]) -> list[Insert]:
    """The speech of checked choices; short speech is read into memory. Raises `MediaError` that names the choice."""
    found, room = [], HELD_SAMPLES
    for number, choice in enumerate(choices):
        start_ms, end_ms = choice.trim_start_ms, choice.trim_end_ms
        field = f"choices[{number}].audio"
        sound: Sound = open_sound(Path(choice.audio), start_ms=start_ms, end_ms=end_ms, field=field)
        size = len(sound) * sound.channels
        if size <= room:
            sound, room = sound.held(), room - size
        scope = OriginalScope.of(choice.original_scope)
        found.append(Insert(sound, choice.insert_ms, choice.audio_volume, choice.original_volume, scope))
    return found


def _mixed(source: Video, timeline: Timeline, inserts: Sequence[Insert]) -> Mix:
    """The audio of the result: that of the source on `timeline`, with the speech mixed in."""
    original = None
    if source.info.audio is not None:
        original = timeline.audio(sound_of(source))
    return mix(original, inserts, timeline.duration_ms)
