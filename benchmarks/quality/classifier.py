"""A small classifier that learns to tell real mouths from ours, tried on clips that it has not seen.

Histograms of oriented gradients (Dalal and Triggs, 2005), colours relative to the skin around, and the strength of
fine detail, cell by cell, go into regularised least squares (Rifkin, Yeo and Poggio, 2003). It learns within seconds.
Each clip is judged by a classifier that has learnt from all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.quality import sheet
from benchmarks.quality.mouths import OPEN, Mouth
from benchmarks.quality.told_apart import area
from duikou.arrays import BoolArray, Float64Array, Image

SIDE, CELL = 64, 4
"""Sides of the picture and of a cell, in pixels."""

UNIT = 100.0
"""Eye distance, in pixels: finer pictures are reduced to it, so that no clip is sharper by its size."""

SEEN = np.s_[4:12, 2:14]
"""Rows and columns of the cells that are learnt: the mouth. The skin above and below says by itself which mouths of
idle and withheld clips are painted (0.77; of talking clips 0.57), perhaps because a still head is coded otherwise."""

WAYS, AROUND = 9, 3
"""Directions of gradients, and the side, in cells, of the square whose gradients they are measured by."""

FINE = (0.8, 1.6)
"""Scales of fine detail, in pixels."""

LEAST_DETAIL = 0.5
"""Grey levels below which there is no detail."""

PENALTY = 1.0
"""Of the squared weights. Of 1, 10 and 100 it gives the highest area."""

LEAST_CLIPS, LEAST_MOUTHS = 3, 20
"""Clips, and mouths of either kind, from which a group can be learnt."""

LEAST_SPREAD = 1e-3
"""Of a feature, so that a constant one counts for nothing."""

MAP_SIDE, MAP_BLUR = 300, 0.8
"""Side of the map, in pixels, and its blur, in cells."""


@dataclass(frozen=True)
class ToldApart:
    """One group of mouths. by_clip: area under the curve, 0.5 is chance, of each unseen clip with painted mouths: with
    the same clip's real ones, or with all real ones where it has none. real, ours: number of mouths.
    """

    group: str
    by_clip: dict[str, float]
    real: int
    ours: int

    @property
    def area(self) -> float:
        """Mean over the clips."""
        return float(np.mean(list(self.by_clip.values())))


def talking(mouths: Sequence[Mouth]) -> list[Mouth]:
    """The mouths of talking clips: all of them, whose gaps are alike."""
    return list(mouths)


def idle(mouths: Sequence[Mouth], withheld: Sequence[Mouth], others: Sequence[Mouth]) -> list[Mouth]:
    """Open mouths that were painted without one to go by, of idle clips and of withheld ones, and real open ones.

    See `told_apart.idle`.
    """
    painted = [mouth for mouth in (*mouths, *withheld) if mouth.ours and mouth.gap > OPEN]
    return painted + [mouth for mouth in (*mouths, *others) if not mouth.ours and mouth.gap > OPEN]


def tell(group: str, mouths: Sequence[Mouth], page: Path) -> ToldApart | None:
    """Learn and try, and write the map of where the evidence lies as PNG; `None` for too few clips or mouths."""
    clips = np.array([mouth.clip for mouth in mouths])
    ours = np.array([mouth.ours for mouth in mouths], bool)
    if len(set(clips)) < LEAST_CLIPS or min(ours.sum(), (~ours).sum()) < LEAST_MOUTHS:
        return None
    pictures = np.stack([crop(mouth) for mouth in mouths])
    features = np.stack([describe(picture) for picture in pictures])
    features = (features - features.mean(0)) / (features.std(0) + LEAST_SPREAD)
    likeness = features @ features.T / features.shape[1]
    evidence, terms, by_clip = np.zeros(len(mouths)), [], {}
    filmed = {clip: found if (found := ~ours & (clips == clip)).any() else ~ours for clip in set(clips[ours])}
    for clip in sorted(set(clips)):
        unseen = clips == clip
        weights = _learn(likeness[np.ix_(~unseen, ~unseen)], ours[~unseen])
        evidence[unseen] = likeness[np.ix_(unseen, ~unseen)] @ weights
        if clip in filmed:
            apart = features[ours & unseen].mean(0) - features[filmed[clip]].mean(0)
            terms.append(apart * (features[~unseen].T @ weights))
    for clip, real in sorted(filmed.items()):
        by_clip[str(clip)] = area(-evidence[real], -evidence[ours & (clips == clip)])
    _write_map(page, np.mean(terms, 0), pictures[ours].mean(0))
    return ToldApart(group, by_clip, int((~ours).sum()), int(ours.sum()))


def crop(mouth: Mouth) -> Image:
    """(SIDE, SIDE, 3) the middle of a mouth's picture, with an eye distance of `UNIT` pixels."""
    whole = round(2 * sheet.REACH * UNIT)
    left, top = (whole - SIDE) // 2, round(sheet.MIDDLE * whole) - SIDE // 2
    return mouth.at(UNIT, whole)[top : top + SIDE, left : left + SIDE]


def describe(picture: Image) -> Float64Array:
    """(F,) features of the mouth in a picture (SIDE, SIDE, 3), cell by cell: directions, colour, fine detail."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    light = lab[..., 0]
    x, y = (cv2.Sobel(light, cv2.CV_32F, *axis, ksize=3) for axis in ((1, 0), (0, 1)))
    way = (np.arctan2(y, x) % np.pi / np.pi * WAYS).astype(int) % WAYS
    gradients = _cells(np.eye(WAYS)[way] * np.hypot(x, y)[..., None])
    around = cv2.blur(np.square(gradients).sum(-1), (AROUND, AROUND), borderType=cv2.BORDER_REFLECT)[..., None]
    fine = [light - cv2.GaussianBlur(light, (0, 0), scale) for scale in FINE]
    detail = np.log(np.sqrt(_cells(np.square(np.stack(fine, -1)))) + LEAST_DETAIL)
    colours = _cells(lab)
    colours = colours - np.concatenate([colours[[0, -1]].reshape(-1, 3), colours[:, [0, -1]].reshape(-1, 3)]).mean(0)
    parts = [gradients / np.sqrt(around + LEAST_DETAIL), colours, detail]
    return np.concatenate(parts, -1)[SEEN].ravel().astype(np.float64)


def by_cell(terms: Float64Array) -> Float64Array:
    """(SIDE / CELL, SIDE / CELL) sum of the terms (F,) of each cell: the evidence that hiding it takes away."""
    found = np.zeros((SIDE // CELL, SIDE // CELL))
    found[SEEN] = terms.reshape(*found[SEEN].shape, -1).sum(-1)
    return found


def _cells(values: npt.ArrayLike) -> Float64Array:
    """Means of values (SIDE, SIDE, K) in the cells: (SIDE / CELL, SIDE / CELL, K)."""
    count = SIDE // CELL
    cells = np.asarray(values).reshape(count, CELL, count, CELL, -1)
    return np.asarray(cells.mean((1, 3)), np.float64)


def _learn(likeness: Float64Array, ours: BoolArray) -> Float64Array:
    """(N,) weights of the mouths whose likeness (N, N) to a new one, weighed and summed, is the evidence for ours."""
    wanted = ours - ours.mean()
    return np.asarray(np.linalg.solve(likeness + PENALTY * np.eye(len(ours)), wanted), np.float64)


def _write_map(page: Path, terms: Float64Array, usual: Float64Array) -> None:
    """The mean of our mouths, and beside it where the evidence lies: red speaks for ours, blue for real."""
    cells = cv2.GaussianBlur(by_cell(terms), (0, 0), MAP_BLUR)
    share = np.clip(cells / max(float(np.abs(cells).max()), 1e-9), -1, 1)
    size = (MAP_SIDE, MAP_SIDE)
    large = cv2.resize(share.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)[..., None]
    mean = cv2.resize(usual.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    tint = np.where(large > 0, np.array([0.0, 0.0, 255.0]), np.array([255.0, 0.0, 0.0]))
    shaded = mean + np.minimum(np.abs(large), 1) * (tint - mean)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_bytes(cv2.imencode(".png", np.clip(np.hstack([mean, shaded]), 0, 255).astype(np.uint8))[1].tobytes())
