"""Which face speaks what and when. The library, the command line and the server all validate it here.

Nothing here opens a file, so the server can import this module. Errors name the fields of `FaceChoice`; callers with
other names for them rename the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duikou.errors import InputError, NotFoundError
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode, cut_end_ms, extended_duration_ms, shown_ms
from duikou.timebase import END_TOLERANCE_MS, Interval
from duikou.units import MAX_VOLUME

AUTO = "auto"
"""The face id of a choice that leaves it open who speaks, see `duikou.pipeline.auto`."""

MAX_CHOICES = 64
"""Choices of one lip sync: more than the pieces of 2 s that fit into a minute for two faces."""

MAX_REFERENCES = 4
"""References of one face: each is searched for faces like a video."""

MAX_EXCLUSIONS = 64
"""Intervals of one choice in which the mouth stays as it is."""


@dataclass(frozen=True)
class FaceChoice:
    """Which face speaks what, and when: one piece of speech. Times are whole milliseconds.

    A face may have several choices, as long as their speech does not overlap.

    audio: the speech, an mp3, wav, m4a or aac file. In a server's database it is the key of a stored file.
    face_id: a face of the session, or `"auto"` for the one who speaks at that place in the original.
    trim_start_ms, trim_end_ms: the part of the audio that is used; an end of `None` is the end of the audio.
    insert_ms: when in the video that part begins.
    audio_volume: factor of the speech, in [0, 2].
    original_volume: factor of the video's own audio, in [0, 2]. The default replaces it. The default of the HTTP API
        is 1.
    references: up to 4 other files in which the mouth of the same person is open: clips (mp4, mov) or photos (jpeg,
        png, webp). They lend the teeth that the video never shows; earlier ones come first. They hold for the face:
        further choices of it repeat them or leave them out. In a server's database they are keys of stored files.
    original_scope: where `original_volume` applies, an `OriginalScope` or its value: while the speech lasts, or
        throughout the video, which is the default of the HTTP API. Where several choices differ, the smallest of the
        volumes that apply holds.
    exclude: up to 64 pairs of a start and an end in the result, between which the mouth stays as it is while the speech
        is heard. They hold for the face, also for its other choices.
    """

    audio: str | Path
    face_id: str = "0"
    trim_start_ms: int = 0
    trim_end_ms: int | None = None
    insert_ms: int = 0
    audio_volume: float = 1.0
    original_volume: float = 0.0
    references: Sequence[str | Path] = ()
    original_scope: OriginalScope | str = OriginalScope.SPEECH
    exclude: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class ChoiceLimits:
    """The shortest choices that are accepted.

    min_trim_ms: length of the used part of the audio.
    min_overlap_ms: time that the speech, its end clamped, shares with the face's interval.
    """

    min_trim_ms: int = 1
    min_overlap_ms: int = 1


@dataclass(frozen=True)
class ChoiceValidator:
    """Checks choices against a video, its faces and the limits.

    intervals: the interval of each face, by face id. video_ms: length of the video.
    sync_mode: what to do with speech that ends too late; `None` refuses it.
    """

    intervals: Mapping[str, Interval]
    video_ms: int
    sync_mode: SyncMode | None = None
    limits: ChoiceLimits = ChoiceLimits()

    def check(self, choice: FaceChoice, audio_ms: int | None = None) -> FaceChoice:
        """Validate a choice, and set its end. An end up to 100 ms after that of the audio or the video is clamped.

        With `SyncMode.CUT_OFF` the end is clamped to the face's interval too.
        audio_ms: length of the audio; `None` while it is unknown, which skips the check of `trim_end_ms` against it.
        Raises `InputError` that names a field of `FaceChoice`, or `sync_mode`; `NotFoundError` for an unknown face.
        """
        if choice.face_id not in self.intervals:
            raise unknown_face(choice.face_id, self.intervals)
        interval = self.intervals[choice.face_id]
        _check_volumes(choice)
        scope = OriginalScope.of(choice.original_scope)
        _check_references(choice)
        speech = self._speech(choice, interval, _checked_end(choice, audio_ms, self.limits.min_trim_ms))
        shared = shown_ms(self.sync_mode, self.video_ms, interval, speech)
        if shared < self.limits.min_overlap_ms:
            raise InputError(
                f"the speech from {speech.start_ms} ms to {speech.end_ms} ms shares {shared} ms with the interval of "
                f"face {choice.face_id}, {interval.start_ms} ms to {interval.end_ms} ms; at least "
                f"{self.limits.min_overlap_ms} ms are needed.",
                field="insert_ms",
            )
        return replace(choice, trim_end_ms=choice.trim_start_ms + speech.duration_ms, original_scope=scope)

    def check_all(self, choices: Sequence[FaceChoice], audio_ms: Sequence[int | None]) -> list[FaceChoice]:
        """`check` several choices. Errors name the field as in `choices[0].insert_ms`.

        audio_ms: the length of each choice's audio. Also raises `InputError` for no choice, for more than
        `MAX_CHOICES`, and as `check_together`.
        """
        if not choices:
            raise InputError("at least one face must be chosen.", field="choices")
        if len(choices) > MAX_CHOICES:
            raise InputError(f"{len(choices)} are given; at most {MAX_CHOICES} are taken.", field="choices")
        checked: list[FaceChoice] = []
        for number, (choice, length) in enumerate(zip(choices, audio_ms, strict=True)):
            try:
                checked.append(self.check(choice, length))
            except InputError as error:
                if error.field == "sync_mode":
                    raise
                raise error.renamed(f"choices[{number}].{error.field}") from error
        return self.check_together(checked, late_ms=END_TOLERANCE_MS if None in audio_ms else 0)

    def check_together(self, checked: Sequence[FaceChoice], *, late_ms: int = 0) -> list[FaceChoice]:
        """Check choices, of which each is checked, against each other and against the length of the result.

        Returns them with `exclude` clamped to that length, within the tolerance.
        late_ms: how much later than its audio a speech may end, as long as the length of the audio is unknown.
        Raises `InputError` that names the second of two choices of one face whose speech overlaps or whose references
        differ, or a pair of `exclude` that is no interval inside the result.
        """
        for number, choice in enumerate(checked):
            for other in (one for one in checked[:number] if one.face_id == choice.face_id):
                _check_apart(choice, other, f"choices[{number}]", late_ms)
        length_ms = self.result_ms(checked)
        return [
            replace(choice, exclude=_checked_exclusions(choice.exclude, length_ms, f"choices[{number}].exclude"))
            for number, choice in enumerate(checked)
        ]

    def result_ms(self, choices: Sequence[FaceChoice]) -> int:
        """Length in ms of the result of checked choices."""
        ends = [one.insert_ms + (one.trim_end_ms or 0) - one.trim_start_ms for one in choices]
        return extended_duration_ms(self.sync_mode, self.video_ms, max(ends))

    def _speech(self, choice: FaceChoice, interval: Interval, end_ms: int) -> Interval:
        """When the speech plays in the video, its end clamped to the video's within the tolerance."""
        if choice.insert_ms < 0:
            raise InputError(f"{choice.insert_ms} ms is less than 0.", field="insert_ms")
        wanted = Interval(choice.insert_ms, choice.insert_ms + end_ms - choice.trim_start_ms)
        until = cut_end_ms(self.sync_mode, self.video_ms, interval, wanted)
        late = until - extended_duration_ms(self.sync_mode, self.video_ms, until)
        if self.sync_mode is None and late > END_TOLERANCE_MS:
            raise InputError(
                f"the speech inserted at {choice.insert_ms} ms ends at {until} ms, after the video's end at "
                f"{self.video_ms} ms.",
                field="insert_ms",
            )
        return replace(wanted, end_ms=max(until - max(late, 0), wanted.start_ms))


def _check_apart(choice: FaceChoice, other: FaceChoice, field: str, late_ms: int) -> None:
    """Check two choices of one face, of which `choice` is the second. Errors begin with `field`."""
    speech, place = _place(choice), _place(other)
    shared = speech.overlap(place)
    if shared is not None and shared.duration_ms > late_ms:
        raise InputError(
            f"the speech from {speech.start_ms} ms to {speech.end_ms} ms overlaps another one of "
            f"{_named(choice.face_id)}, from {place.start_ms} ms to {place.end_ms} ms.",
            field=f"{field}.insert_ms",
        )
    if choice.references and other.references and list(choice.references) != list(other.references):
        raise InputError(
            f"{_named(choice.face_id)} is given other references before; name all of them in one place.",
            field=f"{field}.references",
        )


def _named(face_id: str) -> str:
    return f"face {face_id}" if face_id else "this face"  # callers may choose the face later


def _place(checked: FaceChoice) -> Interval:
    """When the speech of a checked choice plays."""
    assert checked.trim_end_ms is not None
    return Interval(checked.insert_ms, checked.insert_ms + checked.trim_end_ms - checked.trim_start_ms)


def unknown_face(face_id: str, known: Iterable[str]) -> NotFoundError:
    """The error for a face that a session does not have. known: the ids of its faces."""
    ids = ", ".join(known) or "none"
    return NotFoundError(f"the session has no face {face_id[:80]!r}; its faces: {ids}.", field="face_id")


def _check_volumes(choice: FaceChoice) -> None:
    for field, volume in (("audio_volume", choice.audio_volume), ("original_volume", choice.original_volume)):
        if not 0 <= volume <= MAX_VOLUME:  # also for NaN
            raise InputError(f"{volume:g} is not between 0 and {MAX_VOLUME:g}.", field=field)


def _check_references(choice: FaceChoice) -> None:
    if len(choice.references) > MAX_REFERENCES:
        raise InputError(
            f"{len(choice.references)} references are given; at most {MAX_REFERENCES} are taken.", field="references"
        )


def _checked_exclusions(given: Sequence[Sequence[int]], length_ms: int, field: str) -> tuple[tuple[int, int], ...]:
    """The intervals in which the mouth stays as it is, each inside a result of `length_ms`."""
    if len(given) > MAX_EXCLUSIONS:
        raise InputError(f"{len(given)} intervals are given; at most {MAX_EXCLUSIONS} are taken.", field=field)
    return tuple(_checked_exclusion(pair, length_ms, f"{field}[{place}]") for place, pair in enumerate(given))


def _checked_exclusion(pair: Sequence[int], length_ms: int, field: str) -> tuple[int, int]:
    if len(pair) != 2:
        raise InputError(f"a start and an end are expected, not {len(pair)} times.", field=field)
    start, end = pair
    if start < 0:
        raise InputError(f"{start} ms is less than 0.", field=field)
    if end <= start:
        raise InputError(f"the end at {end} ms is not after the start at {start} ms.", field=field)
    if end > length_ms + END_TOLERANCE_MS or start >= length_ms:
        raise InputError(
            f"the time from {start} ms to {end} ms ends after the video's end at {length_ms} ms.", field=field
        )
    return start, min(end, length_ms)


def _checked_end(choice: FaceChoice, audio_ms: int | None, min_trim_ms: int) -> int:
    """The end of the used part, in ms of the audio, clamped to the audio's end."""
    start, end = choice.trim_start_ms, choice.trim_end_ms
    if start < 0:
        raise InputError(f"{start} ms is less than 0.", field="trim_start_ms")
    if end is None:
        if audio_ms is None:
            raise ValueError("a choice without trim_end_ms needs the length of its audio")
        end = audio_ms
    if audio_ms is not None:
        if end > audio_ms + END_TOLERANCE_MS:
            raise InputError(f"{end} ms is after the audio's end at {audio_ms} ms.", field="trim_end_ms")
        end = min(end, audio_ms)
    if end - start < min_trim_ms:
        raise InputError(
            f"the audio from {start} ms to {end} ms lasts {end - start} ms; at least {min_trim_ms} ms must be left.",
            field="trim_end_ms",
        )
    return end
