"""Shapes, distances and symmetry from their definitions, on all the numbers, one at a time where that is clearer."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np


def finite(values):
    return [value for value in np.asarray(values, dtype=np.float64).ravel().tolist() if math.isfinite(value)]


def moments(values):
    """Mean, population std, skewness, kurtosis."""
    x = finite(values)
    mean = math.fsum(x) / len(x)
    second, third, fourth = (math.fsum((v - mean) ** p for v in x) / len(x) for p in (2, 3, 4))
    return mean, math.sqrt(second), third / second**1.5, fourth / second**2


def share(ordered, at, strictly=False):
    """P(X <= at) or P(X < at), by counting."""
    return sum(v < at if strictly else v <= at for v in ordered) / len(ordered)


def wasserstein(a, b):
    """The area between two step functions, step by step."""
    a, b = finite(a), finite(b)
    steps = sorted({*a, *b})
    return math.fsum(abs(share(a, low) - share(b, low)) * (high - low) for low, high in pairwise(steps))


def gaussian_distance(values, per_gap=2000):
    """The area between a step function and the Gaussian's, in deviations, by the midpoint rule."""
    x = sorted(finite(values))
    mean, std, *_ = moments(x)
    law = NormalDist(mean, std)
    ends = [mean - 9 * std, *x, mean + 9 * std]
    total = 0.0
    for below, (low, high) in enumerate(pairwise(ends)):
        step = (high - low) / per_gap
        total += math.fsum(abs(below / len(x) - law.cdf(low + (i + 0.5) * step)) for i in range(per_gap)) * step
    return total / std


def density(values, edges):
    """Numbers in each bin, over all numbers and the bin's width; the last bin holds its right edge."""
    x, edges = finite(values), list(edges)
    bins = []
    for low, high in pairwise(edges):
        inside = sum(low <= v < high or (v == high == edges[-1]) for v in x)
        bins.append(inside / len(x) / (high - low))
    return bins


def distinct(rows, tolerance):
    """Rows that no chain of neighbours joins: every pair is compared, and the lower name spreads until none does."""
    rows = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
    whole = np.isfinite(rows).all(1)
    broken, rows = int((~whole).sum()), rows[whole]
    if not len(rows):
        return broken
    reach = tolerance * math.sqrt(math.fsum(float(row @ row) for row in rows) / len(rows))
    names = list(range(len(rows)))
    pairs = [(i, j) for i in range(len(rows)) for j in range(i) if np.linalg.norm(rows[i] - rows[j]) <= reach]
    changed = True
    while changed:
        changed = False
        for i, j in pairs:
            if names[i] != names[j]:
                names[i] = names[j] = min(names[i], names[j])
                changed = True
    return broken + len(set(names))


def student_quantile(p, df, steps=50_000):
    """The t with P(T <= t) = p > 1/2, by bisection; Simpson's rule over the angle, where T = sqrt(df) tan(angle)."""

    def chance(angle):
        grid = np.linspace(0, angle, steps + 1)
        height = np.cos(grid) ** (df - 1)
        weights = np.ones(steps + 1)
        weights[1:-1:2], weights[2:-1:2] = 4, 2
        return float(height @ weights) * angle / steps / 3

    whole = chance(math.pi / 2)
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 + chance(middle) / whole / 2 < p else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2)
