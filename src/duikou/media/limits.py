"""What a media file may hold at most: read from headers and packets before decoding, and held to while decoding.

Every function raises one `MediaError` that names `field`, what is too large and what would be taken.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from fractions import Fraction
from functools import cache
from typing import Final

import av

from duikou.errors import MediaError
from duikou.units import DAY_MS, HOUR_MS, MIB

MAX_STREAMS: Final = 64  # cameras write up to about 8; more is made to hurt
MAX_SIDE: Final = 16_384  # pixels; H.264 and HEVC end near here, and so does swscale
MAX_PIXELS: Final = 8192 * 4352  # width x height; beyond 8K a frame alone takes more than 100 MB
MAX_RATE: Final = 480  # frames per second, on the mean; slow motion is shot at 240 and shown at 30
MAX_FRAMES: Final = 1_000_000  # over 4 hours at 60 frames per second
MAX_TOTAL_PIXELS: Final = 4 * 10**12  # of all frames together: over an hour of 4K at 120 frames per second
MAX_LENGTH_MS: Final = DAY_MS  # for what is played and for what must be read to get there
MAX_PACKETS: Final = 1_000_000  # of one stream: over 5 hours of sound in pieces of 20 ms
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 384_000  # samples per second; below telephone's 8,000, above studios' 192,000
MAX_CHANNELS: Final = 32  # film sound has up to 24
MAX_SOUND_MS: Final = HOUR_MS  # an hour of 48 kHz stereo is 1.4 GB as float32; more is refused, not swapped
MAX_SOUND_SAMPLES: Final = 60 * 60 * 48_000 * 2  # the same hour, for sounds of higher rates
MAX_BLOCK_BYTES: Final = 256 * MIB  # in one piece; the largest plane of a picture takes less than 150 MB
OPEN_S: Final = 10  # seconds; good files take a thousandth, names and values by the hundred thousand an hour
_PADDING: Final = 128  # pixels by which decoders round a side up to whole blocks and lines

DECODER_PIXELS: Final = MAX_PIXELS + _PADDING * MAX_SIDE
"""Pixels of a picture, padding included, beyond which FFmpeg's own decoders give up before they take the memory."""


@cache
def fence_memory() -> None:
    """Have FFmpeg refuse single blocks of more than `MAX_BLOCK_BYTES`, whatever a header asks for, in this process.

    A few bytes of index can stand for billions of samples, each of them an entry in a table. PyAV does not pass this
    setting on; its library finds the function among those it is linked with.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(MAX_BLOCK_BYTES))


def check_opening(seconds: float, *, field: str) -> None:
    """Whether opening a file may take so long."""
    if seconds > OPEN_S:
        raise MediaError(f"the file takes longer than {OPEN_S:g} s to open.", field=field)


def check_streams(count: int, *, field: str) -> None:
    """Whether a file may have so many streams."""
    if count > MAX_STREAMS:
        raise MediaError(f"the file has {count} streams, more than {MAX_STREAMS}.", field=field)


def check_picture(width: int, height: int, *, field: str) -> None:
    """Whether a picture may have this size in pixels."""
    size = f"the picture has {width} x {height} pixels"
    if width > MAX_SIDE or height > MAX_SIDE:
        raise MediaError(f"{size}, at most {MAX_SIDE} on each side can be read.", field=field)
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise MediaError(f"{size}, at most {MAX_PIXELS} can be read.", field=field)


def check_frames(count: int, *, field: str) -> None:
    """Whether a video may have so many frames."""
    if count > MAX_FRAMES:
        raise MediaError(f"the video has more than {MAX_FRAMES} frames.", field=field)


def check_packets(count: int, *, field: str) -> None:
    """Whether a stream may have so many packets, shown or not."""
    if count > MAX_PACKETS:
        raise MediaError(f"the file has a stream of more than {MAX_PACKETS} packets.", field=field)


def check_length(ms: int, what: str, *, field: str) -> None:
    """Whether `what`, the video or the sound, may reach to this time, or begin so long before 0."""
    if abs(ms) > MAX_LENGTH_MS:
        raise MediaError(
            f"the {what} reaches to {ms // 1000} s, at most {MAX_LENGTH_MS // 1000} s can be read.",
            field=field,
        )


def check_rate(rate: Fraction, *, field: str) -> None:
    """Whether a video may have so many frames per second, on the mean."""
    if rate > MAX_RATE:
        raise MediaError(
            f"the video has {float(rate):.0f} frames per second, at most {MAX_RATE} can be read.", field=field
        )


def check_total(width: int, height: int, frames: int, *, field: str) -> None:
    """Whether all frames of a video together may have so many pixels."""
    if width * height * frames > MAX_TOTAL_PIXELS:
        raise MediaError(
            f"the video has {frames} frames of {width} x {height} pixels, "
            f"at most {MAX_TOTAL_PIXELS} pixels in all can be read.",
            field=field,
        )


def check_sound(rate: int, channels: int, *, field: str) -> None:
    """Whether a sound may have this many samples per second and channels."""
    if rate <= 0 or channels <= 0:
        raise MediaError("the sound names no sample rate or no channels.", field=field)
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise MediaError(
            f"the sound has {rate} samples per second, {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} can be read.",
            field=field,
        )
    if channels > MAX_CHANNELS:
        raise MediaError(f"the sound has {channels} channels, at most {MAX_CHANNELS} can be read.", field=field)
