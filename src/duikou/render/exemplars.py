"""Choose the frames of a face that show the wanted mouths (after Bregler, Covell and Slaney, Video Rewrite, 1997)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter1d

from duikou.arrays import BoolArray, Float32Array, Float64Array, IntArray

GAP_SCALE, GAP_FLOOR = 0.25, 0.03
"""Logarithm of the ratio of two lip gaps that costs 1, after adding the floor in eye distances: the residual warp can
correct as much invisibly. Closed lips must come from closed lips; a wide mouth may come from one a third less wide."""

OPENING_COST = 2.0
"""Factor by which opening an exemplar's lips costs more than closing them: the exemplar lacks the inside to show."""

WIDTH_SCALE = 0.07
"""Difference of lip width, in eye distances, that costs 1."""

POSE_SCALE_DEG = 9.0
"""Difference of yaw or pitch, in degrees, that costs 1."""

SMALLER_SCALE = 0.25
"""Logarithm of the ratio by which an exemplar may be smaller at a cost of 1: enlarged lips are blurred."""

LIGHT_SCALE = 14.0
"""Difference of the skin's colours around the mouth (root mean square of L, a and b, 0 to 255) that costs 1. Between
frames in the same light it is below 6; a shadow, a hand or a caption beside the lips makes it 20 or more."""

CLOSED, BARED_SCALE = 0.03, 0.003
"""Gap below which lips must look closed, and height of visible teeth that costs 1 there; in eye distances."""

MISSING_SCALE, USUAL_SHARE = 0.04, 0.1
"""Height of teeth, in eye distances, that an exemplar lacks compared with the usual height at its gap and that costs 1:
people who mostly show their teeth must not speak with a dark mouth. Usual is the mean over about this share of the
exemplars, ordered by gap."""

MOVING_SCALE = 0.06
"""Change of an exemplar's gap from frame to frame, in eye distances, that costs 1: lips in fast motion are blurred,
coarsely coded, and mostly dark between."""

SPEED_COST, FASTEST = 0.5, 3
"""Cost for each frame by which a step within a run differs from 1 (repeated or skipped frames); the largest step."""

TURN_COST = 1.5
"""Cost of reversing a run: lips may open as they closed, but must not jitter back and forth."""

JUMP_COST = 3.5
"""Cost of a jump elsewhere in the clip: only runs of consecutive frames move like a mouth."""

STUTTER_COST, STUTTER_FRAMES = 2.0, 12
"""Extra cost of a jump back by less than this many frames, to what was just shown."""

INSIDE_SCALE = 7.0
"""Change of the mean colour between the lips (root mean square of L, a and b, 0 to 255) from one frame to the next that
costs 1, in a run and at a jump: teeth that come and go flicker more visibly than a slightly wrong gap."""

LEAP_SCALE = 12.0
"""Difference of the mouths' colours across a jump (root mean square, 0 to 255) that costs 1 more."""

CANDIDATES = 96
"""Exemplars considered for each frame."""

COMPARED = 64
"""Wanted frames that are compared with all exemplars at a time: all at once took eleven numbers for each pair, 170 MB
for a minute of speech at 24 frames a second."""

BLEND_FRAMES = 2
"""Frames on each side of a jump in which the two runs are blended."""


@dataclass(frozen=True)
class Looks:
    """The properties by which exemplars are compared.

    frames: (N,) numbers. gap, width: (N,) of the lips in eye distances. angles: (N, 2) yaw and pitch
    in degrees. scale: (N,) pixels.
    skin, mouth: colours around and on the lips, (N, K, 3) and (N, L, 3), from 0 to 255. inside: (N, 3) mean colour
    between the lips. bared: (N,) height of the visible teeth, in eye distances.
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

    def at(self, rows: IntArray | slice) -> Looks:
        """The same properties at some rows."""
        return Looks(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Choice:
    """Exemplars of M frames: `first` (M,) and `second` (M,) are track rows, `share` (M,) is the second's weight."""

    first: IntArray
    second: IntArray
    share: Float64Array


def choose(wanted: Looks, library: Looks, allowed: BoolArray) -> Choice:
    """The path of least cost through the `allowed` (N,) library rows for M `wanted` frames, by dynamic programming.

    `mouth`, `inside` and `bared` of `wanted` are ignored: the exemplars provide them.
    """
    best, unary = _candidates(wanted, library, rows := np.flatnonzero(allowed))
    return _blend(_cheapest_path(rows[best], unary, library), library.frames)


def _candidates(wanted: Looks, library: Looks, rows: IntArray) -> tuple[IntArray, Float64Array]:
    """For each wanted frame the places in `rows` (M, C) of the best exemplars, ascending, and their costs (M, C)."""
    light = _squares(wanted.skin, library.skin[rows])
    moving = np.gradient(library.gap, library.frames)[rows] / MOVING_SCALE
    library = library.at(rows)
    flaws = moving**2, (_missing(library.gap, library.bared) / MISSING_SCALE) ** 2
    count = min(CANDIDATES, len(rows))
    best, unary = np.empty((len(light), count), np.int64), np.empty((len(light), count))
    for start in range(0, len(light), COMPARED):
        some = slice(start, start + COMPARED)
        cost = _unary(wanted.at(some), library, light[some], flaws)
        best[some] = np.sort(np.argpartition(cost, count - 1, axis=1)[:, :count], axis=1)
        unary[some] = np.take_along_axis(cost, best[some], 1)
    return best, unary


def _cheapest_path(candidates: IntArray, unary: Float64Array, library: Looks) -> IntArray:
    """Rows (M,) of the least total cost, one of the `candidates` (M, C) for each frame; `unary` is (M, C).

    A state is an exemplar and the direction in which the clip runs there, so a reversal differs from a run.
    """
    states, own = np.tile(candidates, 2), np.tile(unary, 2)
    total, back = own[0], []
    for i in range(1, len(candidates)):
        way = total[:, None] + _transition(candidates[i - 1], candidates[i], library)
        back.append(way.argmin(0))
        total = np.take_along_axis(way, back[-1][None], 0)[0] + own[i]
    at = int(total.argmin())
    path = [states[-1, at]]
    for i in range(len(back) - 1, -1, -1):
        at = int(back[i][at])
        path.append(states[i, at])
    return np.array(path[::-1], np.int64)


def _unary(
    wanted: Looks, library: Looks, light: Float32Array, flaws: tuple[Float64Array, Float64Array]
) -> Float64Array:
    """Costs (M, R) of R exemplars for M wanted frames.

    light: (M, R) differences of their skin. flaws: costs (R,) of exemplars, whatever is wanted.
    """
    gap = np.log((wanted.gap[:, None] + GAP_FLOOR) / (library.gap + GAP_FLOOR)) / GAP_SCALE
    gap *= np.where(gap > 0, np.sqrt(OPENING_COST), 1)
    width = (wanted.width[:, None] - library.width) / WIDTH_SCALE
    pose = (wanted.angles[:, None] - library.angles) / POSE_SCALE_DEG
    smaller = np.maximum(np.log(wanted.scale[:, None] / library.scale), 0) / SMALLER_SCALE
    closed = np.clip(1 - wanted.gap / CLOSED, 0, 1)[:, None]
    teeth = closed * (library.bared / BARED_SCALE) ** 2
    lit = light.astype(np.float64) / LIGHT_SCALE**2
    cost: Float64Array = gap**2 + width**2 + (pose**2).sum(-1) + smaller**2 + lit + teeth
    return cost + flaws[0] + flaws[1]


def _missing(gap: Float64Array, bared: Float64Array) -> Float64Array:
    """Height of teeth that exemplars (R,) lack compared with others of a similar gap: (R,), in eye distances."""
    order = np.argsort(gap, kind="stable")
    usual = np.empty_like(bared)
    usual[order] = gaussian_filter1d(bared[order], USUAL_SHARE * len(gap), mode="nearest")
    return np.maximum(usual - bared, 0)


def _transition(before: IntArray, after: IntArray, library: Looks) -> Float64Array:
    """Costs (2 C, 2 C) from each of C exemplars, running forwards or backwards, to each of the next exemplars."""
    step = library.frames[after][None] - library.frames[before][:, None]
    stutter = np.where((step < 0) & (step > -STUTTER_FRAMES), STUTTER_COST, 0.0)
    leap = _unlike(library.mouth[before], library.mouth[after]) / LEAP_SCALE**2
    jump = JUMP_COST + stutter + np.minimum(leap, JUMP_COST)
    inside = _unlike(library.inside[before][:, None], library.inside[after][:, None]) / INSIDE_SCALE**2
    costs = np.empty((2, len(before), 2, len(after)))  # from a direction and exemplar, to a direction and exemplar
    for to, way in enumerate((step, -step)):
        run = np.full(way.shape, np.inf)
        near = (way >= 0) & (way <= FASTEST)
        run[near] = SPEED_COST * np.abs(way[near] - 1)
        costs[to, :, to] = np.minimum(run, jump) + inside
        costs[1 - to, :, to] = np.minimum(run + TURN_COST, jump) + inside
    return costs.reshape(2 * len(before), 2 * len(after))


def _unlike(one: Float32Array, other: Float32Array) -> Float64Array:
    """Mean squared difference between colours (M, K, 3) and (N, K, 3): (M, N)."""
    return _squares(one, other).astype(np.float64)


def _squares(one: Float32Array, other: Float32Array) -> Float32Array:
    """As `_unlike`, with hardly more memory than the result."""
    left, right = one.reshape(len(one), -1), other.reshape(len(other), -1)
    found: Float32Array = 2 * left @ right.T
    np.subtract(np.add.outer((left**2).sum(1), (right**2).sum(1)), found, out=found)
    np.maximum(found, 0, out=found)
    found /= left.shape[1]
    return found


def _blend(path: IntArray, frames: IntArray) -> Choice:
    """Cross-fade the runs of a path: near a jump, mix in the nearest frame of the other run."""
    second, share = path.copy(), np.zeros(len(path))
    for jump in np.flatnonzero(np.abs(np.diff(frames[path])) > FASTEST):
        for k in range(BLEND_FRAMES):
            weight = 0.5 * (1 - (k + 0.5) / BLEND_FRAMES)
            for here, other in ((jump - k, path[jump + 1]), (jump + 1 + k, path[jump])):
                if 0 <= here < len(path) and weight > share[here]:
                    second[here], share[here] = other, weight
    return Choice(path, second, share)
