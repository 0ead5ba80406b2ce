"""Symmetry: channels that are copies of each other, and parameters that never move.

Arrays or tensors come in, any dtype; torch is not needed for arrays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from netassay.errors import BadInput

SKETCH = 16
"""Directions, at least, that rows are compared along before they are compared in full."""
BLOCK = 1 << 20
"""Entries that are widened to doubles at a time."""
ROUNDING = 1e-7
"""What rounding may do to a distance along the directions, relative to the rows' norms."""

# Note [sketch]. Along orthonormal directions two rows lie no further apart than in truth, so what is apart there by
# more than the reach is apart, and only what is left need be compared in full. Of K directions, rows that have nothing
# to do with each other show sqrt(2 K / D) of their norm: from K = D tolerance^2 on next to nothing is left but true
# copies, and of these each is compared in full once, with the one that it was reached from.


def distinct_channels(weight: Any, bias: Any = None, tolerance: float = 1e-5) -> int:
    """Return how many different output channels `weight` `(O, ...)` with `bias` `(O,)` has.

    Two channels are the same where their rows (weights and bias) lie within `tolerance` of each other, by Euclidean
    norm in units of the root mean square of the rows' norms, or where a chain of such neighbours joins them. A row with
    NaN or Inf is different from all. Rows of different groups of a grouped convolution see different inputs and
    are compared all the same. A transposed convolution has its output channels on the second axis: move that first.

    >>> distinct_channels(np.ones((8, 4)), np.zeros(8)), distinct_channels(np.eye(8))
    (1, 8)
    """
    rows = plain(weight)
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    shifts = np.zeros(len(rows)) if bias is None else plain(bias).astype(np.float64)
    if shifts.shape != (len(rows),):
        raise BadInput(
            "distinct channels", f"{len(rows)} rows and a bias of shape {shifts.shape}", "give one bias a row"
        )
    finite = np.isfinite(rows).all(1) & np.isfinite(shifts)
    if not finite.all():
        rows, shifts = rows[finite], shifts[finite]
    return int((~finite).sum()) + (_Channels(rows, shifts, tolerance).clusters() if len(rows) else 0)


def still(before: Any, after: Any) -> float:
    """Return the share of entries that are bit for bit what they were; NaN where there are none.

    >>> still(np.array([0.0, 1.0]), np.array([0.0, 1.5]))
    0.5
    """
    a, b = plain(before), plain(after)
    if a.shape != b.shape or a.dtype != b.dtype:
        raise BadInput(
            "the share of entries that stayed", f"{a.shape} {a.dtype}, then {b.shape} {b.dtype}", "give one parameter"
        )
    bits = f"u{a.dtype.itemsize}"
    same = np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits)
    return float(same.mean()) if same.size else float("nan")


def plain(x: Any) -> np.ndarray:
    """Return an array; of a tensor, its values, halves widened to float32."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x.float() if x.element_size() < 4 else x).numpy()
    return np.asarray(x)


class _Channels:
    """Finite rows `(O, D)` and biases `(O,)`, and who is whose neighbour."""

    def __init__(self, rows: np.ndarray, shifts: np.ndarray, tolerance: float) -> None:
        largest = max(float(end) for x in (rows, shifts) for end in (x.max(initial=0), -x.min(initial=0)))
        self.rows, self.exponent = rows, -math.frexp(largest)[1]
        self.shifts = np.ldexp(shifts, self.exponent)
        self.step = max(1, BLOCK // max(rows.shape[1], 1))
        size = self._size()
        self.reach, self.slack = tolerance * size, ROUNDING * size
        sketch = self._sketch(max(SKETCH, math.ceil(rows.shape[1] * tolerance**2)))
        self.order = np.argsort(sketch[:, 0], kind="stable")
        self.sketch = sketch[self.order]

    def clusters(self) -> int:
        """Count what is left when neighbours, and neighbours of neighbours, count as one."""
        alone, found = np.ones(len(self.rows), dtype=bool), 0
        for first in range(len(alone)):
            found += bool(alone[first])
            reached = [first] if alone[first] else []
            alone[first] = False
            while reached:
                near = self._neighbours(reached.pop(), alone)
                alone[near] = False
                reached.extend(near.tolist())
        return found

    def _neighbours(self, place: int, among: np.ndarray) -> np.ndarray:
        """Return the places, in order of the first direction, of the rows within reach of one."""
        most = self.reach + self.slack
        here = self.sketch[place]
        low = np.searchsorted(self.sketch[:, 0], here[0] - most, side="left")
        high = np.searchsorted(self.sketch[:, 0], here[0] + most, side="right")
        near = low + np.flatnonzero(among[low:high])
        near = near[np.square(self.sketch[near] - here).sum(1) <= most**2]
        parts = [near[i : i + self.step] for i in range(0, len(near), self.step)]
        return np.concatenate([part[self._within(place, part)] for part in parts]) if parts else near

    def _within(self, place: int, near: np.ndarray) -> np.ndarray:
        one, others = self.order[place], self.order[near]
        apart = np.square(self._doubles(others) - self._doubles(one)).sum(-1)
        apart = apart + np.square(self.shifts[others] - self.shifts[one])
        return np.asarray(apart <= self.reach**2)

    def _size(self) -> float:
        """Return the root mean square of the rows' norms."""
        total = np.square(self.shifts).sum() + sum(np.square(self._doubles(at)).sum() for at in self._blocks())
        return float(np.sqrt(total / len(self.rows)))

    def _sketch(self, directions: int) -> np.ndarray:
        """Return the rows along some orthonormal directions, the bias as one more; see Note [sketch]."""
        D = self.rows.shape[1]
        spread = np.random.default_rng(0).standard_normal((D, min(directions, D)))
        basis = np.linalg.qr(spread)[0]
        along = [self._doubles(at) @ basis for at in self._blocks()]
        return np.column_stack([np.concatenate(along), self.shifts])

    def _blocks(self) -> list[slice]:
        return [slice(i, i + self.step) for i in range(0, len(self.rows), self.step)]

    def _doubles(self, at: Any) -> np.ndarray:
        return np.asarray(np.ldexp(self.rows[at].astype(np.float64), self.exponent))
