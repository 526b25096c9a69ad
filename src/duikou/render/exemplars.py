"""Which frame of the same face shows the mouth wanted now (after Bregler, Covell and Slaney, Video Rewrite, 1997)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter1d

from duikou.arrays import BoolArray, Float32Array, Float64Array, IntArray

GAP_SCALE, GAP_FLOOR = 0.25, 0.03
"""Ratio of two lip gaps (its logarithm, after adding the floor, in eye distances) that costs 1: what a residual warp
mends unseen. Closed lips must be closed ones; a wide mouth may come from one a third less wide."""

OPENING_COST = 2.0
"""Opening an exemplar's lips costs this many times what closing them does: it has nothing to show between them."""

WIDTH_SCALE = 0.07
"""Difference of lip width, in eye distances, that costs 1."""

POSE_SCALE_DEG = 9.0
"""Difference of yaw or pitch, in degrees, that costs 1."""

SMALLER_SCALE = 0.25
"""How much smaller (in the logarithm) an exemplar may be for a cost of 1: enlarged lips are blurred lips."""

LIGHT_SCALE = 14.0
"""Difference of the skin's colours around the mouth (root mean square of L, a and b, 0 to 255) that costs 1. Between
frames of one light it is below 6; a shadow, a hand or a caption beside the lips is 20 and more."""

CLOSED, BARED_SCALE = 0.03, 0.003
"""Below this gap lips are to be seen closed: teeth of such a height between them cost 1; in eye distances."""

MISSING_SCALE, USUAL_SHARE = 0.04, 0.1
"""Height of teeth, in eye distances, by which an exemplar shows less than is usual at its gap that costs 1: who mostly
shows teeth must not speak with a dark mouth. Usual is the mean over about this share of the exemplars, by gap."""

MOVING_SCALE = 0.06
"""Change of an exemplar's own gap from frame to frame, in eye distances, that costs 1: lips caught in fast motion are
blurred and coarsely coded, and mostly dark between."""

SPEED_COST, FASTEST = 0.5, 3
"""For each frame that a step within a run differs from one: shown twice or skipped, up to this many frames a step."""

TURN_COST = 1.5
"""A run that turns round: lips open as they closed, but must not tremble to and fro."""

JUMP_COST = 3.5
"""A jump elsewhere in the clip: runs of consecutive frames move like a mouth."""

STUTTER_COST, STUTTER_FRAMES = 2.0, 12
"""A jump back by less than this many frames, to what was just seen, costs so much more."""

INSIDE_SCALE = 7.0
"""Change of the mean colour between the lips (root mean square of L, a and b, 0 to 255) from one frame to the next that
costs 1, in a run as at a jump: teeth that come and go flicker more than a gap that is a little off."""

LEAP_SCALE = 12.0
"""Difference of the mouths' colours on both sides of a jump (root mean square, 0 to 255) that costs 1 more."""

CANDIDATES = 96
"""Exemplars considered for each frame."""

BLEND_FRAMES = 2
"""Frames on each side of a jump over which the two runs are blended."""


@dataclass(frozen=True)
class Looks:
    """What exemplars are compared by.

    frames: (N,) numbers. gap, width: (N,) of the lips in eye distances. angles: (N, 2) in degrees. scale: (N,) px.
    skin, mouth: colours around and on the lips, (N, K, 3) and (N, L, 3), from 0 to 255. inside: (N, 3) mean colour
    between the lips. bared: (N,) height of the teeth seen, in eye distances.
    """

    frames: IntArray
    gap: Float64Array
    width: Float64Array
    angles: Float64Array
    scale: Float64Array
    skin: Float32Array
    mouth: Float32Array
    inside: Float32Array
    bared: Float64Array

    def at(self, rows: IntArray) -> Looks:
        """The same at fewer frames."""
        return Looks(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Choice:
    """Exemplars of M frames: `first` (M,) and `second` (M,) are track rows, `share` (M,) is the second's weight."""

    first: IntArray
    second: IntArray
    share: Float64Array


def choose(wanted: Looks, library: Looks, allowed: BoolArray) -> Choice:
    """The cheapest path, by dynamic programming, through the `allowed` of N library rows for M `wanted` frames.

    Of `wanted`, `mouth`, `inside` and `bared` are not looked at: they are what is sought.
    """
    rows = np.flatnonzero(allowed)
    cost = _unary(wanted, library, rows)
    count = min(CANDIDATES, len(rows))
    best = np.sort(np.argpartition(cost, count - 1, axis=1)[:, :count], axis=1)
    candidates = rows[best]
    unary = np.take_along_axis(cost, best, 1)
    return _blend(_cheapest_path(candidates, unary, library), library.frames)


def _cheapest_path(candidates: IntArray, unary: Float64Array, library: Looks) -> IntArray:
    """Rows (M,), one of the `candidates` (M, C) for each frame, of the least total cost; `unary` is (M, C).

    A state is an exemplar and the way in which the clip runs there, so that a turn can be told from a run.
    """
    states, own = np.tile(candidates, 2), np.tile(unary, 2)
    total, back = own[0], []
    for i in range(1, len(candidates)):
        way = total[:, None] + _transition(candidates[i - 1], candidates[i], library)
        back.append(way.argmin(0))
        total = way.min(0) + own[i]
    at = int(total.argmin())
    path = [states[-1, at]]
    for i in range(len(back) - 1, -1, -1):
        at = int(back[i][at])
        path.append(states[i, at])
    return np.array(path[::-1], np.int64)


def _unary(wanted: Looks, library: Looks, rows: IntArray) -> Float64Array:
    gap = np.log((wanted.gap[:, None] + GAP_FLOOR) / (library.gap[rows] + GAP_FLOOR)) / GAP_SCALE
    gap *= np.where(gap > 0, np.sqrt(OPENING_COST), 1)
    width = (wanted.width[:, None] - library.width[rows]) / WIDTH_SCALE
    pose = (wanted.angles[:, None] - library.angles[rows]) / POSE_SCALE_DEG
    smaller = np.maximum(np.log(wanted.scale[:, None] / library.scale[rows]), 0) / SMALLER_SCALE
    light = _unlike(wanted.skin, library.skin[rows]) / LIGHT_SCALE**2
    closed = np.clip(1 - wanted.gap / CLOSED, 0, 1)[:, None]
    teeth = closed * (library.bared[rows] / BARED_SCALE) ** 2
    moving = np.gradient(library.gap, library.frames)[rows] / MOVING_SCALE
    cost: Float64Array = gap**2 + width**2 + (pose**2).sum(-1) + smaller**2 + light + teeth + moving**2
    return cost + (_missing(library.gap[rows], library.bared[rows]) / MISSING_SCALE) ** 2


def _missing(gap: Float64Array, bared: Float64Array) -> Float64Array:
    """How much less of their teeth exemplars (R,) show than others of like gap: (R,), in eye distances."""
    order = np.argsort(gap, kind="stable")
    usual = np.empty_like(bared)
    usual[order] = gaussian_filter1d(bared[order], USUAL_SHARE * len(gap), mode="nearest")
    return np.maximum(usual - bared, 0)


def _transition(before: IntArray, after: IntArray, library: Looks) -> Float64Array:
    """Costs (2 C, 2 C) from each of C exemplars, running forwards or backwards, to each of the next ones."""
    step = library.frames[after][None] - library.frames[before][:, None]
    stutter = np.where((step < 0) & (step > -STUTTER_FRAMES), STUTTER_COST, 0.0)
    leap = _unlike(library.mouth[before], library.mouth[after]) / LEAP_SCALE**2
    jump = JUMP_COST + stutter + np.minimum(leap, JUMP_COST)
    runs = [np.where((way >= 0) & (way <= FASTEST), SPEED_COST * np.abs(way - 1), np.inf) for way in (step, -step)]
    inside = _unlike(library.inside[before][:, None], library.inside[after][:, None]) / INSIDE_SCALE**2
    return np.block([[np.minimum(runs[to] + TURN_COST * (to != by), jump) + inside for to in (0, 1)] for by in (0, 1)])


def _unlike(one: Float32Array, other: Float32Array) -> Float64Array:
    """Mean squared difference of colours (M, K, 3) from (N, K, 3): (M, N)."""
    left, right = one.reshape(len(one), -1), other.reshape(len(other), -1)
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
    return np.asarray(np.maximum(squares, 0) / left.shape[1], np.float64)


def _blend(path: IntArray, frames: IntArray) -> Choice:
    """Cross-fade the runs of a path: near a jump the other run's nearest frame is mixed in."""
    second, share = path.copy(), np.zeros(len(path))
    for jump in np.flatnonzero(np.abs(np.diff(frames[path])) > FASTEST):
        for k in range(BLEND_FRAMES):
            weight = 0.5 * (1 - (k + 0.5) / BLEND_FRAMES)
            for here, other in ((jump - k, path[jump + 1]), (jump + 1 + k, path[jump])):
                if 0 <= here < len(path) and weight > share[here]:
                    second[here], share[here] = other, weight
    return Choice(path, second, share)
