"""Tracked lips made of numbers: a canonical face whose mouth opens and widens as told."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.quality.lips import Lips
from duikou.faces.pose import canonical
from duikou.faces.track import FaceTrack
from duikou.render import mesh
from duikou.render.shape import set_gap

UNIT = 100.0
"""Pixels between the outer eye corners."""
CENTRE = (160.0, 120.0)
FRAME_MS = 40


def make_lips(gap: npt.ArrayLike, width: npt.ArrayLike = 0.5, *, shots: npt.ArrayLike = 0) -> Lips:
    """Lips at 25 frames per second of the given gap and width (N,) in eye distances."""
    gaps = np.asarray(gap, np.float64)
    shapes = np.repeat(canonical()[None].astype(np.float64), len(gaps), 0)
    half = np.broadcast_to(np.asarray(width, np.float64), gaps.shape) / 2
    shapes[:, mesh.LEFT_CORNER], shapes[:, mesh.RIGHT_CORNER] = (
        np.stack([side * half, np.full_like(half, 0.6), np.zeros_like(half)], 1) for side in (-1, 1)
    )
    shapes = set_gap(shapes, gaps)
    landmarks = (shapes * UNIT + [*CENTRE, 0]).astype(np.float32)
    count = np.arange(len(gaps), dtype=np.int64)
    track = FaceTrack(
        frames=count,
        times_ms=count * FRAME_MS,
        landmarks=landmarks,
        presence=np.ones(len(gaps), np.float32),
        shots=np.broadcast_to(np.asarray(shots, np.int64), count.shape),
    )
    return Lips(track, shapes, shapes)
