"""The one soft step that shapes and pictures share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def smoothstep(x: FloatArray) -> FloatArray:
    """0 below 0, 1 above 1, without corners between (Hermite's cubic)."""
    x = np.clip(x, 0, 1)
    step: FloatArray = x * x * (3 - 2 * x)
    return step
