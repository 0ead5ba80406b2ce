"""Law: the distribution function that stands for a distribution, linear within each bin of its histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from netassay.shape.distribution import Distribution
from netassay.streams.histogram import SHIFT


@dataclass(frozen=True)
class Law:
    """Mass spread evenly from `low` to `high` `(K,)`, ascending, in one point where they are equal.

    `below` `(K + 1,)` is the share of all mass that lies in the pieces before each.
    """

    low: np.ndarray
    high: np.ndarray
    below: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """Where the distribution function bends or jumps."""
        return np.concatenate([self.low, self.high])

    def share(self, at: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
        """Return P(X <= at) for side "right", P(X < at) for side "left"."""
        piece = np.searchsorted(self.low, at, side=side) - 1
        first = np.maximum(piece, 0)
        low, width = self.low[first], (self.high - self.low)[first]
        inside = np.where(width > 0, np.minimum(at - low, width) / np.where(width > 0, width, 1), 1)
        begun = self.below[first] + inside * np.diff(self.below)[first]
        return np.where(piece < 0, 0.0, begun)


def law_of(d: Distribution) -> Law:
    """Return the law of what was kept of a distribution with a finite number: its values themselves, or its bins.

    Bins end at the smallest and largest number; equal numbers are one point.
    """
    if d.few is not None:
        low, counts = np.unique(d.few, return_counts=True)
        high = low
    else:
        keys, counts = d.histogram.trimmed().keys, d.histogram.trimmed().counts[0]
        low, high = _edges(keys)
        low, high = np.maximum(low, d.minimum), np.minimum(high, d.maximum)
    return Law(low, high, np.concatenate([[0], np.cumsum(counts)]) / counts.sum())


def _edges(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of each key's bin; key 0 is the point 0."""
    near, far = ((np.abs(keys) + step << SHIFT).view(np.float64) for step in (0, 1))
    far = np.where(keys == 0, 0.0, far)
    return np.where(keys < 0, -far, near), np.where(keys < 0, -near, far)
