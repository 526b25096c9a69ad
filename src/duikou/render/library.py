"""The lips of a track's frames: kept compressed, and measured for properties that landmarks do not have.

One pass over the clip serves both the choice of exemplars and the painting with them. The crop of a mouth takes about
30 kB a frame at 1080p, so a minute of crops fits into memory; a minute of frames would not.
"""

from __future__ import annotations

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, IntArray
from duikou.render import interior, mesh, opening
from duikou.render.compose import LIP_FEATHER, LIP_MARGIN
from duikou.render.mouth import Plane, Source
from duikou.render.opening import Opening, picked
from duikou.render.warp import Region

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

EACH = 8
"""Depth of shadows, blur and grain are measured in every eighth added row: they hardly change."""

CALM_FRAMES = 5
"""Frames over which the edges of lips and teeth are made calm by a median."""


class Library:
    """The crops of a track's rows and their measures.

    skin, mouth: colours (N, K, 3) and (N, L, 3) as CIE L, a, b (0 to 255). bared: (N,) height of the teeth visible
    between the lips, in eye distances. landmarks: (N, 478, 3) in pixels. Rows that were not added have no crop, and
    zeros.
    """

    def __init__(self, landmarks: Float32Array) -> None:
        self._landmarks = landmarks
        self._crops: dict[int, tuple[Region, Image]] = {}
        self.skin = np.zeros((len(landmarks), len(SKIN), 3), np.float32)
        self.mouth = np.zeros((len(landmarks), len(_mouth_places(np.zeros((478, 2)))), 3), np.float32)
        self._cheeks: dict[int, Float64Array] = {}  # of rows that show teeth
        self._depths: list[float] = []
        self._blurs: list[float] = []
        self._grains: list[float] = []
        self.bared = np.zeros(len(landmarks))
        self._openings: dict[int, Opening] = {}

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

    @property
    def grain(self) -> float:
        """Grain of the picture, in levels; see `interior.grain`."""
        return float(np.median(self._grains)) if self._grains else 0.0

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
            found = self._openings[row] = opening.find(crop, places)
            self.bared[row] = found.bared
            if found.has_upper or found.has_lower:
                self._cheeks[row] = interior.Light.on(image, points).skin
            if len(self._crops) % EACH == 1:
                depth, blur = interior.shadow_depth(image, points), interior.edge_blur(image, points)
                self._depths += [] if depth is None else [depth]
                self._blurs += [] if blur is None else [blur / unit]
                grain = interior.grain(image, points)
                self._grains += [] if grain is None else [grain]

    def source(self, row: int, gap: float, jaw: float, plane: Plane) -> Source:
        """An added row as a source, in the pixels of its crop. gap, jaw: see `Source`. plane: of the teeth in the
        frame.
        """
        region, packed = self._crops[row]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        corner = np.array([region.x0, region.y0], np.float64)
        points = self._landmarks[row, :, :2].astype(np.float64) - corner
        return Source(image, points, gap, jaw, plane.seen_from(corner), self._opening(row))

    def light(self, row: int) -> interior.Light:
        """The light on the face in an added row that shows teeth."""
        return interior.Light(self._cheeks[row], self.depth)

    def best_teeth(self, count: int) -> IntArray:
        """Up to `count` added rows that show most of the teeth, from different times."""
        shown = sorted(self._cheeks)
        parts = np.array_split(np.array(shown, np.int64), min(count, len(shown))) if shown else []
        return np.array([part[self.bared[part].argmax()] for part in parts], np.int64)

    def _opening(self, row: int) -> Opening:
        """The opening in an added row, calm over the added rows around it."""
        around = range(row - CALM_FRAMES // 2, row + CALM_FRAMES // 2 + 1)
        return opening.calm([self._openings[one] for one in around if one in self._openings], self._openings[row])


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
    return picked(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (places + 0.5) * scale - 0.5)
