"""Make the chosen faces of a session speak."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from duikou.engines.base import Engine
from duikou.engines.native import NativeEngine
from duikou.errors import InputError
from duikou.media import decode
from duikou.media.audio import Insert, mix, read_audio
from duikou.media.encode import VideoWriter
from duikou.media.probe import VideoInfo, probe_video
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Extension
from duikou.pipeline.choice import FaceChoice, check_all
from duikou.pipeline.paint import paint_all
from duikou.pipeline.plan import Spoken, plan
from duikou.pipeline.session import Session
from duikou.progress import Progress, scaled, silent, split
from duikou.provenance import credentials
from duikou.provenance.credentials import Edit
from duikou.provenance.label import Label
from duikou.provenance.producer import Producer, producer, user_folder
from duikou.timebase import Interval


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
    output: str | Path | None = None,
    *,
    watermark: str | Path | None = None,
    made_by: Producer | None = None,
    produce_id: str = "",
    sync_mode: SyncMode | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Result:
    """Make the chosen faces speak and write the video to `output` (by default beside the source, `NAME.synced.mp4`).

    Frame count, frame times and size are the source's, unless `sync_mode` makes the video longer. Each file appears
    only once it is whole, with the AIGC label and Content Credentials in it.
    watermark: where a second file goes, the same with a visible mark.
    made_by: who answers for the result, by default `duikou` with this user's self-signed certificate.
    produce_id: the result's number in the label, by default a new one.
    sync_mode: what to do with speech that is too long, which by default is an error.
    Raises `InputError` with the field at fault, `MediaError`, `NotFoundError`, `StorageError`.
    """
    target, marked = _targets(session.video, output, watermark)
    checked = check_all(session, choices, sync_mode)
    maker = made_by or producer(user_folder())
    label = Label.first(maker.name, produce_id or uuid.uuid4().hex)
    chosen_engine = engine or NativeEngine()
    inserts = [_insert(choice) for choice in checked]
    last_ms = max(insert.at_ms + insert.sound.duration_ms for insert in inserts)
    extension = Extension.of(decode.read_timeline(session.video), sync_mode, last_ms)
    original = None
    if session.info.audio is not None:  # sound may last for hours after the picture
        original = read_audio(session.video, end_ms=session.info.duration_ms)
    if extension and original:
        original = extension.sound(original)
    mixed = mix(original, inserts, extension.duration_ms if extension else session.info.duration_ms)
    lengthening, planning, painting = split([0.1 if extension else 0.0, 0.35, 0.65])
    shares = split([1.0] * len(checked))
    with (
        extension.written(session.video, target, progress=scaled(progress, *lengthening))
        if extension
        else nullcontext(session.video)
    ) as footage:
        plans = [
            plan(
                session,
                choice,
                insert.sound,
                chosen_engine,
                scaled(scaled(progress, *planning), *share),
                footage,
                extension,
            )
            for choice, insert, share in zip(checked, inserts, shares, strict=True)
        ]
        spoken = tuple(one for _, one in plans)
        edit = _edit(session, spoken, extension)

        def writer(path: Path, edit: Edit) -> VideoWriter:
            def seal(part: Path, sealed: Path) -> None:
                credentials.sign(part, sealed, title=path.name, edit=edit, certificate=maker.certificate)

            timeline = extension.timeline if extension else None
            return VideoWriter(path, session.video, mixed, timeline=timeline, tags=label.tags, seal=seal)

        paint_all(
            session,
            [renderer for renderer, _ in plans],
            writer(target, edit),
            None if marked is None else writer(marked, replace(edit, marked=True)),
            scaled(progress, *painting),
            extension,
        )
    return Result(target, probe_video(target), spoken, marked)


def _targets(video: Path, output: str | Path | None, watermark: str | Path | None) -> tuple[Path, Path | None]:
    """Where the result and the marked file go. Raises `InputError` where either would overwrite something of ours."""
    target = video.with_name(f"{video.stem}.synced.mp4") if output is None else Path(output)
    marked = None if watermark is None else Path(watermark)
    for field, path in (("output", target), ("watermark", marked)):
        if path is not None and path.exists() and path.samefile(video):
            raise InputError(f"{path.name} is the source video itself; choose another name.", field=field)
    if marked is not None and marked.absolute() == target.absolute():
        raise InputError(f"{marked.name} is the output itself; choose another name.", field="watermark")
    return target, marked


def _insert(choice: FaceChoice) -> Insert:
    """A checked choice's speech, read."""
    sound = read_audio(Path(choice.sound), start_ms=choice.sound_start_ms, end_ms=choice.sound_end_ms)
    return Insert(sound, choice.insert_ms, choice.sound_volume, choice.original_volume)


def _edit(session: Session, spoken: Sequence[Spoken], extension: Extension | None) -> Edit:
    """What the Content Credentials tell of a job."""
    faces = tuple((one.face_id, one.interval) for one in spoken)
    added = None
    if extension is not None:
        added = Interval(session.info.duration_ms, extension.duration_ms), extension.mode.value
    return Edit(session.video, credentials.digest(session.video), faces, added=added)
