"""CIE L, a, b of a few 8-bit colours, in whole numbers as OpenCV computes them.

OpenCV's own conversion first fills tables for other conversions, which takes 0.1 s of a process, and pays only for
whole pictures. Of all colours of 8 bits, one in 10,000 differs from OpenCV's, by one level.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from duikou.arrays import Image

Ints = npt.NDArray[np.int32]

WHITE: Final = 255 * 8
"""Linear light of white. Tables go up to half as much again, since rounding may exceed it."""
MATRIX_BITS: Final = 12
ROOT_BITS: Final = 15
XYZ_OF_RGB: Final = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
D65: Final = (0.950456, 1.0, 1.088754)  # X, Y and Z of white
DARK: Final = 216 / 24389  # share of white below which CIE's cube root is a line


def lab(rgb: Image) -> Image:
    """Colours (..., 3) of sRGB as CIE L, a, b, each from 0 to 255: L stretched, a and b with 128 for grey."""
    linear, roots, matrix = _tables()
    x, y, z = np.moveaxis(roots[_descaled(linear[rgb] @ matrix, MATRIX_BITS)], -1, 0)
    grey = 128 << ROOT_BITS
    lightness = _descaled(round(1.16 * 255) * y - round(0.16 * 255 * (1 << ROOT_BITS)), ROOT_BITS)
    a, b = _descaled(500 * (x - y) + grey, ROOT_BITS), _descaled(200 * (y - z) + grey, ROOT_BITS)
    return np.clip(np.stack([lightness, a, b], -1), 0, 255).astype(np.uint8)


def _descaled(values: Ints, bits: int) -> Ints:
    """Rounded values without their lowest bits."""
    return (values + (1 << bits - 1)) >> bits


@cache
def _tables() -> tuple[Ints, Ints, Ints]:
    """Linear light of sRGB values (256,); CIE's cube root of linear light; (3, 3) from linear RGB to XYZ over white."""
    values = np.arange(256) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = np.arange(3 * WHITE // 2 + 12) / WHITE
    roots = np.where(light < DARK, light * 841 / 108 + 16 / 116, np.cbrt(light))
    matrix = np.array(XYZ_OF_RGB).T / D65
    scaled = (linear * WHITE, roots * (1 << ROOT_BITS), matrix * (1 << MATRIX_BITS))
    return tuple(np.rint(one).astype(np.int32) for one in scaled)  # type: ignore[return-value]
