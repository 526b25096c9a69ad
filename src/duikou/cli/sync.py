"""`duikou sync`: make faces of a video speak."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

import duikou
from duikou.cli import remote
from duikou.cli.faces import face_as_json, no_face, position
from duikou.cli.files import require_ours, require_sound, require_video
from duikou.cli.plan import read_plan
from duikou.cli.terminal import AsJson, Quiet, print_json, read_settings, require_file, show_progress, warn
from duikou.cli.times import parse_time, parse_trim, seconds
from duikou.errors import InputError, StorageError
from duikou.media.sync_mode import SyncMode
from duikou.progress import scaled, split
from duikou.timebase import END_TOLERANCE_MS

if TYPE_CHECKING:
    from duikou import FaceChoice
    from duikou.cli.remote import AnyFace, AnyResult, AnySession
    from duikou.pipeline.checks import Material

STAGE_WEIGHTS: Final = (1, 4)  # rough shares of identifying and of rendering in the time of `sync`
SHORT_MS: Final = 100  # less speech than this is most likely a mistake in --trim
_CHOICE: Final = re.compile(r"choices\[(\d+)\]\.(\w+)")
_PLAN_NAMES: Final = {"face_id": "face", "insert_ms": "at", "trim_start_ms": "trim", "trim_end_ms": "trim"} | {
    "audio_volume": "volume"
}


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
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="An mp4 or mov file.", show_default=False)],
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
        str | None, typer.Option(metavar="ID", help="A face listed by `duikou faces`.", show_default="the most visible")
    ] = None,
    say: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID FILE",
            help="Make face ID speak FILE, in place of AUDIO and --face. Repeat it for several faces.",
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
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that duikou has not made.")] = False,
    server: remote.ServerUrl = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make faces of VIDEO speak, and write a new video."""
    from duikou.pipeline.checks import Material
    from duikou.provenance.producer import configured, user_folder

    require_video(video, "VIDEO")
    part = _trim(trim if trim is not None else crop)
    spoken = duikou.FaceChoice(
        audio=audio or "",
        face_id=face or "",
        trim_start_ms=part[0],
        trim_end_ms=part[1],
        insert_ms=at,
        audio_volume=volume,
        original_volume=original_volume,
        references=tuple(reference or ()),
    )
    choices = _choices(spoken, say, plan)
    with _own_names(say, plan):
        _require_files(choices)
        made_by = configured(read_settings(), user_folder())
        wanted = duikou.Output(output, watermark, made_by)
        _check_output(wanted, video, force=force)
        material = Material.read(video, choices)
        _require_fit(material, sync_mode)
        material.check(sync_mode)
        doubts = [*material.doubts(), *_short(choices)]
        if not quiet:
            warn(doubts)
        identifying, rendering = split(STAGE_WEIGHTS)
        with remote.work_at(server) as work, show_progress(video.name, quiet=quiet) as progress:
            session: AnySession = work.identify(video, progress=scaled(progress, *identifying))
            if not session.faces:
                raise InputError(no_face(session), field="VIDEO")
            choices = _chosen(session, choices)
            if not quiet:
                warn(_speakers(session, choices, asked=material.choices), heading="")
            outside = list(_outside(session, choices, material)) if sync_mode is None else []
            if not quiet:
                warn(outside)
            result: AnyResult = work.lip_sync(
                session, choices, wanted, sync_mode=sync_mode, progress=scaled(progress, *rendering)
            )
    warnings = [warning.message for spoken in result.spoken for warning in spoken.warnings]
    if not quiet:
        warn(warnings)
    if as_json:
        print_json(_as_json(session, choices, result, [*doubts, *outside, *warnings]))
        return
    typer.echo(result.video)
    if result.watermark is not None:
        typer.echo(result.watermark)


def _trim(text: str | None) -> tuple[int, int | None]:
    try:
        return parse_trim(text)
    except ValueError as error:
        raise InputError(str(error), field="--trim") from error


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
        if one.references and (plan or len(say or ()) > 1):
            raise InputError("lends teeth to one face; a plan file takes references for each", field="--reference")
    if plan is not None:
        require_file(plan, "--plan")
        default = duikou.FaceChoice("", "")
        if replace(one, references=()) != default:
            raise InputError("holds times and volumes itself; leave --at, --trim and the volumes out", field="--plan")
        return read_plan(plan)
    pairs = [pair.partition("=") for pair in say or ()]
    return [replace(one, face_id=face_id, audio=Path(file)) for face_id, _, file in pairs] or [one]


@contextmanager
def _own_names(say: Sequence[str] | None, plan: Path | None) -> Iterator[None]:
    """Name the entry of the plan, or the `--say`, that an error is about."""
    try:
        yield
    except InputError as error:
        found = _CHOICE.match(error.field)
        if found is None:
            if error.field == "choices":
                raise error.renamed("--plan" if plan else "--say") from error
            raise
        number, name = int(found[1]), found[2]
        if plan is not None:
            raise InputError(f"{_PLAN_NAMES.get(name, name)}: {error.reason}", field=f"--plan {number + 1}") from error
        if say and name in ("audio", "face_id"):
            raise error.renamed(f"--say {number + 1}" if len(say) > 1 else "--say") from error
        raise


def _require_files(choices: Sequence[FaceChoice]) -> None:
    for number, choice in enumerate(choices):
        require_sound(Path(choice.audio), f"choices[{number}].audio")
        for place, path in enumerate(choice.references):
            require_file(Path(path), f"choices[{number}].references[{place}]")


def _check_output(wanted: duikou.Output, video: Path, *, force: bool) -> None:
    try:
        wanted.check(video)
    except StorageError as error:
        raise InputError(str(error), field="output") from error
    assert wanted.made_by is not None
    if not force:
        for name, path in wanted.paths(video).items():
            require_ours(path, name, wanted.made_by.name)


def _require_fit(material: Material, mode: SyncMode | None) -> None:
    """Refuse speech that ends after the video, with the options that mend it."""
    video_ms = material.info.duration_ms
    for number, (choice, length) in enumerate(zip(material.choices, material.audio_ms, strict=True)):
        start, at, used_ms = choice.trim_start_ms, choice.insert_ms, _used_ms(choice, length)
        if mode is not None or at < 0 or at + used_ms <= video_ms + END_TOLERANCE_MS:
            continue
        field, video_s = f"choices[{number}]", seconds(video_ms)
        if at >= video_ms:
            reason = f"the video lasts {video_s}, so speech cannot begin at {seconds(at)}; use an earlier time"
            raise InputError(f"{reason}, or --sync-mode loop", field=f"{field}.insert_ms")
        speech = f"the speech lasts {seconds(used_ms)}"
        lengths = f"{speech} and begins at {seconds(at)}, the video lasts" if at else f"{speech}, the video"
        raise InputError(
            f"{lengths} {video_s}: use --trim {start or ''}:{start + video_ms - at} or --sync-mode cut_off to end the "
            "speech earlier, or --sync-mode loop, bounce or silence to make the video longer",
            field=f"{field}.audio",
        )


def _used_ms(choice: FaceChoice, audio_ms: int) -> int:
    """Length of the part of the audio that a choice uses."""
    return min(choice.trim_end_ms or audio_ms, audio_ms) - choice.trim_start_ms


def _short(choices: Sequence[FaceChoice]) -> Iterator[str]:
    for choice in choices:
        if choice.trim_end_ms is not None and choice.trim_end_ms - choice.trim_start_ms < SHORT_MS:
            yield f"only {choice.trim_end_ms - choice.trim_start_ms} ms of {Path(choice.audio).name} are used"


def _chosen(session: AnySession, choices: Sequence[FaceChoice]) -> list[FaceChoice]:
    """The choices with the most visible face where none is named."""
    return [choice if choice.face_id else replace(choice, face_id=most_visible(session.faces).id) for choice in choices]


def _speakers(session: AnySession, choices: Sequence[FaceChoice], asked: Sequence[FaceChoice]) -> Iterator[str]:
    """Who speaks, in a sentence for each choice."""
    faces = {face.id: face for face in session.faces}
    for choice, before in zip(choices, asked, strict=True):
        face = faces.get(choice.face_id)
        if face is None:  # the library refuses it
            continue
        shown = f"{position(face, session)}, {face.interval.start_ms} ms to {face.interval.end_ms} ms"
        sentence = f"face {face.id} speaks ({shown})"
        others = [f"{other.id} ({position(other, session)})" for other in session.faces if other is not face]
        if others and not before.face_id:
            sentence += f", the most visible of {len(faces)}; --face also accepts {', '.join(others)}"
        yield sentence


def _outside(session: AnySession, choices: Sequence[FaceChoice], material: Material) -> Iterator[str]:
    """A sentence for each speech that begins before its face shows, or goes on after it.

    Raises `InputError` for speech that plays only while its face is not there.
    """
    shown = {face.id: face.interval for face in session.faces}
    for number, (choice, length) in enumerate(zip(choices, material.audio_ms, strict=True)):
        face = shown.get(choice.face_id)
        if face is None:  # the library refuses it
            continue
        start, at = choice.trim_start_ms, choice.insert_ms
        end = at + _used_ms(choice, length)
        if at >= face.end_ms or end <= face.start_ms:
            raise InputError(
                f"face {choice.face_id} shows from {face.start_ms} ms to {face.end_ms} ms, the speech plays from "
                f"{at} ms to {end} ms: use --at {face.start_ms}",
                field=f"choices[{number}].insert_ms",
            )
        if face.start_ms - at > END_TOLERANCE_MS:
            yield (
                f"the speech begins {seconds(face.start_ms - at)} before face {choice.face_id}, which begins at "
                f"{face.start_ms} ms; --at {face.start_ms} begins both together"
            )
        if end - face.end_ms > END_TOLERANCE_MS:
            yield (
                f"the speech goes on for {seconds(end - face.end_ms)} after face {choice.face_id}, which ends at "
                f"{face.end_ms} ms; --trim {start or ''}:{start + face.end_ms - at} or --sync-mode cut_off ends both "
                "together"
            )


def _as_json(
    session: AnySession, choices: Sequence[FaceChoice], result: AnyResult, warnings: Sequence[str]
) -> dict[str, object]:
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
            for choice in choices
        ],
        "warnings": list(warnings),
    }


def most_visible(faces: Sequence[AnyFace]) -> AnyFace:
    """The face with the largest product of its interval's length and its usual width."""
    return max(faces, key=lambda face: face.interval.duration_ms * face.box[2])
