"""`duikou sync`: make a face of a video speak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

import duikou
from duikou.cli.faces import no_face
from duikou.cli.terminal import read_settings, require_file, show_progress
from duikou.errors import InputError
from duikou.media.sync_mode import SyncMode
from duikou.progress import scaled, split

if TYPE_CHECKING:
    from duikou import Face

STAGE_WEIGHTS: Final = (1, 4)  # rough shares of identifying and of rendering in the time of `sync`


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
    at: Annotated[int, typer.Option(metavar="MS", help="Time in the video at which the speech begins, in ms.")] = 0,
    trim: Annotated[
        str | None,
        typer.Option(
            metavar="A:B", help="The part of AUDIO to use, in ms; either end may be left out.", show_default="all of it"
        ),
    ] = None,
    crop: Annotated[str | None, typer.Option(hidden=True)] = None,  # the former name of --trim
    volume: Annotated[float, typer.Option(metavar="X", help="Volume of the speech, 0 to 2.")] = 1.0,
    original_volume: Annotated[
        float, typer.Option(metavar="Y", help="Volume of the video's own audio during the speech, 0 to 2.")
    ] = 0.0,
    sync_mode: Annotated[
        SyncMode | None,
        typer.Option(
            help="What to do with speech that is too long: cut it off at the end of the face's interval, or lengthen "
            "the video by playing it again (loop), backwards and forwards (bounce), or by freezing its last frame "
            "(silence).",
            show_default="refuse",
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A clip (mp4, mov) or photo (jpeg, png, webp) in which the mouth of the same person is open; it lends "
            "the teeth that VIDEO never shows. May be repeated, up to 4 times.",
            show_default=False,
        ),
    ] = None,
    watermark: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A second mp4 file to write, with a visible mark.", show_default=False),
    ] = None,
) -> None:
    """Make a face of VIDEO speak AUDIO. Prints the path of the finished video, and below it that of the marked one."""
    from duikou.provenance.producer import configured, user_folder

    require_file(video, "video")
    require_file(audio, "audio")
    for number, path in enumerate(reference or []):
        require_file(path, f"references[{number}]")
    start_ms, end_ms = parse_trim(next((text for text in (trim, crop) if text is not None), ":"))
    made_by = configured(read_settings(), user_folder())
    identifying, rendering = split(STAGE_WEIGHTS)
    with show_progress(video.name) as progress:
        session = duikou.identify(video, progress=scaled(progress, *identifying))
        if not session.faces:
            raise InputError(no_face(session), field="video")
        face_id = face if face is not None else most_visible(session.faces).id
        choice = duikou.FaceChoice(
            audio=audio,
            face_id=face_id,
            trim_start_ms=start_ms,
            trim_end_ms=end_ms,
            insert_ms=at,
            audio_volume=volume,
            original_volume=original_volume,
            references=tuple(reference or ()),
        )
        result = duikou.lip_sync(
            session,
            [choice],
            duikou.Output(output, watermark, made_by),
            sync_mode=sync_mode,
            progress=scaled(progress, *rendering),
        )
    if face is None and len(session.faces) > 1:
        others = ", ".join(other.id for other in session.faces if other.id != face_id)
        typer.echo(
            f"face {face_id} speaks, the most visible of {len(session.faces)}; --face also accepts {others}", err=True
        )
    for spoken in result.spoken:
        for warning in spoken.warnings:
            typer.echo(f"warning: {warning.message}", err=True)
    typer.echo(result.video)
    if result.watermark is not None:
        typer.echo(result.watermark)


def parse_trim(text: str) -> tuple[int, int | None]:
    """`A:B` in whole ms to start and end; a left-out start is 0, a left-out end `None`. Raises `InputError`."""
    start, colon, end = text.partition(":")
    if not colon or not all(part == "" or (part.isascii() and part.isdigit()) for part in (start, end)):
        raise InputError(f"expected A:B in whole milliseconds, such as 500:4500, and not {text!r}", field="--trim")
    return int(start or 0), int(end) if end else None


def most_visible(faces: Sequence[Face]) -> Face:
    """The face with the largest product of its interval's length and its usual width."""
    return max(faces, key=lambda face: face.interval.duration_ms * face.box[2])
