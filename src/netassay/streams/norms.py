"""Norms: the Euclidean norm of each channel over everything seen, scaled so that no square vanishes or overflows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netassay.streams.moments import ratio

NOTHING = -(1 << 16)
"""The exponent of a channel that holds only zeros: below every double's."""


@dataclass(frozen=True)
class Norms:
    """`square` is the sum of squares over `entries` finite entries, in units of `4**exponent`; arrays `(C,)`.

    >>> tiny = Norms.of(np.full((1000, 1), 1e-200))
    >>> float(tiny.norm[0] / 1e-200)  # sqrt(1000), though 1e-400 is no double
    31.62277660168379...
    """

    entries: np.ndarray
    square: np.ndarray
    exponent: np.ndarray

    @classmethod
    def empty(cls) -> Norms:
        """Return the identity of `merge`, for any number of channels."""
        return cls(np.zeros(1), np.zeros(1), np.full(1, NOTHING))

    @classmethod
    def of(cls, values: np.ndarray) -> Norms:
        """Take the norms of the finite entries of `values` `(N, C, ...)`, channel by channel."""
        x = np.moveaxis(np.asarray(values, dtype=np.float64), 1, 0).reshape(np.shape(values)[1], -1)
        finite = np.isfinite(x)
        x = np.abs(np.where(finite, x, 0))
        exponent = np.frexp(x.max(1, initial=0))[1].astype(np.intc)
        square = np.ldexp(x, -exponent[:, None]) ** 2
        return canonical(finite.sum(1).astype(np.float64), square.sum(1), exponent)

    def merge(self, other: Norms) -> Norms:
        """Join with the norms of further values of the same channels."""
        exponent = np.maximum(self.exponent, other.exponent)
        mine = np.ldexp(self.square, 2 * (self.exponent - exponent))
        theirs = np.ldexp(other.square, 2 * (other.exponent - exponent))
        return canonical(self.entries + other.entries, mine + theirs, exponent)

    @property
    def norm(self) -> np.ndarray:
        """Euclidean norm over samples and positions."""
        return np.asarray(np.ldexp(np.sqrt(self.square), self.exponent))

    @property
    def rms(self) -> np.ndarray:
        """Root mean square of an entry; NaN where nothing was seen."""
        return np.asarray(np.ldexp(np.sqrt(ratio(self.square, self.entries)), self.exponent))


def canonical(entries: np.ndarray, square: np.ndarray, exponent: np.ndarray) -> Norms:
    """Choose the exponent that brings `square` into [1/4, 1), so that equal sums are equal values."""
    half = -(-np.frexp(square)[1].astype(np.intc) // 2)
    exponent = np.where(square > 0, exponent + half, NOTHING)
    return Norms(entries, np.ldexp(square, -2 * half), exponent)
