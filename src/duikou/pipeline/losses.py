"""Warnings of what a result loses of its video, whichever face speaks."""

from __future__ import annotations

from duikou.faces.track import FaceWarning
from duikou.media.probe import VideoInfo
from duikou.timebase import END_TOLERANCE_MS, Interval


def clip_warnings(info: VideoInfo) -> tuple[FaceWarning, ...]:
    """What will be lost of a video: what `media.losses` tells of its picture, and sound that goes on after it."""
    whole = Interval(0, info.duration_ms)
    return (*(FaceWarning(loss.code, loss.message, whole) for loss in info.losses), *_cut_sound(info))


def _cut_sound(info: VideoInfo) -> tuple[FaceWarning, ...]:
    """A warning (`sound_cut`) of sound that goes on after the picture.

    Up to `END_TOLERANCE_MS` are not told: a codec's last frame of sound seldom ends with the picture.
    """
    heard_ms = 0 if info.audio is None else info.audio.duration_ms
    if heard_ms - info.duration_ms <= END_TOLERANCE_MS:
        return ()
    message = (
        f"the sound of the video goes on for {heard_ms - info.duration_ms} ms after the picture, which ends at "
        f"{info.duration_ms} ms; that part is cut off"
    )
    return (FaceWarning("sound_cut", message, Interval(info.duration_ms, heard_ms)),)
