"""Face detection with Google's full-range detector (BlazeFace, arXiv:1907.05047), on frames and on tiles.

The network's input has 192 pixels, whatever the frame's size; a face of 9 input pixels scores about 0.6. Large frames
are therefore searched in overlapping tiles as well, so that every face with a usable mouth is large enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from duikou.arrays import Float32Array
from duikou.faces.landmarks import MARGIN, Roi
from duikou.faces.networks import detector_network
from duikou.media.pixels import Pixels, RgbImage

INPUT_PX = 192  # side of the network's input
STRIDE_PX = 4  # one anchor for each 4 x 4 input pixels
MIN_SCORE = 0.5  # MediaPipe's default
SAME_FACE_IOU = 0.3  # MediaPipe's default: boxes that overlap more are the same face
SAMPLES = (
    3  # least number of frame pixels averaged along each side of an input pixel: finds the same faces as all of them
)
SURE_SCORE = 0.85  # turned by 90 to 270 degrees faces score up to 0.82, with eyes in wrong places
MAX_LEAN = math.radians(45)  # a face that leans less is upright to the network, and its eyes are in their places
NEAR = 2.0  # side of the picture of a closer look, over the side of the face's region: scores differ most there
QUARTER_TURN = np.array([[0, -1], [1, 0]], np.float32)  # from x towards y: clockwise in a picture
EYES = (0, 1)  # keypoints: left and right as the picture shows an upright face


@dataclass(frozen=True)
class Tiling:
    """How large frames are cut into tiles: longest side of a tile, and how far tiles overlap at least, in pixels.

    The overlap is wider than the largest face that only tiles find, so that each face lies completely in one tile.
    """

    side_px: int
    overlap_px: int

    def starts(self, side: int) -> list[int]:
        """Start of each tile along a side of the frame, evenly spread."""
        if side <= self.side_px:
            return [0]
        count = math.ceil((side - self.overlap_px) / (self.side_px - self.overlap_px))
        return [round(index * (side - self.side_px) / (count - 1)) for index in range(count)]


TILING = Tiling(1280, 240)
"""A face of 90 px has 13 input pixels on such a tile, and scores above 0.7."""


@dataclass(frozen=True)
class Detection:
    """One face of one frame.

    box: left, top, right, bottom in pixels. score: 0 to 1.
    keypoints: (6, 2) pixels: left eye, right eye, nose tip, mouth, left ear, right ear; left and right are those of the
        picture after it is turned so that the face is upright.
    """

    box: tuple[float, float, float, float]
    score: float
    keypoints: Float32Array

    @property
    def roi(self) -> Roi:
        """The region for the landmarker (MediaPipe's `face_detection_front_detection_to_roi.pbtxt`)."""
        left, top, right, bottom = self.box
        across = self.keypoints[EYES[1]] - self.keypoints[EYES[0]]
        size = MARGIN * max(right - left, bottom - top)
        return Roi((left + right) / 2, (top + bottom) / 2, size, math.atan2(float(across[1]), float(across[0])))


class Detector:
    """Finds faces. Holds one interpreter: one object per thread."""

    def __init__(self) -> None:
        self._network = detector_network()
        cells = INPUT_PX // STRIDE_PX
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        self._anchors = ((np.stack([columns, rows], 1) + 0.5) * STRIDE_PX).astype(np.float32)

    def find(self, frame: Pixels, *, tiles: bool = True, quarters: int = 0, tiling: Tiling = TILING) -> list[Detection]:
        """The faces of a frame, best first; `tiles=False` searches only the whole frame.

        quarters: quarter turns, clockwise, from upright to the faces that are wanted. The network finds those within
        45 degrees best. tiling: of a frame that is larger than one tile.
        """
        width, height = frame.size
        found = self._look(frame, (0, 0, width, height), quarters)
        if tiles and max(width, height) > tiling.side_px:
            for top in tiling.starts(height):
                for left in tiling.starts(width):
                    tile = (left, top, min(left + tiling.side_px, width), min(top + tiling.side_px, height))
                    found += self._look(frame, tile, quarters)
        return _distinct(found)

    def upright(self, frame: Pixels, found: Detection) -> Detection:
        """The same face with the eyes where they are, by a closer look in four directions if its score leaves doubt.

        The eyes of a face that lies or is upside down are often found where an upright face would have them, and the
        landmarker then places all its points wrongly, with full confidence.
        """
        if found.score >= SURE_SCORE:
            return found
        width, height = frame.size
        reach = NEAR * found.roi.size / 2
        left, right = (round(min(max(found.roi.x + side, 0), width)) for side in (-reach, reach))
        top, bottom = (round(min(max(found.roi.y + side, 0), height)) for side in (-reach, reach))
        if right <= left or bottom <= top:
            return found
        looks = [one for quarters in range(4) for one in self._look(frame, (left, top, right, bottom), quarters)]
        same = [one for one in looks if overlap(one.box, found.box) > SAME_FACE_IOU]
        best = max(same, key=lambda one: one.score, default=found)
        return best if max(abs(best.roi.angle), abs(found.roi.angle)) > MAX_LEAN else found

    def _look(self, frame: Pixels, tile: tuple[int, int, int, int], quarters: int) -> list[Detection]:
        """Faces of one tile (left, top, right, bottom) of the frame, as in `find`."""
        left, top, right, bottom = tile
        scale = INPUT_PX / max(right - left, bottom - top)
        size = max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1)
        picture = np.rot90(frame.reduced(tile, size, SAMPLES), quarters)
        outputs = self._network(_letterboxed(picture))
        raw = outputs["reshaped_regressor_face_4"][0]
        scores = _sigmoid(outputs["reshaped_classifier_face_4"][0, :, 0])
        strong = np.flatnonzero(scores >= MIN_SCORE)
        points = raw[strong].reshape(-1, 8, 2)  # centre, extent, six keypoints
        turn = np.linalg.matrix_power(QUARTER_TURN, quarters)
        extents = points[:, 1] @ np.abs(turn).T / scale
        turned_middle, middle = np.array([picture.shape[1::-1], size], np.float32) / 2
        places = (points + self._anchors[strong][:, None] - turned_middle) @ turn.T + middle
        places = places / scale + np.array([left - 0.5, top - 0.5], np.float32)
        return [
            Detection(
                (*(place[0] - extent / 2).tolist(), *(place[0] + extent / 2).tolist()), float(score), place[2:].copy()
            )
            for place, extent, score in zip(places, extents, scores[strong], strict=True)
            if extent.min() > 0
        ]


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def _distinct(found: list[Detection]) -> list[Detection]:
    """Non-maximum suppression: the best of each cluster of boxes."""
    kept: list[Detection] = []
    for detection in sorted(found, key=lambda one: -one.score):
        if all(overlap(detection.box, other.box) < SAME_FACE_IOU for other in kept):
            kept.append(detection)
    return kept


def _letterboxed(image: RgbImage) -> Float32Array:
    """(192, 192, 3) RGB from -1 to 1; the image in the top left corner, black around it."""
    tensor = np.full((INPUT_PX, INPUT_PX, 3), -1, np.float32)
    tensor[: image.shape[0], : image.shape[1]] = image * np.float32(2 / 255) - 1
    return tensor


def _sigmoid(logits: Float32Array) -> Float32Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))), np.float32)
