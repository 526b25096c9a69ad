"""Head pose: the similarity transform between the canonical face and measured points.

The canonical face is the mesh inside the landmarker's bundle (Google's `canonical_face_model`). Here it has the
orientation of image points: x right in the image, y down, z away from the camera. Its unit is the distance between the
outer eye corners (points 33 and 263).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from duikou.arrays import Float32Array, Float64Array, IntArray, blocks
from duikou.errors import ModelError
from duikou.faces.networks import bundled
from duikou.faces.track import POINTS

MESH_POINTS = 468  # points of the canonical mesh; the irises follow
VERTEX_FLOATS = 5  # x, y, z, u, v of one vertex in the mesh's buffer
EYES = (33, 263)  # outer eye corners: image left, image right
IRISES = ((468, (33, 133, 159, 145)), (473, (263, 362, 386, 374)))  # first iris point; corners and lids of its eye
IRIS_RADIUS = 0.07  # in eye distances, as the landmarker places it on frontal faces

RIGID = (
    *(10, 338, 297, 332, 284, 251, 389, 127, 162, 21, 54, 103, 67, 109, 168, 6, 197),
    *(195, 5, 4, 1, 8, 9, 151, 70, 300, 105, 334),
)
"""Points that move with the skull and hardly with the mouth: forehead, temples, nose. The corners of the eyes are left
out: in a blink the landmarker moves them by a fortieth of their distance, and painted lips would jitter."""


@dataclass(frozen=True)
class Pose:
    """The similarity of N frames: point = scale * rotation @ canonical + translation.

    scale: (N,) pixels per canonical unit. rotation: (N, 3, 3). translation: (N, 3) pixels.
    """

    scale: Float64Array
    rotation: Float64Array
    translation: Float64Array

    def at(self, rows: IntArray) -> Pose:
        """The same in some frames."""
        return Pose(self.scale[rows], self.rotation[rows], self.translation[rows])

    @property
    def degrees(self) -> Float64Array:
        """(N, 3) yaw, pitch, roll. Positive: nose to the right of the image, nose down, head clockwise.

        Tait-Bryan angles in the order pitch, yaw, roll.
        """
        matrix = self.rotation
        yaw = np.arcsin(np.clip(matrix[:, 2, 0], -1, 1))
        pitch = np.arctan2(matrix[:, 2, 1], matrix[:, 2, 2])
        roll = np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])
        return np.asarray(np.degrees(np.stack([yaw, pitch, roll], 1)), np.float64)


def fit(landmarks: Float32Array) -> Pose:
    """Least squares fit of the canonical face's rigid points to `landmarks` (N, 478, 3), frame by frame.

    Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
    """
    rigid = list(RIGID)
    source, target = canonical()[rigid].astype(np.float64), landmarks[:, rigid].astype(np.float64)
    source_mean, target_mean = source.mean(0), target.mean(1)
    source, target = source - source_mean, target - target_mean[:, None]
    u, singular, vt = np.linalg.svd(np.einsum("npi,pj->nij", target, source))
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))  # a reflection is not a pose
    rotation = (u * sign[:, None]) @ vt
    scale = (singular * sign).sum(1) / (source**2).sum()
    return Pose(scale, rotation, target_mean - scale[:, None] * (rotation @ source_mean))


def to_canonical(landmarks: Float32Array, pose: Pose) -> Float32Array:
    """Points (N, K, 3) of frames in canonical coordinates."""
    found = np.empty(landmarks.shape, np.float32)
    for rows in blocks(len(found)):
        centred = landmarks[rows] - pose.translation[rows, None]
        found[rows] = centred @ pose.rotation[rows] / pose.scale[rows, None, None]
    return found


def from_canonical(points: Float32Array, pose: Pose) -> Float32Array:
    """Canonical points (N, K, 3) or (K, 3) in the coordinates of frames, in pixels."""
    found = np.empty((len(pose.scale), *points.shape[-2:]), np.float32)
    for rows in blocks(len(found)):
        turned = (points if points.ndim == 2 else points[rows]) @ np.swapaxes(pose.rotation[rows], 1, 2)
        found[rows] = turned * pose.scale[rows, None, None] + pose.translation[rows, None]
    return found


@cache
def canonical() -> Float32Array:
    """(478, 3) points of the canonical face. Read-only."""
    buffer, _ = _mesh()
    mesh = np.array(buffer).reshape(-1, VERTEX_FLOATS)[:, :3] * [1, -1, -1]  # OpenGL's y is up, its z is to the viewer
    face = np.zeros((POINTS, 3))
    face[:MESH_POINTS] = mesh / np.linalg.norm(mesh[EYES[1]] - mesh[EYES[0]])
    for first, eye in IRISES:
        face[first] = face[list(eye)].mean(0)
        ring = np.array([[1, 0, 0], [0, -1, 0], [-1, 0, 0], [0, 1, 0]])
        face[first + 1 : first + 5] = face[first] + IRIS_RADIUS * ring
    result = face.astype(np.float32)
    result.flags.writeable = False
    return result


@cache
def triangles() -> npt.NDArray[np.int32]:
    """(T, 3) point numbers of the canonical mesh's triangles. Read-only."""
    _, indices = _mesh()
    result = np.array(indices, np.int32).reshape(-1, 3)
    result.flags.writeable = False
    return result


def _mesh() -> tuple[list[float], list[int]]:
    """Vertex buffer and index buffer of the bundle's `FaceGeometryMetadata`.

    MediaPipe's `geometry_pipeline_metadata.proto`, `mesh_3d.proto`: the metadata's field 1 is the mesh, whose field 3
    repeats the vertices' floats and whose field 4 repeats the triangles' indices.
    """
    metadata = bundled("geometry_pipeline_metadata_landmarks.binarypb")
    vertices: list[float] = []
    indices: list[int] = []
    for number, mesh in _fields(metadata):
        if number != 1 or not isinstance(mesh, bytes):
            continue
        for field, value in _fields(mesh):
            if field == 3 and isinstance(value, bytes):
                vertices.extend(struct.unpack(f"<{len(value) // 4}f", value))
            elif field == 4 and isinstance(value, int):
                indices.append(value)
    if len(vertices) != MESH_POINTS * VERTEX_FLOATS or not indices or len(indices) % 3:
        raise ModelError(f"the canonical face has {len(vertices)} numbers and {len(indices)} indices")
    return vertices, indices


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a protobuf message (https://protobuf.dev/programming-guides/encoding/)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, at = _varint(message, at)
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
