"""The 478 landmarks of one face, given the approximate region of the face.

The region rule is MediaPipe's (`face_landmark_landmarks_to_roi.pbtxt`): a square around the points, rotated so that
the eyes are level, 1.5 times as large as the extent of the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from duikou.arrays import Float32Array, Float64Array, Image
from duikou.faces.appearance import colours
from duikou.faces.networks import landmark_network
from duikou.faces.track import POINTS
from duikou.media.pixels import Pixels, RgbImage

INPUT_PX = 256  # side of the network's input
MARGIN = 1.5  # side of the region over the extent of the points (MediaPipe's rule)
INDEX_OFFSET_PX = 0.5
"""The network counts from a pixel's corner, duikou from its centre (mirrored inputs sum to 256, not 255)."""

EYES = (33, 263)  # outer eye corners: image left, image right
MIN_ROI_PX = 4.0  # below it there is nothing to measure and the warp degenerates


@dataclass(frozen=True)
class Roi:
    """A square region of a frame: centre and side in pixels, `angle` in radians from the x axis towards y."""

    x: float
    y: float
    size: float
    angle: float

    def to_frame(self) -> Float64Array:
        """(2, 3) affine map from the network's input pixels to pixels of the frame."""
        scale = self.size / INPUT_PX
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        turn = np.array([[cos, -sin], [sin, cos]])
        # Pixel centres have integer coordinates in both images, so the middle of the input is at (side - 1) / 2.
        middle = (INPUT_PX - 1) / 2
        return np.column_stack([turn, np.array([self.x, self.y]) - turn @ [middle, middle]])


def roi_of(landmarks: Float32Array) -> Roi:
    """The region to search for a face whose last known points are `landmarks` (478, 3)."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    x, y = (low + high) / 2
    eyes = landmarks[EYES[1], :2] - landmarks[EYES[0], :2]
    return Roi(float(x), float(y), MARGIN * float((high - low).max()), math.atan2(float(eyes[1]), float(eyes[0])))


@dataclass(frozen=True)
class Observation:
    """One face in one frame: landmarks and presence as `Landmarker.measure` returns them.

    colours: (478, 3) uint8 at its landmarks. sharpness: variance of the Laplacian in grey levels, at the scale of the
    network's input; 0 where it was not measured.
    """

    landmarks: Float32Array
    presence: float
    colours: Image
    sharpness: float


class Landmarker:
    """Measures faces. Holds one interpreter: one object per thread."""

    def __init__(self) -> None:
        self._network = landmark_network()

    def measure(self, frame: Pixels, roi: Roi) -> tuple[Float32Array, float]:
        """Points of the face in `roi` of a frame.

        Returns (478, 3) float32, x and y in frame pixels and z in the same unit, and the presence from 0 to 1. If the
        region shows no face, the points are meaningless and the presence is near 0.
        """
        _, points, presence = self._run(frame, roi)
        return _in_frame(points, roi), presence

    def observe(self, frame: Pixels, roi: Roi, *, sharpness: bool = False) -> Observation:
        """Like `measure`, with the face's colours. sharpness: whether to measure that too."""
        crop, points, presence = self._run(frame, roi)
        sharp = _sharpness(crop) if sharpness else 0.0
        return Observation(_in_frame(points, roi), presence, colours(crop, points[:, :2]), sharp)

    def _run(self, frame: Pixels, roi: Roi) -> tuple[RgbImage, Float64Array, float]:
        """The network's input, the points in input pixels, the presence."""
        if not math.isfinite(roi.x + roi.y + roi.size) or roi.size < MIN_ROI_PX:
            return np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8), np.zeros((POINTS, 3)), 0.0
        crop = frame.square(roi.to_frame(), INPUT_PX)
        outputs = self._network(np.multiply(crop, np.float32(1 / 255), dtype=np.float32))
        points = outputs["Identity"].reshape(POINTS, 3) - np.array([INDEX_OFFSET_PX, INDEX_OFFSET_PX, 0.0])
        return crop, points, _sigmoid(float(outputs["Identity_1"].item()))


def _sharpness(crop: RgbImage) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def _in_frame(points: Float64Array, roi: Roi) -> Float32Array:
    to_frame = roi.to_frame()
    xy = points[:, :2] @ to_frame[:, :2].T + to_frame[:, 2]
    return np.hstack([xy, points[:, 2:] * (roi.size / INPUT_PX)]).astype(np.float32)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -60.0), 60.0)))
