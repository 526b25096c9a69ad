"""A video and its faces: what `identify` returns, and the input of a lip sync."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from duikou.errors import NotFoundError
from duikou.faces.identify import identify_faces
from duikou.faces.track import Face, FaceTrack, FaceWarning
from duikou.media.probe import VideoInfo
from duikou.media.video import Video
from duikou.progress import Progress, silent
from duikou.timebase import Interval

PICTURE_QUALITY = 92
"""JPEG quality of a face's picture."""


@dataclass(frozen=True)
class Session:
    """A video and its faces. Holds no open file. `save` and `load` store it in a folder."""

    source: Video
    faces: tuple[Face, ...]

    @property
    def video(self) -> Path:
        """The video file."""
        return self.source.path

    @property
    def info(self) -> VideoInfo:
        """Description of the video file."""
        return self.source.info

    def face(self, face_id: str) -> Face:
        """The face with an id. Raises `NotFoundError` that lists the known ids."""
        for face in self.faces:
            if face.id == face_id:
                return face
        known = ", ".join(face.id for face in self.faces) or "none"
        raise NotFoundError(f"the session has no face {face_id!r}; its faces: {known}.", field="face_id")

    def save(self, folder: Path) -> None:
        """Write faces, tracks and pictures (`face_<id>.jpg`) into `folder`; the video itself stays where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        for face in self.faces:
            face.track.save(folder / f"track_{face.id}.npz")
            np.save(folder / f"usable_{face.id}.npy", face.usable)
            options = [cv2.IMWRITE_JPEG_QUALITY, PICTURE_QUALITY]
            (folder / f"face_{face.id}.jpg").write_bytes(cv2.imencode(".jpg", face.picture, options)[1].tobytes())
        faces = [
            {"id": face.id, "interval": asdict(face.interval), "warnings": [asdict(one) for one in face.warnings]}
            for face in self.faces
        ]
        (folder / "session.json").write_text(json.dumps({"faces": faces}, indent=1))

    @classmethod
    def load(cls, folder: Path, video: Path) -> Session:
        """Read a saved session and the index of its video. Raises `MediaError` where the video cannot be read."""
        saved = json.loads((folder / "session.json").read_text())
        return cls(Video.open(video), tuple(_load_face(folder, face) for face in saved["faces"]))


def identify(video: str | Path, *, progress: Progress = silent) -> Session:
    """Find the faces of a video and the intervals in which they can be lip-synced.

    Raises `MediaError` for a file that cannot be read, `ModelError` where a face model is missing.
    """
    source = Video.open(video)
    return Session(source, identify_faces(source, progress=progress))


def _load_face(folder: Path, saved: dict[str, Any]) -> Face:
    picture = cv2.imdecode(np.frombuffer((folder / f"face_{saved['id']}.jpg").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return Face(
        id=saved["id"],
        interval=Interval(**saved["interval"]),
        track=FaceTrack.load(folder / f"track_{saved['id']}.npz"),
        usable=np.load(folder / f"usable_{saved['id']}.npy", allow_pickle=False),
        picture=np.asarray(picture, np.uint8),
        warnings=tuple(
            FaceWarning(one["code"], one["message"], Interval(**one["interval"])) for one in saved["warnings"]
        ),
    )
