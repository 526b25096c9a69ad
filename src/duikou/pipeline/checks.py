"""What can be checked before a video's frames are read: files, lengths, choices, the place of the result, free disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from duikou.errors import InputError, StorageError
from duikou.media import iso
from duikou.media.audio import open_sound
from duikou.media.photo import probe_clip_or_photo
from duikou.media.probe import VideoInfo, probe_audio
from duikou.media.sync_mode import SyncMode
from duikou.media.video import probe_video
from duikou.pipeline.auto import told_apart
from duikou.pipeline.choice import ChoiceValidator, FaceChoice
from duikou.pipeline.losses import clip_warnings
from duikou.timebase import Interval
from duikou.units import MIB

COPIES: Final = 2  # a result and its signed copy exist at the same time
SILENT: Final = 10 ** (-60 / 20)  # of full scale: rooms at night are louder in every recording


@dataclass(frozen=True)
class Material:
    """The files of a lip sync before any face is known. Their headers and packets were read.

    audio_ms: the length of each choice's audio.
    """

    video: Path
    info: VideoInfo
    choices: tuple[FaceChoice, ...]
    audio_ms: tuple[int, ...]

    @classmethod
    def read(cls, video: Path, choices: Sequence[FaceChoice]) -> Self:
        """Read the index of every file. Raises `MediaError` that names `video`, or the choice and its field."""
        lengths = audio_lengths(choices)
        info = probe_video(video)
        check_references(choices)
        return cls(video, info, tuple(choices), tuple(lengths))

    def check(self, sync_mode: SyncMode | None) -> None:
        """Validate the choices as if every face were visible all the time. Raises `InputError` as `lip_sync` does."""
        always = Interval(0, self.info.duration_ms)
        choices = told_apart(self.choices)
        faces = {choice.face_id: always for choice in choices}
        ChoiceValidator(faces, self.info.duration_ms, sync_mode).check_all(choices, self.audio_ms)

    def doubts(self) -> list[str]:
        """A sentence for each file that is as good as empty, incomplete or cut off by its result. Decodes the audio."""
        found = []
        missing = iso.missing_share(self.video)
        if missing > 0:
            found.append(
                f"{self.video.name} was cut off: {missing:.0%} of the file is missing, and only the first "
                f"{self.info.duration_ms} ms can be used"
            )
        found += [warning.message for warning in clip_warnings(self.info)]
        return [*found, *audio_doubts(self.choices)]


def audio_doubts(choices: Sequence[FaceChoice]) -> list[str]:
    """A sentence for each choice whose audio is silent. Decodes it."""
    found = []
    for choice in choices:
        path = Path(choice.audio)
        sound = open_sound(path, start_ms=choice.trim_start_ms, end_ms=choice.trim_end_ms, field="audio")
        if sound.peak() < SILENT:
            found.append(f"{path.name} is silent; the mouth will stay closed")
    return found


def audio_lengths(choices: Sequence[FaceChoice]) -> list[int]:
    """Length in ms of each choice's audio. Raises `MediaError` that names the choice."""
    return [
        probe_audio(Path(choice.audio), field=f"choices[{number}].audio").duration_ms
        for number, choice in enumerate(choices)
    ]


def check_references(choices: Sequence[FaceChoice]) -> None:
    """Raise `MediaError` that names the first reference which cannot be read."""
    for number, choice in enumerate(choices):
        for place, path in enumerate(choice.references):
            probe_clip_or_photo(Path(path), field=f"choices[{number}].references[{place}]")


def check_path(path: Path, source: Path, *, field: str) -> None:
    """Check that an mp4 can be written to `path`. Raises `InputError` that names `field`."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file, such as {path / source.stem}.mp4.", field=field)
    if path.exists() and source.exists() and path.samefile(source):
        raise InputError(f"{path.name} is the source video itself; choose another name.", field=field)
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path.name} does not end in .mp4; results are mp4 files.", field=field)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"there is no folder {path.parent}.", field=field)
    if not os.access(folder, os.W_OK):
        raise InputError(f"the folder {path.parent} cannot be written to.", field=field)


def check_space(paths: Sequence[Path], source: Path) -> None:
    """Raise `StorageError` where a folder has no room for results that are as large as their source."""
    size = source.stat().st_size if source.exists() else 0
    folders = [path.absolute().parent for path in paths]
    for folder in dict.fromkeys(folders):
        needed, free = COPIES * size * folders.count(folder), shutil.disk_usage(folder).free
        if free < needed:
            raise StorageError(
                f"the folder {folder} has {free // MIB} MiB free; the result needs about {-(-needed // MIB)} MiB."
            )
