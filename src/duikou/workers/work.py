"""The functions that run in a sandboxed child.

Each takes values that can be pickled and, last, a `Progress`. Its result travels as JSON and is checked against its
return annotation.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duikou
from duikou.media import probe, sniff
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.timeline import SyncMode
from duikou.progress import Progress
from duikou.provenance.producer import Producer
from duikou.sandbox.restrictions import AllowedPaths
from duikou.tasks.models import VIDEO_SUFFIXES, ChoiceRecord, FaceNote, FaceSummary
from duikou.timebase import Milliseconds


@dataclass(frozen=True)
class RenderJob:
    """What a worker needs to render: paths, and the choices with the paths of their audio in the same job.

    made_by, produce_id: the producer named in the result, and its number. watermark: where to write a second file with
    a visible mark, if wanted. sync_mode: what to do with speech that is too long; `None` refuses it.
    """

    session: Path
    video: Path
    choices: tuple[ChoiceRecord, ...]
    audio: tuple[Path, ...]
    output: Path
    made_by: Producer
    produce_id: str
    watermark: Path | None = None
    sync_mode: SyncMode | None = None

    @property
    def allowed_paths(self) -> AllowedPaths:
        """The files that the work reads, and the one folder that it writes to."""
        certificate = self.made_by.certificate
        return AllowedPaths(
            (self.session, self.video, *self.audio, certificate.chain, certificate.key), (self.output.parent,)
        )


@dataclass(frozen=True)
class UploadInfo:
    """An uploaded file: its suffix (`.mp4`, `.mp3`, ...) and its length."""

    suffix: str
    duration_ms: Milliseconds


def probe_upload(path: Path, field: str, progress: Progress) -> UploadInfo:
    """Read the headers of a video or an audio file. Raises `MediaError` that names `field`."""
    suffix = f".{sniff.container(path, field=field)}"
    if suffix in VIDEO_SUFFIXES:
        return UploadInfo(suffix, probe.probe_video(path, field=field).duration_ms)
    return UploadInfo(suffix, probe.probe_audio(path, field=field).duration_ms)


def probe_video(path: Path, field: str, progress: Progress) -> VideoInfo:
    """Read a video's headers. Raises `MediaError` that names `field`."""
    return probe.probe_video(path, field=field)


def probe_audio(path: Path, field: str, progress: Progress) -> AudioInfo:
    """Read an audio file's headers. Raises `MediaError` that names `field`."""
    return probe.probe_audio(path, field=field)


def identify(video: Path, folder: Path, progress: Progress) -> tuple[FaceSummary, ...]:
    """Find a video's faces and write their tracks and pictures to `folder`. Raises `MediaError`."""
    with _temporary_files(folder):
        session = duikou.identify(video, progress=progress)
        session.save(folder)
    return tuple(
        FaceSummary(
            face.id,
            face.interval,
            tuple(FaceNote(warning.code, warning.message, warning.interval) for warning in face.warnings),
            face.box,
        )
        for face in session.faces
    )


def render(job: RenderJob, progress: Progress) -> Milliseconds:
    """Lip-sync into `job.output`; the result's length in ms. Raises `InputError`, `StorageError`, `ModelError`."""
    session = duikou.Session.load(job.session, job.video)
    choices = [
        duikou.FaceChoice(
            sound=sound,
            face_id=choice.face_id,
            sound_start_ms=choice.sound_start_ms,
            sound_end_ms=choice.sound_end_ms,
            insert_ms=choice.insert_ms,
            sound_volume=choice.sound_volume,
            original_volume=choice.original_volume,
        )
        for choice, sound in zip(job.choices, job.audio, strict=True)
    ]
    with _temporary_files(job.output.parent):
        result = duikou.lip_sync(
            session,
            choices,
            job.output,
            watermark=job.watermark,
            made_by=job.made_by,
            produce_id=job.produce_id,
            sync_mode=job.sync_mode,
            progress=progress,
        )
    return result.info.duration_ms


@contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Make libraries put temporary files into `folder`, which is removed with the work."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    try:
        yield
    finally:
        tempfile.tempdir = None
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


@dataclass(frozen=True)
class Work:
    """What workers can do. Each entry is a function of a module, since the child imports it by its name."""

    probe_video: Callable[[Path, str, Progress], VideoInfo] = probe_video
    probe_audio: Callable[[Path, str, Progress], AudioInfo] = probe_audio
    probe_upload: Callable[[Path, str, Progress], UploadInfo] = probe_upload
    identify: Callable[[Path, Path, Progress], tuple[FaceSummary, ...]] = identify
    render: Callable[[RenderJob, Progress], int] = render
