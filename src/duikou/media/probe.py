"""What a media file is, read from its headers before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True)
class AudioInfo:
    """The sound of a file: codec name, samples per second, channels and length."""

    codec: str
    sample_rate: int
    channels: int
    duration_ms: int


@dataclass(frozen=True)
class VideoInfo:
    """The picture of a file, as a player shows it.

    container: `mp4` or `mov`. codec: FFmpeg's name, `h264`, `hevc`, ...
    width, height: pixels of the upright picture, after the rotation flag.
    rotation: degrees clockwise that the stored picture is turned by to stand upright: 0, 90, 180 or 270.
    frames: number of frames that a player shows.
    rate: mean frames per second. duration_ms: length of the picture.
    audio: the sound, or `None` for a silent file.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    frames: int
    rate: Fraction
    duration_ms: int
    audio: AudioInfo | None


def probe_video(path: Path) -> VideoInfo:
    """Read a video file's headers. Raises `MediaError` for what is not an mp4 or mov with one readable picture."""
    raise NotImplementedError


def probe_audio(path: Path) -> AudioInfo:
    """Read a sound file's headers. Raises `MediaError` for what is not mp3, wav, m4a or aac."""
    raise NotImplementedError
