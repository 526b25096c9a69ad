"""Brings frames whose format changes midway to the format of the video's first frame.

A stream may switch to another size, shape, rotation or pixel format at any key frame. Players then fit the picture into
their window. Here the first frame is the window: other frames are scaled with their shape kept, and black bars fill the
rest. So all frames of a video have one format, in which faces are found, painted and encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from duikou.media.picture import Orientation, Picture

_MAX_GRAPHS: Final = 4  # that are kept, for streams that switch back and forth
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


class Fitter:
    """Fits the frames of one stream into the format of `picture`. Not thread-safe.

    Create it before the stream's first frame is decoded. used: whether any frame had another format.
    """

    def __init__(self, stream: VideoStream, picture: Picture) -> None:
        self._stream, self._picture = stream, picture
        self._declared = _ratio(stream.codec_context.sample_aspect_ratio)
        self._graphs: dict[Picture, Graph] = {}
        self.used = False

    def fitted(self, decoded: Iterable[tuple[VideoFrame, bool]]) -> Iterator[VideoFrame]:
        """Consecutive frames: themselves where they have the format, or else fitted copies with their times.

        decoded: see `_aspects`. A frame that does not tell its orientation has that of the frame before it.
        """
        orientation = self._picture.orientation
        for frame, aspect in self._aspects(decoded):
            orientation = Orientation.of(frame, otherwise=orientation)
            picture = Picture.of(frame, orientation, aspect)
            yield frame if picture.alike(self._picture) else self._fit(frame, picture)

    def _aspects(self, decoded: Iterable[tuple[VideoFrame, bool]]) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Each frame and its pixels' aspect ratio, which the decoder knows of the last frame that it has returned.

        decoded: frames, and whether each came out together with others, at the end of the file. Then it has the ratio
        of the last frame of its size.
        """
        known: dict[tuple[int, int], Fraction] = {}
        for frame, flushed in decoded:
            size = frame.width, frame.height
            if not (flushed and size in known):
                coded = _ratio(self._stream.codec_context.sample_aspect_ratio)
                # The container's ratio counts as long as the codec's own has not changed.
                known[size] = self._picture.sample_aspect_ratio if coded == self._declared else coded
            yield frame, known[size]

    def _fit(self, frame: VideoFrame, picture: Picture) -> VideoFrame:
        self.used = True
        if picture not in self._graphs:
            if len(self._graphs) == _MAX_GRAPHS:
                self._graphs.clear()
            self._graphs[picture] = _graph(picture, self._picture)
        graph = self._graphs[picture]
        graph.vpush(frame)
        fitted = graph.vpull()
        fitted.pts, fitted.time_base = frame.pts, frame.time_base
        fitted.color_primaries, fitted.color_trc = self._picture.primaries, self._picture.transfer
        return fitted


def _ratio(aspect: Fraction | None) -> Fraction:
    return Fraction(aspect or 1)


def _graph(picture: Picture, target: Picture) -> Graph:
    """The filters that bring frames of `picture` to the format of `target`."""
    width, height, x, y = placed(picture, target)
    black = f"width={target.width}:height={target.height}:x={x}:y={y}:color=black"
    pixels = ("format", f"pix_fmts={target.pixel_format}")
    filters = [
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
        ("pad", black),
        pixels,
        ("buffersink", ""),
    ]
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(*(graph.add(name, arguments) for name, arguments in filters)).configure()
    return graph


def _range(picture: Picture) -> str:
    return "pc" if picture.full_range or picture.is_rgb else "tv"


def _turns(stored: Orientation, wanted: Orientation) -> list[tuple[str, str]]:
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
