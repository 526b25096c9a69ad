"""Makes the frames that an encoder takes from frames of the source and what was painted on them.

A frame keeps its planes, and only what was painted changes them, by as much as it changed the image. So nothing outside
a patch differs from the source by a single value. Going through a whole image in BGR would cost more than the mouth,
change every pixel a little, and lose the bits of high dynamic range.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, cast

import cv2
import numpy as np
from av.video.frame import VideoFrame

from duikou.arrays import Float32Array, Image, Image16
from duikou.media.crop import Box
from duikou.media.decode import Frame
from duikou.media.picture import Converter, Orientation, Picture, bgr_to_yuv, halved, view, view16

_GRAIN: Final = 1
"""Levels of 8 bits by which planes differ from their 8-bit image through rounding alone, at most."""
_FADED: Final = 16
"""Levels of a change that leaves nothing of light and colours outside the range of the image."""
_BAND: Final = 1 << 16
"""Pixels that are changed at a time: few enough to stay in a processor's cache."""

_OURS: Final = "made by a repainter"
"""Mark of a frame whose memory may be used again: the system clears the pages of new memory, which takes much longer
than to copy a picture."""

Planes = Sequence[Image | Image16]


class Repainter:
    """Makes frames of `encoded` from frames of `stored`, on any thread."""

    def __init__(self, stored: Picture, encoded: Picture) -> None:
        self._stored, self._encoded = stored, encoded
        self._converter = Converter(stored)
        self._bits, self._tone = encoded.bits, encoded.tone
        # R'G'B' that is tone-mapped to another range is 0 to 1, other pixels are 0 to 255.
        self._to_yuv = bgr_to_yuv(encoded, self._bits) * (1 if self._tone is None else [255, 255, 255, 1])
        self._steps = (1, 2, 2) if encoded.pixel_format.startswith("yuv420p") else (1, 1, 1)
        self._keeps_planes = stored.is_hdr == encoded.is_hdr
        self._spare: SimpleQueue[VideoFrame] = SimpleQueue()

    def made(self, frame: Frame) -> VideoFrame:
        """The encoder's frame. It is the stored frame itself where nothing was painted and its format allows."""
        if frame.stored is None or not self._keeps_planes:
            return self.whole(frame.image)
        if not frame.patches and self._stored.passes(frame.stored, self._encoded):
            return frame.stored
        made = self._copy(frame.stored)
        planes = self._views(made)
        shown = frame.bare
        for patch in frame.patches:
            left, top, right, bottom = box = self._covering(patch.box)
            before, shown = shown.part(box), shown.painted(patch)
            after, step = shown.part(box), max(self._steps)
            rows = max(_BAND // (right - left) // step, 1) * step
            for y0 in range(top, bottom, rows):
                y1 = min(y0 + rows, bottom)
                parts = [
                    plane[y0 // step : y1 // step, left // step : right // step]
                    for plane, step in zip(planes, self._steps, strict=True)
                ]
                self._change(parts, before[y0 - top : y1 - top], after[y0 - top : y1 - top])
        return made

    def take_back(self, frame: VideoFrame) -> None:
        """Take a frame that nobody needs any more, and use its memory for another one if it was made here."""
        if frame.opaque == _OURS:
            self._spare.put(frame)

    def drop_spare(self) -> None:
        """Free the memory that was kept for other frames: before work that needs memory and makes none."""
        with suppress(Empty):
            while True:
                self._spare.get_nowait()

    def whole(self, image: Image) -> VideoFrame:
        """The frame of an upright image (H, W, 3), for want of its planes."""
        frame = self._new()
        for plane, wanted in zip(self._views(frame), self._yuv(image), strict=True):
            plane[:] = self._rounded(wanted)
        return frame

    def _change(self, planes: Planes, before: Image, after: Image) -> None:
        """Change parts of the planes in place.

        What the planes show beyond the image's 8 bits stays on top of the change. Light and colours outside the range
        of the image fade as the change grows.
        """
        blue, green, red = cv2.split(cv2.absdiff(before, after))
        change = np.maximum(np.maximum(blue, green), red)
        if not change.any():
            return
        old, new = self._yuv(before), self._yuv(after)
        fading = np.minimum(change, _FADED) * np.float32(1 / _FADED)
        fadings, grain = {2: halved(fading), 1: fading}, _GRAIN << (self._bits - 8)
        for plane, was, wanted, step in zip(planes, old, new, self._steps, strict=True):
            beyond = plane - was
            np.add(wanted, beyond, out=wanted)
            if cv2.norm(beyond, cv2.NORM_INF) > grain:
                beyond -= np.clip(beyond, -grain, grain)
                beyond *= fadings[step]
                np.subtract(wanted, beyond, out=wanted)
            plane[:] = self._rounded(wanted)

    def _covering(self, box: Box) -> Box:
        """The smallest box around another one that holds whole values of chroma."""
        left, top, right, bottom = box
        step = max(self._steps)
        return left // step * step, top // step * step, -(-right // step) * step, -(-bottom // step) * step

    def _yuv(self, image: Image) -> list[Float32Array]:
        """Luma, Cb and Cr of an image (H, W, 3) in codes of the encoder's bits, not rounded."""
        coded = image.astype(np.float32) if self._tone is None else self._tone.coded(image)
        planes = [np.asarray(cv2.transform(coded, row[None]), np.float32) for row in self._to_yuv]
        return [halved(plane) if step == 2 else plane for plane, step in zip(planes, self._steps, strict=True)]

    def _rounded(self, plane: Float32Array) -> Float32Array:
        """The values of a plane, which become such that it can hold them."""
        np.rint(plane, out=plane)
        return np.clip(plane, 0, (1 << self._bits) - 1, out=plane)

    def _copy(self, stored: VideoFrame) -> VideoFrame:
        """A copy of a decoded frame, upright."""
        made = stored
        if not self._stored.passes(stored, self._encoded):
            made = self._converter.reformatted(stored, self._encoded)
        copy = self._new()
        orientation = self._stored.orientation
        for plane, given, step in zip(self._views(copy), self._views(made), self._steps, strict=True):
            upright = orientation.upright if step == 1 else orientation.upright_chroma
            plane[:] = given if orientation == Orientation() else upright(cast("Image", given))
        return copy

    def _new(self) -> VideoFrame:
        """A frame with any values."""
        picture = self._encoded
        try:
            frame = self._spare.get_nowait()
        except Empty:
            frame = VideoFrame(picture.width, picture.height, picture.pixel_format)
            frame.color_range, frame.opaque = picture.yuv_range, _OURS
        frame.make_writable()  # no encoder shares its memory
        return frame

    def _views(self, frame: VideoFrame) -> list[Image | Image16]:
        """Views of a frame's planes."""
        return [(view if self._bits == 8 else view16)(plane) for plane in frame.planes]
