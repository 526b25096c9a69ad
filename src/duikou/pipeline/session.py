"""A video and its faces: what `identify` returns, and the input of a lip sync."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from duikou.errors import InputError
from duikou.faces.identify import identify_faces
from duikou.faces.track import Face, FaceWarning, PackedTrack, Speaking
from duikou.media.fields import Fields
from duikou.media.probe import VideoInfo
from duikou.media.video import Video
from duikou.memory import return_free_memory, return_large_blocks
from duikou.parallel import without_blas_threads
from duikou.pipeline.auto import most_visible
from duikou.pipeline.choice import unknown_face
from duikou.pipeline.losses import clip_warnings
from duikou.pipeline.speaking import listening, with_speaking
from duikou.progress import Progress, scaled, silent
from duikou.timebase import Interval

PICTURE_QUALITY = 92
"""JPEG quality of a face's picture."""

LOOKING = (0.0, 0.98)
"""Approximate share of an identification's time. Listening runs beside it, and is mostly done before."""


@dataclass(frozen=True)
class Session:
    """A video and its faces. Holds no open file. `save` and `load` store it in a folder.

    rejected: why people who were seen are not among the faces, in one sentence for each reason.
    """

    source: Video
    faces: tuple[Face, ...]
    rejected: tuple[FaceWarning, ...] = ()

    @property
    def video(self) -> Path:
        """The video file."""
        return self.source.path

    @property
    def info(self) -> VideoInfo:
        """Description of the video file."""
        return self.source.info

    @property
    def warnings(self) -> tuple[FaceWarning, ...]:
        """What will be lost of the video, whichever face speaks, such as sound that outlasts the picture."""
        return clip_warnings(self.info)

    def face(self, face_id: str) -> Face:
        """The face with an id. Raises `NotFoundError` that lists the known ids."""
        for face in self.faces:
            if face.id == face_id:
                return face
        raise unknown_face(face_id, [face.id for face in self.faces])

    def most_visible(self, during: Interval) -> Face:
        """The face that takes up the most of the picture for the longest time, within `during`.

        Raises `InputError` that names `video` where no face can be lip-synced then.
        """
        if not self.faces:
            reasons = " ".join(f"{one.message[:1].upper()}{one.message[1:].rstrip('.')}." for one in self.rejected)
            raise InputError(f"no face in it can be made to speak. {reasons}".strip(), field="video")
        best = most_visible(self.faces, during)
        if not best.interval.overlap(during):
            places = ", ".join(f"{face.interval.start_ms} ms to {face.interval.end_ms} ms" for face in self.faces)
            raise InputError(
                f"no face can be made to speak from {during.start_ms} ms to {during.end_ms} ms, only from {places}.",
                field="video",
            )
        return best

    def save(self, folder: Path) -> None:
        """Write faces, tracks and pictures (`face_<id>.jpg`) into `folder`; the video itself stays where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        faces = [_save_face(folder, face) for face in self.faces]
        fields = None if self.source.fields is None else asdict(self.source.fields)
        saved = {"faces": faces, "rejected": [asdict(reason) for reason in self.rejected], "fields": fields}
        (folder / "session.json").write_text(json.dumps(saved, indent=1))

    @classmethod
    def load(cls, folder: Path, video: Path) -> Session:
        """Read a saved session and the index of its video.

        Raises `MediaError` where the video cannot be read, `StorageError` where long tracks find no room.
        """
        saved = json.loads((folder / "session.json").read_text())
        faces = tuple(_load_face(folder, face) for face in saved["faces"])
        rejected = saved.get("rejected", [])  # sessions of the first version have none
        source = Video.open(video)
        if "fields" in saved:  # sessions of former versions do not say
            source = source.read_as(saved["fields"] and Fields(**saved["fields"]))
        return cls(source, faces, tuple(_load_warning(reason) for reason in rejected))


@without_blas_threads
def identify(video: str | Path, *, progress: Progress = silent) -> Session:
    """Find the faces of a video, the intervals in which they can be lip-synced, and when each of them speaks.

    Raises `MediaError` for a file that cannot be read, `ModelError` where a model is missing, `StorageError` where what
    is seen in a long video finds no room.
    """
    return_large_blocks()  # before other threads have heaps of their own
    source = Video.open(video)
    with listening(source) as heard:
        found = identify_faces(source, progress=scaled(progress, *LOOKING))
        source = source.read_as(found.fields)
        faces = with_speaking(source, found.faces, heard()) if found.faces else ()
    progress("listening to the video", 1.0)
    return_free_memory()
    return Session(source, faces, found.rejected)


@dataclass(frozen=True)
class _FaceFiles:
    """The files of one face in a session's folder."""

    track: Path
    usable: Path
    picture: Path

    @classmethod
    def of(cls, folder: Path, face_id: str) -> _FaceFiles:
        return cls(folder / f"track_{face_id}.npz", folder / f"usable_{face_id}.npy", folder / f"face_{face_id}.jpg")


def _save_face(folder: Path, face: Face) -> dict[str, Any]:
    """Write the files of a face. Returns its entry in `session.json`."""
    files = _FaceFiles.of(folder, face.id)
    face.track.save(files.track)
    np.save(files.usable, face.usable)
    options = [cv2.IMWRITE_JPEG_QUALITY, PICTURE_QUALITY]
    files.picture.write_bytes(cv2.imencode(".jpg", face.picture, options)[1].tobytes())
    warnings = [asdict(warning) for warning in face.warnings]
    speaking = [asdict(one) for one in face.speaking]
    return {"id": face.id, "interval": asdict(face.interval), "warnings": warnings, "speaking": speaking}


def _load_face(folder: Path, saved: dict[str, Any]) -> Face:
    """The face of an entry in `session.json`, with its files."""
    files = _FaceFiles.of(folder, saved["id"])
    picture = cv2.imdecode(np.frombuffer(files.picture.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return Face(
        id=saved["id"],
        interval=Interval(**saved["interval"]),
        track=PackedTrack.load(files.track),
        usable=np.load(files.usable, allow_pickle=False),
        picture=np.asarray(picture, np.uint8),
        warnings=tuple(_load_warning(warning) for warning in saved["warnings"]),
        # Sessions of former versions have none.
        speaking=tuple(Speaking(Interval(**one["interval"]), one["score"]) for one in saved.get("speaking", [])),
    )


def _load_warning(saved: dict[str, Any]) -> FaceWarning:
    return FaceWarning(saved["code"], saved["message"], Interval(**saved["interval"]))
