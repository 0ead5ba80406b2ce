"""Templates: ideal diagonals, triangles and blocks over given positions, row and column effects taken out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

NOTHING = 1e-9
"""What is no more than rounding: of a norm, or between two positions."""
FAMILIES = ("diagonal", "triangle", "block")
WIDTHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of diagonals: the distance in relative position over which they fall to 1/e."""
EDGES = np.arange(1, 12) / 12 + NOTHING
"""Relative positions at which blocks begin and end, the same for any grid; what stands on one belongs before it."""
MOST, FEWEST = 5, 2
"""Most blocks in a row, and fewest rows and columns in one: a block of a single layer is part of a diagonal."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A map `(I, J)`, positions of its rows `(I,)` and columns `(J,)` in [0, 1], and which cells of it count."""

    rows: Floats
    columns: Floats
    map: Floats
    there: Truths

    @cached_property
    def effects(self) -> Floats:
        """An orthonormal basis `(cells, rank)` of all sums of a row effect and a column effect."""
        i, j = np.nonzero(self.there)
        design = np.concatenate(
            [i[:, None] == np.arange(len(self.rows)), j[:, None] == np.arange(len(self.columns))], 1
        )
        design = design.astype(np.float64)
        squares, turn = np.linalg.eigh(design.T @ design)
        kept = squares > NOTHING * squares[-1]
        return np.asarray(design @ (turn[:, kept] / np.sqrt(squares[kept])))

    @property
    def cells(self) -> Floats:
        """The cells that count, as one map `(1, cells)`."""
        return np.asarray(self.map[self.there][None])

    @cached_property
    def families(self) -> tuple[Floats, ...]:
        """The templates of each family and the products `(count, cells)`, as `bare` leaves them."""
        u, v = self.rows[:, None], self.columns[None]
        diagonals = [np.exp(-np.abs(u - v) / width) for width in WIDTHS]
        triangles = [v <= u + NOTHING, v >= u - NOTHING]
        made: tuple[Any, ...] = (
            diagonals,
            triangles,
            blocks(tuple(self.rows), tuple(self.columns)),
            self._products(),
        )
        return tuple(self.bare(np.array(one, dtype=np.float64)[:, self.there]) for one in made)

    def _products(self) -> list[Floats]:
        """Return row effect times column effect, and less it: no pattern, though layers of large effects are alike."""
        whole = np.where(self.there, self.map, 0.0)
        means = [whole.sum(axis) / np.maximum(self.there.sum(axis), 1) for axis in (1, 0)]
        rows, columns = (one - one.mean() for one in means)
        return [np.outer(rows, columns), -np.outer(rows, columns)]

    def bare(self, cells: Floats) -> Floats:
        """Take row and column effects from maps `(S, cells)` and bring them to norm 1; zero where nothing is left."""
        left = cells - (cells @ self.effects) @ self.effects.T
        before, after = (np.sqrt(np.einsum("ij,ij->i", one, one)) for one in (cells, left))
        whole = after > NOTHING * np.maximum(before, np.finfo(np.float64).tiny)
        left /= np.where(whole, after, np.inf)[:, None]
        return np.asarray(left)


@lru_cache(maxsize=16)
def blocks(rows: tuple[float, ...], columns: tuple[float, ...]) -> Truths:
    """Return block templates `(count, I, J)`: neighbouring groups alike, or one group alike between two unlike."""
    found: dict[bytes, Truths] = {}
    for count in range(1, MOST):
        for edges in combinations(EDGES, count):
            a, b = np.searchsorted(edges, rows), np.searchsorted(edges, columns)
            sizes = np.minimum(np.bincount(a, minlength=count + 1), np.bincount(b, minlength=count + 1))
            key = a.tobytes() + b.tobytes()
            if key not in found and sizes.min() >= FEWEST:
                found[key] = a[:, None] == b
                if count == 2:
                    found[b"middle" + key] = found[key] & (a == 1)[:, None]
    return np.array(list(found.values()) or [np.zeros((len(rows), len(columns)), dtype=bool)])
