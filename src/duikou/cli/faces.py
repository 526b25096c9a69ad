"""`duikou faces`: the faces of a video that can be lip-synced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duikou.cli import remote
from duikou.cli.files import named, require_video, video_of
from duikou.cli.terminal import AsJson, Quiet, print_json, print_table, show_progress, warn
from duikou.errors import DuikouError, InputError, StorageError

if TYPE_CHECKING:
    from duikou import Face
    from duikou.cli.remote import AnyFace, AnySession
    from duikou.faces.track import FaceWarning

HEADER = ("id", "where", "from ms", "to ms", "size", "picture", "speaks, ms", "warnings")
PLACES = ("left", "centre", "right")


def faces(
    video: Annotated[
        str, typer.Argument(metavar="VIDEO", help="An mp4 or mov file; with --server also its URL.", show_default=False)
    ],
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the faces' pictures.", show_default="NAME.faces")
    ] = None,
    server: remote.ServerUrl = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List the faces that can be lip-synced, and write a picture of each one beside VIDEO."""
    from duikou.media import iso

    source = video_of(video, server, "VIDEO")
    name = named(source)
    if isinstance(source, Path):
        require_video(source, "VIDEO")
        missing = iso.missing_share(source)
        if missing and not quiet:
            warn([f"{name.name} was cut off: {missing:.0%} of the file is missing"])
    folder = pictures or name.with_name(f"{name.stem}.faces")
    with remote.work_at(server) as work:
        with show_progress(name.name, quiet=quiet) as progress:
            session: AnySession = work.identify(source, progress=progress)
        files = {face.id: _write_picture(face, folder) for face in session.faces}
    if not quiet:
        warn(warning.message for warning in session.warnings)
    if as_json:
        print_json(_as_json(video, session, files))
    elif session.faces:
        print_table(_rows(session, files), HEADER)
    if not session.faces:
        raise InputError(no_face(session), field="VIDEO")


def position(face: AnyFace, session: AnySession) -> str:
    """Where in the picture a face is for whoever looks at it: `left`, `centre` or `right`; "" if nobody knows."""
    if session.info is None:
        return ""
    x, _, width, _ = face.box
    third = int((x + width / 2) * len(PLACES) / session.info.width)
    return PLACES[min(max(third, 0), len(PLACES) - 1)]


def no_face(session: AnySession) -> str:
    """The sentence for a video without a face that can be lip-synced, with the reasons."""
    reasons = "; ".join(reason.message for reason in session.rejected) or "no face can be made out in it"
    return f"no face of {session.video.name} can be lip-synced: {reasons}"


def _write_picture(face: AnyFace, folder: Path) -> Path:
    path = folder / f"face_{face.id}.jpg"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(face, remote.Face):
            face.save_picture(path)
        else:
            path.write_bytes(_encoded(face))
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _encoded(face: Face) -> bytes:
    import cv2

    encoded, content = cv2.imencode(".jpg", face.picture)
    if not encoded:
        raise DuikouError(f"the picture of face {face.id} cannot be encoded")
    return content.tobytes()


def _rows(session: AnySession, files: dict[str, Path]) -> Iterator[tuple[str, ...]]:
    for face in session.faces:
        _, _, width, height = face.box
        warnings = "; ".join(warning.message for warning in face.warnings)
        times = str(face.interval.start_ms), str(face.interval.end_ms)
        speaks = ", ".join(f"{one.interval.start_ms}-{one.interval.end_ms}" for one in face.speaking)
        yield face.id, position(face, session), *times, f"{width}x{height}", str(files[face.id]), speaks, warnings


def _as_json(video: str, session: AnySession, files: dict[str, Path]) -> dict[str, object]:
    return {
        "video": video,
        **{name: getattr(session.info, name, None) for name in ("width", "height", "frames", "duration_ms")},
        "faces": [face_as_json(face, session) | {"picture": str(files[face.id])} for face in session.faces],
        "rejected": [_warning_as_json(reason) for reason in session.rejected],
        "warnings": [_warning_as_json(warning) for warning in session.warnings],
    }


def face_as_json(face: AnyFace, session: AnySession) -> dict[str, object]:
    """A face in the JSON of `faces` and `sync`. bbox: x, y, width and height in pixels of the upright picture."""
    _, _, width, height = face.box
    return {
        "id": face.id,
        "position": position(face, session) or None,
        "bbox": list(face.box),
        "start_ms": face.interval.start_ms,
        "end_ms": face.interval.end_ms,
        "width": width,
        "height": height,
        "speaking": [
            {"start_ms": one.interval.start_ms, "end_ms": one.interval.end_ms, "score": one.score}
            for one in face.speaking
        ],
        "warnings": [_warning_as_json(warning) for warning in face.warnings],
    }


def _warning_as_json(warning: FaceWarning) -> dict[str, object]:
    return {
        "code": warning.code,
        "message": warning.message,
        "start_ms": warning.interval.start_ms,
        "end_ms": warning.interval.end_ms,
    }
