"""Intervals of indices: over networks where there are several maps, over stretches of positions where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from netassay.inference import jackknife, seed_interval
from netassay.patterns.asked import Pairs
from netassay.patterns.fitting import indices
from netassay.patterns.templates import Floats, Grid

GROUPS = 10
"""Most groups of neighbours that the jackknife of a single map leaves out, one after the other."""


LOWEST = (0.0, -1.0, 0.0, 0.0)
"""Of each index; the highest is 1."""
NOTHING = (float("nan"), float("nan"))


class Spread(NamedTuple):
    """An interval for each index, what it comes from, and the pseudo-values of each network or map."""

    intervals: list[tuple[float, float]]
    how: str
    values: tuple[tuple[float, ...], ...]


def _cut(found: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """Keep intervals within what an index can be."""
    return [
        (float(np.clip(low, least, 1)), float(np.clip(high, least, 1)))
        for (_, low, high), least in zip(found, LOWEST, strict=True)
    ]


def spread(each: Floats, grids: Sequence[Grid], pairs: Pairs, level: float) -> Spread:
    """Return intervals of the mean of indices `(maps, 4)`."""
    if len(grids) == 1:
        return _stretches(each[0], grids[0], level)
    of = [(k, k) for k in range(len(grids))] if pairs is None else pairs
    names = list(dict.fromkeys(name for pair in of for name in pair))
    kept = [[name not in pair for pair in of] for name in names]
    how = f"{len(names)} {'maps' if pairs is None else 'networks'}"
    if not all(map(any, kept)):
        return Spread([NOTHING] * each.shape[1], f"{how}, too few", ())
    n = len(names)
    values = np.array([n * each.mean(0) - (n - 1) * each[one].mean(0) for one in kept])
    found = [seed_interval(column.tolist(), level) for column in values.T]
    return Spread(_cut(found), how, tuple(map(tuple, values.tolist())))


def _stretches(whole: Floats, grid: Grid, level: float) -> Spread:
    count = min(GROUPS, *grid.there.shape)
    rows, columns = (np.minimum((one * count).astype(int), count - 1) for one in (grid.rows, grid.columns))
    left = [grid.there & (rows != k)[:, None] & (columns != k) for k in range(count)]
    less = [replace(grid, there=there) for there in left if there.any()]
    without = [indices(one, one.cells)[0] for one in less]
    found = [jackknife(estimates, level=level) for estimates in np.array([whole, *without]).T]
    free = all(one.there.sum() > one.effects.shape[1] for one in less)
    return Spread(_cut(found) if free else [NOTHING] * 4, f"{len(without)} stretches of positions", ())


def independent(maps: int, pairs: Pairs) -> int:
    """Count what is independent among maps: between n networks, whose signs may be products of theirs, n - 1."""
    return maps if pairs is None else max(1, min(maps, len({name for pair in pairs for name in pair}) - 1))
