"""The contract's own limits on videos, sounds and choices. What any lip sync needs is checked below, in the pipeline.

Each rule answers with one sentence that names the field and the figure.
"""

from __future__ import annotations

from duikou.errors import InputError
from duikou.jobs.state import ChoiceRecord, FaceSummary
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.timebase import Interval

MIN_MS, MAX_MS = 2_000, 60_000  # the contract: videos and sounds last 2 s to 60 s
MIN_CROP_MS = 2_000  # the contract: what is left of the sound is not shorter
MIN_OVERLAP_MS = 2_000  # the contract: the speech and the face's interval share at least that much
END_TOLERANCE_MS = 100  # callers round what their prober says, and our end_time may overshoot: so much is clamped
MIN_SIDE, MAX_SIDE = 512, 2_160  # the contract, pixels
MIN_PIXELS = 1280 * 720 * 85 // 100  # the contract says "720p and 1080p"; read as a class of pixel counts, so that
MAX_PIXELS = 1920 * 1080 * 115 // 100  # 4:3, portrait and slightly cropped videos pass


def check_video(info: VideoInfo, field: str, *, any_size: bool) -> None:
    """Raise `InputError` for a video that the contract refuses; `any_size` lifts the rules on its size in pixels."""
    _check_length(info.duration_ms, f"{field}: the video")
    if any_size:
        return
    size = f"{info.width}x{info.height}"
    if not (MIN_SIDE <= info.width <= MAX_SIDE and MIN_SIDE <= info.height <= MAX_SIDE):
        raise InputError(
            f"{field}: the video is {size} pixels; each side must have {MIN_SIDE} to {MAX_SIDE}.", field=field
        )
    if not MIN_PIXELS <= info.width * info.height <= MAX_PIXELS:
        raise InputError(
            f"{field}: the video is {size} pixels, {info.width * info.height} in all; only the 720p and 1080p classes "
            f"are taken, {MIN_PIXELS} to {MAX_PIXELS} pixels.",
            field=field,
        )


def check_sound(info: AudioInfo, field: str) -> None:
    """Raise `InputError` for a sound that the contract refuses."""
    _check_length(info.duration_ms, f"{field}: the sound")


def check_times(choice: ChoiceRecord, field: str) -> None:
    """What can be said of a choice before its sound is known."""
    crop_ms = choice.sound_end_ms - choice.sound_start_ms
    if crop_ms < MIN_CROP_MS:
        raise _fault(
            field,
            "sound_end_time",
            f"the sound from {choice.sound_start_ms} ms to {choice.sound_end_ms} ms lasts {crop_ms} ms; "
            f"at least {MIN_CROP_MS} ms must be left",
        )


def check_place(choice: ChoiceRecord, field: str, face: FaceSummary, video_ms: int) -> None:
    """Whether the speech lies in the video and over the face."""
    end_ms = choice.insert_ms + choice.sound_end_ms - choice.sound_start_ms
    if end_ms > video_ms + END_TOLERANCE_MS:
        raise _fault(
            field,
            "sound_insert_time",
            f"the speech inserted at {choice.insert_ms} ms ends at {end_ms} ms, after the video's end at {video_ms} ms",
        )
    shown = Interval(face.interval.start_ms, face.interval.end_ms + END_TOLERANCE_MS)
    shared = shown.overlap(Interval(choice.insert_ms, end_ms))
    shared_ms = shared.duration_ms if shared else 0
    if shared_ms < MIN_OVERLAP_MS:
        raise _fault(
            field,
            "sound_insert_time",
            f"the speech from {choice.insert_ms} ms to {end_ms} ms shares {shared_ms} ms with the interval "
            f"of face {face.id}, {face.interval.start_ms} ms to {face.interval.end_ms} ms; at least "
            f"{MIN_OVERLAP_MS} ms are needed",
        )


def clamped_end(choice: ChoiceRecord, field: str, sound_ms: int, video_ms: int) -> int:
    """The crop's end, brought inside the sound and the video where it overshoots by no more than the tolerance."""
    if choice.sound_end_ms > sound_ms + END_TOLERANCE_MS:
        raise _fault(
            field,
            "sound_end_time",
            f"{choice.sound_end_ms} ms is after the sound's end at {sound_ms} ms",
        )
    return min(choice.sound_end_ms, sound_ms, choice.sound_start_ms + video_ms - choice.insert_ms)


def _check_length(duration_ms: int, what: str) -> None:
    if not MIN_MS <= duration_ms <= MAX_MS + END_TOLERANCE_MS:
        raise InputError(
            f"{what} lasts {duration_ms} ms; it must last {MIN_MS} ms to {MAX_MS} ms.", field=what.partition(":")[0]
        )


def _fault(field: str, name: str, sentence: str) -> InputError:
    return InputError(f"{field}.{name}: {sentence}.", field=f"{field}.{name}")
