"""Warp a picture's lower face by its landmarks, with a slit where the lips meet.

One smooth field cannot open or close a mouth: it would have to tear or fold where the lips part or meet. Two fields are
used instead, which differ only between the lips: the upper field ignores the lower lip, the lower field ignores the
upper lip, and the line between the lips decides which one a pixel follows. The space between parted lips is a separate
layer (see `interior`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator

from duikou.arrays import Float32Array, Float64Array, Image
from duikou.faces.pose import triangles
from duikou.render import mesh

Map = tuple[Float32Array, Float32Array]

NODES_PER_EYE_DISTANCE = 18
"""Density of the grid on which the fields are solved; between its nodes they are interpolated bilinearly."""

SMOOTHING = 2e-4
"""Smoothing of the splines, in cubed eye distances: the field need not pass through single noisy landmarks."""

SHARED = tuple(
    dict.fromkeys((*mesh.CORNERS, *mesh.SKULL, *mesh.UNDER_NOSE[:5], *mesh.CHIN, *mesh.LOWER_CHEEKS, *mesh.JAW_LINE))
)
UPPER_NODES = (*SHARED, *mesh.UPPER_LIP)
LOWER_NODES = (*SHARED, *mesh.LOWER_LIP)

EDGE_DOUBT = 0.2
"""Share of an opening by which the landmarks of its edge may lie inside it."""

HIDDEN, SEEN = -0.5, 0.2
"""Visibility of a landmark (share of the area around it that faces the camera minus the share that faces away) at which
it has no weight, and at which it has full weight: beside the far cheek of a turned head, the picture shows the jaw and
the ear behind it."""

HIDDEN_SMOOTHING = 1e4
"""Factor of the smoothing at a landmark that is not visible."""

PICKED = 1024
"""Positions in a row when single pixels are picked."""

BORDER_NODES = 12
"""Fixed nodes on each side of the region: the surroundings of the face do not move."""

NECK_BELOW = (0.35, 0.45, 0.6)
"""Distances below the jaw, in eye distances, of rows of fixed nodes that end its motion: with one row a spline would
oscillate."""


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture, `[x0, x1) x [y0, y1)` in pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def of(cls, points: Float64Array, width: int, height: int) -> Region | None:
        """Lower face and neck around landmarks (478, 2 or 3), clipped to the picture; `None` if outside it."""
        eyes = float(mesh.eye_distance(points[:, :2]))
        outline = points[[*mesh.JAW_LINE, *mesh.EYES, *mesh.LIPS, mesh.NOSE_BRIDGE], :2]
        low, high = outline.min(0) - 0.2 * eyes, outline.max(0) + 0.2 * eyes
        down = points[mesh.CHIN_TIP, :2] - points[mesh.NOSE_BRIDGE, :2]  # The neck moves with the chin.
        high = np.maximum(high, points[mesh.CHIN_TIP, :2] + 0.4 * down)
        x0, y0 = np.maximum(np.floor(low), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(high) + 1, (width, height)).astype(int)
        return cls(int(x0), int(y0), int(x1), int(y1)) if x1 - x0 > 8 and y1 - y0 > 8 else None

    @classmethod
    def around_lips(cls, points: Float64Array, margin: float, within: Region) -> Region:
        """The lips of landmarks (478, 2) and `margin` pixels around them, clipped to another region."""
        low, high = points[list(mesh.LIPS)].min(0) - margin, points[list(mesh.LIPS)].max(0) + margin + 1
        x0, y0 = np.clip(np.floor(low), (within.x0, within.y0), (within.x1 - 1, within.y1 - 1)).astype(int)
        x1, y1 = np.clip(np.ceil(high), (x0 + 1, y0 + 1), (within.x1, within.y1)).astype(int)
        return cls(int(x0), int(y0), int(x1), int(y1))

    @classmethod
    def whole(cls, image: Image) -> Region:
        """All of a picture."""
        return cls(0, 0, image.shape[1], image.shape[0])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.x0, self.y0, self.x1, self.y1

    def moved(self, x: int, y: int) -> Region:
        """The region that lies further by x and y pixels."""
        return Region(self.x0 + x, self.y0 + y, self.x1 + x, self.y1 + y)

    def grown(self, factor: int) -> Region:
        """The region of a picture that was shrunk by a whole factor, in the pixels of the whole one."""
        return Region(*(side * factor for side in self.box))

    def shrunk(self, factor: int) -> Region:
        """The whole pixels of the region in a picture that is shrunk by a whole factor."""
        return Region(-(-self.x0 // factor), -(-self.y0 // factor), self.x1 // factor, self.y1 // factor)

    def overlap(self, other: Region) -> Region | None:
        """What both have in common; `None` for nothing."""
        x0, y0, x1, y1 = max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        return Region(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def around(self, other: Region) -> Region:
        """The smallest rectangle that holds both."""
        low = min(self.x0, other.x0), min(self.y0, other.y0)
        return Region(*low, max(self.x1, other.x1), max(self.y1, other.y1))

    def inside(self, other: Region) -> tuple[slice, slice]:
        """Slices of this region in an array that covers `other`."""
        return slice(self.y0 - other.y0, self.y1 - other.y0), slice(self.x0 - other.x0, self.x1 - other.x0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def cut(self, image: Image) -> Image:
        """The pixels of the region in a picture, as a view."""
        return image[self.y0 : self.y1, self.x0 : self.x1]

    def grid(self) -> tuple[Float32Array, Float32Array]:
        """Pixel coordinates x and y of the region, each of its shape."""
        rows, columns = self.shape
        x = np.arange(self.x0, self.x1, dtype=np.float32)
        y = np.arange(self.y0, self.y1, dtype=np.float32)
        return np.broadcast_to(x, (rows, columns)), np.broadcast_to(y[:, None], (rows, columns))


def similarity(source: Float64Array, target: Float64Array) -> Float64Array:
    """Least-squares similarity (2, 3) that maps points `source` (M, 2) to `target` (M, 2) (Umeyama 1991)."""
    ms, mt = source.mean(0), target.mean(0)
    a, b = (source - ms) @ [1, 1j], (target - mt) @ [1, 1j]
    turn = (np.conj(a) @ b) / (np.conj(a) @ a)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.hstack([linear, (mt - linear @ ms)[:, None]])


class Warp:
    """Backward maps that warp pictures of one face to the same landmarks, one set for each source.

    sources: landmarks (478, 2) of each picture. target: landmarks (478, 2). region: outside it nothing moves.

    The pictures may be different frames: the similarity between the heads of source and target is removed first, and
    the border of the region follows it. A map is a pair of fields, x and y in the source, of the shape of the requested
    part.
    """

    def __init__(self, sources: Sequence[Float64Array], target: Float64Array, region: Region) -> None:
        self._region = region
        self._unit = float(mesh.eye_distance(target))
        skull = list(mesh.SKULL)
        self._bases = [similarity(target[skull], source[skull]) for source in sources]
        border = np.vstack([_border(region), _neck(target, self._unit)])
        self._nodes = np.vstack([target, border]) / self._unit
        moves = [
            _into_the_lips(source, target) - (target @ base[:, :2].T + base[:, 2])
            for source, base in zip(sources, self._bases, strict=True)
        ]
        self._moves = np.vstack([np.hstack(moves), np.zeros((len(border), 2 * len(moves)))])
        self._border = tuple(range(len(target), len(self._nodes)))
        trust = np.min([facing(points) for points in (target, *sources)], axis=0)
        self._smoothing = np.full(len(self._nodes), SMOOTHING)
        self._smoothing[: len(target)] *= HIDDEN_SMOOTHING ** (1 - trust)
        self._side = lower_side(target, region)[..., None]
        self._upper, self._lower = self._solve(UPPER_NODES), self._solve(LOWER_NODES)

    def lips(self, source: int, part: Region) -> Map:
        """The map of face and lips: each pixel follows the upper or the lower field."""
        upper, lower = self._fine(self._upper, source, part), self._fine(self._lower, source, part)
        move = upper + self._side[part.inside(self._region)] * (lower - upper)
        x, y = part.grid()
        base = self._bases[source].astype(np.float32)
        at_x, at_y = (row[0] * x + row[1] * y + row[2] for row in base)
        return at_x + move[..., 0], at_y + move[..., 1]

    def _solve(self, points: tuple[int, ...]) -> Float32Array:
        """Radial cubic splines through these points' displacements, for S sources, on a grid: (rows, columns, 2 S)."""
        index = [*points, *self._border]
        rows, columns = self._region.shape
        nx, ny = (int(np.ceil((size - 1) / self._step)) + 1 for size in (columns, rows))
        x, y = np.meshgrid(self._region.x0 + self._step * np.arange(nx), self._region.y0 + self._step * np.arange(ny))
        at = np.stack([x.ravel(), y.ravel()], 1) / self._unit
        nodes, moves, smoothing = self._nodes[index], self._moves[index], self._smoothing[index]
        spline = RBFInterpolator(nodes, moves, kernel="cubic", smoothing=smoothing)
        return np.asarray(spline(at).reshape(ny, nx, -1), np.float32)

    def _fine(self, coarse: Float32Array, source: int, part: Region) -> Float32Array:
        """The field of one source at the pixels of a part."""
        left, top = (part.x0 - self._region.x0) / self._step, (part.y0 - self._region.y0) / self._step
        place = np.array([[1 / self._step, 0, left], [0, 1 / self._step, top]])
        own = np.ascontiguousarray(coarse[..., 2 * source : 2 * source + 2])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(own, place, part.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(fine, np.float32)

    @property
    def _step(self) -> float:
        """Pixels between the nodes of the grid."""
        return max(self._unit / NODES_PER_EYE_DISTANCE, 1.0)


def sample(image: Image, at: Map) -> Image:
    """Sample a picture at a backward map, bicubic; its edge pixels are replicated outside."""
    moved = cv2.remap(image, at[0], at[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def pick(image: npt.NDArray[Any], x: npt.ArrayLike, y: npt.ArrayLike, interpolation: int) -> npt.NDArray[Any]:
    """A picture's values (M, ...) at positions x and y (M,); its edge pixels are replicated outside.

    OpenCV maps at most 32,766 rows and columns, so the positions are put into rows.
    """
    count = np.size(x)
    shape = -(-count // PICKED), PICKED
    if not count:
        return np.zeros((0, *image.shape[2:]), image.dtype)
    columns, rows = (np.resize(np.asarray(one, np.float32), shape) for one in (x, y))
    found = np.asarray(cv2.remap(image, columns, rows, interpolation, borderMode=cv2.BORDER_REPLICATE))
    return found.reshape(-1, *image.shape[2:])[:count]


def mouth_frame(points: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Origin and unit axes of the mouth of landmarks (478, 2): along the mouth, and across it downwards."""
    left, right = points[mesh.LEFT_CORNER], points[mesh.RIGHT_CORNER]
    along = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
    return (left + right) / 2, along, np.array([-along[1], along[0]])


def along_mouth(points: Float64Array, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Positions x, y (any shape) as distances along and across the mouth of landmarks (478, 2), in pixels."""
    origin, along, across = mouth_frame(points)
    dx, dy = np.asarray(x, np.float64) - origin[0], np.asarray(y, np.float64) - origin[1]
    return dx * along[0] + dy * along[1], dx * across[0] + dy * across[1]


def lip_edge(points: Float64Array, row: tuple[int, ...], u: Float64Array) -> Float64Array:
    """Position across the mouth of a row of lip points at the positions `u` along it, both in pixels."""
    return edge_at(points, points[list(row)], u)


def edge_at(points: Float64Array, edge: Float64Array, u: Float64Array) -> Float64Array:
    """Position across the mouth of landmarks (478, 2) of an edge (K, 2) at the positions `u` along it, in pixels."""
    along, across = along_mouth(points, *edge.T)
    order = np.argsort(along)
    return np.asarray(np.interp(u, along[order], across[order]), np.float64)


def lower_side(points: Float64Array, region: Region) -> Float32Array:
    """Weight of the lower field at each pixel of the region: 0 above the line between the lips, 1 below it.

    The step is sharp between the corners. Beyond them, where the fields converge, it softens with the distance.
    """
    left, right = along_mouth(points, *points[[mesh.UPPER_INNER[0], mesh.UPPER_INNER[-1]]].T)[0]
    x, y = region.grid()
    u, v = (one.astype(np.float32) for one in along_mouth(points, x, y))
    # What depends on u alone comes from a table with two entries a pixel.
    table = np.arange(float(u.min()), float(u.max()) + 1, 0.5)
    line = (lip_edge(points, mesh.UPPER_INNER, table) + lip_edge(points, mesh.LOWER_INNER, table)) / 2
    softness = 0.6 + 0.7 * np.maximum(np.maximum(left - table, table - right), 0)
    place = ((u - table[0]) * 2).astype(np.int32)
    side = 0.5 + (v - line.astype(np.float32)[place]) * (0.5 / softness).astype(np.float32)[place]
    return np.asarray(np.clip(side, 0, 1), np.float32)


def _into_the_lips(source: Float64Array, target: Float64Array) -> Float64Array:
    """Landmarks `source` with the inner edges of parted lips moved into the lips, as far as `target` closes them.

    The landmarks lie beside the true edge by a few percent of the opening. Without the move, closing lips would leave a
    slit of teeth.
    """
    opening, wanted = mesh.lip_gap(source) / mesh.eye_distance(source), mesh.lip_gap(target) / mesh.eye_distance(target)
    closing = float(np.clip(1 - wanted / max(float(opening), 1e-6), 0, 1))
    moved = source.copy()
    for row, outer in ((mesh.UPPER_INNER, mesh.UPPER_MIDDLE), (mesh.LOWER_INNER, mesh.LOWER_MIDDLE)):
        inner = list(row[1:-1])
        way = source[list(outer[1:-1])] - source[inner]
        length = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
        step = EDGE_DOUBT * closing * float(opening) * float(mesh.eye_distance(source))
        moved[inner] += way * np.minimum(step / length, 0.5)
    return moved


def facing(points: Float64Array) -> Float64Array:
    """How far (0 to 1) each of the landmarks (478, 2) lies on the visible side of the head: (478,)."""
    corners = triangles()
    first, second, third = (points[corners[:, k]] for k in range(3))
    area = np.linalg.det(np.stack([third - first, second - first], 1))
    there, whole = (
        np.bincount(corners.ravel(), np.repeat(part, 3), minlength=len(points)) for part in (area, np.abs(area))
    )
    share = np.where(whole > 0, there / np.maximum(whole, 1e-9), 1)
    return np.asarray(np.clip((share - HIDDEN) / (SEEN - HIDDEN), 0, 1), np.float64)


def _neck(points: Float64Array, unit: float) -> Float64Array:
    """Fixed positions (K, 2) below the jaw of landmarks (478, 2), where neck and collar begin.

    The far side of the jaw of a turned head is left out: what lies below it in the picture is the near side's chin.
    """
    seen = facing(points)
    jaw = [number for number in mesh.JAW_BOTTOM if seen[number] > 0.5 or number == mesh.CHIN_TIP]
    down = points[mesh.CHIN_TIP] - points[mesh.NOSE_BRIDGE]
    down *= unit / max(float(np.linalg.norm(down)), 1e-6)
    return np.vstack([points[jaw] + below * down for below in NECK_BELOW])


def _border(region: Region) -> Float64Array:
    x = np.linspace(region.x0, region.x1 - 1, BORDER_NODES)
    y = np.linspace(region.y0, region.y1 - 1, BORDER_NODES)
    top, bottom = (np.stack([x, np.full_like(x, edge)], 1) for edge in (region.y0, region.y1 - 1))
    left, right = (np.stack([np.full_like(y, edge), y], 1)[1:-1] for edge in (region.x0, region.x1 - 1))
    return np.vstack([top, bottom, left, right])
