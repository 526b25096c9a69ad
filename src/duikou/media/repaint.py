"""Puts what was painted on tone-mapped images into the planes of the source, which have more bits and other colours.

A whole image has too few bits to become a frame with high dynamic range again. So each frame keeps its planes, and only
the difference between what was painted and what was there is added to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from av.video.frame import VideoFrame

from duikou.arrays import Float32Array, Image, Image16
from duikou.media.hdr import MAX_CODE, Tone
from duikou.media.picture import Converter, Picture, bgr_to_yuv, view

_BITS = 10


class Repainter:
    """Makes frames of `encoded`, 10-bit YUV with high dynamic range, from frames of `stored` and painted images."""

    def __init__(self, stored: Picture, encoded: Picture) -> None:
        tone = encoded.tone
        assert tone is not None
        self._tone: Tone = tone
        self._stored, self._encoded = stored, encoded
        self._converter = Converter(stored)
        self._to_yuv = bgr_to_yuv(encoded, _BITS)
        self._half = encoded.pixel_format == "yuv420p10le"

    def copied(self, frame: VideoFrame) -> VideoFrame:
        """A decoded frame, upright."""
        if self._stored.passes(frame, self._encoded):
            return frame
        return self._frame(self._planes(frame))

    def painted(self, frame: VideoFrame, before: Image, after: Image) -> VideoFrame:
        """A decoded frame, upright, changed as `after` (H, W, 3) differs from `before`, its own tone-mapped image."""
        planes = self._planes(frame)
        rows, columns = (np.flatnonzero(np.any(before != after, axis=axes)) for axes in ((1, 2), (0, 2)))
        if len(rows):
            # Whole pixels of chroma, which cover 2 x 2 pixels of luma.
            top, left, bottom, right = (
                rows[0] // 2 * 2,
                columns[0] // 2 * 2,
                rows[-1] // 2 * 2 + 2,
                columns[-1] // 2 * 2 + 2,
            )
            part = np.s_[top:bottom, left:right]
            change = (self._tone.coded(after[part]) - self._tone.coded(before[part])) * np.float32(255)
            for plane, added, step in zip(planes, self._differences(change), self._steps, strict=True):
                place = plane[top // step : bottom // step, left // step : right // step]
                place[:] = np.clip(np.rint(place + added), 0, MAX_CODE)
        return self._frame(planes)

    def whole(self, image: Image) -> VideoFrame:
        """The frame of an upright tone-mapped image (H, W, 3), for want of its planes."""
        parts = self._differences(self._tone.coded(image) * np.float32(255))
        planes = [np.rint(part + offset) for part, offset in zip(parts, self._to_yuv[:, 3], strict=True)]
        return self._frame([np.clip(plane, 0, MAX_CODE).astype(np.uint16) for plane in planes])

    @property
    def _steps(self) -> tuple[int, int, int]:
        """Pixels along each side that share one value of luma, Cb and Cr."""
        return (1, 2, 2) if self._half else (1, 1, 1)

    def _differences(self, bgr: Float32Array) -> list[Float32Array]:
        """Differences of luma, Cb and Cr for differences of R'G'B' (H, W, 3) in units of 1/255."""
        luma, blue, red = cv2.split(cv2.transform(bgr, self._to_yuv[:, :3]))
        if self._half:
            size = luma.shape[1] // 2, luma.shape[0] // 2
            blue, red = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (blue, red))
        return [np.asarray(one, np.float32) for one in (luma, blue, red)]

    def _planes(self, frame: VideoFrame) -> list[Image16]:
        """Copies of the planes of a decoded frame, upright."""
        made = self._converter.reformatted(frame, self._encoded.pixel_format)
        return [self._stored.orientation.upright(view(plane, np.uint16)).copy() for plane in made.planes]

    def _frame(self, planes: Sequence[Image16]) -> VideoFrame:
        picture = self._encoded
        frame = VideoFrame(picture.width, picture.height, picture.pixel_format)
        for made, plane in zip(frame.planes, planes, strict=True):
            view(made, np.uint16)[:] = plane
        frame.color_range = picture.yuv_range
        return frame
