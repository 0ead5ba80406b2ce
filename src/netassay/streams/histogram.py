"""LogHistogram: counts in bins of constant relative width, from which quantiles are read to within 1 %."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRACTION_BITS = 6
SHIFT = 52 - FRACTION_BITS
PER_OCTAVE = 1 << FRACTION_BITS
ABOVE = 2047 << FRACTION_BITS
"""The key of infinity; a window's overflow is counted here, its underflow at key 1."""
BELOW = 1

# Note [keys]. The key of a double is its sign, exponent and first six fraction bits: 64 bins an octave, each
# at most 1/64 of its lower edge wide, so that the harmonic middle of a bin is within 1/129 = 0.78 % of all in
# it. A key costs one shift, sorts as the value does, and is the same for every dtype, so histograms of float32
# and float64 tensors join. Key 0 is zero; doubles below 2**-1028 share it.


def keys_of(values: np.ndarray) -> np.ndarray:
    """Return the signed key of each double."""
    x = np.asarray(values, dtype=np.float64)
    keys: np.ndarray = np.sign(x).astype(np.int64) * (np.abs(x).view(np.int64) >> SHIFT)
    return keys


def middles(keys: np.ndarray) -> np.ndarray:
    """Return the double that stands for each key: the harmonic middle of its bin."""
    size = np.abs(keys)
    low, high = (size << SHIFT).view(np.float64), ((size + 1) << SHIFT).view(np.float64)
    with np.errstate(invalid="ignore"):
        middle = np.where(size >= ABOVE, np.inf, low + (high - low) * (low / (low + high)))
    return np.asarray(np.sign(keys) * np.where(size == 0, 0.0, middle))


@dataclass(frozen=True)
class LogHistogram:
    """`counts` `(R, K)` of the finite values in the bins `keys` `(K,)`, ascending; R rows are layers or channels.

    >>> h = LogHistogram.of(np.linspace(1, 100, 100).reshape(100, 1))
    >>> bool(abs(h.quantile([0.5])[0, 0] / 50 - 1) < 0.01)
    True
    """

    keys: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls) -> LogHistogram:
        """Return the identity of `merge`, for any number of rows."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((1, 0), dtype=np.int64))

    @classmethod
    def of(cls, values: np.ndarray) -> LogHistogram:
        """Count `values` `(N, R, ...)`, one row of bins for each index of the second axis."""
        x = np.moveaxis(np.asarray(values, dtype=np.float64), 1, 0).reshape(np.shape(values)[1], -1)
        keys, place = np.unique(keys_of(x), return_inverse=True)
        counts = np.zeros((len(x), len(keys)), dtype=np.int64)
        rows = np.broadcast_to(np.arange(len(x))[:, None], x.shape)
        finite = np.isfinite(x)
        np.add.at(counts, (rows[finite], place.reshape(x.shape)[finite]), 1)
        return cls(keys, counts).trimmed()

    def merge(self, other: LogHistogram) -> LogHistogram:
        """Add the counts of further values of the same rows."""
        keys = np.union1d(self.keys, other.keys)
        rows = max(len(self.counts), len(other.counts))
        counts = np.zeros((rows, len(keys)), dtype=np.int64)
        for part in (self, other):
            counts[:, np.searchsorted(keys, part.keys)] += part.counts
        return LogHistogram(keys, counts)

    def trimmed(self) -> LogHistogram:
        """Drop the bins that are empty in every row."""
        used = self.counts.any(axis=0)
        return LogHistogram(self.keys[used], self.counts[:, used])

    @property
    def n(self) -> np.ndarray:
        """Values counted in each row, `(R,)`."""
        return np.asarray(self.counts.sum(1))

    @property
    def outside(self) -> np.ndarray:
        """Values counted in each row that lay outside its window, `(R,)`."""
        return np.asarray(self.counts[:, np.isin(np.abs(self.keys), (BELOW, ABOVE))].sum(1))

    def quantile(self, q: npt.ArrayLike) -> np.ndarray:
        """Return the order statistics of rank `ceil(q n)` as `(R, len(q))`, within 0.78 %; NaN where n is 0.

        `q` are levels for all rows, or `(R, len(q))`, each row its own. A rank outside the window gives 0 or infinity,
        signed.
        """
        n = self.n[:, None]
        rank = np.clip(np.ceil(np.asarray(q) * n), 1, np.maximum(n, 1))
        edges = np.cumsum(self.counts, axis=1)
        index = (edges[:, None, :] < rank[:, :, None]).sum(-1)
        if not len(self.keys):
            return np.full(rank.shape, np.nan)
        value = middles(self.keys)[np.minimum(index, len(self.keys) - 1)]
        return np.where(n > 0, np.where(np.abs(value) < 1e-308, 0.0, value), np.nan)
