"""The mouths of a track that may be lent: their crops, measured for properties that landmarks do not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, IntArray
from duikou.faces.track import FaceTrack
from duikou.parallel import in_order
from duikou.render import interior, mesh, opening
from duikou.render.closeups import Closeups
from duikou.render.mouth import Plane, Source
from duikou.render.opening import Opening, picked

LOOK_PX = 40
"""Eye distance, in pixels, at which colours are compared: light and teeth count, pores and noise do not."""

SKIN = (*mesh.UNDER_NOSE, *mesh.UPPER_CHEEKS[:14], *mesh.LOWER_CHEEKS[:14], *mesh.CHIN[:3], 199)
"""Points at which the light on the skin around the mouth is measured."""

ON_LIPS = (*mesh.UPPER_MIDDLE[2:-2], *mesh.LOWER_MIDDLE[2:-2])
BETWEEN = np.array([0.1, 0.5, 0.9])
"""Positions between the inner lips, from upper to lower, at which the inside of the mouth is measured."""

CALM_FRAMES = 5
"""Frames over which the edges of lips and teeth are made calm by a median."""


class Library:
    """The mouths of a track's rows.

    skin, mouth: colours (N, K, 3) and (N, L, 3) as CIE L, a, b (0 to 255). bared: (N,) height of the teeth visible
    between the lips, in eye distances. Rows that were not added have zeros.
    """

    def __init__(self, track: FaceTrack, shown: IntArray, closeups: Closeups, lending: BoolArray) -> None:
        """track: smoothed, with colours. shown: (N,) the frames that its rows show, by their numbers in the close-ups.

        lending: (N,) rows whose picture may be used.
        """
        self._track, self._shown = track, shown
        self._crops, self._overlays = dict(closeups.crops), closeups.overlays  # close-ups drop some of them later
        self._textures = [closeups.textures[frame] for frame in set(shown[lending].tolist()) & set(closeups.textures)]
        self.kept = np.zeros(len(track), bool)
        self.skin = np.zeros((len(track), len(SKIN), 3), np.float32)
        self.mouth = np.zeros((len(track), len(_mouth_places(np.zeros((478, 2)))), 3), np.float32)
        self.bared = np.zeros(len(track))
        self._openings: dict[int, Opening] = {}

    @property
    def inside(self) -> Float32Array:
        """(N, 3) mean colour between the inner lips."""
        return np.asarray(self.mouth[:, len(ON_LIPS) :].mean(1), np.float32)

    @property
    def depth(self) -> float:
        """Depth of the shadows on this face; see `interior.shadow_depth`."""
        return self._usual("depth", interior.USUAL_DEPTH)

    @property
    def blur(self) -> float:
        """Blur of the hardest edges of this face, in eye distances; see `interior.edge_blur`."""
        return self._usual("blur", 0.0)

    @property
    def grain(self) -> float:
        """Grain of the picture, in levels; see `interior.grain`."""
        return self._usual("grain", 0.0)

    def add(self, rows: IntArray) -> Iterator[int]:
        """Add rows, each when it is asked for. Those whose lips lie outside the picture or were not kept are left out.

        One thread decodes the crops while another measures them: more would wait for each other, since what measures
        is short steps of NumPy that hold the GIL.
        """
        kept = [row for row in rows.tolist() if int(self._shown[row]) in self._crops]
        for row, (image, points) in zip(kept, in_order(self._picture, kept, workers=1), strict=True):
            unit = float(mesh.eye_distance(points))
            self.kept[row] = True
            self.skin[row], self.mouth[row] = _colours(image, [points[list(SKIN)], _mouth_places(points)], unit)
            found = self._openings[row] = opening.find(image, points)
            self.bared[row] = found.bared
            yield row

    def keep(self, rows: IntArray) -> None:
        """Keep only what `source` needs of these added rows, until the next part of a long speech is planned."""
        shown = set(self._shown[rows].tolist())
        self._crops = {frame: crop for frame, crop in self._crops.items() if frame in shown}

    def source(self, row: int, gap: float, jaw: float, plane: Plane) -> Source:
        """An added row as a source, in the pixels of its crop. gap, jaw: see `Source`. plane: of the teeth in the
        frame.
        """
        image, points = self._picture(row)
        return Source(image, points, gap, jaw, plane.seen_from(self._corner(row)), self._opening(row))

    def light(self, row: int) -> interior.Light:
        """The light on the face in a row."""
        assert self._track.colours is not None
        return interior.Light.of_colours(self._track.colours[row], self.depth)

    def best_teeth(self, count: int) -> IntArray:
        """Up to `count` added rows that show most of the teeth, from different times."""
        shown = sorted(row for row, one in self._openings.items() if one.has_upper or one.has_lower)
        parts = np.array_split(np.array(shown, np.int64), min(count, len(shown))) if shown else []
        return np.array([part[self.bared[part].argmax()] for part in parts], np.int64)

    def _picture(self, row: int) -> tuple[Image, Float64Array]:
        """The crop of a row without overlays, and its landmarks (478, 2) in the crop's pixels."""
        frame = int(self._shown[row])
        crop = self._crops[frame]
        points = self._track.landmarks[row, :, :2].astype(np.float64) - self._corner(row)
        return self._overlays.inpaint(frame, crop.image, crop.region), points

    def _corner(self, row: int) -> Float64Array:
        """The top left corner of a row's crop in the picture."""
        region = self._crops[int(self._shown[row])].region
        return np.array([region.x0, region.y0], np.float64)

    def _usual(self, name: str, otherwise: float) -> float:
        """The median of a figure of the textures."""
        found = [figure for one in self._textures if (figure := getattr(one, name)) is not None]
        return float(np.median(found)) if found else otherwise

    def _opening(self, row: int) -> Opening:
        """The opening in an added row, calm over the added rows around it."""
        around = range(row - CALM_FRAMES // 2, row + CALM_FRAMES // 2 + 1)
        return opening.calm([self._openings[one] for one in around if one in self._openings], self._openings[row])


def _mouth_places(points: Float64Array) -> Float64Array:
    """Positions (L, 2) on the lips and between them, for landmarks (478, 2)."""
    upper, lower = points[list(mesh.UPPER_INNER[2:-2])], points[list(mesh.LOWER_INNER[2:-2])]
    between = [upper + share * (lower - upper) for share in BETWEEN]
    return np.vstack([points[list(ON_LIPS)], *between])


def _colours(image: Image, places: Sequence[Float64Array], unit: float) -> list[Float32Array]:
    """Colours (K, 3), CIE L, a, b, of a picture at each set of positions (K, 2), shrunk to `LOOK_PX` pixels per eye
    distance."""
    rows, columns = image.shape[:2]
    shrink = min(LOOK_PX / unit, 1.0)
    size = max(round(columns * shrink), 1), max(round(rows * shrink), 1)
    scale = np.array([size[0] / columns, size[1] / rows])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    found = picked(small, (np.concatenate(places) + 0.5) * scale - 0.5)
    return np.split(found, np.cumsum([len(some) for some in places[:-1]]))
