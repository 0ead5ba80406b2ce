"""Pattern: the question, its checks, its test and its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput
from netassay.inference import jackknife, seed_interval
from netassay.patterns.fitting import indices
from netassay.patterns.null import fields
from netassay.patterns.templates import FAMILIES, Floats, Grid

Name = Literal["diagonal", "triangle", "block", "flat"]
PATTERNS: tuple[Name, ...] = ("diagonal", "triangle", "block", "flat")
LEAST = 3
"""Fewest rows and columns: with two, all patterns are one number."""
GROUPS = 10
"""Most groups of neighbours that the jackknife of a single map leaves out, one after the other."""
TIE = 1e-9


@dataclass(frozen=True)
class Pattern:
    """What a map is: its `name`, and a row for each pattern: "pattern", "index", "low", "high", "p", "told".

    `side` says where a triangle is high: "columns before rows" (j/J <= i/I) or "rows before columns"; "" where the
    name is another. `maps` are how many were given, `how` what the interval resamples.
    """

    name: Name
    side: str
    rows: tuple[dict[str, Any], ...]
    maps: int
    how: str

    def row(self, name: str) -> dict[str, Any]:
        """Return the row of one pattern."""
        return self.rows[PATTERNS.index(name)]


def pattern(
    maps: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    positions: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    pairs: Sequence[tuple[Hashable, Hashable]] | None = None,
    itself: bool = False,
    permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Pattern:
    """Say whether a map `(I, J)` over two ordered axes is a diagonal, a triangle, a block, or flat.

    `maps` is one map or a list of maps of the same kind; NaN cells are left out. Rows stand at u = (i + 1/2)/I and
    columns at v = (j + 1/2)/J unless `positions` gives them. With `itself` a map is symmetric, of one thing against
    itself, and its diagonal cells are left out. `pairs` names what the rows and columns of each map belong to
    (networks): maps that share one are not independent.

    Indices: row and column effects are taken out by least squares, and what remains is fitted by ideal patterns
    together, with weights of 0 or more; an index is a weight where map and pattern have norm 1. In [0, 1]: diagonal,
    exp(-|u - v|/w), w of 1/16 to 1; block, 1 inside 2 to 5 neighbouring groups of two rows and columns or more, or
    inside one between others, with edges at twelfths, 0 elsewhere. In [-1, 1]: triangle, 1 where v <= u (positive) or
    v >= u (negative), 0 elsewhere. Flat: 1 - R^2, what no pattern explains. So a + b * map has the same indices for
    b > 0, and a finer grid nearly so.

    Null: rows and columns do not know of one another. Neighbours are alike in most maps, so exchanging positions would
    call any smooth map a pattern; instead `permutations` Gaussian fields are drawn that are as smooth as the map along
    each axis (first-order autoregressions). p is adjusted for the three patterns by min-p (Westfall & Young 1993),
    that of flat is the smallest. The name is the largest index of p <= 1 - `level`; "flat" where there is none. A
    field smoother than an autoregression is called a pattern too often (see the table in `docs/patterns.md`).

    Interval: of several maps the mean index is given, with Student's t over the jackknife's pseudo-values, leaving out
    each network (`pairs`) or each map (Tukey 1958); NaN below three networks or two maps. Of a single map, a jackknife
    over groups of neighbouring positions, rows and columns together; it tells how even the pattern is, not how another
    network would do.

    Raises `BadInput` for maps below 3 x 3, without cells, or where pairs or positions do not fit.

    >>> u = (np.arange(8) + 0.5) / 8
    >>> pattern(-abs(u[:, None] - u)).name, pattern(1.0 * (u <= u[:, None])).side
    ('diagonal', 'columns before rows')
    """
    given = [np.array(one, dtype=np.float64) for one in _several(maps)]
    _check(given, pairs, permutations, level)
    grids = [_grid(one, positions, itself) for one in given]
    each = np.concatenate([indices(grid, one[grid.there][None]) for grid, one in zip(grids, given, strict=True)])
    generator = np.random.default_rng(seed)
    null = np.zeros((permutations, len(FAMILIES)))
    for grid, one in zip(grids, given, strict=True):
        drawn = fields(grid, one[grid.there], permutations, generator, itself=itself)
        null += indices(grid, drawn)[:, :3] / len(given)
    spread = np.sqrt(len(given) / _independent(len(given), pairs))
    null = null.mean(0) + spread * (null - null.mean(0))
    p = _adjusted(each.mean(0)[:3], null)
    intervals, how = _intervals(each, grids, given, pairs, level)
    return _told(each.mean(0), intervals, p, how, len(given), level)


def _told(means: Floats, intervals: list[tuple[float, float]], p: Floats, how: str, maps: int, level: float) -> Pattern:
    size = np.where(p <= 1 - level + TIE, np.abs(means[:3]), -1.0)
    best = int(size.argmax()) if size.max() > 0 else 3
    rows = [
        {"pattern": name, "index": float(means[k]), "low": low, "high": high, "p": float(p[k] if k < 3 else p.min())}
        for k, (name, (low, high)) in enumerate(zip(PATTERNS, intervals, strict=True))
    ]
    sides = {1: "columns before rows" if means[1] > 0 else "rows before columns"}
    told = tuple({**row, "told": k == best} for k, row in enumerate(rows))
    return Pattern(PATTERNS[best], sides.get(best, ""), told, maps, how)


def _adjusted(seen: Floats, null: Floats) -> Floats:
    """Return the p-values of the three patterns, adjusted for there being three, by the smallest p of each draw."""
    all = np.abs(np.concatenate([seen[None], null]))
    order = np.sort(all, axis=0)
    above = [len(all) - np.searchsorted(order[:, k], all[:, k] - TIE, side="left") for k in range(all.shape[1])]
    p = np.stack(above, 1) / len(all)
    return np.asarray((p.min(1)[:, None] <= p[0] + TIE).mean(0))


def _intervals(
    each: Floats,
    grids: Sequence[Grid],
    maps: Sequence[Floats],
    pairs: Sequence[tuple[Hashable, Hashable]] | None,
    level: float,
) -> tuple[list[tuple[float, float]], str]:
    if len(maps) == 1:
        grid = grids[0]
        without = [indices(one, maps[0][one.there][None])[0] for one in _less(grid)]
        found = [jackknife([each[0, k], *(one[k] for one in without)], level=level) for k in range(4)]
        return [(low, high) for _, low, high in found], f"{len(without)} groups of neighbouring positions"
    names = list(dict.fromkeys(name for pair in pairs for name in pair)) if pairs else list(range(len(maps)))
    of = pairs or [(k, k) for k in range(len(maps))]
    left = [[name not in pair for pair in of] for name in names]
    what = "networks" if pairs else "maps"
    if not all(map(any, left)):
        return [(np.nan, np.nan)] * 4, f"{len(names)} {what}, too few"
    n, mean = len(names), each.mean(0)
    pseudo = np.array([n * mean - (n - 1) * each[keep].mean(0) for keep in left])
    found = [seed_interval(pseudo[:, k].tolist(), level) for k in range(4)]
    return [(low, high) for _, low, high in found], f"{n} {what}"


def _less(grid: Grid) -> list[Grid]:
    count = min(GROUPS, *grid.there.shape)
    rows, columns = (np.minimum((one * count).astype(int), count - 1) for one in (grid.rows, grid.columns))
    kept = [grid.there & (rows != k)[:, None] & (columns != k) for k in range(count)]
    return [Grid(grid.rows, grid.columns, there) for there in kept if there.any()]


def _independent(maps: int, pairs: Sequence[tuple[Hashable, Hashable]] | None) -> int:
    """Count what is independent: of maps between n networks whose signs are products of theirs, n - 1."""
    return min(maps, max(len({name for pair in pairs for name in pair}) - 1, 1)) if pairs else maps


def _grid(map: Floats, positions: tuple[npt.ArrayLike, npt.ArrayLike] | None, itself: bool) -> Grid:
    height, width = map.shape
    if itself and height != width:
        raise BadInput(
            "the pattern of a map against itself", f"{height} x {width} cells", "give a square map, or itself=False"
        )
    middle = [(np.arange(size) + 0.5) / size for size in (height, width)]
    rows, columns = (np.asarray(one, dtype=np.float64) for one in (middle if positions is None else positions))
    inside = all(np.isfinite(one).all() and one.min() >= 0 and one.max() <= 1 for one in (rows, columns) if one.size)
    if rows.shape != (height,) or columns.shape != (width,) or not inside:
        found = (
            f"positions {rows.shape} and {columns.shape} for {height} x {width} cells"
            if inside
            else "some outside [0, 1]"
        )
        raise BadInput("a pattern over positions", found, "give one in [0, 1] for each row and for each column")
    there = np.isfinite(map) & ~(np.eye(height, dtype=bool) if itself else np.zeros_like(map, dtype=bool))
    return Grid(rows, columns, there)


def _several(maps: Any) -> list[Any]:
    one = (isinstance(maps, np.ndarray) and maps.ndim == 2) or not len(maps) or np.ndim(maps[0]) == 1
    return [maps] if one else list(maps)


def _check(
    maps: Sequence[Floats], pairs: Sequence[tuple[Hashable, Hashable]] | None, permutations: int, level: float
) -> None:
    for map in maps:
        finite = np.isfinite(map)
        if map.ndim != 2 or min(map.shape) < LEAST:
            found = f"a map of {' x '.join(str(size) for size in map.shape)} cells"
            raise BadInput("a pattern", found, f"give {LEAST} rows and {LEAST} columns or more")
        if min(finite.any(1).sum(), finite.any(0).sum()) < LEAST:
            raise BadInput("a pattern", "fewer than 3 rows or columns with a number", "leave fewer cells NaN")
    if pairs is not None and len(pairs) != len(maps):
        raise BadInput("a pattern over pairs", f"{len(pairs)} pairs for {len(maps)} maps", "give a pair for each map")
    if permutations < 1 or not 0 < level < 1:
        found = f"permutations={permutations}, level={level:g}"
        raise BadInput("a pattern", found, "permutations=1000, level=0.95")
