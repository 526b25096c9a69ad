"""The mouths that rendering works with: those that pictures show, and the one that is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from duikou.arrays import Float32Array, Float64Array, FloatArray, Image, IntArray, blocks
from duikou.faces.pose import Pose
from duikou.render import interior, mesh
from duikou.render.opening import Opening
from duikou.render.shape import CHIN_PER_JAW, JAW_PER_GAP, Rest, close_lips, lip_gaps
from duikou.render.warp import along_mouth

TEETH_BEHIND_LIPS = 0.04
"""Depth of the teeth behind the line of the closed lips, in eye distances."""


@dataclass(frozen=True)
class Plane:
    """The plane of the mouth in the picture: pixel = linear @ canonical + offset. The canonical origin is the point
    where the closed lips meet. linear: (2, 2). offset: (2,). lean: (2,) how far a point appears moved in the plane
    for each unit that it lies deeper in the head."""

    linear: Float64Array
    offset: Float64Array
    lean: Float64Array

    def canonical(self, x: Float32Array, y: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Canonical positions of pixels."""
        x, y = x - float(self.offset[0]), y - float(self.offset[1])
        u, v = (float(row[0]) * x + float(row[1]) * y for row in np.linalg.inv(self.linear))
        return u, v

    def seen_from(self, corner: Float64Array) -> Plane:
        """The same plane in a part of the picture that begins at `corner` (2,)."""
        return replace(self, offset=self.offset - corner)

    def onto(self, other: Plane) -> Float64Array:
        """The affine map (2, 3) from pixels of this picture to those of another with the same head."""
        linear = other.linear @ np.linalg.inv(self.linear)
        return np.hstack([linear, (other.offset - linear @ self.offset)[:, None]])


@dataclass(frozen=True, eq=False)
class Source:
    """A picture of the face: image (H, W, 3) BGR, landmarks `points` (478, 2) in its pixels. Equal to itself alone.

    gap, jaw: of the lips, and lowering of the chin, in eye distances. plane: of the teeth in this picture.
    opening: between the lips.
    """

    image: Image
    points: Float64Array
    gap: float
    jaw: float
    plane: Plane
    opening: Opening

    @cached_property
    def unit(self) -> float:
        """Eye distance in pixels."""
        return float(mesh.eye_distance(self.points))

    @cached_property
    def lip_edges(self) -> tuple[Float64Array, Float64Array]:
        """The edges (11, 2) of the upper and of the lower lip in the picture, corners included."""
        return self.opening.lip_edges(self.points)

    def rows_at(self, u: FloatArray) -> tuple[Float64Array, Float64Array]:
        """Where the upper row of teeth ends and the lower row begins at positions u (M,) along the mouth, in pixels:
        (M,) shares of the opening."""
        upper, lower = self.lip_edges
        along, _ = along_mouth(self.points, *((upper + lower)[1:-1] / 2).T)
        return np.interp(u, along, self.opening.upper), np.interp(u, along, self.opening.lower)


@dataclass(frozen=True)
class MeasuredMouths:
    """The mouths of N pictures of a face, or those that are wanted in them.

    head: pose in each picture. gaps, jaws: (N,) of the lips, and lowering of the chin, in eye distances. lines: (N, 3)
    canonical middle of the teeth where the upper ones meet the line of the closed lips.
    """

    head: Pose
    gaps: Float64Array
    jaws: Float64Array
    lines: Float64Array

    @classmethod
    def of(
        cls, head: Pose, shapes: FloatArray, rest: Rest | Float64Array, rows: IntArray | None = None, *, talks: bool
    ) -> MeasuredMouths:
        """Measure canonical shapes (N, 478, 3). rest: the same face at rest, of which only `rows` (N,) count, or all.

        talks: whether the face opens its mouth in the pictures. Lips then tell where its teeth are better than its pose
        and chin do: when a mouth opens, the fitted pose nods.
        """
        gaps, jaws, lines = lip_gaps(shapes), np.empty(len(shapes)), np.empty((len(shapes), 3))
        for block in blocks(len(shapes)):
            own, neutral = shapes[block].astype(np.float64), close_lips(rest[block if rows is None else rows[block]])
            lines[block] = _teeth_lines(own if talks else neutral, neutral)
            jaws[block] = (own - neutral)[:, mesh.CHIN_TIP, 1] / CHIN_PER_JAW
        return cls(head, gaps, JAW_PER_GAP * gaps if talks else jaws, lines)

    def plane(self, row: int, line: Float64Array | None = None) -> Plane:
        """The plane of the teeth in a picture. line: (3,) canonical, in place of the picture's own."""
        turn, scale = self.head.rotation[row], self.head.scale[row]
        place = scale * turn @ (self.lines[row] if line is None else line) + self.head.translation[row]
        return Plane(scale * turn[:2, :2], place[:2], np.linalg.solve(turn[:2, :2], turn[:2, 2]))

    def source(self, row: int, image: Image, points: Float64Array, found: Opening) -> Source:
        """A picture as a source. points: (478, 2) its landmarks in pixels. found: the opening in it."""
        return Source(image, points, float(self.gaps[row]), float(self.jaws[row]), self.plane(row), found)


def most_open(gaps: Float64Array, rows: IntArray, count: int) -> IntArray:
    """Of the `rows` of a track, those with the largest of its lip gaps (N,) in each of `count` parts of it."""
    parts = np.array_split(rows, count)
    return np.array([part[gaps[part].argmax()] for part in parts if len(part)], np.int64)


def _teeth_lines(shapes: Float64Array, neutral: Float64Array) -> Float64Array:
    """The lines (N, 3) of shapes (N, 478, 3); see `MeasuredMouths`.

    neutral: (N, 478, 3), whose depth is used, because rounded lips come forward and teeth do not.
    """
    closed = close_lips(shapes)
    line: Float64Array = (closed[:, mesh.UPPER_MID] + closed[:, mesh.LOWER_MID]) / 2
    line[:, 2] = (neutral[:, mesh.UPPER_MID] + neutral[:, mesh.LOWER_MID])[:, 2] / 2 + TEETH_BEHIND_LIPS
    return line


@dataclass(frozen=True)
class Mouth:
    """The wanted mouth of one frame.

    target: (478, 2) landmarks in pixels. gap, spread, jaw, tongue: as in `Wanted`. strength: 0 leaves the frame as it
    is, 1 changes it fully. plane: of the teeth. light: on this face. own, painted: teeth, as in
    `interior.InteriorShape`. blur: of the picture's hardest edges, in eye distances. grain: of the picture, in levels.
    frame: number, which decides how the grain falls.
    """

    target: Float64Array
    gap: float
    spread: float
    jaw: float
    tongue: float
    strength: float
    plane: Plane
    light: interior.Light
    own: interior.OwnTeeth | None
    painted: interior.Dentition | None
    blur: float
    grain: float
    frame: int
