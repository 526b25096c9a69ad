"""Radial cubic splines through scattered points, with a plane (Duchon 1977; as SciPy's `RBFInterpolator`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from duikou.arrays import Float64Array


def solved(
    nodes: Float64Array,
    values: Float64Array,
    smoothing: Float64Array,
    at: Float64Array,
    left_out: Sequence[slice],
) -> list[Float64Array]:
    """Several splines that share most of their nodes, each evaluated at the same positions.

    nodes: (N, 2). values: (N, V) at the nodes. smoothing: (N,) in cubed units: a spline need not pass through nodes where
    it is positive. at: (M, 2). left_out: the nodes that each spline leaves out. Returns (M, V) for each spline.
    Raises `numpy.linalg.LinAlgError` if nodes of no smoothing coincide.
    """
    middle = nodes.mean(0)  # the plane is solved exactly near the origin
    nodes, at, count = nodes - middle, at - middle, len(nodes)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _cubed(nodes, nodes)
    system[np.arange(count), np.arange(count)] = smoothing
    system[:count, count] = system[count, :count] = 1
    system[:count, count + 1 :], system[count + 1 :, :count] = nodes, nodes.T
    wanted = np.vstack([values, np.zeros((3, values.shape[1]))])
    weights = np.zeros((len(left_out), *wanted.shape))
    for number, gone in enumerate(left_out):
        kept = np.delete(np.arange(count + 3), gone)
        weights[number, kept] = np.linalg.solve(system[np.ix_(kept, kept)], wanted[kept])
    terms = np.hstack([_cubed(at, nodes), np.ones((len(at), 1)), at])
    return [terms @ one for one in weights]


def _cubed(one: Float64Array, other: Float64Array) -> Float64Array:
    """Distances (M, N) between points (M, 2) and (N, 2), cubed."""
    squared = cdist(one, other, "sqeuclidean")
    return np.asarray(np.sqrt(squared) * squared, np.float64)
