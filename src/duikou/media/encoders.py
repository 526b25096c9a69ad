"""Encoders of H.264: x264 on the processor, and those of graphics hardware where a machine has one.

Those of hardware are used only when they are asked for, since their pictures differ from one device and driver to the
next. One that is asked for and cannot be used is an error: nothing else takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Final

import av
from av.codec.context import CodecContext
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from duikou.errors import InputError

_TRIAL: Final = (256, 256)  # pixels; NVENC refuses less than 145 x 49
_VIDEOTOOLBOX_UNIT: Final = 118  # FFmpeg's FF_QP2LAMBDA, by which it multiplies qualities of 0 to 100


class Encoder(StrEnum):
    """Who encodes H.264."""

    X264 = "x264"
    NVENC = "nvenc"
    VIDEOTOOLBOX = "videotoolbox"
    VAAPI = "vaapi"

    @classmethod
    def of(cls, given: Encoder | str) -> Encoder:
        """Accept a value in place of an encoder. Raises `InputError` that names `encoder`."""
        try:
            return cls(given)
        except ValueError:
            raise InputError(f"expected one of {', '.join(cls)}, got {given!r}", field="encoder") from None


@dataclass(frozen=True)
class Codec:
    """How FFmpeg is asked for an encoder.

    name: FFmpeg's. what: the hardware, in words. options: of results, at about the quality of x264's CRF 17, without
        B-frames. takes: pixel formats. device: FFmpeg's type of the device to which frames are uploaded, where the
        encoder does not do that itself. surface: the pixel format of frames there, where it is another one.
    """

    name: str
    what: str
    options: Mapping[str, str] = field(hash=False)
    takes: frozenset[str]
    device: str = ""
    surface: str = ""

    def accelerator(self) -> HWAccel | None:
        """The device that a stream of this encoder needs, a new one for each."""
        return HWAccel(self.device, allow_software_fallback=False) if self.device else None


HARDWARE: Final[Mapping[Encoder, Codec]] = MappingProxyType(
    {
        Encoder.NVENC: Codec(
            "h264_nvenc",
            "NVIDIA GPUs",
            {"preset": "p4", "tune": "hq", "rc": "vbr", "cq": "19", "bf": "0"},
            frozenset({"yuv420p", "yuv444p"}),
        ),
        Encoder.VIDEOTOOLBOX: Codec(
            "h264_videotoolbox",
            "Apple silicon",
            {"flags": "+qscale", "global_quality": str(75 * _VIDEOTOOLBOX_UNIT), "allow_sw": "0", "bf": "0"},
            frozenset({"yuv420p"}),
        ),
        Encoder.VAAPI: Codec(
            "h264_vaapi",
            "Intel and AMD GPUs on Linux",
            {"rc_mode": "CQP", "qp": "19", "bf": "0"},
            frozenset({"yuv420p"}),
            device="vaapi",
            surface="nv12",
        ),
    }
)


def require(encoder: Encoder | str) -> Codec | None:
    """How to ask for an encoder of hardware; `None` for x264.

    Raises `InputError` that names `encoder` where this machine has none.
    """
    found = HARDWARE.get(Encoder.of(encoder))
    reason = "" if found is None else problem(found)
    if reason:
        raise InputError(f"{encoder} cannot be used here: {reason}; x264 works everywhere", field="encoder")
    return found


def hardware(encoder: Encoder | str, pixel_format: str) -> Codec | None:
    """How to ask for an encoder of hardware; `None` for x264. pixel_format: FFmpeg's name of what it is to encode.

    Raises `InputError` that names `encoder` where this machine has none, or where it does not take the format.
    """
    codec = require(encoder)
    if codec is not None and pixel_format not in codec.takes:
        takes = " and ".join(sorted(codec.takes))
        raise InputError(f"{encoder} takes {takes}, and this video needs {pixel_format}; use x264", field="encoder")
    return codec


@cache
def problem(codec: Codec) -> str:
    """Why an encoder cannot be used on this machine, empty if it can: it is tried on one small frame."""
    if codec.name not in av.codecs_available:
        return f"FFmpeg in PyAV {av.__version__} was built without {codec.name}"
    try:
        context = CodecContext.create(codec.name, "w", codec.accelerator())
        assert isinstance(context, VideoCodecContext)
        context.width, context.height = _TRIAL
        context.pix_fmt = codec.surface or "yuv420p"
        context.time_base = Fraction(1, 25)
        context.framerate = Fraction(25)
        context.options = dict(codec.options)
        packets = [*context.encode(_frame()), *context.encode(None)]
    except (av.FFmpegError, NotImplementedError, OSError, ValueError) as error:
        return f"{codec.name} does not start ({_words(error)}); it needs {codec.what}"
    return "" if packets else f"{codec.name} encodes nothing"


def _frame() -> VideoFrame:
    frame = VideoFrame(*_TRIAL, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
