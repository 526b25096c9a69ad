"""Drawn mouths with known teeth, edges and marks, in the place of mouths cut from a film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from lips_maker import UNIT as MADE_UNIT
from lips_maker import make_lips

from benchmarks.quality import sheet
from benchmarks.quality.mouths import Mouth
from duikou.faces.pose import canonical
from duikou.render import mesh

UNIT = 240.0
"""Eye distance in pixels."""
SKIN, LIPS, DARK, TOOTH, SEAM = (150, 170, 200), (90, 80, 170), (25, 20, 40), (215, 225, 230), (150, 155, 165)
TEETH, TOOTH_WIDTH, TOOTH_LENGTH = 6, 0.055, 0.055
"""Number, width and length of the upper teeth, in eye distances."""
BELOW_NOSE = float(canonical()[mesh.UPPER_MID, 1] - canonical()[mesh.NOSE_BRIDGE, 1]) + 0.01
"""Where the upper teeth hang, below the bridge of the nose, in eye distances."""
CURVED = 0.012
"""How much shorter the outermost teeth are, in eye distances."""


@dataclass(frozen=True)
class Drawn:
    """How a mouth is drawn. gap: of the lips. teeth: factor of their width; 0 draws none. moved: (2,) way of the teeth.
    ragged: depth of notches in the edge of the lips. mark: strength of a dark spot beside the left corner. All lengths
    are in eye distances.
    """

    gap: float = 0.14
    teeth: float = 1.0
    moved: tuple[float, float] = (0.0, 0.0)
    ragged: float = 0.0
    mark: int = 0


def draw_mouth(drawn: Drawn, *, ours: bool = False, clip: str = "a", grain: int = 0) -> Mouth:
    """A mouth as `mouths.cut` returns it. grain: seed of the noise."""
    points = make_lips([drawn.gap]).track.landmarks[0].astype(np.float64) * (UNIT / MADE_UNIT)
    for corner, inner, way in ((61, 78, -0.02), (62, 78, -0.01), (291, 308, 0.02), (292, 308, 0.01)):
        points[corner] = points[inner] + [way * UNIT, 0, 0]
    side = round(2 * sheet.REACH * UNIT)
    turn = sheet.upright(points[:, :2], side)
    points[:, :2] = points[:, :2] @ turn[:, :2].T + turn[:, 2]
    image = np.full((side, side, 3), SKIN, np.uint8)
    _fill(image, points[list(mesh.OUTER_RING), :2], LIPS)
    if drawn.mark:
        x, y = np.round(points[mesh.LEFT_CORNER, :2] - [0.08 * UNIT, 0]).astype(int)
        cv2.circle(image, (int(x), int(y)), round(0.015 * UNIT), [max(one - drawn.mark, 0) for one in SKIN], cv2.FILLED)
    inside = np.full_like(image, DARK)
    _draw_teeth(inside, points, drawn)
    mask = np.zeros((side, side), np.uint8)
    _fill(mask, _inner(points, drawn.ragged), 1)
    image[mask > 0] = inside[mask > 0]
    noise = np.random.default_rng(grain).normal(0, 1.5, (side, side, 1))
    soft = cv2.GaussianBlur(image, (0, 0), 0.01 * UNIT)
    return Mouth(
        clip=clip,
        face=clip,
        ours=ours,
        time_ms=40 * grain,
        gap=drawn.gap,
        width=0.5,
        unit=UNIT,
        image=np.clip(soft + noise, 0, 255).astype(np.uint8),
        points=points,
    )


def draw_mouths(count: int, drawn: Drawn, **about: Any) -> list[Mouth]:
    """Several such mouths with different grain."""
    return [draw_mouth(drawn, grain=number, **about) for number in range(count)]


def _draw_teeth(image: np.ndarray, points: np.ndarray, drawn: Drawn) -> None:
    """Teeth that hang from one place of the head, whatever the lips do."""
    middle = points[mesh.NOSE_BRIDGE, :2] + [drawn.moved[0] * UNIT, (BELOW_NOSE + drawn.moved[1]) * UNIT]
    wide = drawn.teeth * TOOTH_WIDTH * UNIT
    for number in range(TEETH if drawn.teeth else 0):
        left = middle[0] + (number - TEETH / 2) * wide
        length = (TOOTH_LENGTH + 0.04) * UNIT - CURVED * UNIT * abs(number - (TEETH - 1) / 2)
        x0, y0, x1, y1 = (round(one) for one in (left, middle[1] - 0.04 * UNIT, left + wide, middle[1] + length))
        cv2.rectangle(image, (x0, y0), (x1, y1), TOOTH, cv2.FILLED)
        cv2.rectangle(image, (x0, y0), (x1, y1), SEAM, 2)


def _inner(points: np.ndarray, ragged: float) -> np.ndarray:
    """The inner edge of the lips, with notches."""
    rows = []
    for row, way in ((mesh.UPPER_INNER, -1), (mesh.LOWER_INNER, 1)):
        x = np.linspace(points[row[0], 0], points[row[-1], 0], 121)
        y = np.interp(x, *points[list(row), :2].T) + way * ragged * UNIT * (np.arange(121) // 6 % 2)
        rows.append(np.stack([x, y], 1))
    return np.vstack([rows[0], rows[1][::-1]])


def _fill(image: np.ndarray, ring: np.ndarray, colour: int | Sequence[int]) -> None:
    cv2.fillPoly(image, [np.round(ring).astype(np.int32)], colour)
