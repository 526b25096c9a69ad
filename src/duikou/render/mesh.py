"""Names of the landmarks that rendering moves, and measures of a mouth.

Numbers are those of Google's 478-point face mesh. "Left" is the left of the picture. All rows of lip points run from
the left corner of the mouth to the right corner, both included, so rows of upper and lower lip correspond.
"""

from __future__ import annotations

import numpy as np

from duikou.arrays import Float64Array

UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_MIDDLE = (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_MIDDLE = (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)

CORNERS = (61, 62, 78, 291, 292, 308)
UPPER_LIP = tuple(sorted({*UPPER_OUTER, *UPPER_MIDDLE, *UPPER_INNER} - {*CORNERS}))
LOWER_LIP = tuple(sorted({*LOWER_OUTER, *LOWER_MIDDLE, *LOWER_INNER} - {*CORNERS}))
LIPS = (*CORNERS, *UPPER_LIP, *LOWER_LIP)

INNER_RING = (*UPPER_INNER, *LOWER_INNER[-2:0:-1])
OUTER_RING = (*UPPER_OUTER, *LOWER_OUTER[-2:0:-1])

JAW_LINE = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
OUTLINE = (*JAW_LINE, 356, 389, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21, 162, 127)
JAW_BOTTOM = (136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365)
CHIN = (18, 83, 313, 200, 199, 175, 208, 428, 201, 421, 194, 418, 32, 262, 171, 396, 140, 369)
LOWER_CHEEKS = (
    43,
    273,
    106,
    335,
    204,
    424,
    211,
    431,
    170,
    395,
    202,
    422,
    210,
    430,
    57,
    287,
    212,
    432,
    214,
    434,
    192,
    416,
)
UPPER_CHEEKS = (
    186,
    410,
    92,
    322,
    165,
    391,
    216,
    436,
    206,
    426,
    207,
    427,
    203,
    423,
    205,
    425,
    50,
    280,
    187,
    411,
    147,
    376,
)
UNDER_NOSE = (2, 97, 326, 98, 327, 164, 167, 393)
SKULL = (1, 4, 5, 6, 168, 33, 133, 263, 362, 145, 374, 116, 345, 127, 356, 48, 278, 101, 330)
"""Points that do not move with speech."""

MOVED = (*LIPS, *CHIN, *LOWER_CHEEKS, *UPPER_CHEEKS, *UNDER_NOSE, *JAW_LINE)
"""Points that move with speech, lips first."""

EYES = (33, 263)
CHIN_TIP, NOSE_BRIDGE = 152, 168
UPPER_MID, LOWER_MID = 13, 14
LEFT_CORNER, RIGHT_CORNER = 61, 291


def _distance(one: Float64Array, other: Float64Array) -> Float64Array:
    """Distance between points (..., D): (...). The values of `numpy.linalg.norm` in half the time for few points."""
    away = one - other
    distance: Float64Array = np.sqrt(np.add.reduce(away * away, axis=-1))
    return distance


def lip_gap(points: Float64Array) -> Float64Array:
    """Opening between the inner lips, mean of the middle three pairs: points (..., 478, D) to (...)."""
    gap: Float64Array = _distance(points[..., UPPER_INNER[4:7], :], points[..., LOWER_INNER[4:7], :]).mean(-1)
    return gap


def lip_width(points: Float64Array) -> Float64Array:
    """Distance between the corners of the mouth: points (..., 478, D) to (...)."""
    return _distance(points[..., LEFT_CORNER, :], points[..., RIGHT_CORNER, :])


def eye_distance(points: Float64Array) -> Float64Array:
    """Distance between the outer eye corners: points (..., 478, D) to (...)."""
    return _distance(points[..., EYES[0], :], points[..., EYES[1], :])
