"""`duikou faces`: the faces of a video that can be lip-synced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import duikou
from duikou.cli.terminal import EXIT_ERROR, AsJson, complain, print_json, print_table, require_file, show_progress
from duikou.errors import StorageError

if TYPE_CHECKING:
    from duikou import Face, Session
    from duikou.faces.track import FaceWarning

HEADER = ("id", "from ms", "to ms", "size", "picture", "warnings")


def faces(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="An mp4 or mov file.", show_default=False)],
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the faces' pictures.", show_default="NAME.faces")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the faces of VIDEO that can be lip-synced, and write one picture file for each."""
    require_file(video, "video")
    with show_progress(video.name) as progress:
        session = duikou.identify(video, progress=progress)
    folder = pictures or Path(f"{video.stem}.faces")
    files = {face.id: _write_picture(face, folder) for face in session.faces}
    if as_json:
        print_json(_as_json(session, files))
    elif session.faces:
        print_table(_rows(session, files), HEADER)
    if not session.faces:
        complain(no_face(session))
        raise typer.Exit(EXIT_ERROR)


def no_face(session: Session) -> str:
    """The sentence for a video without a face that can be lip-synced, with the reasons."""
    reasons = "; ".join(reason.message for reason in session.rejected)
    return f"no face of {session.video.name} can be lip-synced{': ' if reasons else ''}{reasons}"


def _write_picture(face: Face, folder: Path) -> Path:
    import cv2

    path = folder / f"face_{face.id}.jpg"
    encoded, content = cv2.imencode(".jpg", face.picture)
    if not encoded:
        raise StorageError(f"the picture of face {face.id} cannot be encoded")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.tobytes())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _rows(session: Session, files: dict[str, Path]) -> Iterator[tuple[str, ...]]:
    for face in session.faces:
        _, _, width, height = face.box
        warnings = "; ".join(warning.message for warning in face.warnings)
        times = str(face.interval.start_ms), str(face.interval.end_ms)
        yield face.id, *times, f"{width}x{height}", str(files[face.id]), warnings


def _as_json(session: Session, files: dict[str, Path]) -> dict[str, object]:
    info = session.info
    return {
        "video": str(session.video),
        "width": info.width,
        "height": info.height,
        "frames": info.frames,
        "duration_ms": info.duration_ms,
        "faces": [_face_as_json(face, files[face.id]) for face in session.faces],
        "rejected": [_warning_as_json(reason) for reason in session.rejected],
    }


def _face_as_json(face: Face, picture: Path) -> dict[str, object]:
    _, _, width, height = face.box
    return {
        "id": face.id,
        "start_ms": face.interval.start_ms,
        "end_ms": face.interval.end_ms,
        "width": width,
        "height": height,
        "picture": str(picture),
        "warnings": [_warning_as_json(warning) for warning in face.warnings],
    }


def _warning_as_json(warning: FaceWarning) -> dict[str, object]:
    return {
        "code": warning.code,
        "message": warning.message,
        "start_ms": warning.interval.start_ms,
        "end_ms": warning.interval.end_ms,
    }
