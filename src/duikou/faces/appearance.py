"""Appearance of a face: the colours at its landmarks. They move with the face, so two frames can be compared."""

from __future__ import annotations

import cv2
import numpy as np

from duikou.arrays import Float32Array, Float64Array, Image

BLUR_PX = 5  # of the landmarker's input: each point covers about 5 mm of skin
MESH_POINTS = 468  # the irises move with the gaze and do not identify the person
SAME_PATTERN = 0.65  # correlation of two frames: 0.69 to 1 for one person (95 %), below 0.68 for two (95 %)
SAME_TINT = 2.5  # mean difference of a and b: below 2 for one person (99 %), above 2.4 for two (75 %)


def colours(crop: Image, points: Float64Array) -> Image:
    """(N, 3) uint8 colours of an RGB image at `points` (N, 2): CIE L, a, b, each from 0 to 255."""
    soft = cv2.cvtColor(cv2.blur(crop, (BLUR_PX, BLUR_PX)), cv2.COLOR_RGB2LAB)
    columns, rows = points.T.astype(np.float32)[:, None]
    picked = cv2.remap(soft, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(picked, np.uint8).reshape(len(points), 3)


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
