"""Evidence: what tells weights of one distribution from those of another. numpy only.

A weight is an array `(groups, out, in, taps)`. Under a random law all its entries are independent, of mean 0,
and of known variance and shape; each test below asks for one of these. Thresholds are in standard errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

VARIANCE, FAR = 3.29, 3.72
"""Chances 0.1 % and 0.02 %, both sides. Two variances 10 % apart never both pass 3.29 at 10,000 normal weights."""
KURTOSIS, LARGE = 4.0, 1000
"""Kurtosis is asked for from 1,000 weights on, where its error is nearly normal."""
CHANCE = 5e-4
EDGE = 4.01
"""The chance of more is 0.02 % under the Tracy-Widom law, by the gamma fit of Chiani 2014, arXiv 1209.3394."""
ORDERED, WIDEST = 5000, 1024
"""At most so many order statistics, and rows of a Gram matrix, are looked at."""
CUT = 2.0
"""Where the truncated normal is cut, in standard deviations of its parent."""
INSIDE = math.erf(CUT / math.sqrt(2))


def _truncated(order: int) -> float:
    """Return a moment of the standard normal cut at +-2, by parts."""
    density = math.exp(-CUT * CUT / 2) / math.sqrt(2 * math.pi) / INSIDE
    return 1.0 if not order else (order - 1) * _truncated(order - 2) - 2 * CUT ** (order - 1) * density


KEPT = _truncated(2)
"""The variance that the cut leaves of the parent's: 0.7737."""


@dataclass(frozen=True)
class Shape:
    """A symmetric distribution of variance 1: standardised moments 4, 6, 8, and where it ends."""

    fourth: float
    sixth: float
    eighth: float
    end: float

    @property
    def kurtosis_error(self) -> float:
        """Standard error of the sample kurtosis times sqrt(n), by the delta method; sqrt(24) for normal weights."""
        k = self.fourth
        return math.sqrt(self.eighth - k * k + 4 * k * k * (k - 1) - 4 * k * (self.sixth - k))


SHAPES = {
    "normal": Shape(3, 15, 105, math.inf),
    "uniform": Shape(9 / 5, 27 / 7, 9, math.sqrt(3)),
    "truncated normal": Shape(
        _truncated(4) / KEPT**2, _truncated(6) / KEPT**3, _truncated(8) / KEPT**4, CUT / math.sqrt(KEPT)
    ),
}


def chance_below(family: str, x: Floats) -> Floats:
    """Return the distribution function of a family of variance 1."""
    if family == "uniform":
        return np.clip(0.5 + x / math.sqrt(12), 0, 1)
    # erf of numbers one by one: numpy has none, and there are at most ORDERED of them.
    cut = family == "truncated normal"
    erf = np.array([math.erf(one) for one in (x * math.sqrt(KEPT / 2 if cut else 0.5)).tolist()])
    return np.clip(0.5 + 0.5 * erf / (INSIDE if cut else 1.0), 0, 1)


@dataclass(frozen=True)
class Spectrum:
    """Singular values s of a matrix of mean square 1, `rows <= columns`: `sum s^4 / size`, and the largest s^2."""

    rows: int
    columns: int
    fourth: float
    largest: float

    def john_z(self, kurtosis: float) -> float:
        """Standardise John's statistic; its mean is exact for normal entries, its limit for few rows a chi-square."""
        n, p = self.rows * self.columns, self.rows
        mean = n * (self.columns + p - 2 + kurtosis) / (n - 1 + kurtosis) - self.columns
        variance = (p - 1) * (4 * p + 2 * (kurtosis - 1) ** 2) / p**2
        return _hilferty((self.fourth - self.columns) / mean, 2 * mean**2 / variance)

    def edge(self) -> float:
        """Standardise the largest; in the limit it has Tracy & Widom's law (Johnstone 2001; centred as in Ma 2012)."""
        a, b = math.sqrt(self.columns - 0.5), math.sqrt(self.rows - 0.5)
        return (self.largest - (a + b) ** 2) / ((a + b) * math.cbrt(1 / a + 1 / b))


class Evidence:
    """Moments of a weight about zero, and the tests that a law must pass; `eps` is the precision of its entries."""

    def __init__(self, weight: Floats, eps: float) -> None:
        self.weight, self.eps, self.n = weight, eps, weight.size
        self.mean, self.top = float(weight.mean()), float(np.abs(weight).max())
        square = np.square(weight / (self.top or 1.0))
        self.second = float(square.mean()) * self.top**2
        self.kurtosis = float(np.mean(square * square) / square.mean() ** 2) if self.top else math.nan

    @cached_property
    def ordered(self) -> tuple[Floats, Floats]:
        """Some order statistics, and the share of entries up to each."""
        ranks = np.arange(0, self.n, -(-self.n // ORDERED))
        return np.sort(self.weight, axis=None)[ranks], (ranks + 1) / self.n

    @cached_property
    def modes(self) -> list[Spectrum]:
        """The singular values of each way to lay the weight flat: out against the rest, in, taps."""
        g, outs, ins, taps = self.weight.shape
        flat = [self.weight.reshape(g * outs, ins * taps)]
        if taps > 1:
            flat += [self.weight.transpose(0, 2, 1, 3).reshape(g * ins, outs * taps), self.weight.reshape(-1, taps)]
        return [_spectrum(one) for one in flat if min(one.shape) > 1]

    def variance_z(self, family: str, variance: float) -> float:
        """Standard errors from the law's variance; from n and its kurtosis, made normal by Wilson & Hilferty 1931."""
        freedom = 2 * self.n / (SHAPES[family].fourth - 1)
        return _hilferty(self.second / variance, freedom)

    def mean_z(self, variance: float) -> float:
        """Standard errors of the mean from zero."""
        return self.mean * math.sqrt(self.n / variance)

    def kurtosis_z(self, family: str) -> float:
        """Standard errors of the kurtosis from the family's."""
        shape = SHAPES[family]
        return (self.kurtosis - shape.fourth) * math.sqrt(self.n) / shape.kurtosis_error

    def ends(self, family: str, variance: float) -> bool:
        """Tell whether no entry lies beyond the law's end, and, for uniform ones, the largest comes near to it."""
        end = SHAPES[family].end * math.sqrt(variance)
        near = 1 + math.log(CHANCE) / self.n if family == "uniform" else 0.0
        return end * (near - self.eps) <= self.top <= end * (1 + self.eps)

    def distance_chance(self, family: str, variance: float) -> float:
        """Return the chance of a distance as large between distribution functions (Kolmogorov; Stephens 1970)."""
        values, upto = self.ordered
        below = chance_below(family, values / math.sqrt(variance))
        distance = float(max(np.max(np.abs(upto - below)), np.max(np.abs(below - upto + 1 / self.n))))
        root = math.sqrt(self.n)
        x = distance * (root + 0.12 + 0.11 / root)
        return (
            1.0 if x < 0.3 else min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 9)))
        )

    def spread_z(self, family: str) -> float:
        """Return, over the ways to lay it flat, the most of John's statistic of sphericity in standard errors.

        Entries that depend on one another, or vary more in some rows, spread the singular values (John 1971; moments
        for any kurtosis after Wang & Yao 2013, arXiv 1111.5103).
        """
        return max((abs(mode.john_z(SHAPES[family].fourth)) for mode in self.modes), default=0.0)

    def edge(self) -> float:
        """Return, over the ways to lay it flat, how far the largest singular value sticks out of a random spectrum."""
        return max((mode.edge() for mode in self.modes), default=-math.inf)

    def fits(self, family: str, variance: float) -> bool:
        """Tell whether the weight passes every test of a random law."""
        return (
            self.ends(family, variance)
            and abs(self.variance_z(family, variance)) <= VARIANCE
            and abs(self.mean_z(variance)) <= FAR
            and (self.n < LARGE or abs(self.kurtosis_z(family)) <= KURTOSIS)
            and self.spread_z(family) <= FAR
            and self.edge() <= EDGE
            and self.distance_chance(family, variance) >= CHANCE
        )


def gain(weight: Floats, eps: float) -> float | None:
    """Return the gain of matrices, one per group, with orthonormal rows or columns; None for others.

    Rounding moves the inner product of two unit rows by some `eps / sqrt(columns)`. A single
    row passes with any gain.
    """
    flat = weight.reshape(*weight.shape[:2], -1)
    flat = flat if flat.shape[1] <= flat.shape[2] else flat.transpose(0, 2, 1)
    gram = flat @ flat.transpose(0, 2, 1)
    square = float(np.trace(gram, axis1=1, axis2=2).mean()) / gram.shape[1]
    tolerance = 2e-5 + 4 * eps / math.sqrt(flat.shape[2])
    same = square > 0 and np.abs(gram / square - np.eye(gram.shape[1])).max() <= tolerance
    return math.sqrt(square) if same else None


def nearest_shape(evidence: Evidence) -> str:
    """Name the family whose kurtosis is the weight's within its error; "none" where there is no such."""
    z = {family: abs(evidence.kurtosis_z(family)) for family in SHAPES}
    best = min(z, key=lambda family: z[family])
    return best if z[best] <= KURTOSIS else "none"


def _spectrum(flat: Floats) -> Spectrum:
    flat = (flat if flat.shape[0] <= flat.shape[1] else flat.T)[:WIDEST]
    gram = flat @ flat.T
    rows, columns = flat.shape
    scale = float(np.trace(gram)) / flat.size
    if not scale:
        return Spectrum(rows, columns, math.nan, math.nan)
    fourth = float(np.sum(np.square(gram / scale))) / flat.size
    return Spectrum(rows, columns, fourth, float(np.linalg.eigvalsh(gram)[-1]) / scale)


def _hilferty(ratio: float, freedom: float) -> float:
    """Make a chi-square, divided by its mean, standard normal by its cube root."""
    part = 2 / (9 * freedom)
    return (math.copysign(abs(ratio) ** (1 / 3), ratio) - 1 + part) / math.sqrt(part)
