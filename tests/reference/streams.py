"""Statistics of a channel from their definitions, in extended precision, one value at a time where that is clearer."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def finite(values):
    return [value for value in np.asarray(values, dtype=np.float64).ravel().tolist() if np.isfinite(value)]


def moments(values):
    """n, mean and the centred power sums 2 to 4, exactly, by rational arithmetic."""
    exact = [Fraction(value) for value in finite(values)]
    n = len(exact)
    mean = sum(exact, Fraction(0)) / max(n, 1)
    return n, float(mean), *(float(sum((v - mean) ** p for v in exact)) for p in (2, 3, 4))


def norms(values):
    """l1 and l2 norm, by rational arithmetic up to the root."""
    exact = [abs(Fraction(value)) for value in finite(values)]
    square = sum((v * v for v in exact), Fraction(0))
    return float(sum(exact, Fraction(0))), root(square)


def root(square):
    """Square root of a rational far outside the range of a double."""
    if square == 0:
        return 0.0
    shift = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    scaled = square / Fraction(4) ** shift if shift >= 0 else square * Fraction(4) ** -shift
    return float(np.ldexp(np.sqrt(float(scaled)), shift))


def counts(values, tiny):
    """Zero, subnormal, positive, NaN, infinite entries."""
    flat = np.asarray(values, dtype=np.float64).ravel().tolist()
    ordinary = [v for v in flat if np.isfinite(v)]
    return {
        "entries": len(flat),
        "zero": sum(v == 0 for v in ordinary),
        "subnormal": sum(0 < abs(v) < tiny for v in ordinary),
        "positive": sum(v > 0 for v in ordinary),
        "nan": sum(v != v for v in flat),
        "inf": sum(v in (np.inf, -np.inf) for v in flat),
    }


def quantile(values, q):
    """The order statistic of rank ceil(q n)."""
    ordered = sorted(finite(values))
    rank = min(max(int(np.ceil(q * len(ordered))), 1), len(ordered))
    return ordered[rank - 1]


def spread(values):
    """Mean over positions of the variance over samples; values (N, P)."""
    x = np.asarray(values, dtype=np.longdouble)
    return float(((x - x.mean(0)) ** 2).mean())


def cross(x, y):
    """Sum over rows of (x - mean)(y - mean), by rational arithmetic."""
    n, out = len(x), np.zeros((x.shape[1], y.shape[1]))
    for i in range(x.shape[1]):
        for j in range(y.shape[1]):
            a, b = [Fraction(float(v)) for v in x[:, i]], [Fraction(float(v)) for v in y[:, j]]
            ma, mb = sum(a) / n, sum(b) / n
            out[i, j] = float(sum((u - ma) * (v - mb) for u, v in zip(a, b, strict=True)))
    return out
