"""The lips of a track's frames: kept compressed, and measured for properties that landmarks do not have.

One pass over the clip serves both the choice of exemplars and the painting with them. The crop of a mouth takes about
30 kB a frame at 1080p, so a minute of crops fits into memory; a minute of frames would not.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image
from duikou.render import interior, mesh
from duikou.render.compose import LIP_FEATHER, LIP_MARGIN, Source
from duikou.render.warp import Region, mouth_frame

JPEG_QUALITY = 98
"""Quality of the compressed crops; their loss is below that of the video."""

CROP_MARGIN = 2.2 * (LIP_MARGIN + LIP_FEATHER)
"""Margin around the lips, in eye distances: an exemplar of narrow lips also serves where wide lips are wanted."""

LOOK_PX = 40
"""Eye distance, in pixels, at which colours are compared: light and teeth count, pores and noise do not."""

SKIN = (*mesh.UNDER_NOSE, *mesh.UPPER_CHEEKS[:14], *mesh.LOWER_CHEEKS[:14], *mesh.CHIN[:3], 199)
"""Points at which the light on the skin around the mouth is measured."""

ON_LIPS = (*mesh.UPPER_MIDDLE[2:-2], *mesh.LOWER_MIDDLE[2:-2])
BETWEEN = np.array([0.1, 0.5, 0.9])
"""Positions between the inner lips, from upper to lower, at which the inside of the mouth is measured."""


BARED_REACH, BARED_STEPS = 0.02, 17
"""How far beyond the landmarks of the inner lips teeth are searched, in eye distances, and at how many positions."""

PALE = (0.2, 0.6)
"""Missing share of the lips' redness at which a tooth becomes possible, and at which it is certain."""

NEUTRAL, MIN_REDNESS = 128, 8
"""The a channel of grey, and the least redness assumed for lips."""

DARK = 12
"""Pixels darker than the lips by this much (of 255) are shadow or throat, not teeth."""


class Library:
    """The crops of a track's rows and their measures.

    skin, mouth: colours (N, K, 3) and (N, L, 3) as CIE L, a, b (0 to 255). bared: (N,) height of the teeth visible
    between the lips, in eye distances. filled: (N,) share of the opening that they fill from above. landmarks:
    (N, 478, 3) in pixels. Rows that were not added have no crop, and zeros.
    """

    def __init__(self, landmarks: Float32Array) -> None:
        self._landmarks = landmarks
        self._crops: dict[int, tuple[Region, Image]] = {}
        self.skin = np.zeros((len(landmarks), len(SKIN), 3), np.float32)
        self.mouth = np.zeros((len(landmarks), len(_mouth_places(np.zeros((478, 2)))), 3), np.float32)
        self._depths: list[float] = []
        self._blurs: list[float] = []
        self.bared = np.zeros(len(landmarks))
        self.filled = np.zeros(len(landmarks))

    @property
    def inside(self) -> Float32Array:
        """(N, 3) mean colour between the inner lips."""
        return np.asarray(self.mouth[:, len(ON_LIPS) :].mean(1), np.float32)

    @property
    def kept(self) -> BoolArray:
        """(N,) whether a row has a crop."""
        return np.isin(np.arange(len(self._landmarks)), list(self._crops))

    @property
    def depth(self) -> float:
        """Depth of the shadows on this face; see `interior.shadow_depth`."""
        return float(np.median(self._depths)) if self._depths else interior.USUAL_DEPTH

    @property
    def blur(self) -> float:
        """Blur of the hardest edges of this face, in eye distances; see `interior.edge_blur`."""
        return float(np.median(self._blurs)) if self._blurs else 0.0

    def add(self, row: int, image: Image) -> None:
        """Add the lips of a track row from its frame. Does nothing if they lie outside the picture."""
        points = self._landmarks[row, :, :2].astype(np.float64)
        face = Region.of(points, image.shape[1], image.shape[0])
        if face is None:
            return
        unit = float(mesh.eye_distance(points))
        region = Region.around_lips(points, CROP_MARGIN * unit, face)
        crop = region.cut(image)
        options = [
            *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ]
        done, packed = cv2.imencode(".jpg", crop, options)
        if done:
            self._crops[row] = (region, packed)
            places = points - [region.x0, region.y0]
            self.skin[row] = _colours(crop, places[list(SKIN)], unit)
            self.mouth[row] = _colours(crop, _mouth_places(places), unit)
            self.bared[row], self.filled[row] = teeth(crop, places)
            depth, blur = interior.shadow_depth(image, points), interior.edge_blur(image, points)
            self._depths += [] if depth is None else [depth]
            self._blurs += [] if blur is None else [blur / unit]

    def source(self, row: int, gap: float) -> Source:
        """An added row as a source, in the pixels of its crop."""
        region, packed = self._crops[row]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        points = self._landmarks[row, :, :2].astype(np.float64) - [region.x0, region.y0]
        return Source(image, points, gap, float(self.filled[row]))


def teeth(image: Image, points: Float64Array) -> tuple[float, float]:
    """Measure the visible teeth of a picture with landmarks (478, 2): their height in eye distances, and the share of
    the opening that they fill from above, which is 1 if none are visible.

    Teeth are the pixels between the lips that are less red than the lips and not dark. Landmarks alone do not suffice:
    they also call a mouth closed that shows a thin line of teeth.
    """
    unit = float(mesh.eye_distance(points))
    upper, lower = points[list(mesh.UPPER_INNER[3:-3])], points[list(mesh.LOWER_INNER[3:-3])]
    height = np.linalg.norm(lower - upper, axis=1)
    half = height / 2 + BARED_REACH * unit
    way = np.linspace(-1, 1, BARED_STEPS)[:, None, None] * half[:, None] * mouth_frame(points)[2]
    rims, cores = (
        [*mesh.UPPER_OUTER[3:-3], *mesh.LOWER_OUTER[3:-3]],
        [*mesh.UPPER_MIDDLE[3:-3], *mesh.LOWER_MIDDLE[3:-3]],
    )
    lips = _picked(image, (points[rims] + points[cores]) / 2)
    light, red = np.median(lips, axis=0)[:2]
    found = _picked(image, ((upper + lower) / 2 + way).reshape(-1, 2))
    lost = (red - found[:, 1]) / max(red - NEUTRAL, MIN_REDNESS)
    pale = np.clip((lost - PALE[0]) / (PALE[1] - PALE[0]), 0, 1) * (found[:, 0] > light - DARK)
    pale = pale.reshape(BARED_STEPS, -1)
    seen = (pale > 0).any(0) & (height > 0)
    last = np.linspace(1, -1, BARED_STEPS)[(pale[::-1] > 0).argmax(0)]
    ends = (last[seen] * half[seen] + height[seen] / 2) / height[seen]
    filled = float(np.clip(np.percentile(ends, 90), 0, 1)) if seen.any() else 1.0
    return float((pale.mean(0) * 2 * half).mean() / unit), filled


def _mouth_places(points: Float64Array) -> Float64Array:
    """Positions (L, 2) on the lips and between them, for landmarks (478, 2)."""
    upper, lower = points[list(mesh.UPPER_INNER[2:-2])], points[list(mesh.LOWER_INNER[2:-2])]
    between = [upper + share * (lower - upper) for share in BETWEEN]
    return np.vstack([points[list(ON_LIPS)], *between])


def _colours(image: Image, places: Float64Array, unit: float) -> Float32Array:
    """Colours (K, 3), CIE L, a, b, of a picture at positions (K, 2), shrunk to `LOOK_PX` pixels per eye distance."""
    rows, columns = image.shape[:2]
    shrink = min(LOOK_PX / unit, 1.0)
    size = max(round(columns * shrink), 1), max(round(rows * shrink), 1)
    scale = np.array([size[0] / columns, size[1] / rows])
    return _picked(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (places + 0.5) * scale - 0.5)


def _picked(image: npt.ArrayLike, places: Float64Array) -> Float32Array:
    """CIE L, a, b (K, 3), 0 to 255, of a BGR picture at positions (K, 2)."""
    x, y = places.astype(np.float32).T[:, None]
    picked = cv2.remap(np.asarray(image), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(picked, cv2.COLOR_BGR2LAB), np.float32).reshape(len(places), 3)
