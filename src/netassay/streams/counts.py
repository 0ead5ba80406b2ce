"""Counts: how many entries of each channel are zero, subnormal, positive, NaN or infinite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netassay.streams.moments import ratio


@dataclass(frozen=True)
class Counts:
    """Integer arrays `(C,)`.

    `entries` counts samples times positions; `subnormal` is non-zero and below the smallest normal number of
    the tensor's own dtype; `samples` counts samples, `active` those with a non-zero finite entry.
    """

    entries: np.ndarray
    zero: np.ndarray
    subnormal: np.ndarray
    positive: np.ndarray
    nan: np.ndarray
    inf: np.ndarray
    samples: np.ndarray
    active: np.ndarray

    @classmethod
    def empty(cls) -> Counts:
        """Return the identity of `merge`, for any number of channels."""
        return cls(*(np.zeros(1, dtype=np.int64) for _ in range(8)))

    def merge(self, other: Counts) -> Counts:
        """Add the counts of further values of the same channels."""
        return Counts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def finite(self) -> np.ndarray:
        """Entries that are neither NaN nor infinite."""
        return np.asarray(self.entries - self.nan - self.inf)

    @property
    def zero_share(self) -> np.ndarray:
        """Exact zeros over finite entries; NaN where there are none."""
        return ratio(self.zero, self.finite)
