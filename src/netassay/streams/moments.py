"""Moments: count, mean and the centred power sums to fourth order, per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


def pool(na: Any, a: tuple[Any, ...], nb: Any, b: tuple[Any, ...]) -> tuple[Any, ...]:
    """Join (mean, m2, m3, m4) of two groups of `na` and `nb` values; numpy and torch alike.

    An empty side changes nothing, bit for bit. Source: Pébay 2008 (SAND2008-6212), eq. 2.1 and 3.1 for p = 2, 3, 4;
    the second-order form is Chan, Golub & LeVeque 1979.
    """
    (mean_a, m2a, m3a, m4a), (mean_b, m2b, m3b, m4b) = a, b
    n = na + nb
    n = n + (n == 0)
    wa, wb = na / n, nb / n
    delta = mean_b - mean_a
    # Only where both sides hold values: elsewhere delta is a mean, and its fourth power may overflow.
    gap = delta * ((na > 0) & (nb > 0))
    square = gap * gap
    between = square * (na * wb)
    m3 = m3a + m3b + gap * (between * (wa - wb) + 3 * (wa * m2b - wb * m2a))
    within = 6 * (wa * wa * m2b + wb * wb * m2a)
    m4 = m4a + m4b + square * (between * (1 - 3 * wa * wb) + within) + 4 * gap * (wa * m3b - wb * m3a)
    return mean_a + delta * wb, m2a + m2b + between, m3, m4


def centre(shift: Any, n: Any, s1: Any, s2: Any, s3: Any, s4: Any) -> tuple[Any, ...]:
    """Turn power sums about `shift` into (mean, m2, m3, m4); numpy and torch alike.

    Keeps what digits the sums have: the mean must lie within a few deviations of `shift`.
    """
    d = s1 / (n + (n == 0))
    m3 = s3 - 3 * d * s2 + 2 * d * d * s1
    m4 = s4 - 4 * d * s3 + 6 * d * d * s2 - 3 * d**3 * s1
    return shift + d, s2 - d * s1, m3, m4


@dataclass(frozen=True)
class Moments:
    """Raw centred sums over the finite values of each channel; arrays `(C,)`, float64.

    >>> a, b = Moments.of(np.array([[0.0], [0.0]])), Moments.of(np.array([[100.0]]))
    >>> float(a.merge(b).variance[0] * 3 / 2)  # the sample variance of 0, 0, 100
    3333.333...
    """

    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    m3: np.ndarray
    m4: np.ndarray

    @classmethod
    def empty(cls) -> Moments:
        """Return the identity of `merge`, for any number of channels."""
        return cls(*(np.zeros(1) for _ in range(5)))

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Take the moments of `values` `(N, C, ...)` over all axes but the second; NaN and Inf are left out."""
        x = np.moveaxis(np.asarray(values, dtype=np.float64), 1, 0).reshape(np.shape(values)[1], -1)
        finite = np.isfinite(x)
        n = finite.sum(1).astype(np.float64)
        mean = np.where(finite, x, 0).sum(1) / np.maximum(n, 1)
        centred = np.where(finite, x - mean[:, None], 0)
        return cls(n, mean, *((centred**p).sum(1) for p in (2, 3, 4)))

    def merge(self, other: Moments) -> Moments:
        """Join with the moments of further values of the same channels."""
        a, b = (self.mean, self.m2, self.m3, self.m4), (other.mean, other.m2, other.m3, other.m4)
        return Moments(self.n + other.n, *pool(self.n, a, other.n, b))

    @property
    def variance(self) -> np.ndarray:
        """Population variance (divided by n); NaN where nothing was seen."""
        return ratio(self.m2, self.n)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation."""
        return np.asarray(np.sqrt(self.variance))

    @property
    def mean_square(self) -> np.ndarray:
        """Mean of the squares: variance plus squared mean, both positive, so nothing cancels."""
        return np.asarray(self.variance + self.mean**2)

    @property
    def skewness(self) -> np.ndarray:
        """Third standardised moment; NaN where the variance is 0."""
        return ratio(np.sqrt(self.n) * self.m3, self.m2**1.5)

    @property
    def kurtosis(self) -> np.ndarray:
        """Fourth standardised moment, 3 for a Gaussian; NaN where the variance is 0."""
        return ratio(self.n * self.m4, self.m2**2)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide where there is something to divide by; NaN where nothing was seen."""
    out = np.full(np.broadcast_shapes(np.shape(a), np.shape(b)), np.nan)
    np.divide(a, b, out=out, where=b > 0)
    return out
