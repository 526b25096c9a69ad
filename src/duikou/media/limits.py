"""Limits on the content of media files, checked on headers and packets before decoding, and again while decoding.

Every `check_*` function raises a `MediaError` that names `field`, the value that is too large and the limit.
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

MAX_STREAMS: Final = 64  # cameras write up to about 8; far more is an attack
MAX_SIDE: Final = 16_384  # pixels; near the maximum of H.264, HEVC and swscale
MAX_PIXELS: Final = 8192 * 4352  # width x height; beyond 8K a single frame takes more than 100 MB
MAX_RATE: Final = 480  # mean frames per second; slow motion is shot at 240 and shown at 30
MAX_FRAMES: Final = 1_000_000  # more than 4 hours at 60 frames per second
MAX_TOTAL_PIXELS: Final = 4 * 10**12  # of all frames together: more than an hour of 4K at 120 frames per second
MAX_LENGTH_MS: Final = DAY_MS  # both for what is played and for what must be read to reach it
MAX_PACKETS: Final = 1_000_000  # of one stream: more than 5 hours of audio in packets of 20 ms
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 384_000  # samples per second; telephones use 8,000, studios 192,000
MAX_CHANNELS: Final = 32  # cinema audio has up to 24
MAX_AUDIO_MS: Final = HOUR_MS  # an hour of 48 kHz stereo takes 1.4 GB as float32; more would swap
MAX_AUDIO_SAMPLES: Final = 60 * 60 * 48_000 * 2  # all channels of that hour; shortens audio of higher rates
MAX_BLOCK_BYTES: Final = 256 * MIB  # of one allocation; the largest plane of a picture takes less than 150 MB
OPEN_S: Final = 10  # seconds; normal files take milliseconds, files with 100,000 metadata keys up to an hour
_PADDING: Final = 128  # pixels; decoders round each side up to whole blocks and lines

DECODER_PIXELS: Final = MAX_PIXELS + _PADDING * MAX_SIDE
"""Pixels of a picture, padding included, above which FFmpeg's decoders refuse it before they allocate memory."""


@cache
def limit_allocations() -> None:
    """Make FFmpeg refuse single allocations of more than `MAX_BLOCK_BYTES` in this process.

    A few bytes of an index can declare billions of samples, and FFmpeg allocates a table entry for each. PyAV does not
    expose this setting, so the function is looked up in PyAV's own shared library, which links FFmpeg.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(MAX_BLOCK_BYTES))


def check_opening(seconds: float, *, field: str) -> None:
    """Check how long opening a file took."""
    if seconds > OPEN_S:
        raise MediaError(f"the file takes longer than {OPEN_S:g} s to open.", field=field)


def check_streams(count: int, *, field: str) -> None:
    """Check the number of streams of a file."""
    if count > MAX_STREAMS:
        raise MediaError(f"the file has {count} streams; at most {MAX_STREAMS} are accepted.", field=field)


def check_picture(width: int, height: int, *, field: str) -> None:
    """Check the size of a picture in pixels."""
    size = f"the picture is {width} x {height} pixels"
    if width <= 0 or height <= 0:
        raise MediaError(f"{size}; each side must be at least 1.", field=field)
    if width > MAX_SIDE or height > MAX_SIDE:
        raise MediaError(f"{size}; at most {MAX_SIDE} per side are accepted.", field=field)
    if width * height > MAX_PIXELS:
        raise MediaError(f"{size}; at most {MAX_PIXELS} in total are accepted.", field=field)


def check_frames(count: int, *, field: str) -> None:
    """Check the number of frames of a video."""
    if count > MAX_FRAMES:
        raise MediaError(f"the video has more than {MAX_FRAMES} frames.", field=field)


def check_packets(count: int, *, field: str) -> None:
    """Check the number of packets of a stream, shown or not."""
    if count > MAX_PACKETS:
        raise MediaError(f"a stream of the file has more than {MAX_PACKETS} packets.", field=field)


def check_length(ms: int, what: str, *, field: str) -> None:
    """Check the time at which `what`, the video or the audio, begins or ends; it may be before 0."""
    if abs(ms) > MAX_LENGTH_MS:
        raise MediaError(
            f"the {what} extends to {ms // 1000} s; at most {MAX_LENGTH_MS // 1000} s are accepted.",
            field=field,
        )


def check_rate(rate: Fraction, *, field: str) -> None:
    """Check the mean frames per second of a video."""
    if rate > MAX_RATE:
        raise MediaError(
            f"the video has {float(rate):.0f} frames per second; at most {MAX_RATE} are accepted.", field=field
        )


def check_total(width: int, height: int, frames: int, *, field: str) -> None:
    """Check the pixels of all frames of a video together."""
    if width * height * frames > MAX_TOTAL_PIXELS:
        raise MediaError(
            f"the video has {frames} frames of {width} x {height} pixels; "
            f"at most {MAX_TOTAL_PIXELS} pixels in total are accepted.",
            field=field,
        )


def check_decoded(pixels: int, *, field: str) -> None:
    """Check the pixels that were decoded so far, of frames that may be larger than the header declares."""
    if pixels > MAX_TOTAL_PIXELS:
        raise MediaError(f"the frames of the video have more than {MAX_TOTAL_PIXELS} pixels in total.", field=field)


def check_audio(rate: int, channels: int, *, field: str) -> None:
    """Check the samples per second and the channels of audio."""
    if rate <= 0 or channels <= 0:
        raise MediaError("the audio declares no sample rate or no channels.", field=field)
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise MediaError(
            f"the audio has {rate} samples per second; {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} are accepted.",
            field=field,
        )
    if channels > MAX_CHANNELS:
        raise MediaError(f"the audio has {channels} channels; at most {MAX_CHANNELS} are accepted.", field=field)


def check_samples(samples: int, rate: int, channels: int, *, field: str) -> None:
    """Check the length of audio that is to be held in memory."""
    most = min(MAX_AUDIO_MS * rate // 1000, MAX_AUDIO_SAMPLES // channels)
    if samples > most:
        raise MediaError(f"the audio is longer than {most // rate // 60} minutes.", field=field)
