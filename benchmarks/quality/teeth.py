"""Whether teeth stay as they are: their size, and their motion against the skull or the jaw, measured on pictures.

The inside of each mouth is brought into the head's own frame, where upper teeth always have the same place and size. A
row of teeth of the clip itself is found again there by the affine motion that correlates best (Evangelidis and
Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from benchmarks.quality.mouths import OPEN, Mouth
from duikou.arrays import BoolArray, Float32Array, Float64Array, Image
from duikou.faces import pose
from duikou.render import mesh

PIXELS = 240.0
"""Pixels of an eye distance in the head's frame: about those of the sharpest clips."""

LEFT, TOP, WIDTH, HEIGHT = -0.30, 0.34, 0.60, 0.50
"""The part of the head's frame that holds the teeth, in eye distances from the bridge of the nose."""

BEHIND_LIPS = 0.04
"""Depth of the teeth behind the lips, in eye distances."""

PALE, BRIGHT = 0.62, 0.55
"""Of a pixel that counts as a tooth: its colourfulness relative to that of the lips, at most; its lightness relative to
that of the cheeks, at least."""

LEAST_TEETH = 350
"""Pixels of teeth that a row must show in the head's frame."""

ROWS = ("upper", "lower")
UPPER_FROM, LOWER_FROM = 0.3, 0.45
"""Part of the opening, from the upper lip down, that upper teeth reach up to, and from which on there are lower ones
only. Where both rows touch they count as upper."""

BESIDE = 6
"""Pixels beside the teeth, within the lips, that are compared too: the dark shows where they end."""

SURE = 0.95
"""Correlation from which a row is found again. At 0.9, rows half hidden by a lip count too, and real teeth measure down
to 0.85 across; at 0.95, 0.96 to 1.05 in every clip."""

LARGEST, FURTHEST = 1.6, 0.08
"""Factor of size, and way in eye distances, from which something else than the row was found."""

REFERENCES = 4
"""Rows of the clip itself that are looked for."""

STEPS, SMALLEST_STEP, BLUR = 40, 1e-3, 3
"""Limits of the search for a motion, and the side of the blur, in pixels, that helps it along."""

JAW_SHARE = 0.80
"""Share of the chin's motion by which the lower incisors move: they are closer to the hinge."""


LEAST_ROWS = 5
"""Rows found again from which a measure is given."""

RANGE = (10, 50, 90)
"""Percentiles of the scale: a lip over the teeth misleads the search now and then, in real mouths too."""


@dataclass(frozen=True)
class Row:
    """A row of teeth in the head's frame. light: (rows, columns) lightness. compared: (rows, columns) 255 on and beside
    the teeth. jaw: lowering of the chin in eye distances, for a lower row; 0 for an upper one.
    """

    light: Float32Array
    compared: Image
    jaw: float

    @property
    def clear(self) -> float:
        """How well it is seen: size times contrast."""
        return float(np.count_nonzero(self.compared) * self.light[self.compared > 0].std())


@dataclass(frozen=True)
class Found:
    """A row found again. sure: correlation. scale: (2,) across and down. away: (2,) how far its middle lies from where
    skull or jaw would hold it, in eye distances.
    """

    sure: float
    scale: Float64Array
    away: Float64Array


@dataclass(frozen=True)
class Rigid:
    """Rows found again in real mouths or in ours. across, down: (3,) percentiles of their scale, from `RANGE`. away:
    median distance from where skull or jaw would hold them, in eye distances.
    """

    rows: int
    across: Float64Array
    down: Float64Array
    away: float


@dataclass(frozen=True)
class TeethReport:
    """One row of teeth of one face, `upper` or `lower`. painted: the clip itself does not show it, so that our rows are
    compared with each other. real, ours: `None` where too few are found again.
    """

    name: str
    row: str
    painted: bool
    real: Rigid | None
    ours: Rigid | None

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        kinds = {kind: None if one is None else _plain(one) for kind, one in (("real", self.real), ("ours", self.ours))}
        return {"name": self.name, "row": self.row, "painted": self.painted} | kinds


def compare(name: str, mouths: Sequence[Mouth]) -> list[TeethReport]:
    """Measure the rows of teeth of one face; empty if it shows none often enough."""
    seen = [(mouth.ours, rows(mouth)) for mouth in mouths if mouth.gap > OPEN]
    found = []
    for row in ROWS:
        kinds = {ours: [shown[row] for kind, shown in seen if kind is ours and row in shown] for ours in (False, True)}
        painted = len(kinds[False]) < LEAST_ROWS
        references = _references(kinds[painted])
        real, ours = (_rigid(kinds[kind], references) for kind in (False, True))
        if real is not None or ours is not None:
            found.append(TeethReport(name, row, painted, real, ours))
    return found


def rows(mouth: Mouth) -> dict[str, Row]:
    """The rows of teeth, `upper` and `lower`, that a mouth shows."""
    points = mouth.points
    head = pose.fit(points[None].astype(np.float32))
    shape = pose.to_canonical(points[None].astype(np.float32), head)[0].astype(np.float64)
    lips = shape[[mesh.UPPER_MID, mesh.LOWER_MID]].mean(0)
    linear = head.scale[0] * head.rotation[0]
    offset = linear[:, 2] * (lips[2] + BEHIND_LIPS) + head.translation[0]
    to_crop = np.column_stack([linear[:2, :2] / PIXELS, linear[:2, :2] @ [LEFT, TOP] + offset[:2]])
    size = (round(WIDTH * PIXELS), round(HEIGHT * PIXELS))
    part = cv2.warpAffine(mouth.image, to_crop, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    back = cv2.invertAffineTransform(to_crop)
    placed = points[:, :2] @ back[:, :2].T + back[:, 2]
    lab = cv2.cvtColor(part.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    inside, outer = (_filled(placed[list(ring)], size) for ring in (mesh.INNER_RING, mesh.OUTER_RING))
    lip, skin = outer & ~_grown(inside, 2), ~_grown(outer, 4)
    if not lip.any() or not skin.any():
        return {}
    colour = np.hypot(lab[..., 1], lab[..., 2])
    tooth = (
        (inside > 0)
        & (colour < PALE * np.median(colour[lip > 0]))
        & (lab[..., 0] > BRIGHT * np.median(lab[..., 0][skin]))
    )
    share, within = _height(placed, size), ~_grown(~inside, 1)
    jaw = float(shape[mesh.CHIN_TIP, 1])
    found = {}
    for name, teeth in zip(ROWS, _apart(tooth, share), strict=True):
        if np.count_nonzero(teeth) >= LEAST_TEETH:
            compared = (_grown(teeth, BESIDE) & within).astype(np.uint8) * np.uint8(255)
            found[name] = Row(lab[..., 0].astype(np.float32), compared, jaw if name == "lower" else 0.0)
    return found


def find(row: Row, reference: Row) -> Found | None:
    """Find a reference's teeth in another picture; `None` where the search does not settle on them."""
    moved = JAW_SHARE * (row.jaw - reference.jaw) * PIXELS
    start = np.array([[1, 0, 0], [0, 1, moved]], np.float32)
    limits = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, SMALLEST_STEP)
    try:
        sure, motion = cv2.findTransformECC(
            reference.light, row.light, start, cv2.MOTION_AFFINE, limits, reference.compared, BLUR
        )
    except cv2.error:  # it did not converge
        return None
    ys, xs = np.nonzero(reference.compared)
    middle = np.array([xs.mean(), ys.mean()])
    away = (motion[:, :2] @ middle + motion[:, 2] - middle - [0, moved]) / PIXELS
    scale = np.linalg.norm(motion[:, :2], axis=0).astype(np.float64)
    lost = scale.min() < 1 / LARGEST or scale.max() > LARGEST or np.abs(away).max() > FURTHEST or sure < SURE
    return None if lost else Found(float(sure), scale, away.astype(np.float64))


def _references(seen: list[Row]) -> list[Row]:
    """A few of the rows, the clearest first."""
    clear = sorted(seen, key=lambda row: -row.clear)
    return clear[:: max(len(clear) // (2 * REFERENCES), 1)][:REFERENCES]


def _rigid(seen: list[Row], references: list[Row]) -> Rigid | None:
    """How rows compare with the reference that each resembles most; `None` if too few are found again."""
    best = []
    for row in seen:
        found = [find(row, reference) for reference in references if reference is not row]
        settled = [one for one in found if one is not None]
        if settled:
            best.append(max(settled, key=lambda one: one.sure))
    if len(best) < LEAST_ROWS:
        return None
    across, down = np.percentile([one.scale for one in best], RANGE, axis=0).T
    return Rigid(len(best), across, down, float(np.median([np.linalg.norm(one.away) for one in best])))


def _plain(one: Rigid) -> dict[str, Any]:
    return {"rows": one.rows, "across": one.across.tolist(), "down": one.down.tolist(), "away": one.away}


def _apart(tooth: BoolArray, share: Float64Array) -> tuple[BoolArray, BoolArray]:
    """The pixels of upper and of lower teeth. share: (rows, columns) place in the opening, from `_height`."""
    count, labels = cv2.connectedComponents(tooth.astype(np.uint8), connectivity=4)
    highest = np.ones(count)
    np.minimum.at(highest, labels[tooth].astype(np.int64), share[tooth])
    highest[0] = 0.5 * (UPPER_FROM + LOWER_FROM)
    return np.asarray((highest < UPPER_FROM)[labels], np.bool_), np.asarray((highest > LOWER_FROM)[labels], np.bool_)


def _filled(ring: Float64Array, size: tuple[int, int]) -> BoolArray:
    """(rows, columns) the inside of a closed line (K, 2)."""
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [np.round(ring).astype(np.int32)], 1)
    return mask > 0


def _grown(mask: BoolArray, by: int) -> BoolArray:
    """The mask, larger by some pixels to every side."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0, np.bool_)


def _height(placed: Float64Array, size: tuple[int, int]) -> Float64Array:
    """(rows, columns) place between the upper lip, 0, and the lower lip, 1."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    upper, lower = (np.interp(x, *placed[list(row)].T) for row in (mesh.UPPER_INNER, mesh.LOWER_INNER))
    return np.asarray((y - upper) / np.maximum(lower - upper, 1e-3), np.float64)
