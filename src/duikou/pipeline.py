"""The two verbs of the product as plain functions: `identify` a video's faces, `lip_sync` one of them to speech.

No server, no database: what the command line, the workers and users of the library call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duikou.faces.track import Face
from duikou.media.probe import VideoInfo
from duikou.progress import Progress, silent


@dataclass(frozen=True)
class Session:
    """A video whose faces are known. Holds no open file; `save` and `load` keep it in a folder."""

    video: Path
    info: VideoInfo
    faces: tuple[Face, ...]

    def face(self, face_id: str) -> Face:
        """The face of that id. Raises `NotFoundError`, which lists the ids there are."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write faces, tracks and pictures (`face_<id>.jpg`) into `folder`; the video itself stays where it is."""
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path, video: Path) -> Session:
        """Read back what `save` wrote."""
        raise NotImplementedError


@dataclass(frozen=True)
class FaceChoice:
    """Which face speaks what, where. Times in whole milliseconds.

    sound: a sound file (mp3, wav, m4a, aac).
    face_id: a face of the session.
    sound_start_ms, sound_end_ms: the part of the sound that is used; `None` is its end.
    insert_ms: where on the video's time line that part begins.
    sound_volume, original_volume: [0, 2]; the second holds for the original sound while the speech lasts, which is
        kept as it is outside. The library replaces the original by default; the wire contract's default is 1.
    """

    sound: Path
    face_id: str = "0"
    sound_start_ms: int = 0
    sound_end_ms: int | None = None
    insert_ms: int = 0
    sound_volume: float = 1.0
    original_volume: float = 0.0


@dataclass(frozen=True)
class Result:
    """A finished lip sync: the file and what it is."""

    video: Path
    info: VideoInfo


def identify(video: str | Path, *, progress: Progress = silent) -> Session:
    """Find the faces of a video and the intervals in which they can be lip-synced.

    Raises `MediaError` for a file that cannot be read, `ModelError` where a face model is missing.
    """
    raise NotImplementedError


def lip_sync(
    session: Session, choices: Sequence[FaceChoice], output: str | Path | None = None, *, progress: Progress = silent
) -> Result:
    """Make the chosen faces speak and write the video to `output` (by default beside the source, `NAME.synced.mp4`).

    Frame count, frame times and size are the source's. `output` appears only once it is whole.
    Raises `InputError` with the field at fault, `MediaError`, `NotFoundError`, `StorageError`.
    """
    raise NotImplementedError
