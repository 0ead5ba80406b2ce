"""Ranking: ranks with ties, and how often two rankings agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TIED = 1e-13
"""Values nearer to their neighbour than this share of the largest are tied: so much is rounding."""


def ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ranks from 1, tied values sharing the mean of their places.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    order = np.argsort(values)
    new = np.diff(values[order], prepend=-np.inf) > TIED * np.abs(values).max(initial=0)
    group = np.cumsum(new) - 1
    counts = np.bincount(group)
    out = np.empty(len(values))
    out[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return out


def tau_a(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Return Kendall's tau_a of two rankings: pairs that agree less those that do not, over all pairs.

    Pairs tied in either count as neither (Kendall 1938, Biometrika 30:81).

    >>> tau_a(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    0.3333333333333333
    """
    total = len(a) * (len(a) - 1) / 2
    # By a, and within equal a by b: what is then out of order in b is a pair that disagrees.
    against = _inversions(np.unique(b, return_inverse=True)[1][np.lexsort((b, a))])
    either = _pairs(a) + _pairs(b) - _pairs(a + 1j * b)
    return float((total - either - 2 * against) / total)


def _pairs(values: npt.NDArray[np.number]) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * (counts - 1) / 2).sum())


def _inversions(values: npt.NDArray[np.int64]) -> int:
    """Count pairs i < j with values[i] > values[j], bit by bit from the highest, in O(m log m)."""
    found = 0
    for bit in reversed(range(int(values.max(initial=0)).bit_length())):
        high = values >> (bit + 1)
        one = (values >> bit) & 1
        seen = np.cumsum(one) - one
        starts = np.flatnonzero(np.diff(high, prepend=-1))
        base = np.repeat(seen[starts], np.diff(starts, append=len(values)))
        found += int(((seen - base) * (1 - one)).sum())
        values = values[np.argsort(values >> bit, kind="stable")]
    return found
