"""Fitting: how much of each ideal pattern a map is made of, all patterns fitted together."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from netassay.patterns.templates import FAMILIES, NOTHING, Floats, Grid

SETS = [chosen for size in (1, 2, 3) for chosen in combinations(range(3), size)]


def indices(grid: Grid, cells: Floats) -> Floats:
    """Return the indices of maps `(S, cells)`: `(S, 4)`, diagonal, triangle (signed), block, and what is left.

    Of each family the template most like the map is taken, then all three are fitted together by least squares with
    weights not below 0, so that what one explains no other is given: an ideal pattern has 1 there and 0 elsewhere.
    Map and templates are freed of row and column effects and have norm 1. What is left is 1 - R^2.
    """
    bare = grid.bare(cells)
    alike = [bare @ family.T for family in grid.families]
    picks = [one.argmax(1) for one in alike]
    c = np.stack([one.max(1) for one in alike], 1)
    gram = np.ones((len(bare), 3, 3))
    for a, b in combinations(range(3), 2):
        gram[:, a, b] = gram[:, b, a] = (grid.families[a] @ grid.families[b].T)[picks[a], picks[b]]
    weights, fit = _weights(gram, c)
    signs = np.where(picks[FAMILIES.index("triangle")] == 0, 1.0, -1.0)
    weights[:, FAMILIES.index("triangle")] *= signs
    return np.concatenate([weights, 1 - fit[:, None]], 1)


def _weights(gram: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Solve min |map - sum w t|^2 over w >= 0 `(S, 3)` exactly: the best of the seven sets of templates that fit."""
    best, weights = np.zeros(len(c)), np.zeros_like(c)
    for chosen in SETS:
        part, goal = gram[:, chosen][:, :, chosen], c[:, chosen]
        apart = np.linalg.det(part) > NOTHING
        solved = np.linalg.solve(np.where(apart[:, None, None], part, np.eye(len(chosen))), goal[..., None])[..., 0]
        fit = (goal * solved).sum(1)
        better = apart & (solved >= 0).all(1) & (fit > best)
        best = np.where(better, fit, best)
        weights[better] = 0.0
        weights[np.ix_(better, chosen)] = np.minimum(solved[better], 1.0)
    return weights, np.minimum(best, 1.0)
