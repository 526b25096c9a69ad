"""Which frame of the same face shows the mouth wanted now (after Bregler, Covell and Slaney, Video Rewrite, 1997)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

GAP_SCALE, WIDTH_SCALE = 0.022, 0.05
"""Differences of lip gap and width, in eye distances, that cost 1: what a residual warp mends unseen. The first holds
at a gap of 0.11; closed lips must be closed ones, wide mouths differ unseen."""

POSE_SCALE_DEG = 9.0
"""Difference of yaw or pitch, in degrees, that costs 1."""

SMALLER_SCALE = 0.25
"""How much smaller (in the logarithm) an exemplar may be for a cost of 1: enlarged lips are blurred lips."""

JUMP_COST, HOLD_COST = 1.6, 0.5
"""A jump elsewhere in the clip, and a frame shown twice or skipped: runs of consecutive frames move like a mouth."""

CANDIDATES = 64
"""Exemplars considered for each frame."""

BLEND_FRAMES = 2
"""Frames on each side of a jump over which the two runs are blended."""


@dataclass(frozen=True)
class Looks:
    """What exemplars are compared by: gap and width (N,) in eye distances, angles (N, 2) in degrees, scale (N,) px."""

    gap: FloatArray
    width: FloatArray
    angles: FloatArray
    scale: FloatArray


@dataclass(frozen=True)
class Choice:
    """Exemplars of M frames: `first` (M,) and `second` (M,) are track rows, `share` (M,) is the second's weight."""

    first: IntArray
    second: IntArray
    share: FloatArray


def choose(wanted: Looks, library: Looks, allowed: npt.NDArray[np.bool_]) -> Choice:
    """The cheapest path, by dynamic programming, through the `allowed` of N library rows for M `wanted` frames."""
    rows = np.flatnonzero(allowed)
    cost = _unary(wanted, library, rows)
    count = min(CANDIDATES, len(rows))
    best = np.argpartition(cost, count - 1, axis=1)[:, :count]
    candidates = rows[best]
    unary = np.take_along_axis(cost, best, 1)
    total, back = unary[0], []
    for i in range(1, len(candidates)):
        way = total[:, None] + _transition(candidates[i - 1], candidates[i], library)
        back.append(way.argmin(0))
        total = way.min(0) + unary[i]
    at = int(total.argmin())
    path = [int(candidates[-1][at])]
    for i in range(len(back) - 1, -1, -1):
        at = int(back[i][at])
        path.append(int(candidates[i][at]))
    return _blend(np.array(path[::-1]), len(library.gap), allowed)


def _unary(wanted: Looks, library: Looks, rows: IntArray) -> FloatArray:
    gap = (wanted.gap[:, None] - library.gap[rows]) / (GAP_SCALE * (0.25 + wanted.gap[:, None] / 0.15))
    width = (wanted.width[:, None] - library.width[rows]) / WIDTH_SCALE
    pose = (wanted.angles[:, None] - library.angles[rows]) / POSE_SCALE_DEG
    smaller = np.maximum(np.log(wanted.scale[:, None] / library.scale[rows]), 0) / SMALLER_SCALE
    cost: FloatArray = gap**2 + width**2 + (pose**2).sum(-1) + smaller**2
    return cost


def _transition(before: IntArray, after: IntArray, library: Looks) -> FloatArray:
    step = after[None] - before[:, None]
    leap = ((library.gap[after][None] - library.gap[before][:, None]) / (4 * GAP_SCALE)) ** 2
    pose = (((library.angles[after][None] - library.angles[before][:, None]) / POSE_SCALE_DEG) ** 2).sum(-1)
    jump = JUMP_COST + np.minimum(leap + pose, 2 * JUMP_COST)
    return np.where(step == 1, 0.0, np.where((step == 0) | (step == 2), HOLD_COST, jump))


def _blend(path: IntArray, rows: int, allowed: npt.NDArray[np.bool_]) -> Choice:
    """Cross-fade the runs of a path: near a jump the other run is continued past its end and mixed in."""
    second, share = path.copy(), np.zeros(len(path))
    steps = np.diff(path)
    for jump in np.flatnonzero((steps < 0) | (steps > 2)):
        for k in range(BLEND_FRAMES):
            weight = 0.5 * (1 - (k + 0.5) / BLEND_FRAMES)
            for here, other in ((jump - k, path[jump + 1] - 1 - k), (jump + 1 + k, path[jump] + 1 + k)):
                inside = 0 <= here < len(path) and 0 <= other < rows and allowed[other]
                if inside and weight > share[here]:
                    second[here], share[here] = other, weight
    return Choice(path, second, share)
