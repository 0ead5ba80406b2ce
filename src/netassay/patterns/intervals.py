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


class Spread(NamedTuple):
    """An interval for each index, what it comes from, and the pseudo-values of each network or map."""

    intervals: list[tuple[float, float]]
    how: str
    values: tuple[tuple[float, ...], ...]


def spread(each: Floats, grids: Sequence[Grid], pairs: Pairs, level: float) -> Spread:
    """Return intervals of the mean of indices `(maps, 4)`."""
    if len(grids) == 1:
        return _stretches(each[0], grids[0], level)
    of = [(k, k) for k in range(len(grids))] if pairs is None else pairs
    names = list(dict.fromkeys(name for pair in of for name in pair))
    kept = [[name not in pair for pair in of] for name in names]
    how = f"{len(names)} {'maps' if pairs is None else 'networks'}"
    if not all(map(any, kept)):
        return Spread([(np.nan, np.nan)] * each.shape[1], f"{how}, too few", ())
    n = len(names)
    values = np.array([n * each.mean(0) - (n - 1) * each[one].mean(0) for one in kept])
    found = [seed_interval(column.tolist(), level) for column in values.T]
    return Spread([(low, high) for _, low, high in found], how, tuple(map(tuple, values.tolist())))


def _stretches(all: Floats, grid: Grid, level: float) -> Spread:
    count = min(GROUPS, *grid.there.shape)
    rows, columns = (np.minimum((one * count).astype(int), count - 1) for one in (grid.rows, grid.columns))
    left = [grid.there & (rows != k)[:, None] & (columns != k) for k in range(count)]
    less = [replace(grid, there=there) for there in left if there.any()]
    without = [indices(one, one.cells)[0] for one in less]
    found = [jackknife(estimates, level=level) for estimates in np.array([all, *without]).T]
    return Spread([(low, high) for _, low, high in found], f"{len(without)} stretches of positions", ())


def independent(maps: int, pairs: Pairs) -> int:
    """Count what is independent among maps: between n networks, whose signs may be products of theirs, n - 1."""
    return maps if pairs is None else max(1, min(maps, len({name for pair in pairs for name in pair}) - 1))
