"""The mouths that rendering works with: those that pictures show, and the one that is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duikou.arrays import Float32Array, Float64Array, Image
from duikou.render import interior
from duikou.render.opening import Opening
from duikou.render.warp import along_mouth


@dataclass(frozen=True)
class Plane:
    """The plane of the mouth in the picture: pixel = linear @ canonical + offset. The canonical origin is the point
    where the closed lips meet. linear: (2, 2). offset: (2,). lean: (2,) how far a point appears moved in the plane
    for each unit that it lies deeper in the head."""

    linear: Float64Array
    offset: Float64Array
    lean: Float64Array

    def canonical(self, x: Float32Array, y: Float32Array) -> tuple[Float64Array, Float64Array]:
        """Canonical positions of pixels."""
        inverse = np.linalg.inv(self.linear)
        dx, dy = x - self.offset[0], y - self.offset[1]
        return inverse[0, 0] * dx + inverse[0, 1] * dy, inverse[1, 0] * dx + inverse[1, 1] * dy

    def onto(self, other: Plane) -> Float64Array:
        """The affine map (2, 3) from pixels of this picture to those of another with the same head."""
        linear = other.linear @ np.linalg.inv(self.linear)
        return np.hstack([linear, (other.offset - linear @ self.offset)[:, None]])


@dataclass(frozen=True)
class Source:
    """A picture of the face: image (H, W, 3) BGR, landmarks `points` (478, 2) in its pixels.

    gap, jaw: of the lips, and lowering of the chin, in eye distances. plane: of the teeth in this picture.
    opening: between the lips.
    """

    image: Image
    points: Float64Array
    gap: float
    jaw: float
    plane: Plane
    opening: Opening

    def rows_at(self, u: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Where the upper row of teeth ends and the lower row begins at positions u (M,) along the mouth, in pixels:
        (M,) shares of the opening."""
        edges = self.opening.lip_edges(self.points)
        along, _ = along_mouth(self.points, *((edges[0] + edges[1])[1:-1] / 2).T)
        return np.interp(u, along, self.opening.upper), np.interp(u, along, self.opening.lower)


@dataclass(frozen=True)
class Mouth:
    """The wanted mouth of one frame.

    target: (478, 2) landmarks in pixels. gap, jaw: in eye distances. tongue: 0 to 1. strength: 0 leaves the frame as it
    is, 1 changes it fully. plane: of the teeth. light: on this face. teeth: of this person, own or painted; `None` if
    they are never seen although the mouth opens. blur: of the picture's hardest edges, in eye distances. grain: of
    the picture, in levels. frame: number, which decides how the grain falls.
    """

    target: Float64Array
    gap: float
    jaw: float
    tongue: float
    strength: float
    plane: Plane
    light: interior.Light
    teeth: interior.OwnTeeth | interior.Dentition | None
    blur: float
    grain: float
    frame: int
