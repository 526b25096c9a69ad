"""The two verbs of the product as plain functions: `identify` a video's faces, `lip_sync` one of them to speech.

No server, no database: what the command line, the workers and users of the library call.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from duikou.engines.base import Engine, FaceClip, Renderer
from duikou.engines.native import NativeEngine
from duikou.errors import InputError, NotFoundError
from duikou.faces.follow import follow
from duikou.faces.repeat import Repeated
from duikou.faces.smooth import smooth
from duikou.faces.track import Face, FaceTrack, FaceWarning
from duikou.faces.tracks import find_faces, usable_frames
from duikou.media import decode
from duikou.media.encode import VideoWriter
from duikou.media.extend import Extension, SyncMode, cut_end_ms, extended_duration_ms, shown_ms
from duikou.media.probe import AudioInfo, VideoInfo, probe_audio, probe_video
from duikou.media.sound import MAX_VOLUME, Insert, Sound, mix, read_sound
from duikou.parallel import cores, in_order
from duikou.progress import Progress, scaled, silent, split
from duikou.provenance import credentials
from duikou.provenance.credentials import Edit
from duikou.provenance.label import Label
from duikou.provenance.mark import Mark
from duikou.provenance.producer import Producer, producer, user_folder
from duikou.speech.articulation import articulate
from duikou.speech.motion import CURVES
from duikou.timebase import END_TOLERANCE_MS, Interval

FloatArray = npt.NDArray[np.float64]

EASE_MS = 160
"""Time over which a mouth passes from its own motion into the speech's and back."""

EXEMPLAR_REACH_MS = 10_000
"""How far around the spoken part a face is followed for more of its own mouth shapes."""

PICTURE_QUALITY = 92
"""JPEG quality of a face's picture."""


@dataclass(frozen=True)
class Session:
    """A video whose faces are known. Holds no open file; `save` and `load` keep it in a folder."""

    video: Path
    info: VideoInfo
    faces: tuple[Face, ...]

    def face(self, face_id: str) -> Face:
        """The face of that id. Raises `NotFoundError`, which lists the ids there are."""
        for face in self.faces:
            if face.id == face_id:
                return face
        known = ", ".join(face.id for face in self.faces) or "none"
        raise NotFoundError(f"face_id {face_id!r} is not a face of this session; its faces: {known}.", field="face_id")

    def save(self, folder: Path) -> None:
        """Write faces, tracks and pictures (`face_<id>.jpg`) into `folder`; the video itself stays where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        for face in self.faces:
            face.track.save(folder / f"track_{face.id}.npz")
            np.save(folder / f"usable_{face.id}.npy", face.usable)
            options = [cv2.IMWRITE_JPEG_QUALITY, PICTURE_QUALITY]
            (folder / f"face_{face.id}.jpg").write_bytes(cv2.imencode(".jpg", face.picture, options)[1].tobytes())
        info = asdict(self.info) | {"rate": str(self.info.rate)}
        faces = [
            {"id": face.id, "interval": asdict(face.interval), "warnings": [asdict(one) for one in face.warnings]}
            for face in self.faces
        ]
        (folder / "session.json").write_text(json.dumps({"info": info, "faces": faces}, indent=1))

    @classmethod
    def load(cls, folder: Path, video: Path) -> Session:
        """Read back what `save` wrote."""
        kept = json.loads((folder / "session.json").read_text())
        audio = kept["info"].pop("audio")
        info = VideoInfo(
            **kept["info"] | {"rate": Fraction(kept["info"]["rate"])},
            audio=None if audio is None else AudioInfo(**audio),
        )
        return cls(video, info, tuple(_load_face(folder, face) for face in kept["faces"]))


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

    sound: str | Path
    face_id: str = "0"
    sound_start_ms: int = 0
    sound_end_ms: int | None = None
    insert_ms: int = 0
    sound_volume: float = 1.0
    original_volume: float = 0.0


@dataclass(frozen=True)
class Spoken:
    """What one face was made to say, frame by frame.

    times_ms: (N,) frame times. frames: (N,) frame numbers. gap: (N,) the lip gap that the speech asks for, 0 to 1.
    strength: (N,) how far the face follows it: 0 outside the speech and where the mouth cannot be changed.
    """

    face_id: str
    interval: Interval
    frames: npt.NDArray[np.int64]
    times_ms: npt.NDArray[np.int64]
    gap: FloatArray
    strength: FloatArray


@dataclass(frozen=True)
class Result:
    """A finished lip sync: the file, what it is, what was asked of each face, and the file with the visible mark."""

    video: Path
    info: VideoInfo
    spoken: tuple[Spoken, ...]
    watermark: Path | None = None


def identify(video: str | Path, *, progress: Progress = silent) -> Session:
    """Find the faces of a video and the intervals in which they can be lip-synced.

    Raises `MediaError` for a file that cannot be read, `ModelError` where a face model is missing.
    """
    path = Path(video)
    info = probe_video(path)
    return Session(path, info, find_faces(path, progress=progress))


def lip_sync(
    session: Session,
    choices: Sequence[FaceChoice],
    output: str | Path | None = None,
    *,
    watermark: str | Path | None = None,
    made_by: Producer | None = None,
    produce_id: str = "",
    sync_mode: SyncMode | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Result:
    """Make the chosen faces speak and write the video to `output` (by default beside the source, `NAME.synced.mp4`).

    Frame count, frame times and size are the source's, unless `sync_mode` makes the video longer. Each file appears
    only once it is whole, with the AIGC label and Content Credentials in it.
    watermark: where a second file goes, the same with a visible mark.
    made_by: who answers for the result, by default `duikou` with this user's self-made certificate.
    produce_id: the result's number in the label, by default a new one.
    sync_mode: what to do with speech that is too long, which by default is an error.
    Raises `InputError` with the field at fault, `MediaError`, `NotFoundError`, `StorageError`.
    """
    target, marked = _targets(session.video, output, watermark)
    checked = _checked(session, choices, sync_mode)
    maker = made_by or producer(user_folder())
    label = Label.first(maker.name, produce_id or uuid.uuid4().hex)
    chosen_engine = engine or NativeEngine()
    inserts = [_insert(choice) for choice in checked]
    last_ms = max(insert.at_ms + insert.sound.duration_ms for insert in inserts)
    extension = Extension.of(decode.read_timeline(session.video), sync_mode, last_ms)
    original = None
    if session.info.audio is not None:  # sound may last for hours after the picture
        original = read_sound(session.video, end_ms=session.info.duration_ms)
    if extension and original:
        original = extension.sound(original)
    mixed = mix(original, inserts, extension.duration_ms if extension else session.info.duration_ms)
    lengthening, planning, painting = split([0.1 if extension else 0.0, 0.35, 0.65])
    shares = split([1.0] * len(checked))
    with (
        extension.written(session.video, target, progress=scaled(progress, *lengthening))
        if extension
        else nullcontext(session.video)
    ) as footage:
        plans = [
            _plan(
                session,
                choice,
                insert.sound,
                chosen_engine,
                scaled(scaled(progress, *planning), *share),
                footage,
                extension,
            )
            for choice, insert, share in zip(checked, inserts, shares, strict=True)
        ]
        spoken = tuple(one for _, one in plans)
        edit = _edit(session, spoken, extension)

        def writer(path: Path, edit: Edit) -> VideoWriter:
            def seal(part: Path, sealed: Path) -> None:
                credentials.sign(part, sealed, title=path.name, edit=edit, certificate=maker.certificate)

            timeline = extension.timeline if extension else None
            return VideoWriter(path, session.video, mixed, timeline=timeline, tags=label.tags, seal=seal)

        _paint(
            session,
            [renderer for renderer, _ in plans],
            writer(target, edit),
            None if marked is None else writer(marked, replace(edit, marked=True)),
            scaled(progress, *painting),
            extension,
        )
    return Result(target, probe_video(target), spoken, marked)


def _targets(video: Path, output: str | Path | None, watermark: str | Path | None) -> tuple[Path, Path | None]:
    """Where the result and the marked file go. Raises `InputError` where either would overwrite something of ours."""
    target = video.with_name(f"{video.stem}.synced.mp4") if output is None else Path(output)
    marked = None if watermark is None else Path(watermark)
    for field, path in (("output", target), ("watermark", marked)):
        if path is not None and path.exists() and path.samefile(video):
            raise InputError(f"{field} {path.name} is the source video itself; choose another name.", field=field)
    if marked is not None and marked.absolute() == target.absolute():
        raise InputError(f"watermark {marked.name} is the output itself; choose another name.", field="watermark")
    return target, marked


def _checked(session: Session, choices: Sequence[FaceChoice], sync_mode: SyncMode | None) -> list[FaceChoice]:
    """The choices as `check` leaves them. Raises `InputError` where there is none or a face is named twice."""
    checked = [check(session, choice, sync_mode) for choice in choices]
    if not checked:
        raise InputError("face_choose is empty; it must name at least one face.", field="face_choose")
    if len({choice.face_id for choice in checked}) < len(checked):
        raise InputError("face_choose names a face twice; each face can speak once.", field="face_choose")
    return checked


def _insert(choice: FaceChoice) -> Insert:
    """A checked choice's speech, read."""
    sound = read_sound(Path(choice.sound), start_ms=choice.sound_start_ms, end_ms=choice.sound_end_ms)
    return Insert(sound, choice.insert_ms, choice.sound_volume, choice.original_volume)


def _edit(session: Session, spoken: Sequence[Spoken], extension: Extension | None) -> Edit:
    """What the Content Credentials tell of a job."""
    faces = tuple((one.face_id, one.interval) for one in spoken)
    added = None
    if extension is not None:
        added = Interval(session.info.duration_ms, extension.duration_ms), extension.mode.value
    return Edit(session.video, credentials.digest(session.video), faces, added=added)


def check(session: Session, choice: FaceChoice, sync_mode: SyncMode | None = None) -> FaceChoice:
    """The choice with its ends filled in and clamped. Raises `InputError` naming the field and the figure."""
    face, sound = session.face(choice.face_id), Path(choice.sound)
    length = probe_audio(sound, field="sound_file").duration_ms
    end = length if choice.sound_end_ms is None else choice.sound_end_ms
    if choice.sound_start_ms < 0:
        raise InputError(
            f"sound_start_time is {choice.sound_start_ms} ms; it must be at least 0.", field="sound_start_time"
        )
    if end > length + END_TOLERANCE_MS:
        raise InputError(f"sound_end_time is {end} ms; the sound ends at {length} ms.", field="sound_end_time")
    end = min(end, length)
    if end <= choice.sound_start_ms:
        raise InputError(
            f"sound_end_time is {end} ms; it must be after sound_start_time, {choice.sound_start_ms} ms.",
            field="sound_end_time",
        )
    for field, volume in (("sound_volume", choice.sound_volume), ("original_audio_volume", choice.original_volume)):
        if not 0 <= volume <= MAX_VOLUME:
            raise InputError(f"{field} is {volume:g}; it must lie in [0, {MAX_VOLUME:g}].", field=field)
    if choice.insert_ms < 0:
        raise InputError(
            f"sound_insert_time is {choice.insert_ms} ms; it must be at least 0.", field="sound_insert_time"
        )
    open_to, video_ms = face.interval, session.info.duration_ms
    wanted = Interval(choice.insert_ms, choice.insert_ms + end - choice.sound_start_ms)
    until = cut_end_ms(sync_mode, video_ms, open_to, wanted)
    late = until - extended_duration_ms(sync_mode, video_ms, until)
    if sync_mode is None and late > END_TOLERANCE_MS:
        raise InputError(
            f"sound_insert_time is {choice.insert_ms} ms; the inserted sound would end {late} ms after the video, "
            f"which lasts {video_ms} ms.",
            field="sound_insert_time",
        )
    inserted = replace(wanted, end_ms=max(until - max(late, 0), wanted.start_ms))
    if not shown_ms(sync_mode, video_ms, open_to, inserted):
        raise InputError(
            f"sound_insert_time is {choice.insert_ms} ms; the inserted sound ({inserted.start_ms} to "
            f"{inserted.end_ms} ms) does not meet the face's interval ({open_to.start_ms} to {open_to.end_ms} ms).",
            field="sound_insert_time",
        )
    return replace(choice, sound=sound, sound_end_ms=choice.sound_start_ms + inserted.duration_ms)


def _plan(
    session: Session,
    choice: FaceChoice,
    sound: Sound,
    engine: Engine,
    progress: Progress,
    footage: Path,
    extension: Extension | None,
) -> tuple[Renderer, Spoken]:
    """Follow the face, listen to the speech, and have the engine plan the frames. footage: the video, or the file of
    the lengthened one; the face is followed in the source only.
    """
    face = session.face(choice.face_id)
    speech = Interval(choice.insert_ms, choice.insert_ms + sound.duration_ms)
    following, listening, planning = split([0.6, 0.1, 0.3])
    times = decode.times(session.video)
    if extension is None:
        spoken = shown = speech.overlap(face.interval)
    else:
        spoken, shown = extension.showing(face.interval, speech)
    if spoken is None or shown is None:  # `check` has seen to it, to within a frame
        raise InputError(f"face_id {face.id!r} does not show while the speech lasts.", field="face_id")
    near = Interval(max(shown.start_ms - EXEMPLAR_REACH_MS, 0), shown.end_ms + EXEMPLAR_REACH_MS)
    first, last = np.searchsorted(times, [near.start_ms, near.end_ms])
    track = smooth(
        follow(session.video, face, start_frame=int(first), stop_frame=int(last), progress=scaled(progress, *following))
    )
    if len(track) == 0:
        raise InputError(
            f"face_id {face.id!r} cannot be seen between {near.start_ms} and {near.end_ms} ms.", field="face_id"
        )
    usable, beside = usable_frames(track, session.info, face), _neighbours(face, session.info)
    speaks = usable & (track.times_ms >= face.interval.start_ms) & (track.times_ms < face.interval.end_ms)
    if extension is not None:
        cuts = _cuts(face)
        repeated = Repeated.of(
            track,
            extension,
            begins_cut=face.interval.start_ms in cuts,
            ends_cut=face.interval.end_ms in cuts,
        )
        track, usable, speaks = repeated.track, usable[repeated.rows], speaks[repeated.rows]
        beside = repeated.beside(beside, times)
    strength = ease(track, speaks, spoken, beside)
    mono = sound.converted(channels=1)
    motion = articulate(mono.samples[:, 0], mono.rate).shifted(choice.insert_ms / 1000)
    progress("listening", listening[1])
    curves = motion.at(track.times_ms / 1000).astype(np.float64)
    by_name = dict(zip(CURVES, curves.T, strict=True))
    clip = FaceClip(footage, track, usable, strength)
    renderer = engine.prepare(clip, by_name, progress=scaled(progress, *planning))
    return renderer, Spoken(face.id, spoken, track.frames, track.times_ms, by_name["gap"], strength)


def ease(
    track: FaceTrack, usable: npt.NDArray[np.bool_], spoken: Interval, beside: Sequence[tuple[int, int]] = ()
) -> FloatArray:
    """How far each of the track's frames changes, (N,) 0 to 1: 0 outside `spoken` and on unusable frames, with a short
    ramp towards them, and towards frames without the face, inside the same shot. At a cut there is nothing to ease
    from. beside: shot and time, in ms, of frames that stay and lie just outside the track.
    """
    inside = (track.times_ms >= spoken.start_ms) & (track.times_ms < spoken.end_ms) & usable
    missing = [*beside, *_missing(track)]
    strength = np.zeros(len(track))
    for shot in np.unique(track.shots):
        here = track.shots == shot
        held = np.concatenate([track.times_ms[here & ~inside], [ms for number, ms in missing if number == shot]])
        moving = track.times_ms[here & inside]
        if len(held) and len(moving):
            away = np.abs(moving[:, None] - held[None]).min(1)
            share = np.clip(away / EASE_MS, 0, 1)
            strength[here & inside] = share * share * (3 - 2 * share)
        else:
            strength[here & inside] = 1
    return strength


def _missing(track: FaceTrack) -> list[tuple[int, int]]:
    """Shot and time of the first and the last frame of every gap of a track inside a shot."""
    gaps = np.flatnonzero((np.diff(track.frames) > 1) & (np.diff(track.shots) == 0))
    step = int(np.median(np.diff(track.times_ms) / np.diff(track.frames))) if len(gaps) else 0
    edges = [(gap, track.times_ms[gap] + step) for gap in gaps] + [
        (gap, track.times_ms[gap + 1] - step) for gap in gaps
    ]
    return [(int(track.shots[gap]), int(ms)) for gap, ms in edges]


def _neighbours(face: Face, info: VideoInfo) -> list[tuple[int, int]]:
    """Shot and time of the frames before and after a face's interval, where neither a cut nor the video's end is."""
    cuts = _cuts(face)
    step = info.duration_ms / max(info.frames, 1)
    start, end = face.interval.start_ms, face.interval.end_ms
    found = []
    if start >= step and start not in cuts:
        found.append((int(face.track.shots[0]), round(start - step)))
    if end <= info.duration_ms - step and end not in cuts:
        found.append((int(face.track.shots[-1]), end))
    return found


def _cuts(face: Face) -> set[int]:
    """When, in ms, a cut begins or ends a face's interval."""
    return {warning.interval.start_ms for warning in face.warnings if warning.code == "shot_cut"}


def _paint(
    session: Session,
    renderers: Sequence[Renderer],
    plain: VideoWriter,
    marked: VideoWriter | None,
    progress: Progress,
    extension: Extension | None,
) -> None:
    """Decode and change every frame once and encode it; once more with the mark where there is a second file. Those of
    a lengthened video come from the source too.
    """
    mark = Mark(session.info.width, session.info.height)

    def paint(frame: decode.Frame) -> tuple[decode.Frame, npt.NDArray[np.uint8] | None]:
        if not any(renderer.changes(frame.index) for renderer in renderers):
            return frame, None
        image = frame.image
        for renderer in renderers:
            image = renderer.render(frame.index, image)
        return frame, image

    frames = extension.frames(session.video) if extension else decode.frames(session.video)
    count = len(extension) if extension else session.info.frames
    with ExitStack() as files:
        for file in filter(None, (plain, marked)):
            files.enter_context(file)
        for frame, image in in_order(paint, frames, cores()):
            if image is None:
                plain.copy(frame)
            else:
                plain.write(image, frame.pts)
            if marked is not None:
                marked.write(mark.drawn(frame.image if image is None else image), frame.pts)
            progress("rendering", (frame.index + 1) / count)


def _load_face(folder: Path, kept: dict[str, Any]) -> Face:
    picture = cv2.imdecode(np.frombuffer((folder / f"face_{kept['id']}.jpg").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return Face(
        id=kept["id"],
        interval=Interval(**kept["interval"]),
        track=FaceTrack.load(folder / f"track_{kept['id']}.npz"),
        usable=np.load(folder / f"usable_{kept['id']}.npy", allow_pickle=False),
        picture=np.asarray(picture, np.uint8),
        warnings=tuple(
            FaceWarning(one["code"], one["message"], Interval(**one["interval"])) for one in kept["warnings"]
        ),
    )
