"""Cuts small RGB pictures out of large frames, and converts only the pixels that they need.

Converting a whole 1080p frame to BGR costs more than finding the landmarks of a face in it. Sampling and conversion are
both linear, so their order changes a picture only by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from av.video.frame import VideoFrame

from duikou.arrays import Float32Array, Float64Array, Image
from duikou.media.hdr import MAX_CODE, Tone
from duikou.media.picture import Converter, Orientation, Plane

RgbImage = Image
"""(H, W, 3) pixels, red green blue."""
Part = Image | Float32Array
"""Part of a plane, resampled."""

_BGR_TO_BGR = np.eye(3, 4)


class Pixels:
    """One upright frame, in the planes in which it is stored."""

    def __init__(
        self,
        planes: tuple[Plane, ...],
        size: tuple[int, int],
        orientation: Orientation,
        to_bgr: Float64Array,
        tone: Tone | None = None,
    ) -> None:
        """planes: (H, W) or (H, W, C) each, at the frame's stored size or at half of it (rounded up).

        size: width and height of the upright frame. to_bgr: (3, 4) affine map from the planes' channels to BGR.
        tone: of planes with high dynamic range.
        """
        self.size, self._tone = size, tone
        self._planes, self._orientation, self._to_rgb = planes, orientation, to_bgr[::-1]
        self._to_stored = orientation.to_stored(*size)
        self._black = np.linalg.solve(to_bgr[:, :3], -to_bgr[:, 3])

    @classmethod
    def of(cls, image: Image) -> Pixels:
        """The pixels of an upright BGR image (H, W, 3)."""
        return cls((image,), (image.shape[1], image.shape[0]), Orientation(), _BGR_TO_BGR)

    @classmethod
    def stored(cls, frame: VideoFrame, converter: Converter) -> Pixels:
        """The pixels of a decoded frame. They may refer to its memory and keep it alive."""
        picture = converter.picture
        return cls(converter.planes(frame), picture.size, picture.orientation, converter.to_bgr, picture.tone)

    def square(self, to_frame: Float64Array, side: int) -> RgbImage:
        """(side, side, 3) RGB of any square of the frame, black outside it. Large squares are averaged, not subsampled.

        to_frame: (2, 3) similarity from the result's pixels to the frame's: rotation, uniform scale and shift.
        """
        to_stored = _after(self._to_stored, to_frame)
        parts = []
        for plane, step, black in self._layers():
            to_plane = to_stored / step
            to_plane[:, 2] += 0.5 / step - 0.5  # pixels are counted from their centres
            parts.append(_sampled(plane, to_plane, side, black))
        return self._rgb(parts)

    def reduced(self, box: tuple[int, int, int, int], size: tuple[int, int], samples: int) -> RgbImage:
        """A box (left, top, right, bottom) of the frame, reduced to an RGB picture of `size` (width, height).

        samples: each pixel averages at least this many pixels of a larger plane along each side.
        """
        corners = np.array(box, np.float64).reshape(2, 2) - 0.5
        edges = corners @ self._to_stored[:, :2].T + self._to_stored[:, 2] + 0.5
        low, high = edges.min(0), edges.max(0)
        stored_size = size[::-1] if self._orientation.transpose else size
        parts = []
        for plane, step, _ in self._layers():
            left, top = np.floor(low / step).astype(int)
            right, bottom = np.ceil(high / step).astype(int)
            parts.append(_reduced(plane[top:bottom, left:right], stored_size, samples))
        return self._orientation.upright(self._rgb(parts))

    def _layers(self) -> Iterator[tuple[Plane, int, tuple[float, ...]]]:
        """Each plane, the sides of its pixels in pixels of the frame, and the values of black in its channels."""
        width = self.size[1] if self._orientation.transpose else self.size[0]
        channel = 0
        for plane in self._planes:
            channels = plane.shape[2] if plane.ndim == 3 else 1
            yield plane, 1 if plane.shape[1] == width else 2, tuple(self._black[channel : channel + channels])
            channel += channels

    def _rgb(self, parts: Sequence[Part]) -> RgbImage:
        """The RGB picture of the same part of every plane."""
        merged = parts[0] if len(parts) == 1 else cv2.merge(parts)
        if self._tone is not None:
            coded = cv2.transform(np.asarray(merged, np.float32), self._to_rgb[::-1]) * (MAX_CODE / 255)
            image = self._tone.sdr(np.clip(np.rint(coded), 0, MAX_CODE).astype(np.uint16))
            return np.ascontiguousarray(image[..., ::-1])
        found = cv2.transform(merged, self._to_rgb)
        return np.asarray(cv2.addWeighted(found, 1, found, 0, 0, dtype=cv2.CV_8U), np.uint8)  # rounded, clipped


def _after(second: Float64Array, first: Float64Array) -> Float64Array:
    """The affine map (2, 3) that applies `first`, then `second`."""
    both = second[:, :2] @ first
    both[:, 2] += second[:, 2]
    return both


def _sampled(plane: Plane, to_plane: Float64Array, side: int, black: tuple[float, ...]) -> Part:
    """A square of one plane, bilinear, in floats: rounding twice makes a still face's landmarks jitter by 5 %."""
    scale = math.hypot(to_plane[0, 0], to_plane[1, 0])
    # Bilinear sampling of a large square skips pixels; averaging first prevents noise and aliasing.
    shrink = max(int(scale), 1)
    middle = to_plane @ [(side - 1) / 2, (side - 1) / 2, 1]
    part, origin = _around(plane, middle, scale * side * math.sqrt(0.5) + shrink + 1, shrink)
    if not part.size:
        return np.full((side, side, *plane.shape[2:]), black if plane.ndim == 3 else black[0], np.float32)
    to_part = to_plane.copy()
    to_part[:, 2] -= origin + (shrink - 1) / 2
    to_part /= shrink
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(part, to_part, (side, side), flags=flags, borderValue=black), np.float32)


def _around(plane: Plane, middle: Float64Array, reach: float, shrink: int) -> tuple[Part, Float64Array]:
    """The part of a plane within `reach` of `middle`, `shrink` times smaller, and its top left corner in the plane."""
    height, width = plane.shape[:2]
    left, top = (max(int(low), 0) for low in middle - reach)
    right, bottom = min(int(middle[0] + reach) + 1, width), min(int(middle[1] + reach) + 1, height)
    columns, rows = (right - left) // shrink, (bottom - top) // shrink
    if columns < 1 or rows < 1:
        return np.zeros((0, 0), np.float32), np.zeros(2)
    part = plane[top : top + rows * shrink, left : left + columns * shrink]
    if shrink > 1:
        part = np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    return part.astype(np.float32), np.array([left, top], np.float64)


def _reduced(part: Plane, size: tuple[int, int], samples: int) -> Plane:
    """Part of a plane, averaged down to `size` (width, height)."""
    skip = max(part.shape[:2]) // (max(size) * samples)
    if skip > 1:  # averaging fewer pixels is four times as fast
        fewer = part.shape[1] // skip, part.shape[0] // skip
        part = np.asarray(cv2.resize(part, fewer, interpolation=cv2.INTER_NEAREST), np.uint8)
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
