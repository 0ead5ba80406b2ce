"""Null: random fields as smooth along rows and along columns as a map is, whose rows know nothing of columns."""

from __future__ import annotations

import numpy as np

from netassay.patterns.templates import Floats, Grid

STEPS = np.linspace(0.0, 0.995, 200)
"""Correlations of neighbours among which that of a map is looked up."""


def fields(grid: Grid, count: int, generator: np.random.Generator, *, itself: bool) -> Floats:
    """Draw `count` maps `(count, cells)` for the null of the map of a grid.

    Gaussian, with covariance a^|i - i'| b^|j - j'| in steps of mean spacing (a first-order autoregression along each
    axis); a and b are such that neighbours are as correlated, after row and column effects are taken out, as in the
    map. Symmetric where the map is of one thing against itself.
    """
    map = np.full(grid.there.shape, np.nan)
    map[grid.there] = grid.bare(grid.cells)[0]
    down = _root(grid.rows, map)
    along = down if itself else _root(grid.columns, map.T)
    drawn = down @ generator.standard_normal((count, *map.shape)) @ along.T
    if itself:
        drawn = drawn + drawn.transpose(0, 2, 1)
    return np.asarray(drawn[:, grid.there])


def _root(positions: Floats, map: Floats) -> Floats:
    """Return a root of the covariance along the first axis of a map."""
    order = np.argsort(positions, kind="stable")
    apart = np.abs(positions[:, None] - positions[None]) / max(float(np.ptp(positions)), 1e-9) * (len(positions) - 1)
    seen = _neighbours(map[order])
    expected = _expected(STEPS[:, None, None] ** apart[np.ix_(order, order)])
    step = float(np.interp(seen, np.maximum.accumulate(expected), STEPS))
    values, vectors = np.linalg.eigh(step**apart)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _neighbours(map: Floats) -> float:
    """Return the correlation of neighbouring rows over the cells that both have."""
    pairs, squares = map[1:] * map[:-1], map**2
    total = np.nansum(squares)
    if not total or np.isnan(pairs).all():
        return 0.0
    return float(np.nanmean(pairs) / np.nanmean(squares))


def _expected(covariances: Floats) -> Floats:
    """Return what `_neighbours` is on average for each covariance `(K, I, I)`, where means are taken out."""
    bare = covariances - covariances.mean(1, keepdims=True) - covariances.mean(2, keepdims=True)
    bare += covariances.mean((1, 2), keepdims=True)
    return np.asarray(bare.diagonal(1, 1, 2).mean(1) / bare.diagonal(0, 1, 2).mean(1))
