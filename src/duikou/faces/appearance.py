"""Appearance of a face: the colours at its landmarks. They move with the face, so two frames can be compared."""

from __future__ import annotations

import cv2
import numpy as np

from duikou.arrays import Float32Array, Float64Array, Image
from duikou.faces.lab import lab

BLUR_PX = 5  # of the landmarker's input: each point covers about 5 mm of skin
MESH_POINTS = 468  # the irises move with the gaze and do not identify the person
SAME_PATTERN = 0.65  # correlation of two frames: 0.69 to 1 for one person (95 %), below 0.68 for two (95 %)
SAME_TINT = 2.5  # mean difference of a and b: below 2 for one person (99 %), above 2.4 for two (75 %)


def colours(crop: Image, points: Float64Array) -> Image:
    """(N, 3) uint8 colours of an RGB image at `points` (N, 2): CIE L, a, b, each from 0 to 255.

    Only the four pixels around each point are converted.
    """
    soft = np.asarray(cv2.blur(crop, (BLUR_PX, BLUR_PX)), np.uint8)
    places = points.astype(np.float32)
    corner = np.floor(places)
    after = places - corner
    shares = np.stack([1 - after, after])  # of both neighbours, N, across and down
    at = corner.astype(np.int64)
    at = np.clip([at, at + 1], 0, (soft.shape[1] - 1, soft.shape[0] - 1))
    near = lab(soft[at[:, None, :, 1], at[None, :, :, 0]])  # down, across, N
    weights = shares[:, None, :, 1] * shares[None, :, :, 0]
    return np.asarray(np.rint((near * weights[..., None]).sum((0, 1))), np.uint8)


def alike(one: Image | Float32Array, other: Image | Float32Array) -> tuple[float, float]:
    """Correlation of the brightness patterns of two faces (478, 3), and mean difference of their a and b channels."""
    first, second = one[:MESH_POINTS].astype(np.float32), other[:MESH_POINTS].astype(np.float32)
    left, right = first[:, 0] - first[:, 0].mean(), second[:, 0] - second[:, 0].mean()
    size = float(np.linalg.norm(left) * np.linalg.norm(right))
    pattern = float(left @ right) / size if size > 0 else 0.0
    tint = float(np.abs(first[:, 1:].mean(0) - second[:, 1:].mean(0)).mean())
    return pattern, tint


def same_person(one: Image, other: Image) -> bool:
    """Whether two faces of one video, before and after a cut, are the same person."""
    pattern, tint = alike(one, other)
    return pattern >= SAME_PATTERN and tint <= SAME_TINT
