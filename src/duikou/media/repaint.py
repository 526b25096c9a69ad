"""Puts what was painted on tone-mapped images into the planes of the source, which have more bits and other colours.

A whole image has too few bits to become a frame with high dynamic range again. So each frame keeps its planes, and only
what was painted changes them, by as much as it changed the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from av.video.frame import VideoFrame

from duikou.arrays import Float32Array, Image, Image16
from duikou.media.hdr import MAX_CODE, Tone
from duikou.media.picture import Converter, Picture, bgr_to_yuv, view16

_BITS: Final = 10
_GRAIN: Final = 4
"""Codes of 10 bits by which planes differ from their 8-bit image through rounding alone, at most."""
_FADED: Final = 16
"""Grey levels of a change that leaves nothing of light and colours outside the range of the image."""


class Repainter:
    """Makes frames of `encoded`, 10-bit YUV with high dynamic range, from frames of `stored` and painted images."""

    def __init__(self, stored: Picture, encoded: Picture) -> None:
        tone = encoded.tone
        assert tone is not None
        self._tone: Tone = tone
        self._stored, self._encoded = stored, encoded
        self._converter = Converter(stored)
        self._to_yuv = bgr_to_yuv(encoded, _BITS) * [255, 255, 255, 1]
        self._half = encoded.pixel_format == "yuv420p10le"

    def copied(self, frame: VideoFrame) -> VideoFrame:
        """A decoded frame, upright."""
        if self._stored.passes(frame, self._encoded):
            return frame
        return self._frame(self._planes(frame))

    def painted(self, frame: VideoFrame, before: Image, after: Image) -> VideoFrame:
        """A decoded frame, upright, changed as `after` (H, W, 3) differs from `before`, its own tone-mapped image."""
        planes = self._planes(frame)
        changed = before != after
        rows, columns = np.flatnonzero(changed.any((1, 2))), np.flatnonzero(changed.any((0, 2)))
        if len(rows):
            # Whole pixels of chroma, which cover 2 x 2 pixels of luma.
            (top, bottom), (left, right) = ((one[0] // 2, one[-1] // 2 + 1) for one in (rows, columns))
            parts = [
                plane[2 * top // step : 2 * bottom // step, 2 * left // step : 2 * right // step]
                for plane, step in zip(planes, self._steps, strict=True)
            ]
            place = np.s_[2 * top : 2 * bottom, 2 * left : 2 * right]
            self._change(parts, before[place], after[place])
        return self._frame(planes)

    def _change(self, planes: Sequence[Image16], before: Image, after: Image) -> None:
        """Change parts of the planes in place.

        What the planes show beyond the image's 8 bits stays on top of the change. Light and colours outside the range
        of the image fade as the change grows.
        """
        old, new = (self._yuv(self._tone.coded(image)) for image in (before, after))
        change = np.abs(after.astype(np.int16) - before).max(-1).astype(np.float32)
        fading = np.minimum(change / _FADED, 1)
        for plane, was, wanted, step in zip(planes, old, new, self._steps, strict=True):
            beyond = plane - was
            outside = beyond - np.clip(beyond, -_GRAIN, _GRAIN)
            faded = outside * (_halved(fading) if step == 2 else fading)
            plane[:] = np.clip(np.rint(wanted + beyond - faded), 0, MAX_CODE)

    def whole(self, image: Image) -> VideoFrame:
        """The frame of an upright tone-mapped image (H, W, 3), for want of its planes."""
        planes = self._yuv(self._tone.coded(image))
        return self._frame([np.clip(np.rint(plane), 0, MAX_CODE).astype(np.uint16) for plane in planes])

    @property
    def _steps(self) -> tuple[int, int, int]:
        """Pixels along each side that share one value of luma, Cb and Cr."""
        return (1, 2, 2) if self._half else (1, 1, 1)

    def _yuv(self, coded: Float32Array) -> list[Float32Array]:
        """Luma, Cb and Cr in codes of 10 bits for R'G'B' (H, W, 3) of 0 to 1."""
        planes = cv2.split(cv2.transform(coded, self._to_yuv))
        return [
            _halved(np.asarray(plane, np.float32)) if step == 2 else np.asarray(plane, np.float32)
            for plane, step in zip(planes, self._steps, strict=True)
        ]

    def _planes(self, frame: VideoFrame) -> list[Image16]:
        """Copies of the planes of a decoded frame, upright."""
        made = self._converter.reformatted(frame, self._encoded.pixel_format)
        return [self._stored.orientation.upright(view16(plane)).copy() for plane in made.planes]

    def _frame(self, planes: Sequence[Image16]) -> VideoFrame:
        picture = self._encoded
        frame = VideoFrame(picture.width, picture.height, picture.pixel_format)
        for made, plane in zip(frame.planes, planes, strict=True):
            view16(made)[:] = plane
        frame.color_range = picture.yuv_range
        return frame


def _halved(plane: Float32Array) -> Float32Array:
    """The means of 2 x 2 pixels."""
    size = plane.shape[1] // 2, plane.shape[0] // 2
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)
