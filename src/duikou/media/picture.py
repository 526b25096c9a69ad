"""The format of a video's stored pixels: size, colour and orientation. Converts them to BGR.

With its defaults, swscale darkens a picture by almost two grey levels on the way to RGB and back. So the conversion to
RGB asks for accurate rounding and full chroma. The way back is plain matrix arithmetic (`bgr_to_yuv`), because swscale
also rounds full-range chroma down there.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, TypeVar, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from duikou.arrays import Float32Array, Float64Array, Image, Image16
from duikou.media import hdr
from duikou.media.crop import Box, around, cropped, cut
from duikou.media.fields import Fields
from duikou.media.hdr import LightLevels, Tone

Pixel = TypeVar("Pixel", np.uint8, np.uint16)
Plane = Image
"""(H, W) one component of the stored pixels, or (H, W, C) all of them."""

_QUALITY: Final = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_HD_WIDTH, _HD_HEIGHT = 1280, 577  # untagged pictures this wide or this high count as BT.709, as in mpv and browsers
_RGB_MATRIX: Final = 0  # ITU-T H.273, table 4: matrix coefficients "identity", that is RGB
_UNSPECIFIED: Final = 2  # H.273: primaries, transfer and matrix "unspecified"
_BT709: Final = 1  # H.273: BT.709, in all three tables
_BT2020: Final = 9  # H.273: BT.2020, matrix and primaries
_MATRICES: Final = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""H.273 matrix coefficients mapped to swscale's tables."""
_LUMA_WEIGHTS: Final = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, H.273, table 4."""
_FULL_RANGE_NAMES: Final = "yuvj"  # how FFmpeg's names of formats with full range begin
_PIXEL_FORMATS_420: Final = frozenset({"yuv420p", "yuvj420p"})
_ENCODED: Final = {8: ("yuv420p", "yuv444p"), 10: ("yuv420p10le", "yuv444p10le")}
"""Pixel formats of results by bits of a channel, for even sides and for odd ones."""


@dataclass(frozen=True)
class Orientation:
    """How to turn a stored picture upright: first swap rows and columns, then mirror."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame, *, otherwise: Orientation | None = None) -> Orientation:
        """Read a decoded frame's display matrix (ISO 14496-12, 6.2.2): x' = a x + c y, y' = b x + d y.

        otherwise: for a frame without a matrix; upright by default.
        """
        matrix = _display_matrix(frame)
        if matrix is None:
            return otherwise or cls()
        a, b, c, d = matrix
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def degrees(self) -> int:
        """Clockwise rotation in degrees, without the mirroring: 0, 90, 180 or 270."""
        if self.transpose:
            return 270 if self.mirror_y else 90
        return 180 if self.mirror_y else 0

    def to_stored(self, width: int, height: int) -> Float64Array:
        """(2, 3) affine map from pixels of the upright picture of `width` x `height` to the stored ones."""
        across = [-1, 0, width - 1] if self.mirror_x else [1, 0, 0]
        down = [0, -1, height - 1] if self.mirror_y else [0, 1, 0]
        return np.array([down, across] if self.transpose else [across, down], np.float64)

    def stored_box(self, box: Box, width: int, height: int) -> Box:
        """Where a box of the upright picture of `width` x `height` is stored."""
        left, top, right, bottom = self._mirrored(box, width, height)
        return (top, left, bottom, right) if self.transpose else (left, top, right, bottom)

    def upright_box(self, box: Box, width: int, height: int) -> Box:
        """Where a stored box is in the upright picture of `width` x `height`."""
        left, top, right, bottom = box
        return self._mirrored((top, left, bottom, right) if self.transpose else box, width, height)

    def _mirrored(self, box: Box, width: int, height: int) -> Box:
        left, top, right, bottom = box
        if self.mirror_x:
            left, right = width - right, width - left
        if self.mirror_y:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom

    def upright(self, image: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
        """The upright picture (H, W, 3) or plane (H, W), contiguous."""
        if self.transpose:
            image = cast("npt.NDArray[Pixel]", cv2.transpose(image))
        if self.mirror_x or self.mirror_y:
            axis = -1 if self.mirror_x and self.mirror_y else int(self.mirror_x)
            image = cast("npt.NDArray[Pixel]", cv2.flip(image, axis))
        return np.ascontiguousarray(image)

    def upright_chroma(self, plane: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
        """The upright plane (H, W) of chroma of 4:2:0, which lies at the same places as before: see `halved`."""
        # In pixels from the first of the two that share a value. Turning moves it; the values between are interpolated.
        x, y = (0.5, 0.0) if self.transpose else (0.0, 0.5)
        x, y = 1 - x if self.mirror_x else x, 1 - y if self.mirror_y else y
        turned = self.upright(plane)
        if (x, y) == (0.0, 0.5):
            return turned
        shift = np.array([[1, 0, (0.0 - x) / 2], [0, 1, (0.5 - y) / 2]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(turned, shift, turned.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return cast("npt.NDArray[Pixel]", moved)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """a, b, c and d of a frame's display matrix; `None` where it has none."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know another kind of side data of this frame
        turn = round(-frame.rotation / 90) % 4
        return None if turn == 0 else ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))[turn]
    if data is None:
        return None
    a, b, _, c, d = struct.unpack_from("5i", bytes(cast("SideData", data)))
    return a, b, c, d


@dataclass(frozen=True)
class Picture:
    """The format of one video's stored pixels.

    width, height: stored size in pixels. orientation: how to turn it upright.
    pixel_format: FFmpeg's name. matrix, primaries, transfer: H.273 code points, 2 where unspecified.
    full_range: whether black is 0 and white 255 (else 16 and 235).
    sample_aspect_ratio: width of a stored pixel over its height. light: static metadata of a PQ video.
    fields: how its frames are interlaced, where that is known.
    """

    width: int
    height: int
    orientation: Orientation
    pixel_format: str
    matrix: int
    primaries: int
    transfer: int
    full_range: bool
    sample_aspect_ratio: Fraction
    light: LightLevels = field(default_factory=LightLevels)
    fields: Fields | None = None

    @classmethod
    def of(cls, frame: VideoFrame, orientation: Orientation, sample_aspect_ratio: Fraction) -> Picture:
        """Read from a decoded frame, which does not tell its orientation and its aspect ratio itself."""
        name = frame.format.name
        return cls(
            width=frame.width,
            height=frame.height,
            orientation=orientation,
            pixel_format=name,
            matrix=int(frame.colorspace),
            primaries=int(frame.color_primaries),
            transfer=int(frame.color_trc),
            full_range=frame.color_range == ColorRange.JPEG
            or (name.startswith(_FULL_RANGE_NAMES) and frame.color_range != ColorRange.MPEG),
            sample_aspect_ratio=sample_aspect_ratio,
        )

    @classmethod
    def first(cls, stream: VideoStream, frame: VideoFrame) -> Picture:
        """Read from the stream's headers and its first decoded frame."""
        picture = cls.of(frame, Orientation.of(frame), Fraction(stream.sample_aspect_ratio or 1))
        return replace(picture, light=LightLevels.of(frame))

    def alike(self, other: Picture) -> bool:
        """Whether pixels of both look the same on the same place: sizes, shapes, colours and depths are equal."""
        return self is other or self._looks == other._looks

    @property
    def _looks(self) -> tuple[object, ...]:
        depth = self.pixel_format.replace("yuvj", "yuv")
        colours = (self.is_rgb, self.yuv_matrix, self.full_range)
        return self.width, self.height, self.orientation, self.sample_aspect_ratio, depth, colours

    @property
    def aspect(self) -> Fraction:
        """Width of an upright pixel over its height."""
        return 1 / self.sample_aspect_ratio if self.orientation.transpose else self.sample_aspect_ratio

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self.orientation.transpose else (self.width, self.height)

    @property
    def is_rgb(self) -> bool:
        """Whether the stored pixels are RGB."""
        return self.matrix == _RGB_MATRIX or av.VideoFormat(self.pixel_format).is_rgb

    @property
    def bits(self) -> int:
        """Bits of each channel."""
        return max(one.bits for one in av.VideoFormat(self.pixel_format).components)

    @property
    def is_hdr(self) -> bool:
        """Whether the stored pixels have high dynamic range."""
        return self.transfer in hdr.TRANSFERS

    @property
    def tone(self) -> Tone | None:
        """The map to the colours of ordinary screens, in which images are; `None` where the pixels have them."""
        return hdr.tone(self.transfer, self.primaries) if self.is_hdr else None

    @property
    def yuv_matrix(self) -> Colorspace:
        """swscale's table for this picture; where unspecified, the one that players use."""
        untagged = Colorspace.ITU709 if self.width >= _HD_WIDTH or self.height >= _HD_HEIGHT else Colorspace.ITU601
        if self.is_hdr:
            untagged = Colorspace.BT2020
        return _MATRICES.get(self.matrix, untagged)

    @property
    def yuv_range(self) -> ColorRange:
        """Range of the stored pixels."""
        return ColorRange.JPEG if self.full_range else ColorRange.MPEG

    def encoded(self, *, keeps_hdr: bool = True) -> Picture:
        """The format of an upright copy in YUV, with the same size and pixel aspect ratio.

        The copy has 8 bits and the same colours. High dynamic range has 10 bits, or is tone-mapped to 8 bits of BT.709
        where `keeps_hdr` is not set. H.264 and HEVC cannot crop 4:2:0 pictures to odd sizes (their crop counts
        in chroma samples). These become 4:4:4, which fewer players can show.
        """
        width, height = self.size
        even, odd = _ENCODED[10 if self.is_hdr and keeps_hdr else 8]
        upright = replace(
            self,
            width=width,
            height=height,
            orientation=Orientation(),
            pixel_format=even if width % 2 == 0 and height % 2 == 0 else odd,
            sample_aspect_ratio=self.aspect,
            fields=None,
        )
        if self.is_hdr and not keeps_hdr:
            upright = replace(upright, primaries=_BT709, transfer=_BT709, light=LightLevels())
            return replace(upright, matrix=_BT709, full_range=False)
        if self.is_rgb:
            return replace(upright, matrix=_BT2020 if self.is_hdr else _BT709, full_range=False)
        return upright

    def passes(self, frame: VideoFrame, encoded: Picture) -> bool:
        """Whether a decoded frame can be encoded as `encoded` without changing its pixels."""
        alike = _PIXEL_FORMATS_420 if encoded.pixel_format == "yuv420p" else {encoded.pixel_format}
        return (
            self.orientation == Orientation()
            and self.transfer == encoded.transfer
            and frame.format.name in alike
            and (frame.width, frame.height) == encoded.size
        )


def bgr_to_yuv(picture: Picture, bits: int = 8) -> Float64Array:
    """(3, 4) affine map from blue, green and red of 0 to 255 to luma, Cb and Cr of `bits` (H.273, 8.3)."""
    kr, kb = _LUMA_WEIGHTS[picture.yuv_matrix]
    luma = np.array([kb, 1 - kr - kb, kr])
    blue = (np.array([1, 0, 0]) - luma) / (2 * (1 - kb))
    red = (np.array([0, 0, 1]) - luma) / (2 * (1 - kr))
    step = 2 ** (bits - 8)
    whole = (256 * step - 1) / 255
    scales, black = ((whole, whole), 0) if picture.full_range else ((219 * step / 255, 224 * step / 255), 16 * step)
    factors = np.stack([luma * scales[0], blue * scales[1], red * scales[1]])
    return np.column_stack([factors, [black, 128 * step, 128 * step]])


def halved(plane: Float32Array) -> Float32Array:
    """A component (H, W) at half its sides, where H.264 and HEVC have chroma: on even columns, between rows."""
    size = plane.shape[1] // 2, plane.shape[0] // 2
    left = cv2.copyMakeBorder(plane, 0, 0, 1, 0, cv2.BORDER_REPLICATE)[:, : plane.shape[1]]  # neighbours on the left
    own, beside = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (plane, left))
    return np.asarray((own + beside) / 2, np.float32)


def view(plane: VideoPlane) -> Plane:
    """(H, W) view of a plane's memory without the padding of its lines."""
    lines = np.frombuffer(cast("memoryview", plane), np.uint8).reshape(-1, plane.line_size)
    return lines[: plane.height, : plane.width]


def view16(plane: VideoPlane) -> Image16:
    """The same of a plane with 16 bits for each pixel."""
    lines = np.frombuffer(cast("memoryview", plane), np.uint16).reshape(-1, plane.line_size // 2)
    return lines[: plane.height, : plane.width]


class Converter:
    """Converts stored frames of one `Picture` to upright BGR images, on any thread.

    to_bgr: (3, 4) affine map from luma, Cb and Cr of `planes` to blue, green and red.
    """

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._local = threading.local()  # a reformatter keeps state between frames, so each thread has one
        self._in_8_bits = replace(picture, pixel_format="yuv420p")
        to_yuv = bgr_to_yuv(picture)
        factors = np.linalg.inv(to_yuv[:, :3])
        self.to_bgr = np.column_stack([factors, -factors @ to_yuv[:, 3]])

    def bgr(self, frame: VideoFrame) -> Image:
        """Upright image (H, W, 3) of a decoded frame, tone-mapped where it has high dynamic range."""
        return self._bgr(frame, (self.picture.width, self.picture.height))

    def part(self, frame: VideoFrame, box: Box) -> Image:
        """The part `box` of `bgr(frame)`, bit for bit. box: in the upright frame, which holds all of it.

        Its cost grows with the box. Frames of another size than the picture's and some packed formats cost as much as a
        whole one.
        """
        picture = self.picture
        if (frame.width, frame.height) == (picture.width, picture.height):
            stored = around(frame, picture.orientation.stored_box(box, *picture.size))
            part = cropped(frame, stored)
            if part.format.name == frame.format.name:
                image = self._bgr(part, (part.width, part.height))
                return cut(image, picture.orientation.upright_box(stored, *picture.size), box)
        return cut(self.bgr(frame), (0, 0, *picture.size), box)

    def _bgr(self, frame: VideoFrame, size: tuple[int, int]) -> Image:
        """Upright image of a frame or of a part of one. size: stored width and height to which it is scaled."""
        picture = self.picture
        matrix = None if picture.is_rgb else picture.yuv_matrix
        matrices = {"src_colorspace": matrix, "dst_colorspace": matrix, "dst_color_range": ColorRange.JPEG}
        if picture.tone is not None:
            coded = self._reformatted(frame, "gbrp10le", size, **matrices)
            green, blue, red = (view16(plane) for plane in coded.planes)
            return picture.orientation.upright(picture.tone.sdr(np.stack([blue, green, red], -1)))
        # swscale makes planes twice as fast as pixels, with the same values; where a side is odd, one of a thousand
        # differs by 1.
        planes = [view(plane) for plane in self._reformatted(frame, "gbrp", size, **matrices).planes]
        return picture.orientation.upright(cast("Image", cv2.merge([planes[at] for at in (1, 0, 2)])))

    def planes(self, frame: VideoFrame) -> tuple[Plane, Plane, Plane]:
        """Luma, Cb and Cr of a decoded frame in its stored orientation. Cb and Cr have half its sides, rounded up.

        These are views of the frame's memory where it is 8-bit 4:2:0. High dynamic range is not tone-mapped.
        """
        picture = self.picture
        stored_size = picture.width, picture.height
        if frame.format.name not in _PIXEL_FORMATS_420 or (frame.width, frame.height) != stored_size:
            frame = self.reformatted(frame, self._in_8_bits)
        luma, blue, red = (view(plane) for plane in frame.planes)
        return luma, blue, red

    def reformatted(self, frame: VideoFrame, target: Picture) -> VideoFrame:
        """A decoded frame in the YUV format, the matrix and the range of `target`, in its own stored orientation."""
        return self._reformatted(
            frame,
            target.pixel_format,
            (self.picture.width, self.picture.height),
            src_colorspace=self.picture.yuv_matrix,
            dst_colorspace=target.yuv_matrix,
            dst_color_range=target.yuv_range,
        )

    def _reformatted(
        self, frame: VideoFrame, pixel_format: str, size: tuple[int, int], **colours: Colorspace | ColorRange | None
    ) -> VideoFrame:
        """A frame in another format. size: stored width and height to which it is scaled. colours: as in PyAV."""
        if not hasattr(self._local, "reformatter"):
            self._local.reformatter = VideoReformatter()
        reformatter: VideoReformatter = self._local.reformatter
        return reformatter.reformat(
            frame,
            width=size[0],
            height=size[1],
            format=pixel_format,
            src_color_range=ColorRange.JPEG if self.picture.is_rgb else self.picture.yuv_range,
            interpolation=_QUALITY,
            threads=1,
            **colours,
        )
