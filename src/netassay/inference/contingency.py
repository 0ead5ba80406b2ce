"""Contingency: whether one group, or one way of treating the same samples, has more of something than another."""

from __future__ import annotations

from fractions import Fraction
from math import comb, sqrt
from statistics import NormalDist

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


def paired_difference(b: float, c: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a difference of two shares of the same `n` samples, (b - c)/n: (low, high).

    `b` samples are right only by the first way, `c` only by the second; bounds on them need not be whole. The adjusted
    Wald interval, two samples added (Bonett & Price 2012, J. Educ. Behav. Statist. 37:479), cut at -1 and 1; it grows
    with b + c where b - c stays. NaN gives NaN. Raises `BadInput` for counts that `n` samples cannot have.

    >>> low, high = paired_difference(9, 3, 100)
    >>> round(low, 4), round(high, 4)
    (-0.0122, 0.1298)
    """
    if min(b, c) < 0 or b + c > n or not 0 < level < 1:
        found = f"{b:g} and {c:g} of {n}, level {level:g}"
        raise BadInput("an interval of paired shares", found, "give counts with b + c <= n, and a level below 1")
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    reach = NormalDist().inv_cdf((1 + level) / 2) * sqrt((first + second - (first - second) ** 2) / (n + 2))
    low, high = first - second - reach, first - second + reach
    return max(low, -1.0), min(high, 1.0)
