"""What to do with speech that ends after the video, and how long the video becomes. Opens no files."""

from __future__ import annotations

from enum import StrEnum

from duikou.errors import InputError
from duikou.timebase import END_TOLERANCE_MS, Interval

MAX_MS = 60_000
"""Maximum length of a lengthened video: an hour of speech for a short clip is most likely a mistake."""


class SyncMode(StrEnum):
    """What to do where speech ends after the video or after the face's interval.

    cut_off: the speech ends with the face's interval. loop: the video repeats from its beginning. bounce: the video is
    played backwards, then forwards, and so on. silence: the last frame is held.
    """

    CUT_OFF = "cut_off"
    LOOP = "loop"
    BOUNCE = "bounce"
    SILENCE = "silence"

    @classmethod
    def of(cls, given: SyncMode | str | None) -> SyncMode | None:
        """Accept the value of a mode in its place. Raises `InputError` that names `sync_mode` for any other text."""
        if given is None or given in list(cls):
            return None if given is None else cls(given)
        raise InputError(f"{given!r} is not one of {', '.join(cls)}.", field="sync_mode")


def extended_duration_ms(mode: SyncMode | None, video_ms: int, speech_end_ms: int) -> int:
    """Minimum length in ms of the result for a video of `video_ms` and speech that ends at `speech_end_ms`.

    It is `video_ms` without a mode, with `cut_off`, and where the speech ends at most `END_TOLERANCE_MS` late. The
    result ends with the first frame that ends at this time or later.
    Raises `InputError` that names `sync_mode` above `MAX_MS`.
    """
    if mode in (None, SyncMode.CUT_OFF) or speech_end_ms <= video_ms + END_TOLERANCE_MS:
        return video_ms
    if speech_end_ms > MAX_MS:
        raise InputError(
            f"{mode} would make the video {speech_end_ms} ms long, since the speech ends there; at most "
            f"{MAX_MS} ms are allowed.",
            field="sync_mode",
        )
    return speech_end_ms


def cut_end_ms(mode: SyncMode | None, video_ms: int, interval: Interval, speech: Interval) -> int:
    """End in ms of speech that is requested for `speech`. `cut_off` moves it to the end of `interval` or of the video.

    Speech that begins after that end stays as it is, because cutting cannot make it valid.
    """
    limit = min(interval.end_ms, video_ms)
    return min(speech.end_ms, limit) if mode is SyncMode.CUT_OFF and speech.start_ms < limit else speech.end_ms


def shown_ms(mode: SyncMode | None, video_ms: int, interval: Interval, speech: Interval) -> int:
    """How many ms a face with this `interval` shows during `speech`, in the video lengthened by `mode`.

    The error is at most one frame for each time the video repeats or changes direction.
    """
    length, shown = extended_duration_ms(mode, video_ms, speech.end_ms), [interval]
    if mode is not SyncMode.SILENCE:
        mirrored = Interval(video_ms - interval.end_ms, video_ms - interval.start_ms)
        for start in range(video_ms, length, video_ms):
            part = mirrored if mode is SyncMode.BOUNCE and start // video_ms % 2 else interval
            shown.append(Interval(start + part.start_ms, start + part.end_ms))
    elif interval.end_ms >= video_ms:
        shown.append(Interval(video_ms, length))
    shared = [one.overlap(speech) for one in shown]
    return sum(one.duration_ms for one in shared if one)
