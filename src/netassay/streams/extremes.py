"""Extremes: the smallest and largest finite value of each channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Extremes:
    """Arrays `(C,)`, float64; +inf and -inf where nothing finite was seen."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def empty(cls) -> Extremes:
        """Return the identity of `merge`, for any number of channels."""
        return cls(np.full(1, np.inf), np.full(1, -np.inf))

    def merge(self, other: Extremes) -> Extremes:
        """Join with the extremes of further values of the same channels."""
        return Extremes(np.minimum(self.low, other.low), np.maximum(self.high, other.high))
