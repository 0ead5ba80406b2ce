"""Magnitude: the mean absolute value of each channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netassay.streams.moments import ratio


@dataclass(frozen=True)
class Magnitude:
    """`total` is the sum of absolute values over `entries` finite entries; arrays `(C,)`, float64."""

    entries: np.ndarray
    total: np.ndarray

    @classmethod
    def empty(cls) -> Magnitude:
        """Return the identity of `merge`, for any number of channels."""
        return cls(np.zeros(1), np.zeros(1))

    def merge(self, other: Magnitude) -> Magnitude:
        """Join with the magnitudes of further values of the same channels."""
        return Magnitude(self.entries + other.entries, self.total + other.total)

    @property
    def mean(self) -> np.ndarray:
        """Mean absolute value of an entry; NaN where nothing was seen."""
        return ratio(self.total, self.entries)
