"""The contract's own limits on videos, sounds and choices. What any lip sync needs is checked below, in the pipeline.

Each rule answers with one sentence that names the field and the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from duikou.errors import InputError
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import cut_end_ms, extended_duration_ms, shown_ms
from duikou.tasks.models import ChoiceRecord, FaceSummary, SessionRecord
from duikou.timebase import END_TOLERANCE_MS, Interval

MIN_MS, MAX_MS = 2_000, 60_000  # the contract: videos and sounds last 2 s to 60 s
MIN_CROP_MS = 2_000  # the contract: what is left of the sound is not shorter
MIN_OVERLAP_MS = 2_000  # the contract: the speech and the face's interval share at least that much
MAX_RATE = 120  # frames per second, as phones record at most; the contract names none, and each frame is work
MIN_SIDE, MAX_SIDE = 512, 2_160  # the contract, pixels
MIN_PIXELS = 1280 * 720 * 85 // 100  # the contract says "720p and 1080p"; read as a class of pixel counts, so that
MAX_PIXELS = 1920 * 1080 * 115 // 100  # 4:3, portrait and slightly cropped videos pass


def check_video(info: VideoInfo, field: str, *, any_size: bool) -> None:
    """Raise `InputError` for a video that the contract refuses; `any_size` lifts the rules on its size in pixels."""
    _check_length(info.duration_ms, "video", field)
    if info.rate > MAX_RATE * 1.01:  # a frame more or less in a few seconds
        raise InputError(
            f"the video has {float(info.rate):.6g} frames per second; at most {MAX_RATE} are taken.",
            field=field,
        )
    if any_size:
        return
    size = f"{info.width}x{info.height}"
    if not (MIN_SIDE <= info.width <= MAX_SIDE and MIN_SIDE <= info.height <= MAX_SIDE):
        raise InputError(f"the video is {size} pixels; each side must have {MIN_SIDE} to {MAX_SIDE}.", field=field)
    if not MIN_PIXELS <= info.width * info.height <= MAX_PIXELS:
        raise InputError(
            f"the video is {size} pixels, {info.width * info.height} in all; only the 720p and 1080p classes "
            f"are taken, {MIN_PIXELS} to {MAX_PIXELS} pixels.",
            field=field,
        )


def check_sound(info: AudioInfo, field: str) -> None:
    """Raise `InputError` for a sound that the contract refuses."""
    _check_length(info.duration_ms, "sound", field)


def check_choices(choices: Sequence[ChoiceRecord], session: SessionRecord, mode: SyncMode | None) -> list[FaceSummary]:
    """What can be said of choices before their sounds are known; the faces that they name."""
    faces: list[FaceSummary] = []
    for number, choice in enumerate(choices):
        entry = f"face_choose[{number}]"
        _check_times(choice, entry)
        face = _face(choice, entry, session)
        if face in faces:
            raise _fault(entry, "face_id", f"face {face.id} is named twice; each face can speak once")
        _check_place(choice, entry, face, session.source.duration_ms, mode)
        faces.append(face)
    return faces


def fitted(
    choice: ChoiceRecord, entry: str, sound_ms: int, session: SessionRecord, mode: SyncMode | None
) -> ChoiceRecord:
    """The choice with its end brought inside the sound, and inside the video where it overshoots by no more than the
    tolerance or `cut_off` says so.
    """
    if choice.sound_end_ms > sound_ms + END_TOLERANCE_MS:
        raise _fault(
            entry,
            "sound_end_time",
            f"{choice.sound_end_ms} ms is after the sound's end at {sound_ms} ms",
        )
    choice = replace(choice, sound_end_ms=min(choice.sound_end_ms, sound_ms))
    speech = _speech(choice, _face(choice, entry, session), session.source.duration_ms, mode)
    return replace(choice, sound_end_ms=choice.sound_start_ms + speech.duration_ms)


def result_ms(choices: Sequence[ChoiceRecord], session: SessionRecord, mode: SyncMode | None) -> int:
    """How long the result of fitted choices will be."""
    ends = [choice.insert_ms + choice.sound_end_ms - choice.sound_start_ms for choice in choices]
    return extended_duration_ms(mode, session.source.duration_ms, max(ends))


def _face(choice: ChoiceRecord, entry: str, session: SessionRecord) -> FaceSummary:
    face = session.face(choice.face_id)
    if face is None:
        known = ", ".join(face.id for face in session.faces) or "none"
        raise _fault(entry, "face_id", f"the session has no face {choice.face_id[:80]!r}; its faces: {known}")
    return face


def _check_times(choice: ChoiceRecord, entry: str) -> None:
    crop_ms = choice.sound_end_ms - choice.sound_start_ms
    if crop_ms < MIN_CROP_MS:
        raise _fault(
            entry,
            "sound_end_time",
            f"the sound from {choice.sound_start_ms} ms to {choice.sound_end_ms} ms lasts {crop_ms} ms; "
            f"at least {MIN_CROP_MS} ms must be left",
        )


def _check_place(choice: ChoiceRecord, entry: str, face: FaceSummary, video_ms: int, mode: SyncMode | None) -> None:
    """Whether the speech lies in the video and over the face."""
    speech = _speech(choice, face, video_ms, mode)
    if speech.end_ms > extended_duration_ms(mode, video_ms, speech.end_ms) + END_TOLERANCE_MS:
        raise _fault(
            entry,
            "sound_insert_time",
            f"the speech inserted at {choice.insert_ms} ms ends at {speech.end_ms} ms, after the video's end at "
            f"{video_ms} ms",
        )
    shown = Interval(face.interval.start_ms, face.interval.end_ms + END_TOLERANCE_MS)
    shared_ms = shown_ms(mode, video_ms, shown, speech)
    if shared_ms < MIN_OVERLAP_MS:
        raise _fault(
            entry,
            "sound_insert_time",
            f"the speech from {speech.start_ms} ms to {speech.end_ms} ms shares {shared_ms} ms with the interval "
            f"of face {face.id}, {face.interval.start_ms} ms to {face.interval.end_ms} ms; at least "
            f"{MIN_OVERLAP_MS} ms are needed",
        )


def _speech(choice: ChoiceRecord, face: FaceSummary, video_ms: int, mode: SyncMode | None) -> Interval:
    """Where the speech lies on the video's time line, its end clamped to the video's within the tolerance."""
    wanted = Interval(choice.insert_ms, choice.insert_ms + choice.sound_end_ms - choice.sound_start_ms)
    end_ms = cut_end_ms(mode, video_ms, face.interval, wanted)
    if video_ms < end_ms <= video_ms + END_TOLERANCE_MS:
        end_ms = video_ms
    return Interval(wanted.start_ms, end_ms)


def _check_length(duration_ms: int, what: str, field: str) -> None:
    if not MIN_MS <= duration_ms <= MAX_MS + END_TOLERANCE_MS:
        raise InputError(f"the {what} lasts {duration_ms} ms; it must last {MIN_MS} ms to {MAX_MS} ms.", field=field)


def _fault(field: str, name: str, sentence: str) -> InputError:
    return InputError(f"{sentence}.", field=f"{field}.{name}")
