"""Which face speaks what, and when; and the one check of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duikou.errors import InputError
from duikou.media.audio import MAX_VOLUME
from duikou.media.probe import probe_audio
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import cut_end_ms, extended_duration_ms, shown_ms
from duikou.pipeline.session import Session
from duikou.timebase import END_TOLERANCE_MS, Interval


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


def check_all(session: Session, choices: Sequence[FaceChoice], sync_mode: SyncMode | None) -> list[FaceChoice]:
    """The choices as `check` leaves them. Raises `InputError` where there is none or a face is named twice."""
    checked = [check(session, choice, sync_mode) for choice in choices]
    if not checked:
        raise InputError("face_choose is empty; it must name at least one face.", field="face_choose")
    if len({choice.face_id for choice in checked}) < len(checked):
        raise InputError("face_choose names a face twice; each face can speak once.", field="face_choose")
    return checked


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
