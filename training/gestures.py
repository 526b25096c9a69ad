"""Fit the gestures of face units to talking faces: `python -m training.gestures CLIP...`.

Each clip shows people who talk. Their landmarks are followed. A gesture's shares (`duikou/render/face_units.py`) are
those with which the units explain best how far the landmarks are from the closed mouth, given only lip gap, width of
the mouth and height of the chin. Only the shares enter the project: a few numbers, nothing of a face. Printed are the
shares fitted to all clips, and the errors on each clip with shares fitted to the others.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from duikou import identify
from duikou.arrays import Float64Array
from duikou.faces import pose
from duikou.faces.follow import follow
from duikou.faces.smooth import smooth
from duikou.faces.track import FaceTrack
from duikou.media.video import Video
from duikou.render import mesh
from duikou.render.face_units import GESTURES, UNITS, units
from duikou.render.shape import RIDGE, close_lips

GROUPS = {
    "lips": mesh.LIPS,
    "chin": mesh.CHIN,
    "lower cheeks": mesh.LOWER_CHEEKS,
    "upper cheeks, nostril folds": mesh.UPPER_CHEEKS,
    "under the nose": mesh.UNDER_NOSE,
    "jaw line": mesh.JAW_LINE,
}
MEASURED = ("gap", "width", "jaw")
BINS = (0.0, 0.03, 0.06, 0.10, 0.15, 0.30)
"""Edges of the bins of lip gap."""

FRAMES = 900
"""Longest part of a clip that is used."""

CALM = 15
"""Percentile of the lip gap up to which a face is at rest."""

SHRINKAGE = 1e-4
"""Ridge penalty on shares for each clip, in squared eye distances: keeps them small where units resemble each other."""


@dataclass(frozen=True)
class Take:
    """One face of one clip, N frames. moved: (N, 478, 3) from the closed mouth, canonical, without what the head's pose
    adds to landmarks. measures: (N, 3) lip gap, change of width, lowering of the chin.
    """

    clip: str
    moved: Float64Array
    measures: Float64Array


def read(path: Path) -> list[Take]:
    """Follow every face of a clip."""
    return [_take(path, smooth(follow(Video.open(path), face, stop_frame=FRAMES))) for face in identify(path).faces]


def _take(path: Path, track: FaceTrack) -> Take:
    head = pose.fit(track.landmarks)
    shapes = pose.to_canonical(track.landmarks, head).astype(np.float64)
    gap, width = mesh.lip_gap(shapes), mesh.lip_width(shapes)
    rest = gap <= max(np.percentile(gap, CALM), gap.min() + 0.005)
    turned = np.sin(np.radians(head.degrees))
    turned = np.concatenate([turned, turned[:, :2] ** 2], 1)
    turned -= turned[rest].mean(0)
    features = np.column_stack([np.ones_like(gap), gap, width, gap**2, gap * width, turned])
    penalty = RIDGE * len(gap) * np.diag([0.0, *[1.0] * (features.shape[1] - 1)])
    learnt = np.linalg.solve(features.T @ features + penalty, features.T @ shapes.reshape(len(gap), -1))
    shapes -= (turned @ learnt[-turned.shape[1] :]).reshape(shapes.shape)
    closed = close_lips(shapes[rest].mean(0, keepdims=True))
    measures = [
        mesh.lip_gap(shapes),
        mesh.lip_width(shapes) - mesh.lip_width(closed),
        shapes[:, mesh.CHIN_TIP, 1] - closed[:, mesh.CHIN_TIP, 1],
    ]
    return Take(path.stem, shapes - closed, np.stack(measures, 1))


def measure(unit: Float64Array) -> Float64Array:
    """What a unit (478, 3) changes, seen from the front: (3,) lip gap, width, height of the chin."""
    opened = unit[list(mesh.LOWER_INNER[4:7]), 1] - unit[list(mesh.UPPER_INNER[4:7]), 1]
    wider = unit[mesh.RIGHT_CORNER, 0] - unit[mesh.LEFT_CORNER, 0]
    return np.array([opened.mean(), wider, unit[mesh.CHIN_TIP, 1]])


def fit(takes: list[Take], table: Float64Array) -> Float64Array:
    """Shares (3, K) of units (K, 478, 3) for one eye distance of each measure.

    Least squares over all takes, weighted alike, under the condition that each measure is reached and the others stay.
    """
    moved, count = list(mesh.MOVED), len(table)
    seen = table[:, moved, :2].reshape(count, -1)
    drives = sum(take.measures.T @ take.measures / len(take.measures) for take in takes)
    pulls = sum(
        take.measures.T @ take.moved[:, moved, :2].reshape(len(take.moved), -1) / len(take.moved) for take in takes
    )
    normal = np.kron(drives, seen @ seen.T) + SHRINKAGE * len(takes) * np.eye(3 * count)
    conditions = np.kron(np.eye(3), np.array([measure(unit) for unit in table]).T)
    whole = np.block([[normal, conditions.T], [conditions, np.zeros((9, 9))]])
    wanted = np.concatenate([(pulls @ seen.T).ravel(), np.eye(3).ravel()])
    return np.linalg.lstsq(whole, wanted, rcond=None)[0][: 3 * count].reshape(3, count)


def predict(take: Take, shares: Float64Array, table: Float64Array) -> Float64Array:
    """(N, 478, 3) what the gestures make of a take's measures."""
    return np.einsum("nm,mk,kpd->npd", take.measures, shares, table)


def errors(take: Take, predicted: Float64Array) -> Float64Array:
    """(N, 478) distances in the plane of the face."""
    return np.linalg.norm((take.moved - predicted)[..., :2], axis=-1)


def report(takes: list[Take], predictions: dict[str, list[Float64Array]]) -> None:
    """Print the mean error by group of landmarks and by lip gap, mean over the takes, for each kind of prediction.

    Explained: share of the squared displacement, median of the takes.
    """
    for group, points in GROUPS.items():
        cells = []
        for name, predicted in predictions.items():
            found = [errors(take, one)[:, list(points)] for take, one in zip(takes, predicted, strict=True)]
            whole = [errors(take, np.zeros_like(take.moved))[:, list(points)] for take in takes]
            explained = [1 - (one**2).sum() / (all_**2).sum() for one, all_ in zip(found, whole, strict=True)]
            cells.append(f"{name} {np.mean([one.mean() for one in found]):.4f} {np.median(explained):.2f}")
        print(f"{group:28}", *cells, sep=" | ")
    moved = list(mesh.MOVED)
    for low, high in pairwise(BINS):
        cells = []
        for name, predicted in predictions.items():
            rows = [(take.measures[:, 0] >= low) & (take.measures[:, 0] < high) for take in takes]
            found = [
                errors(take, one)[chosen][:, moved].mean()
                for take, one, chosen in zip(takes, predicted, rows, strict=True)
                if chosen.sum() > 5
            ]
            cells.append(f"{name} {np.mean(found):.4f}")
        print(f"gap {low:.2f} to {high:.2f}", *cells, sep=" | ")


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path, help="videos of people who talk")
    takes = [take for path in parser.parse_args().clips for take in read(path)]
    by_name = units()
    # A pucker is seen in no measure but the width, where a smile's opposite explains it better.
    names = UNITS[:-1]
    table = np.array([by_name[name] for name in names])
    for name, shares in zip(MEASURED, fit(takes, table), strict=True):
        print(f"{name:6}", *(f"{unit} {share:.2f}" for unit, share in zip(names, shares, strict=True)))
    shipped = np.array([GESTURES[name][:-1] for name in MEASURED])
    report(
        takes,
        {
            "still": [np.zeros_like(take.moved) for take in takes],
            "others' shares": [
                predict(take, fit([one for one in takes if one.clip != take.clip], table), table) for take in takes
            ],
            "shipped": [predict(take, shipped, table) for take in takes],
        },
    )


if __name__ == "__main__":
    main()
