"""Speech that lasts longer than the video: what to do, and how long the video becomes. Arithmetic on ms, no media."""

from __future__ import annotations

from enum import StrEnum

from duikou.errors import InputError
from duikou.timebase import END_TOLERANCE_MS, Interval

MAX_MS = 60_000
"""How long a lengthened video may be: a short clip and an hour of speech are a mistake, not an order."""


class SyncMode(StrEnum):
    """What to do where speech lasts longer than the video, or than the face can be seen.

    cut_off: the speech ends with the face's interval. loop: the video starts again from its beginning. bounce: it is
    played backwards, then forwards, and so on. silence: its last frame stands.
    """

    CUT_OFF = "cut_off"
    LOOP = "loop"
    BOUNCE = "bounce"
    SILENCE = "silence"


def extended_duration_ms(mode: SyncMode | None, video_ms: int, speech_end_ms: int) -> int:
    """How long a video of `video_ms` must become at least for speech that ends at `speech_end_ms` on its time line.

    The video's own length with no mode, with `cut_off`, and where the speech is late by no more than
    `END_TOLERANCE_MS`. The result itself ends with the first frame that ends then or later.
    Raises `InputError` naming `sync_mode` beyond `MAX_MS`.
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
    """Where speech that is wanted at `speech` ends: with `cut_off` not after the face's interval or the video.

    Speech that does not even begin before that is left as it is; it is at fault, not too long.
    """
    limit = min(interval.end_ms, video_ms)
    return min(speech.end_ms, limit) if mode is SyncMode.CUT_OFF and speech.start_ms < limit else speech.end_ms


def shown_ms(mode: SyncMode | None, video_ms: int, interval: Interval, speech: Interval) -> int:
    """For how long the face of `interval` is to be seen while `speech` lasts, in the video made longer by `mode`.

    Right to one frame for each time that the video starts again or turns.
    """
    length, seen = extended_duration_ms(mode, video_ms, speech.end_ms), [interval]
    if mode is not SyncMode.SILENCE:
        turned = Interval(video_ms - interval.end_ms, video_ms - interval.start_ms)
        for start in range(video_ms, length, video_ms):
            part = turned if mode is SyncMode.BOUNCE and start // video_ms % 2 else interval
            seen.append(Interval(start + part.start_ms, start + part.end_ms))
    elif interval.end_ms >= video_ms:
        seen.append(Interval(video_ms, length))
    shared = [one.overlap(speech) for one in seen]
    return sum(one.duration_ms for one in shared if one)
