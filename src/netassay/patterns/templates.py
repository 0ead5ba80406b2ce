"""Templates: ideal diagonals, triangles and blocks over given positions, row and column effects taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

FAMILIES = ("diagonal", "triangle", "block")
WIDTHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of diagonals: the distance in relative position over which they fall to 1/e."""
EDGES = np.arange(1, 12) / 12
"""Relative positions between which blocks begin and end; the same for any grid, so that a finer one finds no more."""
MOST, FEWEST = 5, 2
"""Most blocks in a row, and fewest rows and columns in one: a block of a single layer is part of a diagonal."""
NOTHING = 1e-9
"""Share of a norm below which nothing but rounding is left."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Positions of rows `(I,)` and columns `(J,)` in [0, 1], and which cells `(I, J)` are there."""

    rows: Floats
    columns: Floats
    there: Truths

    @cached_property
    def effects(self) -> Floats:
        """An orthonormal basis `(cells, rank)` of all sums of a row effect and a column effect."""
        i, j = np.nonzero(self.there)
        design = np.concatenate(
            [i[:, None] == np.arange(len(self.rows)), j[:, None] == np.arange(len(self.columns))], 1
        )
        basis, strength, _ = np.linalg.svd(design.astype(np.float64), full_matrices=False)
        return np.asarray(basis[:, strength > NOTHING * strength[0]])

    @cached_property
    def families(self) -> tuple[Floats, Floats, Floats]:
        """The templates of each family `(count, cells)`, as `bare` leaves them; at least one each, if of zeros."""
        u, v = self.rows[:, None], self.columns[None]
        diagonals = [np.exp(-np.abs(u - v) / width) for width in WIDTHS]
        triangles = [v <= u + NOTHING, v >= u - NOTHING]
        made = (diagonals, triangles, list(blocks(self.rows, self.columns)) or [np.zeros_like(u * v)])
        return tuple(self.bare(np.array(one, dtype=np.float64)[:, self.there]) for one in made)  # type: ignore[return-value]

    def bare(self, cells: Floats) -> Floats:
        """Take row and column effects from maps `(S, cells)` and bring them to norm 1; zero where nothing is left."""
        left = cells - (cells @ self.effects) @ self.effects.T
        before, after = (np.linalg.norm(one, axis=1, keepdims=True) for one in (cells, left))
        whole = after > NOTHING * np.maximum(before, np.finfo(np.float64).tiny)
        return np.where(whole, left / np.where(whole, after, 1.0), 0.0)


def blocks(rows: Floats, columns: Floats) -> Iterator[Truths]:
    """Yield block templates `(I, J)`, each once: neighbouring groups alike, or one group alike between two unlike."""
    seen: set[bytes] = set()
    for count in range(1, MOST):
        for edges in combinations(EDGES, count):
            a, b = np.searchsorted(edges, rows), np.searchsorted(edges, columns)
            sizes = np.minimum(np.bincount(a, minlength=count + 1), np.bincount(b, minlength=count + 1))
            if a.tobytes() + b.tobytes() in seen or sizes.min() < FEWEST:
                continue
            seen.add(a.tobytes() + b.tobytes())
            same = a[:, None] == b[None]
            yield same
            if count == 2:
                yield same & (a == 1)[:, None]
