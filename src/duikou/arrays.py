"""Names for the arrays that every room uses, and the one soft step between two values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.floating[Any]]
"""Of either precision."""
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]
"""(H, W, 3) pixels, blue green red unless said otherwise, or (H, W) grey."""
Image16 = npt.NDArray[np.uint16]
"""The same in codes of more than 8 bits."""

Floats = TypeVar("Floats", Float32Array, Float64Array, FloatArray)


BLOCK = 256
"""Frames that are computed at once where values of a whole window would fill memory several times."""


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """All rows, at most `size` at a time."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def smoothstep(x: Floats) -> Floats:
    """0 below 0, 1 above 1, with no corner between (Hermite's cubic). Keeps the precision of `x`."""
    x = np.minimum(np.maximum(x, 0), 1)  # for few values, in half the time of `clip`
    return x * x * (3 - 2 * x)


def median(values: npt.ArrayLike) -> Float64Array:
    """Median (...) along the first axis of values (N, ...). For few values, NumPy's takes eight times as long."""
    found = np.sort(values, axis=0)
    return np.asarray((found[(len(found) - 1) // 2] + found[len(found) // 2]) / 2, np.float64)
