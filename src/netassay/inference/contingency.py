"""Contingency: whether one group has more of something than another; exact, in whole numbers."""

from __future__ import annotations

from fractions import Fraction
from math import comb

from netassay.errors import BadInput


def fisher_tail(k: int, n: int, other_k: int, other_n: int) -> float:
    """Return how often chance puts `k` or more of all hits into the first group, were both groups alike.

    `k` of `n` in the one group, `other_k` of `other_n` in the other: Fisher's exact test, one-sided (Fisher 1935,
    "The logic of inductive inference", J. R. Statist. Soc. 98:39). Raises `BadInput` for counts above their groups.

    >>> fisher_tail(6, 8, 0, 8), fisher_tail(0, 8, 5, 8)
    (0.003496503..., 1.0)
    """
    if not (0 <= k <= n and 0 <= other_k <= other_n):
        found = f"{k} of {n} and {other_k} of {other_n}"
        raise BadInput("Fisher's exact test", found, "give whole numbers with 0 <= k <= n")
    hits = k + other_k
    ways = sum(comb(n, j) * comb(other_n, hits - j) for j in range(k, min(n, hits) + 1))
    return float(Fraction(ways, comb(n + other_n, hits)))
