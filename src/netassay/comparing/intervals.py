"""Intervals of a difference: from the limits of two numbers, from replicates, and from stretches of two series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from netassay.inference import student_quantile

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
STRETCHES = 10


class Compared(NamedTuple):
    """Two numbers, b less a with its interval at 95 %, and the replicates behind it; each `(Q,)` over quantities."""

    a: Floats
    b: Floats
    difference: Floats
    low: Floats
    high: Floats
    n: npt.NDArray[np.int64]

    @classmethod
    def of(cls, a: Floats, b: Floats, reach: Floats | float, n: int) -> Compared:
        """Return b less a with an interval that reaches as far to both sides."""
        with np.errstate(invalid="ignore"):
            middle = b - a
        return cls(a, b, middle, middle - reach, middle + reach, np.full(a.shape, n))


def mover(a: Floats, a_low: Floats, a_high: Floats, b: Floats, b_low: Floats, b_high: Floats) -> Compared:
    """Compare two independent numbers by their own limits, each at 95 %.

    MOVER: low = b - a - sqrt((b - b_low)^2 + (a_high - a)^2), high = b - a + sqrt((b_high - b)^2 + (a - a_low)^2)
    (Zou & Donner 2008, Statistics in Medicine 27:1693, section 2).

    >>> one = np.ones(1)
    >>> found = mover(one, 0 * one, 4 * one, 9 * one, 5 * one, 9 * one)
    >>> found.low, found.high
    (array([3.]), array([9.]))
    """
    with np.errstate(invalid="ignore"):
        low, high = np.hypot(b - b_low, a_high - a), np.hypot(b_high - b, a - a_low)
        return Compared(a, b, b - a, b - a - low, b - a + high, np.zeros(a.shape, dtype=np.int64))


def welch(a: Floats, b: Floats) -> Compared:
    """Compare the means of independent replicates, `(n, Q)` and `(m, Q)`, which may differ in variance.

    b - a -+ t s, s^2 = s_a^2/n + s_b^2/m, t at the degrees of freedom s^4 / (s_a^4/(n^2 (n-1)) + s_b^4/(m^2 (m-1)))
    (Welch 1947, Biometrika 34:28; Satterthwaite 1946, Biometrics Bulletin 2:110, (17)). NaN with fewer than 2 in one.
    """
    n = min(len(a), len(b))
    if n < 2:
        return Compared.of(a.mean(0), b.mean(0), np.nan, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [one.var(0, ddof=1) / len(one) for one in (a, b)]
        error = parts[0] + parts[1]
        # As shares of their sum, so that squares of what is as small as 1e-200 do not vanish.
        freedom = 1 / sum((part / error) ** 2 / (len(one) - 1) for part, one in zip(parts, (a, b), strict=True))
    reach = _reach(freedom) * np.sqrt(error)
    return Compared.of(a.mean(0), b.mean(0), np.where(error == 0, 0.0, reach), n)


def paired(a: Floats, b: Floats) -> Compared:
    """Compare pair by pair, both `(n, Q)`: Student's interval of the mean of b - a. NaN of one pair.

    >>> found = paired(np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [4.0], [6.0]]))
    >>> found.difference, (found.high - found.difference).round(4)  # of 1, 2, 3: 4.3027 / sqrt(3)
    (array([2.]), array([2.4841]))
    """
    n = len(a)
    if n < 2:
        return Compared.of(a.mean(0), b.mean(0), np.nan, n)
    with np.errstate(invalid="ignore"):
        reach = student_quantile((1 + LEVEL) / 2, n - 1) * (b - a).std(0, ddof=1) / np.sqrt(n)
        return Compared.of(a.mean(0), b.mean(0), reach, n)


def stretched(values: Floats) -> Floats:
    """Return the means of ten equal stretches of steps, `(S, Q)` to `(10, Q)`; fewer, of two steps, below twenty steps.

    Steps of one training hang together; means of long stretches do much less, and count as replicates: non-overlapping
    batch means (Schmeiser 1982, Operations Research 30:556). What is not finite is left out; NaN where nothing is left.

    >>> stretched(np.arange(20.0)[:, None])[:2, 0]
    array([0.5, 2.5])
    """
    parts = np.array_split(values, max(min(STRETCHES, len(values) // 2), 1))
    return np.stack([_mean(part) for part in parts])


def _mean(values: Floats) -> Floats:
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(finite, values, 0.0).sum(0) / finite.sum(0))


def _reach(freedom: Floats) -> Floats:
    p = (1 + LEVEL) / 2
    # Rounding may carry the least, n - 1, below 1.
    return np.array([student_quantile(p, max(df, 1.0)) if np.isfinite(df) else np.nan for df in freedom.tolist()])
