"""Splines that share most of their nodes."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RBFInterpolator

from duikou.render import splines


def test_each_is_the_spline_through_its_own_nodes() -> None:
    """As SciPy makes it, which solves every spline alone."""
    random = np.random.default_rng(0)
    nodes, values, at = random.random((30, 2)) + 3, random.random((30, 4)), random.random((50, 2)) + 3
    smoothing = np.where(np.arange(30) % 3, 0.0, 1e-3)
    own = slice(20, 24), slice(24, 30)
    found = splines.through(nodes, values, smoothing, own, at)
    for one, made in zip(own, found, strict=True):
        rows = np.r_[:20, one]
        exact = RBFInterpolator(nodes[rows], values[rows], kernel="cubic", smoothing=smoothing[rows])(at)
        assert np.abs(made - exact).max() < 1e-6
