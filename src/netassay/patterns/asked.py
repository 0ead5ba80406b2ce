"""Asked: the maps of a pattern, refused where they are too small or do not fit together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput
from netassay.patterns.templates import Floats, Grid

Pairs = Sequence[tuple[Hashable, Hashable]] | None
Positions = tuple[npt.ArrayLike, npt.ArrayLike] | None

LEAST = 3
"""Fewest rows and columns: with two, all patterns are one number; one more without the diagonal."""


def middles(size: int) -> Floats:
    """Return the relative positions (i + 1/2) / I of so many rows or columns.

    >>> middles(2).tolist()
    [0.25, 0.75]
    """
    return (np.arange(size) + 0.5) / size


def fewest_known(map: Floats) -> int:
    """Count the rows, or the columns, of a map that have a number: whichever are fewer."""
    return int(min(np.isfinite(map).any(axis).sum() for axis in (0, 1)))


def several(maps: Any) -> list[Any]:
    """Return a list of maps, also where one was given."""
    many = maps.ndim > 2 if isinstance(maps, np.ndarray) else not len(maps) or np.ndim(maps[0]) > 1
    return list(maps) if many else [maps]


def checked(maps: Sequence[Floats], pairs: Pairs, permutations: int, level: float, least: int = LEAST) -> None:
    """Refuse maps that are too small, pairs that are not theirs, and a test that is none."""
    if not maps:
        raise BadInput("a pattern", "no map", "give one")
    for map in maps:
        if map.ndim != 2 or min(map.shape) < least:
            found = f"a map of {' x '.join(str(size) for size in map.shape)} cells"
            raise BadInput("a pattern", found, f"give {least} rows and {least} columns or more")
        if fewest_known(map) < least:
            raise BadInput("a pattern", f"fewer than {least} rows or columns with a number", "leave fewer cells NaN")
    if pairs is not None and len(pairs) != len(maps):
        raise BadInput("a pattern over pairs", f"{len(pairs)} pairs for {len(maps)} maps", "give a pair for each map")
    if permutations < 1 or not 0 < level < 1:
        raise BadInput("a pattern", f"permutations={permutations}, level={level:g}", "permutations=1000, level=0.95")


def gridded(map: Floats, positions: Positions, itself: bool) -> Grid:
    """Return where the cells of a map stand, and which of them count."""
    height, width = map.shape
    if itself and height != width:
        found = f"{height} x {width} cells"
        raise BadInput("the pattern of a map against itself", found, "give a square map, or itself=False")
    rows, columns = (np.asarray(one, dtype=np.float64) for one in positions or (middles(height), middles(width)))
    if rows.shape != (height,) or columns.shape != (width,):
        found = f"positions {rows.shape} and {columns.shape} for {height} x {width} cells"
        raise BadInput("a pattern over positions", found, "give one for each row and one for each column")
    if not all(((one >= 0) & (one <= 1)).all() for one in (rows, columns)):
        raise BadInput("a pattern over positions", "some outside [0, 1]", "give relative positions, e.g. (i + 0.5)/I")
    own = np.eye(height, width, dtype=bool) if itself else np.zeros(map.shape, dtype=bool)
    return Grid(rows, columns, map, np.isfinite(map) & ~own)
