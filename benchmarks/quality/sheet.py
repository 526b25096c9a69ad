"""One sheet per face for visual inspection: mouths of source and result, consecutive frames, and the curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from duikou.arrays import Float64Array, Image, IntArray
from duikou.render import mesh

COLUMNS = 10
CELL = 180
"""Width and height of a mouth, in pixels; ten fit a wide screen."""
CONTACT_CELL, CONTACT_COLUMNS, CONTACT_MOUTHS = 460, 4, 12
"""Width and height of a mouth on a contact sheet, in pixels; mouths in a row, and on the page."""
REACH = 0.42
"""Half the side of a cell, in eye distances: mouth, upper half of the chin and the skin beside them."""
MIDDLE = 0.42
"""Height of the middle of the lips in a cell."""
GAP, BAND, PLOT = 4, 22, 200
PAPER, INK = (255, 255, 255), (40, 40, 40)
COLOURS = ((60, 60, 60), (60, 60, 220), (200, 140, 40), (90, 170, 60))
"""BGR of the curves, in their order."""
CLOSING = (225, 225, 245)
FONT, FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


@dataclass(frozen=True)
class Strip:
    """One row of mouths: title and cells."""

    title: str
    cells: list[Image]


@dataclass(frozen=True)
class Plot:
    """Curves over time. times_s: (N,). curves: by name, each (N,); the first two measure the same and share a scale.
    closures: start and end in s of each.
    """

    times_s: Float64Array
    curves: Mapping[str, Float64Array]
    closures: list[tuple[float, float]]


def mouth(image: Image, points: Float64Array, side: int = CELL) -> Image:
    """The mouth of landmarks (478, 2), upright and scaled to a cell of `side` pixels."""
    cell = cv2.warpAffine(
        image, upright(points, side), (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cell, np.uint8)


def upright(points: Float64Array, side: int) -> Float64Array:
    """The transform (2, 3) from a picture with landmarks (478, 2) to the cell of its mouth."""
    lips = points[list(mesh.OUTER_RING)]
    eyes = points[mesh.EYES[1]] - points[mesh.EYES[0]]
    scale = side / (2 * REACH * float(np.linalg.norm(eyes)))
    angle = float(np.arctan2(eyes[1], eyes[0]))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shift = np.array([side / 2, side * MIDDLE]) - turn @ lips.mean(0)
    return np.hstack([turn, shift[:, None]])


def different(gap: Float64Array, width: Float64Array, count: int = COLUMNS) -> IntArray:
    """Rows of the `count` most different mouths in time order: each is the furthest from those chosen before."""
    looks = np.stack([gap, width], 1)
    chosen = [int(np.argmin(gap)), int(np.argmax(gap))]
    away = np.linalg.norm(looks[:, None] - looks[chosen], axis=-1).min(1)
    while len(chosen) < min(count, len(gap)):
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, np.linalg.norm(looks - looks[chosen[-1]], axis=1))
    return np.array(sorted(set(chosen)), np.int64)


def write(path: Path, title: str, strips: list[Strip], plot: Plot) -> Path:
    """Write the sheet as PNG and return `path`."""
    rows = [_text(title)]
    for strip in strips:
        rows += [_text(strip.title), _row(strip.cells)]
    rows += [_text("   ".join(plot.curves), COLOURS), _drawn(plot)]
    page = np.vstack([cv2.copyMakeBorder(row, 0, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=PAPER) for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", page)[1].tobytes())
    return path


def numbered(cells: list[tuple[int, Image]], columns: int) -> Image:
    """A page of numbered mouths of the same size in rows of `columns`."""
    side = len(cells[0][1])
    page = np.full(
        (-(-len(cells) // columns) * (side + BAND + GAP) + GAP, columns * (side + GAP) + GAP, 3), PAPER, np.uint8
    )
    for place, (number, cell) in enumerate(cells):
        top, left = GAP + place // columns * (side + BAND + GAP), GAP + place % columns * (side + GAP)
        cv2.putText(page, str(number), (left, top + BAND - 7), FONT, 1.5 * FONT_SIZE, INK, 1, cv2.LINE_AA)
        page[top + BAND : top + BAND + side, left : left + side] = cell
    return page


def contact(path: Path, cells: list[Image], columns: int = CONTACT_COLUMNS) -> Path:
    """Write large mouths in time order, row by row, as PNG and return `path`: two such pages lie side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", numbered(list(enumerate(cells, 1)), columns))[1].tobytes())
    return path


def _width() -> int:
    return COLUMNS * (CELL + GAP) - GAP


def _row(cells: list[Image]) -> Image:
    row = np.full((CELL, _width(), 3), PAPER, np.uint8)
    for column, cell in enumerate(cells[:COLUMNS]):
        left = column * (CELL + GAP)
        row[:, left : left + CELL] = cell
    return row


def _text(text: str, colours: tuple[tuple[int, int, int], ...] | None = None) -> Image:
    row = np.full((BAND, _width(), 3), PAPER, np.uint8)
    left = 2
    for number, word in enumerate(text.split("   ") if colours else [text]):
        ink = colours[number % len(colours)] if colours else INK
        cv2.putText(row, word, (left, BAND - 7), FONT, FONT_SIZE, ink, 1, cv2.LINE_AA)
        left += cv2.getTextSize(word, FONT, FONT_SIZE, 1)[0][0] + 24
    return row


def _drawn(plot: Plot) -> Image:
    """The curves over shaded closures, each scaled to its own range; the first two share a scale."""
    width, times_s, curves = _width(), plot.times_s, list(plot.curves.values())
    image = np.full((PLOT, width, 3), PAPER, np.uint8)
    start, end = float(times_s[0]), float(times_s[-1])

    def column(time_s: float) -> int:
        return round((time_s - start) / max(end - start, 1e-9) * (width - 1))

    for first, last in plot.closures:
        cv2.rectangle(image, (column(first), 0), (column(last), PLOT - 1), CLOSING, cv2.FILLED)
    for number, curve in enumerate(curves):
        scale = np.concatenate(curves[:2]) if number < 2 else curve
        low, high = float(scale.min()), float(scale.max())
        heights = (PLOT - 3) * (1 - (curve - low) / max(high - low, 1e-9)) + 1
        line = np.stack([[column(float(time)) for time in times_s], np.round(heights)], 1).astype(np.int32)
        cv2.polylines(image, [line], False, COLOURS[number % len(COLOURS)], 1, cv2.LINE_AA)
    return image
