"""Radial cubic splines through scattered points, with a plane (Duchon 1977; as SciPy's `RBFInterpolator`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from duikou.arrays import Float64Array


def through(
    nodes: Float64Array, values: Float64Array, smoothing: Float64Array, own: Sequence[slice], at: Float64Array
) -> list[Float64Array]:
    """Splines through the same nodes, except that some of the last ones are those of one spline alone.

    nodes: (N, 2). values: (N, V) at the nodes. smoothing: (N,) in cubed units; a spline need not pass through nodes
    where it is positive, and it must be positive where nodes coincide. own: which nodes belong to each spline alone;
    all behind the shared ones. at: (M, 2), where to evaluate. Returns (M, V) for each spline.
    """
    middle, shared = nodes.mean(0), min(one.start for one in own)
    nodes, at = nodes - middle, at - middle  # far from the origin the plane would be less exact
    kernel = _cubed(nodes, nodes)
    kernel[np.diag_indices_from(kernel)] = smoothing
    system, sides = np.zeros((shared + 3, shared + 3)), np.zeros((shared + 3, len(nodes) - shared))
    system[:shared, :shared] = kernel[:shared, :shared]
    system[:shared, shared:], sides[:shared] = _plane(nodes[:shared]), kernel[:shared, shared:]
    system[shared:, :shared], sides[shared:] = system[:shared, shared:].T, _plane(nodes[shared:]).T
    # What all splines have in common is solved once; each then needs the Schur complement of its own nodes alone.
    wanted = np.vstack([values[:shared], np.zeros((3, values.shape[1]))])
    solved = np.linalg.solve(system, np.hstack([sides, wanted]))
    sides_solved, wanted_solved = solved[:, : sides.shape[1]], solved[:, sides.shape[1] :]
    terms, plane, found = _cubed(at, nodes), _plane(at), []
    for one in own:
        part = slice(one.start - shared, one.stop - shared)
        side = sides[:, part].T
        weights = np.linalg.solve(kernel[one, one] - side @ sides_solved[:, part], values[one] - side @ wanted_solved)
        common = wanted_solved - sides_solved[:, part] @ weights
        found.append(terms[:, :shared] @ common[:-3] + plane @ common[-3:] + terms[:, one] @ weights)
    return found


def _plane(points: Float64Array) -> Float64Array:
    """The terms (M, 3) of a plane at points (M, 2)."""
    return np.hstack([np.ones((len(points), 1)), points])


def _cubed(one: Float64Array, other: Float64Array) -> Float64Array:
    """Distances (M, N) between points (M, 2) and (N, 2), cubed."""
    ends, others = (np.add.reduce(points * points, axis=1)[:, None] for points in (one, other))
    left, right = np.hstack([-2 * one, ends, np.ones_like(ends)]), np.hstack([other, np.ones_like(others), others])
    squared = left @ right.T  # as (a - b)^2 = a^2 - 2ab + b^2
    distances = np.sqrt(np.maximum(squared, 0, out=squared))
    distances *= squared
    return np.asarray(distances, np.float64)
