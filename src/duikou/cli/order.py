"""One lip sync as a command is asked for it: checked before the work, then done here or at a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duikou
from duikou.cli import remote
from duikou.cli.faces import no_face, position
from duikou.cli.files import require_ours, require_sound, require_video
from duikou.cli.terminal import require_file
from duikou.cli.times import seconds
from duikou.errors import InputError, StorageError
from duikou.progress import scaled, split
from duikou.timebase import END_TOLERANCE_MS, Interval

if TYPE_CHECKING:
    from duikou import FaceChoice
    from duikou.cli.remote import AnyFace, AnyResult, AnySession
    from duikou.media.sync_mode import SyncMode
    from duikou.pipeline.auto import Resolved
    from duikou.pipeline.checks import Material
    from duikou.progress import Progress

STAGE_WEIGHTS: Final = (1, 4)  # rough shares of identifying and of rendering in the time of a lip sync
SHORT_MS: Final = 100  # less speech than this is most likely a mistake in --trim
UNKNOWN_MS: Final = 24 * 3_600_000  # stands for the length of a video at a URL: longer than any server takes

Tell = Callable[[str], object]
"""Called with one sentence."""


@dataclass(frozen=True)
class Order:
    """Who speaks what in which video.

    video: a file, or a URL (a `str`) that a server fetches. choices: a face that is not named has the empty id.
    output: with its producer; with its path, if the video is at a URL.
    """

    video: Path | str
    choices: tuple[FaceChoice, ...]
    output: duikou.Output
    sync_mode: SyncMode | None = None

    def check(self, *, force: bool, ask: bool = True) -> Checked:
        """Check files, lengths, choices and outputs. Of a URL only the server can check the video.

        Removes what killed runs have left of these outputs, and says so in a doubt.
        force: whether files may be overwritten that duikou has not made. ask: whether to ask for leave at a terminal.
        Raises `InputError` that names the library's parameter.
        """
        from duikou.pipeline.auto import told_apart
        from duikou.pipeline.checks import Material, audio_doubts, audio_lengths, check_references
        from duikou.pipeline.choice import ChoiceValidator

        if isinstance(self.video, Path):
            require_video(self.video, "video")
        self._require_files()
        stopped = [_stopped(path) for path in self.output.clear(Path(self.video))]
        self._check_output(force=force, ask=ask)
        if isinstance(self.video, Path):
            material = Material.read(self.video, self.choices)
            _require_fit(material, self.sync_mode)
            material.check(self.sync_mode)
            return Checked(self, material.audio_ms, (*stopped, *material.doubts(), *_short(self.choices)))
        lengths = audio_lengths(self.choices)
        check_references(self.choices)
        choices = told_apart(self.choices)
        always = {choice.face_id: Interval(0, UNKNOWN_MS) for choice in choices}
        ChoiceValidator(always, UNKNOWN_MS).check_all(choices, lengths)
        return Checked(self, tuple(lengths), (*stopped, *audio_doubts(self.choices), *_short(self.choices)))

    def _require_files(self) -> None:
        for number, choice in enumerate(self.choices):
            require_sound(Path(choice.audio), f"choices[{number}].audio")
            for place, path in enumerate(choice.references):
                require_file(Path(path), f"choices[{number}].references[{place}]")

    def _check_output(self, *, force: bool, ask: bool) -> None:
        source = Path(self.video)
        try:
            self.output.check(source)
        except StorageError as error:
            raise InputError(str(error), field="output") from error
        assert self.output.made_by is not None
        if not force:
            for name, path in self.output.paths(source).items():
                require_ours(path, name, self.output.made_by.name, ask=ask)


@dataclass(frozen=True)
class Checked:
    """An order without a fault. audio_ms: the length of each choice's audio. doubts: sentences about its files."""

    order: Order
    audio_ms: tuple[int, ...]
    doubts: tuple[str, ...]

    def perform(self, work: Any, *, progress: Progress, note: Tell, warning: Tell) -> Done:
        """Find the faces, then render. work: see `remote.work_at`. note, warning: told of what may matter.

        Raises `DuikouError`; `InputError` names the library's parameter.
        """
        order = self.order
        identifying, rendering = split(STAGE_WEIGHTS)
        session: AnySession = work.identify(order.video, progress=scaled(progress, *identifying))
        if not session.faces:
            raise InputError(no_face(session), field="video")
        resolved = _resolved(session, order.choices, self.audio_ms, order.sync_mode)
        choices = [one.choice for one in resolved]
        for sentence in _speakers(session, resolved, asked=order.choices):
            note(sentence)
        doubts = [one.doubt.message for one in resolved if one.doubt]
        outside = list(_outside(session, choices, self.audio_ms)) if order.sync_mode is None else []
        outside = [*doubts, *outside, *self._seen(session, choices)]
        for sentence in outside:
            warning(sentence)
        result: AnyResult = work.lip_sync(
            session, choices, order.output, sync_mode=order.sync_mode, progress=scaled(progress, *rendering)
        )
        if isinstance(session, remote.Session) and session.info is None:
            session = replace(session, info=result.info)
        late = [one.message for spoken in result.spoken for one in spoken.warnings]
        for sentence in late:
            warning(sentence)
        return Done(session, choices, result, (*self.doubts, *outside, *late))

    def _seen(self, session: AnySession, choices: Sequence[FaceChoice]) -> list[str]:
        """Sentences about what only the video shows: frames too few for the speech, and what a URL's video loses."""
        from duikou.faces.stills import STILL_CODES

        found = [] if isinstance(self.order.video, Path) else [one.message for one in session.warnings]
        faces = {face.id: face for face in session.faces}
        for choice, length in zip(choices, self.audio_ms, strict=True):
            spoken = Interval(choice.insert_ms, choice.insert_ms + max(_used_ms(choice, length), 0))
            face = faces.get(choice.face_id)
            for one in face.warnings if face else ():
                during = spoken.overlap(one.interval) is not None or self.order.sync_mode is not None
                if one.code in STILL_CODES and during and one.message not in found:
                    found.append(one.message)
        return found


@dataclass(frozen=True)
class Done:
    """A lip sync that is finished. choices: with the ids of their faces. warnings: all of them, the doubts first."""

    session: AnySession
    choices: Sequence[FaceChoice]
    result: AnyResult
    warnings: tuple[str, ...]


def _stopped(path: Path) -> str:
    what = "what it left is removed, and this one begins anew"
    return f"an earlier run was stopped before {path.name} was finished; {what}"


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


def _resolved(
    session: AnySession, choices: Sequence[FaceChoice], audio_ms: Sequence[int], mode: SyncMode | None
) -> list[Resolved]:
    """The choices with the most visible face where none is named, and for `auto` with the one who speaks there."""
    from duikou.pipeline.auto import most_visible, resolve
    from duikou.pipeline.choice import ChoiceValidator

    named = [
        choice if choice.face_id else replace(choice, face_id=most_visible(session.faces).id) for choice in choices
    ]
    video_ms = session.info.duration_ms if session.info else UNKNOWN_MS
    validator = ChoiceValidator({face.id: face.interval for face in session.faces}, video_ms, mode)
    return resolve(named, audio_ms, session.faces, validator)


def _speakers(session: AnySession, resolved: Sequence[Resolved], asked: Sequence[FaceChoice]) -> Iterator[str]:
    """Who speaks, in a sentence for each face, and for each choice that left it open."""
    faces, told = {face.id: face for face in session.faces}, set()
    for one, before in zip(resolved, asked, strict=True):
        if not one.auto and one.choice.face_id in told:
            continue
        told.add(one.choice.face_id)
        face = faces.get(one.choice.face_id)
        if face is None:  # the library refuses it
            continue
        interval = f"{face.interval.start_ms} ms to {face.interval.end_ms} ms"
        shown = ", ".join(filter(None, (position(face, session), interval)))
        sentence = f"face {face.id} speaks ({shown})"
        others = [_with_place(other, session) for other in session.faces if other is not face]
        if others and not before.face_id:
            sentence += f", the most visible of {len(faces)}; --face also accepts {', '.join(others)}"
        elif one.auto and not one.doubt:
            sentence += f", as in the original at {seconds(one.choice.insert_ms)}"
        yield sentence


def _outside(session: AnySession, choices: Sequence[FaceChoice], audio_ms: Sequence[int]) -> Iterator[str]:
    """A sentence for each speech that begins before its face shows, or goes on after it.

    Raises `InputError` for speech that plays only while its face is not there.
    """
    shown = {face.id: face.interval for face in session.faces}
    for number, (choice, length) in enumerate(zip(choices, audio_ms, strict=True)):
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


def _with_place(face: AnyFace, session: AnySession) -> str:
    where = position(face, session)
    return f"{face.id} ({where})" if where else face.id
