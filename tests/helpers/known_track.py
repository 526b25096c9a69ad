"""A track of 6 s without a video, for tests that use only its times and shots."""

from __future__ import annotations

import numpy as np

from duikou.faces.track import FaceTrack

STEP_MS, FRAMES = 40, 150


def track(shots: list[int] | None = None) -> FaceTrack:
    """shots: the shot of each frame; all frames are of one shot by default."""
    frames = np.arange(FRAMES)
    return FaceTrack(
        frames=frames,
        times_ms=frames * STEP_MS,
        landmarks=np.zeros((FRAMES, 478, 3), np.float32),
        presence=np.ones(FRAMES, np.float32),
        shots=np.array(shots if shots is not None else [0] * FRAMES),
    )
