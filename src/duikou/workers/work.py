"""The work itself, as the plain functions that run in a worker process.

Each takes values that can be pickled and, last, a `Progress`. Its result travels as JSON and is checked against its
return annotation.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duikou
import duikou.pipeline.sync  # before the child is confined: later it cannot read the modules' files
from duikou.media import probe, sniff
from duikou.media import video as media_video
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import FaceChoice
from duikou.progress import Progress
from duikou.provenance.producer import Producer
from duikou.sandbox.restrictions import Places
from duikou.tasks.models import VIDEO_SUFFIXES, FaceRecord
from duikou.timebase import Milliseconds


@dataclass(frozen=True)
class RenderOrder:
    """All that a worker needs to render: paths, and the choices with their sounds' paths in the same order.

    made_by, produce_id: who answers for the result, and its number. watermark: where a second file with a visible mark
    goes, if one is wanted. sync_mode: what to do where speech is too long; `None` refuses it.
    """

    session: Path
    video: Path
    choices: tuple[FaceChoice, ...]
    sounds: tuple[Path, ...]
    output: Path
    made_by: Producer
    produce_id: str
    watermark: Path | None = None
    sync_mode: SyncMode | None = None

    @property
    def places(self) -> Places:
        """What the work reads, and the one folder that it writes to."""
        signs = self.made_by.certificate
        return Places((self.session, self.video, *self.sounds, signs.chain, signs.key), (self.output.parent,))


@dataclass(frozen=True)
class Received:
    """What an uploaded file is: `.mp4`, `.mp3` and so on, and its length."""

    suffix: str
    duration_ms: Milliseconds


def probe_upload(path: Path, field: str, progress: Progress) -> Received:
    """Read the headers of a video or a sound. Raises `MediaError` that names `field`."""
    suffix = f".{sniff.container(path, field=field)}"
    if suffix in VIDEO_SUFFIXES:
        return Received(suffix, media_video.probe_video(path, field=field).duration_ms)
    return Received(suffix, probe.probe_audio(path, field=field).duration_ms)


def probe_video(path: Path, field: str, progress: Progress) -> VideoInfo:
    """Read a video's headers. Raises `MediaError` that names `field`."""
    return media_video.probe_video(path, field=field)


def probe_audio(path: Path, field: str, progress: Progress) -> AudioInfo:
    """Read a sound's headers. Raises `MediaError` that names `field`."""
    return probe.probe_audio(path, field=field)


def identify(video: Path, folder: Path, progress: Progress) -> tuple[FaceRecord, ...]:
    """Find a video's faces and keep what is known of them, with their pictures, in `folder`. Raises `MediaError`."""
    with _temporary_files(folder):
        session = duikou.identify(video, progress=progress)
        session.save(folder)
    return tuple(FaceRecord(face.id, face.interval, face.warnings, face.box) for face in session.faces)


def render(order: RenderOrder, progress: Progress) -> Milliseconds:
    """Lip-sync into `order.output`; the result's length in ms. Raises `InputError`, `StorageError`, `ModelError`."""
    session = duikou.Session.load(order.session, order.video)
    choices = [replace(choice, audio=sound) for choice, sound in zip(order.choices, order.sounds, strict=True)]
    with _temporary_files(order.output.parent):
        result = duikou.lip_sync(
            session,
            choices,
            duikou.Output(order.output, order.watermark, order.made_by, order.produce_id),
            sync_mode=order.sync_mode,
            progress=progress,
        )
    return result.info.duration_ms


@contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Have libraries put them where they go with the work, whatever happens to it."""
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
    """The table of what workers can do. Each entry is a function of a module, since workers import it by its name."""

    probe_video: Callable[[Path, str, Progress], VideoInfo] = probe_video
    probe_audio: Callable[[Path, str, Progress], AudioInfo] = probe_audio
    probe_upload: Callable[[Path, str, Progress], Received] = probe_upload
    identify: Callable[[Path, Path, Progress], tuple[FaceRecord, ...]] = identify
    render: Callable[[RenderOrder, Progress], int] = render
