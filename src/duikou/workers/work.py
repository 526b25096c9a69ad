"""The functions that run in a sandboxed child.

Each takes values that can be pickled and, last, a `Progress`. Its result travels as JSON and is checked against its
return annotation.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import duikou
from duikou import digests
from duikou.bounds import Text
from duikou.media import photo, probe, sniff
from duikou.media import video as media_video
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import FaceChoice
from duikou.progress import Progress, scaled
from duikou.provenance import credentials
from duikou.provenance.credentials import Asked, Edit
from duikou.provenance.producer import Producer
from duikou.sandbox.child import ask
from duikou.sandbox.restrictions import AllowedPaths
from duikou.tasks.models import AUDIO_SUFFIXES, PHOTO_SUFFIXES, VIDEO_SUFFIXES, FaceRecord, FoundFaces
from duikou.timebase import Interval, Milliseconds
from duikou.workers.version import code_version

SUFFIXES = (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES, *PHOTO_SUFFIXES)
FINDING = 0.3
"""Approximate share of the time of a render that finds the faces itself."""
PHOTO_SUFFIX = dict(zip(sniff.PHOTO_DEMUXERS, PHOTO_SUFFIXES, strict=True))
"""Suffix of a stored photo by its kind."""


@dataclass(frozen=True)
class RenderJob:
    """What a worker needs to render: paths, and the choices, whose references are paths too. audio: of each choice.

    session: `None` where the work begins with finding the faces, and the one choice is for the most visible of them.
    producer, produce_id: who is named in the label of the result, and its number. watermark: where to write a second
    file with a visible mark, if wanted. sync_mode: what to do with speech that is too long; `None` refuses it.
    """

    session: Path | None
    video: Path
    choices: tuple[FaceChoice, ...]
    audio: tuple[Path, ...]
    output: Path
    producer: str
    produce_id: str
    watermark: Path | None = None
    sync_mode: SyncMode | None = None

    @property
    def allowed_paths(self) -> AllowedPaths:
        """The files that the work reads, and the one folder that it writes to."""
        references = (Path(path) for choice in self.choices for path in choice.references)
        session = () if self.session is None else (self.session,)
        return AllowedPaths((*session, self.video, *self.audio, *references), (self.output.parent,))


@dataclass(frozen=True)
class SignJob:
    """What a worker needs to sign the files of a render, but for the private key.

    video: what was edited. results: the finished files, and whether each has a visible mark. faces, added: as of
    `Edit`. algorithm, chain: of the certificate, see `Asked`.
    """

    video: Path
    results: tuple[tuple[Path, bool], ...]
    faces: tuple[tuple[str, Interval], ...]
    added: tuple[Interval, str] | None
    algorithm: str
    chain: bytes

    @property
    def allowed_paths(self) -> AllowedPaths:
        """The file that the work reads, and the one folder that it writes to."""
        return AllowedPaths((self.video,), (self.results[0][0].parent,))


@dataclass(frozen=True)
class UploadInfo:
    """An uploaded file: its suffix (`.mp4`, `.mp3`, `.jpg`, ...) and its length, 0 for a photo."""

    suffix: Annotated[str, Text(5, "|".join(map(re.escape, SUFFIXES)))]
    duration_ms: Milliseconds


def probe_upload(path: Path, field: str, progress: Progress) -> UploadInfo:
    """Read the headers of a video or an audio file, or decode a photo. Raises `MediaError` that names `field`."""
    if kind := sniff.photo(path, field=field):
        photo.read(path, field=field)
        return UploadInfo(PHOTO_SUFFIX[kind], 0)
    suffix = f".{sniff.container(path, field=field)}"
    if suffix in VIDEO_SUFFIXES:
        return UploadInfo(suffix, media_video.probe_video(path, field=field).duration_ms)
    return UploadInfo(suffix, probe.probe_audio(path, field=field).duration_ms)


def probe_video(path: Path, field: str, progress: Progress) -> VideoInfo:
    """Read a video's headers. Raises `MediaError` that names `field`."""
    return media_video.probe_video(path, field=field)


def probe_audio(path: Path, field: str, progress: Progress) -> AudioInfo:
    """Read an audio file's headers. Raises `MediaError` that names `field`."""
    return probe.probe_audio(path, field=field)


def probe_reference(path: Path, field: str, progress: Progress) -> VideoInfo | None:
    """Read a clip's headers; `None` for a photo, which is decoded. Raises `MediaError` that names `field`."""
    return photo.probe_clip_or_photo(path, field=field)


def identify(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    """Find a video's faces and write their tracks and pictures to `folder`. Raises `MediaError`."""
    with temporary_files(folder):
        session = duikou.identify(video, progress=progress)
        session.save(folder)
    faces = tuple(FaceRecord(face.id, face.interval, face.warnings, face.box, face.speaking) for face in session.faces)
    return FoundFaces(faces, session.rejected)


def render(job: RenderJob, progress: Progress) -> Milliseconds:
    """Lip-sync into `job.output`, which is not signed yet; the result's length in ms.

    Raises `InputError`, `StorageError`, `ModelError`.
    """
    choices = [replace(choice, audio=audio) for choice, audio in zip(job.choices, job.audio, strict=True)]
    with temporary_files(job.output.parent):
        if job.session is not None:
            session = duikou.Session.load(job.session, job.video)
        else:
            session = duikou.identify(job.video, progress=scaled(progress, 0.0, FINDING))
            choices = [replace(choice, face_id=_most_visible(session, choice).id) for choice in choices]
            progress = scaled(progress, FINDING, 1.0)
        result = duikou.lip_sync(
            session,
            choices,
            duikou.Output(job.output, job.watermark, Producer(job.producer, None), job.produce_id),
            sync_mode=job.sync_mode,
            progress=progress,
        )
    return result.info.duration_ms


def sign(job: SignJob, progress: Progress) -> None:
    """Sign finished files in place; the parent makes the signatures. Raises `InputError`, `StorageError`."""
    signer = Asked(job.algorithm, job.chain, ask)
    edit = Edit(job.video, digests.sha256(job.video), job.faces, added=job.added)
    with temporary_files(job.results[0][0].parent):
        for path, marked in job.results:
            signed = path.with_name(f".{path.stem}.signed.mp4")
            credentials.sign(path, signed, title=path.name, edit=replace(edit, marked=marked), certificate=signer)
            signed.replace(path)


def _most_visible(session: duikou.Session, choice: FaceChoice) -> duikou.Face:
    assert choice.trim_end_ms is not None  # set when the request was checked
    end_ms = choice.insert_ms + choice.trim_end_ms - choice.trim_start_ms
    return session.most_visible(Interval(choice.insert_ms, end_ms))


@contextmanager
def temporary_files(folder: Path) -> Iterator[None]:
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
    """What workers can do. Each entry is a function of a module, since the child imports it by its name.

    preload: the module that imports all that these functions need. analyser: the version of `identify`; what another
    version found is not used again.
    """

    probe_video: Callable[[Path, str, Progress], VideoInfo] = probe_video
    probe_audio: Callable[[Path, str, Progress], AudioInfo] = probe_audio
    probe_upload: Callable[[Path, str, Progress], UploadInfo] = probe_upload
    probe_reference: Callable[[Path, str, Progress], VideoInfo | None] = probe_reference
    identify: Callable[[Path, Path, Progress], FoundFaces] = identify
    render: Callable[[RenderJob, Progress], int] = render
    sign: Callable[[SignJob, Progress], None] = sign
    preload: str = "duikou.workers.preload"
    analyser: str = field(default_factory=code_version)
