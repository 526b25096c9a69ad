"""The command line: `faces`, `sync`, `inspect`, `serve`, `worker`, `keys`, `tasks`, `doctor`.

Results go to standard output, progress and errors to standard error. Exit status: 0 only where the result is there,
2 for a fault of the caller's, 1 for any other, 130 after Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import cv2
import typer
from rich.table import Table

import duikou
from duikou import __version__
from duikou.cli import doctor
from duikou.cli.keys import keys_app
from duikou.cli.tasks import tasks_app
from duikou.cli.terminal import output, read_settings, shown
from duikou.errors import DuikouError, InputError, StorageError
from duikou.faces.track import Face
from duikou.media.timeline import SyncMode
from duikou.progress import scaled, split
from duikou.provenance import credentials, label
from duikou.provenance.credentials import Credentials
from duikou.provenance.label import Label
from duikou.provenance.producer import configured, user_folder

EXIT_FAULT, EXIT_INPUT, EXIT_TERMINATED = 1, 2, 128 + signal.SIGTERM
DEBUG_VARIABLE = "DUIKOU_DEBUG"  # when set, an unexpected fault shows its trace
DEFAULT_QUEUES = "render,analysis"
SYNC_WEIGHTS = (1, 4)  # shares of identifying and of rendering in the time of `sync`, roughly

app = typer.Typer(
    name="duikou",
    help="Lip sync: a video and a piece of speech in, the same video with that face speaking out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(keys_app, name="keys")
app.add_typer(tasks_app, name="tasks")


def main() -> NoReturn:
    """Entry point of the `duikou` command."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on `arguments` and return its exit status; errors become one sentence on stderr."""
    try:
        app(arguments, prog_name="duikou")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_FAULT
    except InputError as error:
        _complain(str(error))
        return EXIT_INPUT
    except DuikouError as error:
        _complain(str(error))
        return EXIT_FAULT
    except Exception as error:  # a fault of ours: still one sentence, the trace on demand
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        _complain(f"unexpected {type(error).__name__}: {error} (set {DEBUG_VARIABLE}=1 to see where)")
        return EXIT_FAULT
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"duikou {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command()
def faces(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="An mp4 or mov file.", show_default=False)],
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the faces' pictures.", show_default="NAME.faces")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the faces of VIDEO that can be lip-synced, with one picture file each."""
    _require_file(video, "video")
    with shown(video.name) as progress:
        session = duikou.identify(video, progress=progress)
    folder = pictures or Path(f"{video.stem}.faces")
    files = {face.id: _write_picture(face, folder) for face in session.faces}
    if as_json:
        typer.echo(json.dumps(_as_json(session, files), indent=2, ensure_ascii=False))
    elif session.faces:
        output().print(_table(session, files))
    if not session.faces:
        _complain(f"no face of {video.name} can be lip-synced")
        raise typer.Exit(EXIT_FAULT)


@app.command()
def sync(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="An mp4 or mov file.", show_default=False)],
    audio: Annotated[
        Path, typer.Argument(metavar="AUDIO", help="The speech: an mp3, wav, m4a or aac file.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="The mp4 file to write.", show_default="NAME.synced.mp4"),
    ] = None,
    face: Annotated[
        str | None, typer.Option(metavar="ID", help="A face listed by `duikou faces`.", show_default="the most visible")
    ] = None,
    at: Annotated[int, typer.Option(metavar="MS", help="Where in the video the speech begins, in ms.")] = 0,
    crop: Annotated[
        str,
        typer.Option(
            metavar="A:B", help="The part of AUDIO to use, in ms; either end may be left out.", show_default="all of it"
        ),
    ] = ":",
    volume: Annotated[float, typer.Option(metavar="X", help="Volume of the speech, 0 to 2.")] = 1.0,
    original_volume: Annotated[
        float, typer.Option(metavar="Y", help="Volume of the video's own sound while the speech lasts, 0 to 2.")
    ] = 0.0,
    sync_mode: Annotated[
        SyncMode | None,
        typer.Option(
            help="What to do where the speech is too long: end it with the face's interval, or let the video start "
            "again, play to and fro, or stand still on its last frame.",
            show_default="refuse",
        ),
    ] = None,
    watermark: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A second mp4 file to write, with a visible mark.", show_default=False),
    ] = None,
) -> None:
    """Make a face of VIDEO speak AUDIO; prints the path of the finished video, and below it that of a marked one."""
    _require_file(video, "video")
    _require_file(audio, "audio")
    start_ms, end_ms = parse_crop(crop)
    made_by = configured(read_settings(), user_folder())
    identifying, rendering = split(SYNC_WEIGHTS)
    with shown(video.name) as progress:
        session = duikou.identify(video, progress=scaled(progress, *identifying))
        if not session.faces:
            raise InputError(f"no face of {video.name} can be lip-synced", field="video")
        face_id = face if face is not None else most_visible(session.faces).id
        choice = duikou.FaceChoice(
            sound=audio,
            face_id=face_id,
            sound_start_ms=start_ms,
            sound_end_ms=end_ms,
            insert_ms=at,
            sound_volume=volume,
            original_volume=original_volume,
        )
        result = duikou.lip_sync(
            session,
            [choice],
            output,
            watermark=watermark,
            made_by=made_by,
            sync_mode=sync_mode,
            progress=scaled(progress, *rendering),
        )
    if face is None and len(session.faces) > 1:
        others = ", ".join(other.id for other in session.faces if other.id != face_id)
        typer.echo(
            f"face {face_id} speaks, the most visible of {len(session.faces)}; --face takes {others} too", err=True
        )
    typer.echo(result.video)
    if result.watermark is not None:
        typer.echo(result.watermark)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An mp4 or mov file.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what FILE tells of its origin: the AIGC label and the Content Credentials; exit status 1 where it has neither
    or its signature does not hold.
    """
    _require_file(file, "file")
    signed, found = credentials.read(file), label.read(file)
    if as_json:
        told = {
            "file": str(file),
            "aigc_label": None if found is None else found.elements,
            "content_credentials": None if signed is None else asdict(signed),
        }
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    elif found is not None or signed is not None:
        output().print(_origin(found, signed))
    if found is None and signed is None:
        _complain(f"{file.name} says nothing of its origin: it has neither an AIGC label nor Content Credentials")
        raise typer.Exit(EXIT_FAULT)
    if signed is not None and not signed.intact:
        _complain(f"{file.name} was altered after it was signed, or its signature is not good: {signed.faults[0]}")
        raise typer.Exit(EXIT_FAULT)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind to; 0 picks a free one.", show_default="8000")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for sessions, tasks and results.", show_default="duikou-data"),
    ] = None,
) -> None:
    """Serve the HTTP interface; every setting can also be given in the environment, as DUIKOU_HOST and so on."""
    from duikou.server import serve as run_server  # the other commands need no web framework

    given = {"host": host, "port": port, "data": data}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    run_server(settings, ready=lambda url: typer.echo(f"duikou is ready at {url}"))


@app.command()
def worker(
    queues: Annotated[
        str, typer.Option(metavar="NAMES", help="Queues to serve: analysis, render, gpu.")
    ] = DEFAULT_QUEUES,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tasks at once.", show_default="DUIKOU_WORKERS, else 1")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for work in hand, of this worker alone.", show_default="duikou-data"),
    ] = None,
) -> None:
    """Do tasks that servers have accepted: for a fleet, with DUIKOU_DATABASE_URL, DUIKOU_BROKER_URL and
    DUIKOU_STORAGE_URL as for the servers. After SIGTERM what is in hand is finished, and nothing more begun.
    """
    from duikou.workers import worker  # the other commands need no database

    given = {"workers": concurrency, "data": data}
    settings = read_settings(**{name: value for name, value in given.items() if value is not None})
    worker.serve(settings, worker.queues_of(queues), ready=lambda: typer.echo("duikou worker is ready"))


@app.command("doctor")
def doctor_command() -> None:
    """Check Python, codecs, models, disk and devices; exit status 1 where something needed is missing."""
    checks = doctor.examine(read_settings())
    table = Table("", "what", "found", "remedy", box=None, pad_edge=False)
    for check in checks:
        table.add_row("ok" if check.ok else "NO", check.name, check.found, check.remedy)
    output().print(table)
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_FAULT)


def parse_crop(text: str) -> tuple[int, int | None]:
    """`A:B` in whole ms to start and end; a left-out start is 0, a left-out end `None`. Raises `InputError`."""
    start, colon, end = text.partition(":")
    if not colon or not all(part == "" or (part.isascii() and part.isdigit()) for part in (start, end)):
        raise InputError(f"--crop must be A:B in whole milliseconds, such as 500:4500, and not {text!r}", field="crop")
    return int(start or 0), int(end) if end else None


def most_visible(choices: tuple[Face, ...]) -> Face:
    """The face with the most picture over the most time: length of its interval times its usual width."""
    return max(choices, key=lambda face: face.interval.duration_ms * face.box[2])


def _require_file(path: Path, field: str) -> None:
    if not path.is_file():
        raise InputError(f"there is no file {path}", field=field)


def _write_picture(face: Face, folder: Path) -> Path:
    path = folder / f"face_{face.id}.jpg"
    written, content = cv2.imencode(".jpg", face.picture)
    if not written:
        raise StorageError(f"the picture of face {face.id} cannot be encoded")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.tobytes())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _table(session: duikou.Session, files: dict[str, Path]) -> Table:
    table = Table("id", "from ms", "to ms", "size", "picture", "warnings", box=None, pad_edge=False)
    for face in session.faces:
        _, _, width, height = face.box
        warnings = "; ".join(warning.message for warning in face.warnings)
        interval = face.interval
        table.add_row(
            face.id, str(interval.start_ms), str(interval.end_ms), f"{width}x{height}", str(files[face.id]), warnings
        )
    return table


def _origin(found: Label | None, signed: Credentials | None) -> Table:
    """What both labels say, a line for each thing said."""
    table = Table("", "", show_header=False, box=None, pad_edge=False)
    table.add_row("AIGC label", "none" if found is None else label.MEANINGS.get(found.kind, "of a kind not known"))
    for name, value in ({} if found is None else found.elements).items():
        table.add_row(f"  {name}", value or "-")
    table.add_row("Content Credentials", "none" if signed is None else _holds(signed))
    if signed is not None:
        limits = ", which shows that the file is unaltered, but not who made it" if signed.self_made else ""
        table.add_row("  signed by", ", ".join(filter(None, (signed.signer, signed.issuer))) + limits)
        table.add_row("  written by", signed.generator)
        table.add_row("  title", signed.title)
        if signed.source is not None:
            digest = f", SHA-256 {signed.source.sha256}" if signed.source.sha256 else ""
            table.add_row("  source", signed.source.title + digest)
        for action in signed.actions:
            kind = action.source_type.rsplit("/", 1)[-1]
            table.add_row(f"  {action.name}", " ".join(filter(None, (action.description, kind and f"[{kind}]"))))
    return table


def _holds(signed: Credentials) -> str:
    return "the signature holds" if signed.intact else f"the signature DOES NOT HOLD: {', '.join(signed.faults)}"


def _as_json(session: duikou.Session, files: dict[str, Path]) -> dict[str, object]:
    info = session.info
    return {
        "video": str(session.video),
        "width": info.width,
        "height": info.height,
        "frames": info.frames,
        "duration_ms": info.duration_ms,
        "faces": [_face_as_json(face, files[face.id]) for face in session.faces],
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
        "warnings": [
            {
                "code": warning.code,
                "message": warning.message,
                "start_ms": warning.interval.start_ms,
                "end_ms": warning.interval.end_ms,
            }
            for warning in face.warnings
        ],
    }


def _complain(sentence: str) -> None:
    typer.echo(f"duikou: {sentence}", err=True)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    # Unwinds the stack, so that half-written files are removed as after Ctrl-C.
    sys.exit(EXIT_TERMINATED)
