"""A face drawn in flat colours, as cheap animation has them: no shading, hard outlines."""

from __future__ import annotations

import cv2
import numpy as np

from duikou.arrays import Image

SKIN, HAIR, LINE, WHITE, IRIS, LIPS = (
    *((199, 221, 254), (91, 68, 157), (50, 30, 40)),
    *((255, 255, 255), (165, 84, 24), (84, 74, 190)),
)
SHIFT = 3  # bits of the fraction in OpenCV's coordinates


def flat_face(width: int, height: int, x: float, y: float, *, unit: float = 1.0, smile: float = 0.0) -> Image:
    """(height, width, 3) BGR: a face whose middle is at `x`, `y`, about 300 `unit` pixels high."""
    image = np.full((height, width, 3), (232, 218, 198), np.uint8)

    def at(dx: float, dy: float) -> tuple[int, int]:
        return round((x + unit * dx) * 2**SHIFT), round((y + unit * dy) * 2**SHIFT)

    def oval(
        dx: float, dy: float, across: float, down: float, colour: tuple[int, ...], thick: int = -1, **arc: int
    ) -> None:
        size = round(unit * across * 2**SHIFT), round(unit * down * 2**SHIFT)
        start, stop = arc.get("start", 0), arc.get("stop", 360)
        cv2.ellipse(image, at(dx, dy), size, 0, start, stop, colour, thick, cv2.LINE_AA, SHIFT)

    oval(0, -40, 150, 175, HAIR)
    cv2.rectangle(image, at(-150, -40), at(150, 190), HAIR, -1, cv2.LINE_AA, SHIFT)
    cv2.rectangle(image, at(-32, 100), at(32, 260), SKIN, -1, cv2.LINE_AA, SHIFT)
    oval(0, 20, 118, 150, SKIN)
    for side in (-1, 1):
        oval(52 * side, -10, 27, 22, WHITE)
        oval(52 * side, -8, 14, 18, IRIS)
        oval(52 * side, -8, 6, 8, LINE)
        oval(52 * side, -10, 29, 24, LINE, 4, start=190, stop=350)
        oval(52 * side, -48, 30, 10, HAIR, 5, start=200, stop=340)
        oval(9 * side, 52, 4, 3, (150, 170, 225))
    oval(0, 95, 34, 8 + 6 * smile, LIPS)
    oval(0, 94, 34, 2 + 5 * smile, LINE)
    return image
