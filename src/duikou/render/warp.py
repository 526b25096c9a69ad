"""Warp a picture's lower face by its landmarks, with a slit where the lips meet.

One smooth field cannot open or close a mouth: it would have to tear or fold where the lips part or meet. Two fields are
used instead, which differ only between the lips: the upper field ignores the lower lip, the lower field ignores the
upper lip, and the line between the lips decides which one a pixel follows. The space between parted lips is a separate
layer (see `interior`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from duikou.arrays import BoolArray, Float32Array, Float64Array, Floats, Image, smoothstep
from duikou.render import mesh, splines
from duikou.render.outline import facing

Pixels = TypeVar("Pixels", Image, Float32Array)

Map = tuple[Float32Array, Float32Array]

Planes = tuple[Float32Array, Float32Array, Float32Array]
"""Green, and blue and red less green, (rows, columns) each."""

NODES_PER_EYE_DISTANCE = 18
"""Density of the grid of a field. It is solved at every second node."""

NEAR_LIPS = 0.1
"""Distance from the lips, in eye distances, within which a field is solved at every node."""

STILL_PIXELS = 0.1
"""Displacement, in pixels, below which the frame's own face stays as it is; from twice as much it moves fully."""

MOVED_PIXELS = 0.3
"""Displacement, in pixels, from which a pixel counts as moved."""

STRIP_PIXELS, LEAST_STRIP = 32768, 16
"""Pixels of a strip of a moving face, and the least number of its rows."""

CUBIC_REACH = 2
"""Pixels that bicubic sampling reads on each side."""

SMOOTHING = 2e-4
"""Smoothing of the splines, in cubed eye distances: the field need not pass through single noisy landmarks."""

LOWER_FACE = np.array([*mesh.JAW_LINE, *mesh.EYES, *mesh.LIPS, mesh.NOSE_BRIDGE])
LIPS = np.array(mesh.LIPS)
"""Landmarks around which parts of a picture are cut out."""

SHARED = tuple(
    dict.fromkeys((*mesh.CORNERS, *mesh.SKULL, *mesh.UNDER_NOSE[:5], *mesh.CHIN, *mesh.LOWER_CHEEKS, *mesh.JAW_LINE))
)
"""Landmarks that guide both fields. The upper field follows the upper lip too, the lower field the lower lip."""

EDGE_DOUBT = 0.2
"""Share of an opening by which the landmarks of its edge may lie inside it."""

HIDDEN_SMOOTHING = 1e4
"""Factor of the smoothing at a landmark that is not visible."""

PICKED = 4096
"""Positions in a row when single pixels are picked."""

BORDER_NODES = 4
"""Fixed nodes for each eye distance of the region's border: the surroundings of the face do not move."""

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
        margin = 0.2 * float(mesh.eye_distance(points[:, :2]))
        chin, outline = points[mesh.CHIN_TIP, :2], points[LOWER_FACE, :2]
        neck = chin + 0.4 * (chin - points[mesh.NOSE_BRIDGE, :2])  # it moves with the chin
        (left, top), (right, bottom) = (
            one.tolist() for one in (outline.min(0) - margin, np.maximum(outline.max(0) + margin, neck))
        )
        x0, y0 = max(math.floor(left), 0), max(math.floor(top), 0)
        x1, y1 = min(math.ceil(right) + 1, width), min(math.ceil(bottom) + 1, height)
        return cls(x0, y0, x1, y1) if x1 - x0 > 8 and y1 - y0 > 8 else None

    @classmethod
    def around(cls, points: Float64Array, margin: float, within: Region) -> Region:
        """Points (K, 2) and `margin` pixels around them, clipped to another region."""
        (left, top), (right, bottom) = (points.min(0) - margin).tolist(), (points.max(0) + margin + 1).tolist()
        x0 = min(max(math.floor(left), within.x0), within.x1 - 1)
        y0 = min(max(math.floor(top), within.y0), within.y1 - 1)
        x1, y1 = max(math.ceil(right), x0 + 1), max(math.ceil(bottom), y0 + 1)
        return cls(x0, y0, min(x1, within.x1), min(y1, within.y1))

    @classmethod
    def around_lips(cls, points: Float64Array, margin: float, within: Region) -> Region:
        """The lips of landmarks (478, 2) and `margin` pixels around them, clipped to another region."""
        return cls.around(points[LIPS], margin, within)

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

    def widened(self, margin: int, within: Region) -> Region:
        """The region and `margin` pixels around it, clipped to another one that holds it."""
        low = max(self.x0 - margin, within.x0), max(self.y0 - margin, within.y0)
        return Region(*low, min(self.x1 + margin, within.x1), min(self.y1 + margin, within.y1))

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

    def without(self, other: Region) -> Iterator[Region]:
        """What is left of the region without another one that lies in it: up to four rectangles."""
        sides = (
            replace(self, y1=other.y0),
            replace(self, y0=other.y1),
            replace(other, x0=self.x0, x1=other.x0),
            replace(other, x0=other.x1, x1=self.x1),
        )
        return (side for side in sides if min(side.shape) > 0)

    def joined(self, other: Region) -> Region:
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

    def axes(self) -> tuple[Float32Array, Float32Array]:
        """Pixel coordinates x (1, columns) and y (rows, 1) of the region."""
        x = np.arange(self.x0, self.x1, dtype=np.float32)
        return x[None], np.arange(self.y0, self.y1, dtype=np.float32)[:, None]


def similarity(source: Float64Array, target: Float64Array) -> Float64Array:
    """Least-squares similarity (2, 3) that maps points `source` (M, 2) to `target` (M, 2) (Umeyama 1991)."""
    ms, mt = source.mean(0), target.mean(0)
    a, b = (source - ms) @ [1, 1j], (target - mt) @ [1, 1j]
    turn = (np.conj(a) @ b) / (np.conj(a) @ a)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.hstack([linear, (mt - linear @ ms)[:, None]])


class Warp:
    """Backward maps that warp pictures of one face to the same landmarks, one set for each source.

    sources: landmarks (478, 2) of each picture, those of the frame itself first. target: landmarks (478, 2). region:
    outside it nothing moves.

    The pictures may be different frames: the similarity between the heads of source and target is removed first, and
    the border of the region follows it. A map is a pair of fields, x and y in the source, of the shape of the requested
    part.
    """

    def __init__(self, sources: Sequence[Float64Array], target: Float64Array, region: Region) -> None:
        self._target = target
        unit = float(mesh.eye_distance(target))
        near = Region.around_lips(target, NEAR_LIPS * unit, region)
        self._grid = _Grid(region, near, max(round(unit / NODES_PER_EYE_DISTANCE), 1))
        skull = list(mesh.SKULL)
        bases = [similarity(target[skull], source[skull]) for source in sources]
        opening = float(mesh.lip_gap(target)) / unit
        moves = [
            _into_the_lips(source, opening) - (target @ base[:, :2].T + base[:, 2])
            for source, base in zip(sources, bases, strict=True)
        ]
        seen = facing(np.stack([target, *sources]))
        fixed = np.vstack([_border(region, unit), _neck(target, seen[0], unit)])
        nodes = np.vstack([target, fixed])
        guides = [*SHARED, *range(len(target), len(nodes)), *mesh.UPPER_LIP, *mesh.LOWER_LIP]
        first, last = len(guides) - len(mesh.LIPS) + len(mesh.CORNERS), len(guides) - len(mesh.LOWER_LIP)
        fields = splines.through(
            nodes[guides] / unit,
            np.vstack([np.hstack(moves), np.zeros((len(fixed), 2 * len(moves)))])[guides],
            SMOOTHING * HIDDEN_SMOOTHING ** (1 - np.append(seen.min(0), np.ones(len(fixed)))[guides]),
            own=(slice(first, last), slice(last, len(guides))),
            at=self._grid.solved() / unit,
        )
        x, y = self._grid.axes
        heads = np.stack([row[0] * x + row[1] * y + row[2] for base in bases for row in base.astype(np.float32)])
        self._upper, self._lower = heads + self._grid.filled(np.hstack(fields)).reshape(2, *heads.shape)
        self._sides: dict[Region, Float32Array] = {}

    def lips(self, source: int, part: Region) -> Map:
        """The map of face and lips: each pixel follows the upper or the lower field."""
        if part not in self._sides:
            self._sides[part] = lower_side(self._target, *part.axes())
        side = self._sides[part]
        fields = zip(self._upper[2 * source :][:2], self._lower[2 * source :][:2], strict=True)
        x, y = (self._grid.at(one, part) + side * self._grid.at(two - one, part) for one, two in fields)
        return x, y

    def face(self, lips: Region) -> Motion:
        """How the frame's own face moves. The line between the lips is no sharper there than the grid.

        What moves by less than `STILL_PIXELS` stays. lips: a part of the region that belongs to the face in any case.
        """
        x, y = self._grid.axes
        still = np.stack(np.broadcast_arrays(x, y))
        move = self._upper[:2] + lower_side(self._target, x, y) * (self._lower[:2] - self._upper[:2]) - still
        move *= smoothstep(np.abs(move).max(0) / STILL_PIXELS - 1)
        at_x, at_y = still + move
        return Motion(self._grid, lips, (at_x, at_y), np.abs(move).max(0))


@dataclass(frozen=True)
class Motion:
    """How the frame's own face moves, at the nodes of a grid (rows, columns).

    lips: part of the picture that belongs to the face in any case. place: x and y in the frame. away: how far each
    pixel moves, in pixels.
    """

    grid: _Grid
    lips: Region
    place: Map
    away: Float32Array

    @cached_property
    def part(self) -> Region:
        """The part of the picture in which the face moves, `lips` included."""
        return self.grid.around(self._there, self.lips)

    @cached_property
    def _there(self) -> BoolArray:
        """Which nodes move."""
        return np.asarray(self.away > 0, np.bool_)

    def strips(self) -> Iterator[Region]:
        """Strips that hold all that moves in the part and the lips, one below the other, each as wide as it must be.

        Work on one after the other stays in the caches of a processor, and in memory that the system need not clear.
        """
        part = self.part
        height = max(STRIP_PIXELS // part.shape[1], LEAST_STRIP)
        for top in range(part.y0, part.y1, height):
            strip = replace(part, y0=top, y1=min(top + height, part.y1))
            lips, moving = strip.overlap(self.lips), self.grid.columns(self._there, strip)
            ends = [one for one in ((lips.x0, lips.x1) if lips else None, moving) if one is not None]
            left = max(min((one[0] for one in ends), default=part.x1), part.x0)
            right = min(max((one[1] for one in ends), default=part.x0), part.x1)
            if left < right:
                yield replace(strip, x0=left, x1=right)

    def read(self, width: int, height: int) -> Region:
        """The part of a picture that sampling the moving part reads."""
        nodes = (field[self.grid.around_nodes(self.part)] for field in self.place)
        (x0, x1), (y0, y1) = (_read(one, size) for one, size in zip(nodes, (width, height), strict=True))
        return Region(x0, y0, x1, y1)

    def map(self, part: Region, x0: int = 0, y0: int = 0) -> Map:
        """The map of a part of the picture, into what begins at pixel x0, y0 of it."""
        x, y = (
            self.grid.at(field - np.float32(start), part) for field, start in zip(self.place, (x0, y0), strict=True)
        )
        return x, y

    def changed(self, part: Region, most: float = 1.0) -> Float32Array:
        """How far each pixel of a part (rows, columns) changes, 0 to `most`: fully where it moves by
        `MOVED_PIXELS`."""
        return self.grid.at(np.minimum(self.away / MOVED_PIXELS, 1) * np.float32(most), part)


@dataclass(frozen=True)
class _Grid:
    """The nodes of fields over a region: one in each square of `step` pixels, and one more square at each side.

    Fields are solved at every second node, and at all nodes `near` the lips. They are interpolated by cubic convolution
    (Keys 1981) at the other nodes, bilinearly at pixels. Beyond the grid they are 0.
    """

    region: Region
    near: Region
    step: int

    @cached_property
    def _counts(self) -> tuple[int, int]:
        """Numbers of rows and columns of nodes."""
        rows, columns = self.region.shape
        return -(-rows // self.step) + 2, -(-columns // self.step) + 2

    @cached_property
    def _axes(self) -> tuple[Float64Array, Float64Array]:
        """Positions x (1, columns) and y (rows, 1) of the nodes in the picture, and of one more."""
        y, x = (self.step * (np.arange(count + 1, dtype=np.float64) - 0.5) - 0.5 for count in self._counts)
        return self.region.x0 + x[None], self.region.y0 + y[:, None]

    @property
    def axes(self) -> tuple[Float32Array, Float32Array]:
        """Positions x (1, columns) and y (rows, 1) of the nodes in the picture."""
        x, y = self._axes
        return x[:, :-1].astype(np.float32), y[:-1].astype(np.float32)

    def solved(self) -> Float64Array:
        """Positions (K, 2) in the picture at which fields are solved."""
        (x, y), (rows, columns) = self._axes, self.around_nodes(self.near)
        grids = (x[:, ::2], y[::2]), (x[:, columns], y[rows])
        return np.vstack([np.stack(np.broadcast_arrays(*grid), -1).reshape(-1, 2) for grid in grids])

    def filled(self, solved: Float64Array) -> Float32Array:
        """Values (K, V) at the `solved` positions, interpolated at all nodes: (V, rows, columns)."""
        rows, columns = (count // 2 + 1 for count in self._counts)
        values = solved.astype(np.float32).T
        coarse = np.zeros((len(values), rows + 3, columns + 3), np.float32)
        coarse[:, 1:-2, 1:-2] = values[:, : rows * columns].reshape(-1, rows, columns)
        nodes = _doubled(_doubled(coarse).swapaxes(1, 2)).swapaxes(1, 2)
        nodes = np.ascontiguousarray(nodes[:, : self._counts[0], : self._counts[1]])
        near = nodes[:, *self.around_nodes(self.near)]
        near[:] = values[:, rows * columns :].reshape(near.shape)
        return nodes

    def around_nodes(self, part: Region) -> tuple[slice, slice]:
        """Rows and columns of the nodes between which the pixels of a part lie."""
        inside = part.inside(self.region)
        rows, columns = (slice(one.start // self.step, (one.stop - 1) // self.step + 3) for one in inside)
        return rows, columns

    def at(self, nodes: Float32Array, part: Region) -> Float32Array:
        """Values at all nodes, interpolated at the pixels of a part of the region."""
        near = nodes[self.around_nodes(part)]
        wide = cv2.resize(near, None, fx=self.step, fy=self.step, interpolation=cv2.INTER_LINEAR)
        top, left = (one.start % self.step + self.step for one in part.inside(self.region))
        return np.asarray(wide[top : top + part.shape[0], left : left + part.shape[1]], np.float32)

    def around(self, there: BoolArray, least: Region) -> Region:
        """The part of the region that the nodes which are `there` (rows, columns) change, and `least`."""
        y, x = (np.flatnonzero(there.any(axis)) for axis in (1, 0))
        if not len(x):
            return least
        across, down = (axis.ravel() for axis in self._axes)
        low, high = (max(x[0] - 1, 0), max(y[0] - 1, 0)), (x[-1] + 1, y[-1] + 1)
        nodes = np.array([[across[column], down[row]] for column, row in (low, high)])
        return Region.around(nodes, 0, self.region).joined(least)

    def columns(self, there: BoolArray, strip: Region) -> tuple[int, int] | None:
        """The first column of pixels of a strip that nodes which are `there` (rows, columns) change, and the one behind
        the last; `None` for none."""
        found = np.flatnonzero(there[self.around_nodes(strip)[0]].any(0))
        if not len(found):
            return None
        across = self._axes[0].ravel()
        return math.floor(across[max(found[0] - 1, 0)]), math.ceil(across[found[-1] + 1]) + 1


def _doubled(values: Float32Array) -> Float32Array:
    """Values (..., N) with others interpolated between them: (..., 2 N - 6)."""
    before, here, after, last = values[..., :-3], values[..., 1:-2], values[..., 2:-1], values[..., 3:]
    between = (9 * (here + after) - before - last) / 16
    return np.stack([here, between], -1).reshape(*values.shape[:-1], -1)


def sample(image: Pixels, at: Map) -> Pixels:
    """Sample a picture at a backward map, bicubic; its edge pixels are replicated outside. OpenCV takes a third less
    time for floats than for bytes."""
    moved = cv2.remap(image, at[0], at[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cast("Pixels", moved)


def sample_bytes(image: Image, at: Map) -> Float32Array:
    """The same from a picture in bytes, as floats: of it, only what the map reads is converted."""
    (x0, x1), (y0, y1) = (_read(one, size) for one, size in zip(at, image.shape[1::-1], strict=True))
    return sample(image[y0:y1, x0:x1].astype(np.float32), (at[0] - np.float32(x0), at[1] - np.float32(y0)))


def _read(places: Float32Array, size: int) -> tuple[int, int]:
    """The first pixel that a bicubic map with these positions along an axis reads of `size` pixels, and the one behind
    the last."""
    low, high, *_ = cv2.minMaxLoc(places)
    first = min(max(math.floor(low) - CUBIC_REACH, 0), size - 1)
    return first, min(max(math.floor(high) + CUBIC_REACH + 1, first + 1), size)


def planes_of(image: Image | Float32Array) -> Planes:
    """The planes of a picture (rows, columns, 3), BGR."""
    # `split` takes twice as long if the picture is a part of another one.
    blue, green, red = (cv2.extractChannel(image, channel) for channel in range(3))
    blue, red = (cv2.subtract(one, green, dtype=cv2.CV_32F) for one in (blue, red))
    return np.asarray(green, np.float32), np.asarray(blue, np.float32), np.asarray(red, np.float32)


def sample_planes(planes: Planes, at: Map, into: Sequence[Float32Array]) -> None:
    """Sample planes at a backward map; edge pixels are replicated outside. into: (rows, columns) each.

    Green is sampled like a picture. Videos store colour at half the resolution, so the differences of colour are
    sampled bilinearly, in a quarter of the time.
    """
    kinds = cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_LINEAR
    for plane, kind, found in zip(planes, kinds, into, strict=True):
        cv2.remap(plane, *at, kind, dst=found, borderMode=cv2.BORDER_REPLICATE)


def for_channels(weight: Float32Array) -> Float32Array:
    """A weight (rows, columns) for each of three channels: (rows, columns, 3). NumPy takes five times as long if it
    spreads the weight while it multiplies."""
    return np.asarray(cv2.merge([weight, weight, weight]), np.float32)


def pick(image: npt.NDArray[Any], x: npt.ArrayLike, y: npt.ArrayLike, interpolation: int) -> npt.NDArray[Any]:
    """A picture's values (M, ...) at positions x and y (M,); its edge pixels are replicated outside.

    OpenCV maps at most 32,766 rows and columns, so the positions are put into rows.
    """
    count = np.size(x)
    if not count:
        return np.zeros((0, *image.shape[2:]), image.dtype)
    columns, rows = (np.asarray(one, np.float32).reshape(1, count) for one in (x, y))
    if count > PICKED:
        columns, rows = (np.resize(one, (-(-count // PICKED), PICKED)) for one in (columns, rows))
    found = np.asarray(cv2.remap(image, columns, rows, interpolation, borderMode=cv2.BORDER_REPLICATE))
    return found.reshape(-1, *image.shape[2:])[:count]


def mouth_frame(points: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Origin and unit axes of the mouth of landmarks (478, 2): along the mouth, and across it downwards."""
    left, right = points[mesh.LEFT_CORNER], points[mesh.RIGHT_CORNER]
    x, y = (right - left).tolist()
    length = max(math.hypot(x, y), 1e-6)
    return (left + right) / 2, np.array([x / length, y / length]), np.array([-y / length, x / length])


def along_mouth(points: Float64Array, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Positions x, y (of any shapes that can be added) as distances along and across the mouth of landmarks (478, 2),
    in pixels."""
    origin, *ways = mouth_frame(points)
    x, y = x - float(origin[0]), y - float(origin[1])
    u, v = (x * float(way[0]) + y * float(way[1]) for way in ways)
    return u, v


def lip_edge(points: Float64Array, row: tuple[int, ...], u: Floats) -> Floats:
    """Position across the mouth of a row of lip points at the positions `u` along it, both in pixels."""
    return edge_at(points, points[list(row)], u)


def edge_at(points: Float64Array, edge: Float64Array, u: Floats) -> Floats:
    """Position across the mouth of landmarks (478, 2) of an edge (K, 2) at the positions `u` along it, in pixels."""
    along, across = along_mouth(points, *edge.T)
    order = np.argsort(along)
    return cast("Floats", np.interp(u, along[order], across[order]).astype(u.dtype))


def lower_side(points: Float64Array, x: Float32Array, y: Float32Array) -> Float32Array:
    """Weight (rows, columns) of the lower field at positions x (1, columns) and y (rows, 1): 0 above the line between
    the lips, 1 below it.

    The step is sharp between the corners. Beyond them, where the fields converge, it softens with the distance.
    """
    left, right = along_mouth(points, *points[[mesh.UPPER_INNER[0], mesh.UPPER_INNER[-1]]].T)[0]
    u, v = along_mouth(points, x, y)
    # What depends on u alone comes from a table with two entries a pixel.
    table = np.arange(float(u.min()), float(u.max()) + 1, 0.5)
    line = (lip_edge(points, mesh.UPPER_INNER, table) + lip_edge(points, mesh.LOWER_INNER, table)) / 2
    softness = 0.6 + 0.7 * np.maximum(np.maximum(left - table, table - right), 0)
    place = ((u - float(table[0])) * 2).astype(np.int32)
    slope = 0.5 / softness
    side = v * slope.astype(np.float32).take(place) + (0.5 - line * slope).astype(np.float32).take(place)
    return np.asarray(np.clip(side, 0, 1, out=side), np.float32)


def _into_the_lips(source: Float64Array, wanted: float) -> Float64Array:
    """Landmarks `source` with the inner edges of parted lips moved into the lips, as far as they close to a `wanted`
    gap, in eye distances.

    The landmarks lie beside the true edge by a few percent of the opening. Without the move, closing lips would leave a
    slit of teeth.
    """
    unit = float(mesh.eye_distance(source))
    opening = float(mesh.lip_gap(source)) / unit
    closing = 1 - wanted / max(opening, 1e-6)
    if closing <= 0:
        return source
    moved = source.copy()
    for row, outer in ((mesh.UPPER_INNER, mesh.UPPER_MIDDLE), (mesh.LOWER_INNER, mesh.LOWER_MIDDLE)):
        inner = list(row[1:-1])
        way = source[list(outer[1:-1])] - source[inner]
        length = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
        step = EDGE_DOUBT * closing * opening * unit
        moved[inner] += way * np.minimum(step / length, 0.5)
    return moved


def _neck(points: Float64Array, seen: Float64Array, unit: float) -> Float64Array:
    """Fixed positions (K, 2) below the jaw of landmarks (478, 2), where neck and collar begin. seen: (478,) of
    `facing`.

    The far side of the jaw of a turned head is left out: what lies below it in the picture is the near side's chin.
    """
    jaw = [number for number in mesh.JAW_BOTTOM if seen[number] > 0.5 or number == mesh.CHIN_TIP]
    down = points[mesh.CHIN_TIP] - points[mesh.NOSE_BRIDGE]
    down *= unit / max(float(np.linalg.norm(down)), 1e-6)
    return np.vstack([points[jaw] + below * down for below in NECK_BELOW])


def _border(region: Region, unit: float) -> Float64Array:
    rows, columns = (round(BORDER_NODES * size / unit) + 2 for size in region.shape)
    x, y = np.linspace(region.x0, region.x1 - 1, columns), np.linspace(region.y0, region.y1 - 1, rows)
    top, bottom = (np.stack([x, np.full_like(x, edge)], 1) for edge in (region.y0, region.y1 - 1))
    left, right = (np.stack([np.full_like(y, edge), y], 1)[1:-1] for edge in (region.x0, region.x1 - 1))
    return np.vstack([top, bottom, left, right])
