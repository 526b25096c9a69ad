"""Parts of pictures, and how to cut one out of a decoded frame without copying it."""

from __future__ import annotations

from typing import Final

from av.filter import Graph
from av.video.frame import VideoFrame

from duikou.arrays import Image

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of a picture, in pixels. Right and bottom are exclusive."""

_GRID: Final = 8
"""Parts begin and end at multiples of this many pixels, with a margin as wide. So they hold whole values of chroma, in
both fields of an interlaced frame too, and the neighbours from which chroma is interpolated."""


def overlap(one: Box, other: Box) -> Box | None:
    """What two boxes share; `None` for nothing."""
    left, top, right, bottom = (
        max(one[0], other[0]),
        max(one[1], other[1]),
        min(one[2], other[2]),
        min(one[3], other[3]),
    )
    return (left, top, right, bottom) if left < right and top < bottom else None


def cut(image: Image, place: Box, box: Box) -> Image:
    """The pixels of `box` in an image that shows `place`, which holds it: a view."""
    return image[box[1] - place[1] : box[3] - place[1], box[0] - place[0] : box[2] - place[0]]


def around(frame: VideoFrame, box: Box) -> Box:
    """The part of a frame that decides the colours in a box of it.

    It is as wide or as high as the frame where chroma does not divide that side: swscale stretches such chroma.
    """
    kind = frame.format
    left, top, right, bottom = box
    x0, x1 = _grown(left, right, frame.width, _GRID // kind.chroma_width(_GRID))
    y0, y1 = _grown(top, bottom, frame.height, _GRID // kind.chroma_height(_GRID))
    return x0, y0, x1, y1


def _grown(low: int, high: int, side: int, step: int) -> tuple[int, int]:
    """A span on a side of a frame, grown by a margin. step: pixels along this side that share a value of chroma."""
    if side % step:
        return 0, side
    return max((low - _GRID) // _GRID * _GRID, 0), min(-(-(high + _GRID) // _GRID) * _GRID, side)


def cropped(frame: VideoFrame, box: Box) -> VideoFrame:
    """A part of a frame with the frame's properties, such as where its chroma lies. It keeps the frame's memory alive.

    box: a result of `around`. The format is another one where FFmpeg cannot crop the frame's own.
    """
    left, top, right, bottom = box
    kind = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1"
    colours = f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add("buffer", f"{kind}:{colours}"),
        graph.add("crop", f"w={right - left}:h={bottom - top}:x={left}:y={top}:exact=1"),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(frame)
    return graph.vpull()
