"""Cross: centred cross-moments of two sets of channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netassay.streams.moments import ratio


@dataclass(frozen=True)
class Cross:
    """`c` `(A, B)` is the sum over samples (and positions) of `(x - mean_x)(y - mean_y)`; float64.

    Source: Chan, Golub & LeVeque 1979, in its two-variable form (Pébay 2008, eq. 3.12).

    >>> x = np.array([[0.0], [2.0]])
    >>> Cross.of(x, -x).c
    array([[-2.]])
    """

    n: np.ndarray
    mean_x: np.ndarray
    mean_y: np.ndarray
    c: np.ndarray

    @classmethod
    def empty(cls) -> Cross:
        """Return the identity of `merge`, for any numbers of channels."""
        return cls(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros((1, 1)))

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Cross:
        """Take the cross-moments of `x` `(M, A)` and `y` `(M, B)`."""
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        mean_x, mean_y = x.mean(0), y.mean(0)
        return cls(np.full(1, float(len(x))), mean_x, mean_y, (x - mean_x).T @ (y - mean_y))

    def merge(self, other: Cross) -> Cross:
        """Join with further rows of the same channels."""
        n = self.n + other.n
        weight = other.n / (n + (n == 0))
        gap_x, gap_y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        # An empty side has means of 0 but no say: without rows on both sides there is nothing between them.
        between = np.outer(gap_x, gap_y) * (self.n * weight)
        return Cross(n, self.mean_x + gap_x * weight, self.mean_y + gap_y * weight, self.c + other.c + between)

    @property
    def covariance(self) -> np.ndarray:
        """Population covariance (divided by n); NaN where nothing was seen."""
        return ratio(self.c, self.n)
