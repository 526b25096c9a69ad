"""Kling's limits on videos, audio and choices, and the mapping of the library's words to Kling's.

The check itself is `duikou.pipeline.choice`; the contract is only stricter. Errors leave here under the names of the
wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from duikou.errors import InputError
from duikou.faces.track import FaceWarning
from duikou.media import limits
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode
from duikou.pipeline import auto
from duikou.pipeline.choice import ChoiceLimits, ChoiceValidator, FaceChoice
from duikou.tasks.models import SessionRecord
from duikou.timebase import END_TOLERANCE_MS, Interval

MIN_MS, MAX_MS = 2_000, 60_000  # the contract: videos and audio last 2 s to 60 s
CHOICE = ChoiceLimits(min_trim_ms=2_000, min_overlap_ms=2_000)
"""The contract: what is left of the audio, and what it shares with the face's interval, is 2 s or longer."""
MAX_RATE = 120  # frames per second, as phones record at most; the contract names none, and each frame is work


@dataclass(frozen=True)
class SizeLimits:
    """Which sizes of a video are taken, in pixels.

    min_side, max_side: of each side. min_short_side, max_short_side, min_pixels, max_pixels: of the shorter side and of
    the whole picture; one of these two is enough.
    """

    min_side: int
    max_side: int
    min_short_side: int
    max_short_side: int
    min_pixels: int
    max_pixels: int

    def takes(self, width: int, height: int) -> bool:
        """Whether the shorter side or the whole picture is within the limits."""
        short = self.min_short_side <= min(width, height) <= self.max_short_side
        return short or self.min_pixels <= width * height <= self.max_pixels


# The contract says "720p and 1080p". That is read either as a shorter side of 720 to 1080 pixels, 5 % more or less, or
# as a class of pixel counts, so that 4:3, square, portrait and slightly cropped videos pass.
CONTRACT_SIZES = SizeLimits(
    min_side=512,
    max_side=2_160,
    min_short_side=720 * 95 // 100,
    max_short_side=1080 * 105 // 100,
    min_pixels=1280 * 720 * 85 // 100,
    max_pixels=1920 * 1080 * 115 // 100,
)
ANY_SIZE = SizeLimits(1, limits.MAX_SIDE, 1, limits.MAX_SIDE, 1, limits.MAX_PIXELS)  # what `duikou.media` reads

WIRE_FIELDS = {
    "choices": "face_choose",
    "face_id": "face_id",
    "audio": "sound_file",
    "trim_start_ms": "sound_start_time",
    "trim_end_ms": "sound_end_time",
    "insert_ms": "sound_insert_time",
    "audio_volume": "sound_volume",
    "original_volume": "original_audio_volume",
    "original_scope": "original_audio_scope",
    "references": "reference_urls",
    "exclude": "exclude",
    "sync_mode": "sync_mode",
}
"""The library's parameters and what Kling calls them."""
_CHOICE_FIELD = re.compile(r"choices\[\d+\]\.[a-z_]+(\[\d+\])?(?=: )")


def check_video(info: VideoInfo, field: str, *, any_size: bool) -> None:
    """Raise `InputError` for a video that the contract refuses; `any_size` lifts the rules on its size in pixels."""
    _check_length(info.duration_ms, "video", field)
    _check_rate(info, field)
    if any_size:  # `duikou.media` has limits of its own
        return
    size, allowed = f"{info.width}x{info.height}", CONTRACT_SIZES
    least, most = allowed.min_side, allowed.max_side
    if not (least <= info.width <= most and least <= info.height <= most):
        raise InputError(f"the video is {size} pixels; each side must have {least} to {most}.", field=field)
    if not allowed.takes(info.width, info.height):
        raise InputError(
            f"the video is {size} pixels, {info.width * info.height} in all; only 720p and 1080p are taken: a shorter "
            f"side of {allowed.min_short_side} to {allowed.max_short_side}, or {allowed.min_pixels} to "
            f"{allowed.max_pixels} in all.",
            field=field,
        )


def check_audio(info: AudioInfo, field: str) -> None:
    """Raise `InputError` for audio that the contract refuses."""
    _check_length(info.duration_ms, "audio", field)


def check_reference(info: VideoInfo | None, field: str) -> None:
    """Raise `InputError` for a reference that takes too much work. info: `None` for a photo."""
    if info is None:
        return
    if info.duration_ms > MAX_MS + END_TOLERANCE_MS:
        raise InputError(f"the clip lasts {info.duration_ms} ms; at most {MAX_MS} ms are taken.", field=field)
    _check_rate(info, field)


def validator_of(session: SessionRecord, mode: SyncMode | None) -> ChoiceValidator:
    """What choices of a session are checked against, within the limits of the contract."""
    intervals = {face.id: face.interval for face in session.faces}
    return ChoiceValidator(intervals, session.source.duration_ms, mode, CHOICE)


def resolve(
    session: SessionRecord, validator: ChoiceValidator, choices: Sequence[FaceChoice]
) -> tuple[list[FaceChoice], list[FaceWarning]]:
    """The choices with a face of the session for each one that asks for `auto`, and where that face is in doubt."""
    found = auto.resolve(choices, [None] * len(choices), session.faces, validator)
    return [one.choice for one in found], [one.doubt for one in found if one.doubt]


def check_choices(validator: ChoiceValidator, choices: Sequence[FaceChoice]) -> None:
    """Check what can be checked before the audio is known. Raises `InputError` that names a field of the wire."""
    with wire_words():
        validator.check_all(choices, [None] * len(choices))


def fit(validator: ChoiceValidator, choice: FaceChoice, number: int, audio_ms: int) -> FaceChoice:
    """Choice `number` with its end inside its audio and inside the video. Raises `InputError` as `check_choices`."""
    with wire_words(f"choices[{number}]."):
        return validator.check(choice, audio_ms)


def fit_together(validator: ChoiceValidator, choices: Sequence[FaceChoice]) -> list[FaceChoice]:
    """Choices that `fit` has returned, once they fit each other and the result. Raises as `check_choices`."""
    with wire_words():
        return validator.check_together(choices)


def whole_speech(audio: int, video_ms: int, mode: SyncMode | None) -> FaceChoice:
    """The choice of a caller who names no face and no times: all of the speech, from the video's beginning.

    The speech replaces the video's own audio throughout.
    audio: its length in ms. Raises `InputError` without a field, or for `sync_mode`.
    """
    choice = FaceChoice("", face_id="", trim_end_ms=audio, original_scope=OriginalScope.VIDEO)
    validator = ChoiceValidator({"": Interval(0, video_ms)}, video_ms, mode, CHOICE)
    try:
        return validator.check(choice, audio)
    except InputError as error:
        if error.field == "sync_mode":
            raise
        raise error.renamed("") from error


@contextmanager
def wire_words(prefix: str = "") -> Iterator[None]:
    """Let errors that name parameters of the library, after `prefix`, name those of the wire."""
    try:
        yield
    except InputError as error:
        place = error.field if error.field == "sync_mode" else prefix + error.field
        raise error.renamed(_wire_name(place)) from error


def in_wire_words(reason: str) -> str:
    """The reason of a failed task, where it begins with a field of a choice under that field's name on the wire."""
    return _CHOICE_FIELD.sub(lambda found: _wire_name(found[0]), reason, count=1) if reason else reason


def without_choice(reason: str) -> str:
    """The reason of a failed task whose caller sent no choices: without the choice that it begins with."""
    return re.sub(f"^{_CHOICE_FIELD.pattern}: ", "", reason)


def _wire_name(field: str) -> str:
    return re.sub(r"[a-z_]+", lambda found: WIRE_FIELDS.get(found[0], found[0]), field)


def _check_rate(info: VideoInfo, field: str) -> None:
    if info.rate > MAX_RATE * 1.01:  # a frame more or less in a few seconds
        raise InputError(
            f"the video has {float(info.rate):.6g} frames per second; at most {MAX_RATE} are taken.",
            field=field,
        )


def _check_length(duration_ms: int, what: str, field: str) -> None:
    if not MIN_MS <= duration_ms <= MAX_MS + END_TOLERANCE_MS:
        raise InputError(f"the {what} lasts {duration_ms} ms; it must last {MIN_MS} ms to {MAX_MS} ms.", field=field)
