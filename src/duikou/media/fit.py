"""Brings frames whose format changes midway to the format of the video's first frame.

A stream may switch to another size, shape, rotation or pixel format at any key frame. Players then fit the picture into
their window. Here the first frame is the window: other frames are scaled with their shape kept, and black bars fill the
rest. So all frames of a video have one format, in which faces are found, painted and encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Final

from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from duikou.media import limits
from duikou.media.picture import Orientation, Picture, view

_MAX_GRAPHS: Final = 8  # that are kept, for streams that switch back and forth
_ASPECT_UNIT: Final = 1_000  # parts of the width of a square pixel, in which the shape of pixels is measured
_SNAP: Final = Fraction(1, 100)  # of a side: thinner bars are rounding, so the picture is stretched over them instead
_FLAGS: Final = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_MATRIX_NAMES: Final = {
    Colorspace.ITU709: "bt709",
    Colorspace.FCC: "fcc",
    Colorspace.ITU601: "bt601",
    Colorspace.SMPTE240M: "smpte240m",
    Colorspace.BT2020: "bt2020",
}
"""swscale's tables as the filter `scale` calls them."""

Filters = list[tuple[str, str]]
"""Names and arguments of FFmpeg's filters, in their order."""


class Fitter:
    """Fits the frames of one stream into the format of `picture`. Not thread-safe.

    Create it before the stream's first frame is decoded. used: whether any frame had another format.
    """

    def __init__(self, stream: VideoStream, picture: Picture) -> None:
        self._stream, self._picture = stream, picture
        self._declared = _ratio(stream.codec_context.sample_aspect_ratio)
        self._shapes_vary = False
        self._graphs: dict[Picture | tuple[str, int, int], Graph] = {}
        self.used = False

    def fitted(self, decoded: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Consecutive frames: themselves where they have the format, or else fitted copies with their times.

        A frame that does not tell its orientation has that of the frame before it.
        """
        orientation, turn = self._picture.orientation, None
        for frame in decoded:
            # PyAV's side data and its frame hold each other, so a frame that is asked stays in memory for long.
            if frame.rotation != turn:
                orientation, turn = Orientation.of(frame, otherwise=orientation), frame.rotation
            picture = Picture.of(frame, orientation, self._aspect(frame))
            yield frame if picture.alike(self._picture) else self._fit(frame, picture)

    def _fit(self, frame: VideoFrame, picture: Picture) -> VideoFrame:
        self.used = True
        if picture.pixel_format.startswith("yuvj") and not picture.full_range:
            # H.264's decoder keeps the format's name where the range changes, and FFmpeg's filters believe the name.
            picture = replace(picture, pixel_format=picture.pixel_format.replace("yuvj", "yuv"))
            frame = _renamed(frame, picture.pixel_format)
        fitted = self._filtered(frame, picture, lambda: _fitting(picture, self._picture))
        fitted.pts, fitted.time_base = frame.pts, frame.time_base
        fitted.color_primaries, fitted.color_trc = self._picture.primaries, self._picture.transfer
        return fitted

    def _aspect(self, frame: VideoFrame) -> Fraction:
        """Width over height of a frame's pixels. The container's counts as long as the codec's has not changed."""
        # The decoder tells only the newest ratio, and returns frames later. So once it has changed, ask each frame.
        self._shapes_vary = (
            self._shapes_vary or _ratio(self._stream.codec_context.sample_aspect_ratio) != self._declared
        )
        if not self._shapes_vary:
            return self._picture.sample_aspect_ratio
        size = frame.format.name, frame.width, frame.height
        aspect = Fraction(self._filtered(frame, size, lambda: _measuring(frame)).width, _ASPECT_UNIT)
        near = abs(aspect - self._declared) <= Fraction(1, _ASPECT_UNIT)
        return self._picture.sample_aspect_ratio if near else aspect

    def _filtered(
        self, frame: VideoFrame, key: Picture | tuple[str, int, int], filters: Callable[[], Filters]
    ) -> VideoFrame:
        """A frame after filters, of which the latest are kept by their key."""
        if key not in self._graphs:
            if len(self._graphs) == _MAX_GRAPHS:
                self._graphs.clear()
            self._graphs[key] = graph = Graph()
            graph.threads = 1
            graph.link_nodes(*(graph.add(name, arguments) for name, arguments in filters())).configure()
        self._graphs[key].vpush(frame)
        return self._graphs[key].vpull()


def _renamed(frame: VideoFrame, pixel_format: str) -> VideoFrame:
    """A copy of a frame's 8-bit planes and time under another name of its format."""
    copy = VideoFrame(frame.width, frame.height, pixel_format)
    copy.pts, copy.time_base = frame.pts, frame.time_base
    for plane, given in zip(copy.planes, frame.planes, strict=True):
        view(plane)[:] = view(given)
    return copy


def _ratio(aspect: Fraction | None) -> Fraction:
    return Fraction(aspect or 1)


def _measuring(frame: VideoFrame) -> Filters:
    """Filters that return a picture as wide as pixels of the frame are, in units. PyAV does not tell this ratio."""
    width = f"clip(round(sar*{_ASPECT_UNIT})\\,2\\,{limits.MAX_SIDE})"
    source = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1"
    return [("buffer", source), ("scale", f"width={width}:height=2:flags=neighbor:eval=frame"), ("buffersink", "")]


def _fitting(picture: Picture, target: Picture) -> Filters:
    """The filters that bring frames of `picture` to the format of `target`."""
    width, height, x, y = placed(picture, target)
    pixels = ("format", f"pix_fmts={target.pixel_format}")
    return [
        (
            "buffer",
            f"video_size={picture.width}x{picture.height}:pix_fmt={picture.pixel_format}:time_base=1/1:"
            f"colorspace={picture.matrix}:range={_range(picture)}",
        ),
        *_turns(picture.orientation, target.orientation),
        (
            "scale",
            f"width={width}:height={height}:flags={_FLAGS}:"
            f"in_color_matrix={_MATRIX_NAMES[picture.yuv_matrix]}:out_color_matrix={_MATRIX_NAMES[target.yuv_matrix]}:"
            f"in_range={_range(picture)}:out_range={_range(target)}",
        ),
        pixels,
        ("pad", f"width={target.width}:height={target.height}:x={x}:y={y}:color=black"),
        pixels,
        ("buffersink", ""),
    ]


def _range(picture: Picture) -> str:
    return "pc" if picture.full_range or picture.is_rgb else "tv"


def _turns(stored: Orientation, wanted: Orientation) -> Filters:
    """The filters that turn a picture upright and then to how the other ones are stored."""
    if stored == wanted:
        return []
    swap = ("transpose", "dir=cclock_flip")  # swaps rows and columns
    upright = [("hflip", "")] * stored.mirror_x + [("vflip", "")] * stored.mirror_y
    back = [("hflip", "")] * wanted.mirror_x + [("vflip", "")] * wanted.mirror_y
    return [swap] * stored.transpose + upright + back + [swap] * wanted.transpose


def placed(picture: Picture, target: Picture) -> tuple[int, int, int, int]:
    """Width, height, left and top, in stored pixels of `target`, of a picture that is fitted into it."""
    (width, height), (full_width, full_height) = picture.size, target.size
    shape = Fraction(width, height) * picture.aspect / target.aspect  # in pixels of the target
    sides = (
        (Fraction(full_width), full_width / shape)
        if shape * full_height > full_width
        else (full_height * shape, Fraction(full_height))
    )
    inner = [_snapped(side, full) for side, full in zip(sides, target.size, strict=True)]
    at = [(full - side) // 4 * 2 for side, full in zip(inner, target.size, strict=True)]  # even, as chroma needs
    if target.orientation.transpose:
        inner, at = inner[::-1], at[::-1]
    return inner[0], inner[1], at[0], at[1]


def _snapped(side: Fraction, full: int) -> int:
    """An even number of pixels, or all where little is missing."""
    return full if full - side <= full * _SNAP else max(round(side / 2) * 2, 2)
