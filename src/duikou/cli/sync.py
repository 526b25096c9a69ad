"""`duikou sync`: make faces of a video speak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

import duikou
from duikou.cli import remote
from duikou.cli.faces import face_as_json
from duikou.cli.files import default_output, named, video_of
from duikou.cli.order import Order
from duikou.cli.plan import place_of, read_plan
from duikou.cli.terminal import (
    AsJson,
    Quiet,
    print_json,
    print_path,
    read_settings,
    require_file,
    show_progress,
    silence,
    warn,
)
from duikou.cli.times import parse_interval, parse_time, parse_trim
from duikou.errors import InputError
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode

if TYPE_CHECKING:
    from duikou import FaceChoice
    from duikou.cli.order import Done
    from duikou.settings import Settings

T = TypeVar("T")
U = TypeVar("U")


class SyncCommand(TyperCommand):
    """`--say` takes two values, which typer cannot declare for an option that may be repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two values of each `--say`."""
        joined, rest = [], list(args)
        while rest:
            word = rest.pop(0)
            if word == "--say":
                pair = [rest.pop(0) for _ in range(min(2, len(rest)))]
                if len(pair) < 2:
                    raise InputError("a face and a file are needed, such as --say 0 speech.wav", field="--say")
                word = f"--say={'='.join(pair)}"
            joined.append(word)
            if word == "--":
                joined, rest = joined + rest, []
        return super().parse_args(ctx, joined)


def sync(
    video: Annotated[
        str, typer.Argument(metavar="VIDEO", help="An mp4 or mov file; with --server also its URL.", show_default=False)
    ],
    audio: Annotated[
        Path | None,
        typer.Argument(
            metavar="AUDIO",
            help="The speech: an mp3, wav, m4a or aac file. Left out with --say and with --plan.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="The mp4 file to write.", show_default="NAME.synced.mp4"),
    ] = None,
    face: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="A face listed by `duikou faces`, or `auto`: the one who speaks at that place in VIDEO.",
            show_default="the most visible",
        ),
    ] = None,
    say: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID FILE",
            help="Make face ID speak FILE, in place of AUDIO and --face. Repeat it for more faces or more pieces of "
            "speech; ID@TIME says when a piece begins.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON or CSV file that says who speaks what and when.", show_default=False),
    ] = None,
    at: Annotated[
        int,
        typer.Option(
            metavar="TIME", parser=parse_time, help="When in the video the speech begins: 1500 (ms), 1.5s or 0:01.5."
        ),
    ] = 0,
    trim: Annotated[
        str | None,
        typer.Option(
            metavar="A:B",
            help="The part of the speech to use: 500:4500 (ms), 0.5s:4.5s or 0:00.5-0:04.5. Either end may be left "
            "out.",
            show_default="all of it",
        ),
    ] = None,
    crop: Annotated[str | None, typer.Option(hidden=True)] = None,  # the former name of --trim
    volume: Annotated[float, typer.Option(metavar="X", help="Volume of the speech, 0 to 2.")] = 1.0,
    original_volume: Annotated[float, typer.Option(metavar="Y", help="Volume of the video's own audio, 0 to 2.")] = 0.0,
    original_scope: Annotated[
        OriginalScope,
        typer.Option(help="Where --original-volume applies: while the speech lasts, or throughout the video."),
    ] = OriginalScope.SPEECH,
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
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B",
            help="A time in which the mouth stays as it is while the speech is heard: 0:01-0:02.5, 1s:2.5s or "
            "1000:2500 (ms). May be repeated.",
            show_default=False,
        ),
    ] = None,
    watermark: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A second mp4 file to write, with a visible mark.", show_default=False),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who encodes: x264, or nvenc, videotoolbox or vaapi where this machine has it (`duikou doctor`).",
            show_default="DUIKOU_ENCODER, else x264",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that duikou has not made.")] = False,
    server: remote.ServerUrl = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make faces of VIDEO speak, and write a new video."""
    from duikou.faces.devices import allow_gpu
    from duikou.provenance.producer import configured, user_folder

    source = video_of(video, server, "VIDEO")
    part = _parsed(parse_trim, trim if trim is not None else crop, "--trim")
    spoken = duikou.FaceChoice(
        audio=audio or "",
        face_id=face or "",
        trim_start_ms=part[0],
        trim_end_ms=part[1],
        insert_ms=at,
        audio_volume=volume,
        original_volume=original_volume,
        original_scope=original_scope,
        references=tuple(reference or ()),
        exclude=tuple(_parsed(parse_interval, one, "--exclude") for one in exclude or ()),
    )
    choices = _choices(spoken, say, plan)
    with _own_names(say, plan):
        settings = read_settings()
        allow_gpu(allowed=server is None and settings.face_device == "auto")
        written = duikou.Output(
            output or default_output(source),
            watermark,
            configured(settings, user_folder()),
            encoder=_encoder(encoder, settings, server),
        )
        checked = Order(source, tuple(choices), written, sync_mode).check(force=force)
        note, warning = (silence, silence) if quiet else (_note, _warning)
        for doubt in checked.doubts:
            warning(doubt)
        with remote.work_at(server) as work, show_progress(named(source).name, quiet=quiet) as progress:
            done = checked.perform(work, progress=progress, note=note, warning=warning)
    if as_json:
        print_json(_as_json(done))
        return
    print_path(done.result.video)
    if done.result.watermark is not None:
        print_path(done.result.watermark)


def _encoder(asked: str | None, settings: Settings, server: str | None) -> str:
    """Who encodes. At a server that is its own affair: only asking for an encoder is an error."""
    if server is None:
        return asked or settings.encoder
    if asked:
        raise InputError("cannot be combined with --server, which encodes by itself", field="--encoder")
    return "x264"


def _note(sentence: str) -> None:
    warn([sentence], heading="")


def _warning(sentence: str) -> None:
    warn([sentence])


def _parsed(parse: Callable[[T], U], given: T, field: str) -> U:
    try:
        return parse(given)
    except ValueError as error:
        raise InputError(str(error), field=field) from error


def _choices(one: FaceChoice, say: Sequence[str] | None, plan: Path | None) -> list[FaceChoice]:
    """What the options ask for. A face that is not named is the empty id."""
    given = [name for name, value in (("AUDIO", one.audio), ("--say", say), ("--plan", plan)) if value]
    if not given:
        raise InputError("the speech is missing; name its file, or use --say or --plan", field="AUDIO")
    if len(given) > 1:
        raise InputError(f"cannot be combined with {given[0]}", field=given[1])
    if say or plan:
        if one.face_id:
            raise InputError(f"cannot be combined with {given[0]}, which names the faces", field="--face")
        if one.references and (plan or len({pair.partition("=")[0].partition("@")[0] for pair in say or ()}) > 1):
            raise InputError("lends teeth to one face; a plan file takes references for each", field="--reference")
    if plan is not None:
        require_file(plan, "--plan")
        default = duikou.FaceChoice("", "")
        if replace(one, references=()) != default:
            reason = "holds times and volumes itself; leave --at, --trim, --exclude and the volumes out"
            raise InputError(reason, field="--plan")
        return read_plan(plan)
    return [_said(one, pair, f"--say {number}") for number, pair in enumerate(say or (), 1)] or [one]


def _said(one: FaceChoice, pair: str, field: str) -> FaceChoice:
    """What one `--say` asks for, in the form `ID=FILE` or `ID@TIME=FILE`; the rest is as in `one`."""
    place, _, file = pair.partition("=")
    face_id, at, time = place.partition("@")
    insert_ms = _parsed(parse_time, time, field) if at else one.insert_ms
    return replace(one, face_id=face_id, audio=Path(file), insert_ms=insert_ms)


@contextmanager
def _own_names(say: Sequence[str] | None, plan: Path | None) -> Iterator[None]:
    """Name the entry of the plan, or the `--say`, that an error is about."""
    try:
        yield
    except InputError as error:
        place = place_of(error)
        if place is None:
            if error.field == "choices":
                raise error.renamed("--plan" if plan else "--say") from error
            raise
        number, name = place
        if plan is not None:
            raise InputError(f"{name}: {error.reason}", field=f"--plan {number + 1}") from error
        if say and (name in ("audio", "face") or (name == "at" and len(say) > 1)):
            raise error.renamed(f"--say {number + 1}" if len(say) > 1 else "--say") from error
        raise


def _as_json(done: Done) -> dict[str, object]:
    result, session = done.result, done.session
    info = result.info
    return {
        "video": str(result.video),
        "watermark": None if result.watermark is None else str(result.watermark),
        "width": info.width,
        "height": info.height,
        "frames": info.frames,
        "duration_ms": info.duration_ms,
        "faces": [
            face_as_json(session.face(choice.face_id), session)
            | {"audio": str(choice.audio), "at_ms": choice.insert_ms}
            for choice in done.choices
        ],
        "warnings": list(done.warnings),
    }
