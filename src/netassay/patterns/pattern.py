"""Pattern: which of the ideal ones a map is, by how much, and whether chance would give as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from netassay.patterns.asked import LEAST, Pairs, Positions, checked, gridded, several
from netassay.patterns.fitting import indices
from netassay.patterns.intervals import Spread, independent, spread
from netassay.patterns.null import fields
from netassay.patterns.templates import FAMILIES, Floats

PATTERNS = (*FAMILIES, "flat")
TRIANGLE = PATTERNS.index("triangle")
SIDES = ("columns before rows", "rows before columns")
TIE = 1e-9
UNEXPLAINED = 0.5
"""Share that no pattern explains, above which a map without a pattern is flat."""


@dataclass(frozen=True)
class Pattern:
    """What a map is: its `name`, and a row for each pattern: "pattern", "index", "low", "high", "p", "told".

    `side` says where a triangle is high: "columns before rows" (j/J <= i/I) or "rows before columns"; "" where the
    name is another. `how` says what the intervals come from. `values` are the jackknife's pseudo-values of the four
    indices for each network, or each map; their mean is the index.
    """

    name: str
    side: str
    rows: tuple[dict[str, Any], ...]
    how: str
    values: tuple[tuple[float, ...], ...] = ()

    def row(self, name: str) -> dict[str, Any]:
        """Return the row of one pattern."""
        return self.rows[PATTERNS.index(name)]


def pattern(
    maps: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    positions: Positions = None,
    pairs: Pairs = None,
    itself: bool = False,
    permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Pattern:
    """Say whether a map `(I, J)` over two ordered axes is a diagonal, a triangle, a block, or flat.

    `maps` is one map, or a list of maps of the same kind; NaN cells are left out. Rows stand at u = (i + 1/2)/I and
    columns at v = (j + 1/2)/J unless `positions` gives them. With `itself` a map is symmetric, of one thing against
    itself, and its diagonal cells are left out. `pairs` names what the rows and the columns of each map belong to
    (networks): maps that share one are not independent.

    Indices: row and column effects are taken out by least squares, and what remains is fitted by ideal patterns
    together, with weights of 0 or more; an index is a weight where map and patterns have norm 1. In [0, 1]: diagonal,
    exp(-|u - v|/w), w from 1/16 to 1; block, 1 inside 2 to 5 neighbouring groups of two rows and columns or more, or
    inside one between two others, with edges at twelfths, 0 elsewhere. In [-1, 1]: triangle, 1 where v <= u (positive)
    or v >= u (negative), 0 elsewhere. Flat: the share of the variance that no pattern explains; a product of row and
    column effects, as where the late layers are unlike everything, counts to it. So a + b * map has the same indices
    for b > 0, and a finer grid nearly the same.

    Null: rows and columns do not know of one another. Neighbours are alike in most maps, so exchanging positions would
    call any smooth map a pattern; instead `permutations` Gaussian fields are drawn that are as smooth as the map along
    each axis (first-order autoregressions). p is adjusted for the three patterns by the smallest p of each draw
    (Westfall & Young 1993, Resampling-Based Multiple Testing); that of flat is the smallest of them. The
    name is the largest index with p <= 1 - `level`, "flat" where there is none. Fields smoother than an autoregression
    are called a pattern too often.

    Interval: of several maps the mean index is given, with Student's t over the jackknife's pseudo-values, leaving out
    each network (`pairs`) or each map (Tukey 1958, Ann. Math. Statist. 29:614); NaN below three networks or two maps.
    Of a single map, a jackknife over groups of neighbouring positions, rows and columns together: it tells how even the
    pattern is, not how another network would do; NaN below five groups. Intervals are cut at the bounds of an index.

    Raises `BadInput` for maps below 3 x 3, 4 x 4 with `itself`, and where pairs or positions do not fit.

    >>> u = (np.arange(8) + 0.5) / 8
    >>> pattern(-abs(u[:, None] - u)).name, pattern(1.0 * (u <= u[:, None])).side
    ('diagonal', 'columns before rows')
    """
    given = [np.array(one, dtype=np.float64) for one in several(maps)]
    checked(given, pairs, permutations, level, LEAST + itself)
    grids = [gridded(one, positions, itself) for one in given]
    each = np.concatenate([indices(grid, grid.cells) for grid in grids])
    generator = np.random.default_rng(seed)
    null = np.zeros((permutations, len(FAMILIES)))
    for grid in grids:
        drawn = fields(grid, permutations, generator, itself=itself)
        null += indices(grid, drawn)[:, : len(FAMILIES)] / len(given)
    wider = np.sqrt(len(given) / independent(len(given), pairs))
    p = adjusted(each.mean(0)[: len(FAMILIES)], null.mean(0) + wider * (null - null.mean(0)))
    return _told(each.mean(0), spread(each, grids, pairs, level), p, level)


def adjusted(seen: Floats, null: Floats) -> Floats:
    """Return p of the three indices `(3,)` against draws `(K, 3)`, adjusted by the smallest p of each draw."""
    every = np.abs(np.concatenate([seen[None], null]))
    order = np.sort(every, axis=0)
    above = [len(every) - np.searchsorted(order[:, k], every[:, k] - TIE, side="left") for k in range(every.shape[1])]
    p = np.stack(above, 1) / len(every)
    return np.asarray((p.min(1)[:, None] <= p[0] + TIE).mean(0))


def _told(means: Floats, known: Spread, p: Floats, level: float) -> Pattern:
    size = np.where(p <= 1 - level + TIE, np.abs(means[: len(FAMILIES)]), 0.0)
    name = PATTERNS[int(size.argmax())] if size.any() else "flat"
    rows = [
        {"pattern": one, "index": float(index), "low": low, "high": high, "p": float(chance), "told": one == name}
        for one, index, (low, high), chance in zip(PATTERNS, means, known.intervals, [*p, p.min()], strict=True)
    ]
    side = SIDES[int(means[TRIANGLE] < 0)] if name == "triangle" else ""
    return Pattern(name, side, tuple(rows), known.how, known.values)
