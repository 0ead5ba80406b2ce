"""Fitting: how much of each ideal pattern a map is made of, all patterns fitted together."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from netassay.patterns.templates import FAMILIES, NOTHING, Floats, Grid

PARTS = len(FAMILIES) + 1
SETS = [chosen for size in range(1, PARTS + 1) for chosen in combinations(range(PARTS), size)]


def indices(grid: Grid, cells: Floats) -> Floats:
    """Return the indices of maps `(S, cells)` on a grid: `(S, 4)`, diagonal, triangle (signed), block, and the rest.

    Of each family the template most like the map is taken, then all are fitted together by least squares with weights
    not below 0, so that what one explains no other is given: an ideal pattern has 1 there and 0 elsewhere. Map and
    templates are freed of row and column effects and have norm 1. A product of row and column effects is fitted
    beside them, and counts to the rest (Tukey 1949, Biometrics 5:232).
    """
    bare = grid.bare(cells)
    alike = [bare @ family.T for family in grid.families]
    picks = [one.argmax(1) for one in alike]
    c = np.stack([one.max(1) for one in alike], 1)
    gram = np.ones((len(bare), PARTS, PARTS))
    for a, b in combinations(range(PARTS), 2):
        gram[:, a, b] = gram[:, b, a] = (grid.families[a] @ grid.families[b].T)[picks[a], picks[b]]
    weights = fitted(gram, c)[:, : len(FAMILIES)]
    told = 2 * weights * c[:, :-1] - weights * (gram[:, :-1, :-1] @ weights[..., None])[..., 0]
    weights[:, 1] *= np.where(picks[1] == 0, 1.0, -1.0)
    return np.concatenate([np.minimum(weights, 1.0), np.clip(1 - told.sum(1, keepdims=True), 0.0, 1.0)], 1)


def fitted(gram: Floats, c: Floats) -> Floats:
    """Solve min |map - sum w t|^2 over w >= 0 `(S, P)` exactly: the best of all sets of templates that fit.

    >>> fitted(np.eye(2)[None], np.array([[0.5, -0.5]])).tolist()
    [[0.5, 0.0]]
    """
    best, weights = np.full(len(c), NOTHING), np.zeros_like(c)
    for chosen in (one for one in SETS if max(one) < c.shape[1]):
        part, goal = gram[:, chosen][:, :, chosen], c[:, chosen]
        apart = np.linalg.det(part) > NOTHING
        solved = np.linalg.solve(np.where(apart[:, None, None], part, np.eye(len(chosen))), goal[..., None])[..., 0]
        fit = (goal * solved).sum(1)
        better = apart & (solved >= 0).all(1) & (fit > best + NOTHING)
        best = np.where(better, fit, best)
        weights[better] = 0.0
        weights[np.ix_(better, chosen)] = solved[better]
    return weights
