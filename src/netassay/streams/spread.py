"""Spread: variance across samples, position by position, so that a fixed pattern does not count as signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netassay.errors import BadInput
from netassay.streams.moments import ratio


@dataclass(frozen=True)
class Spread:
    """Sums over samples about each position's own mean: `n` `(1,)`, `mean` `(C, P)`, `m2` `(C,)` summed over P.

    A channel that answers every sample with the same picture has a mean square and no spread.

    >>> same = np.tile(np.arange(4.0), (5, 1, 1))  # 5 samples, 1 channel, 4 positions
    >>> float(Spread.of(same).variance[0])
    0.0
    """

    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    @classmethod
    def empty(cls) -> Spread:
        """Return the identity of `merge`, for any number of channels and positions."""
        return cls(np.zeros(1), np.zeros((1, 1)), np.zeros(1))

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """Take the spread of `values` `(N, C, ...)`; NaN where an entry is not finite."""
        if not len(values):
            return cls.empty()
        x = np.asarray(values, dtype=np.float64).reshape(*np.shape(values)[:2], -1)
        mean = x.mean(0)
        return cls(np.full(1, float(len(x))), mean, ((x - mean) ** 2).sum((0, 2)))

    def merge(self, other: Spread) -> Spread:
        """Join with further samples of the same channels at the same positions."""
        if self.n[0] * other.n[0] > 0 and self.mean.shape != other.mean.shape:
            raise BadInput(
                f"join spreads over {self.mean.shape} and {other.mean.shape} (channels, positions)",
                "inputs of different size",
                "profile inputs of one size at a time",
            )
        n = self.n + other.n
        weight = other.n / (n + (n == 0))
        gap = other.mean - self.mean
        m2 = self.m2 + other.m2 + (gap**2).sum(-1) * self.n * weight
        return Spread(n, self.mean + gap * weight, m2)

    @property
    def variance(self) -> np.ndarray:
        """Mean over positions of the population variance over samples; NaN where nothing was seen."""
        return ratio(self.m2, self.n * self.mean.shape[1])
