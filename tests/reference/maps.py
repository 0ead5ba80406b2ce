"""Slow twins of similarity maps: the definitions, sum by sum, of numpy alone."""

from __future__ import annotations

import itertools

import numpy as np


def hsic(x, y):
    """The unbiased HSIC as its U-statistic: means over samples that all differ (Song et al. 2012, theorem 2)."""
    x, y = (np.asarray(side, np.float64) - np.asarray(side, np.float64).mean(0) for side in (x, y))
    K, L, n = x @ x.T, y @ y.T, len(x)
    two = np.mean([K[i, j] * L[i, j] for i, j in itertools.permutations(range(n), 2)])
    three = np.mean([K[i, j] * L[i, q] for i, j, q in itertools.permutations(range(n), 3)])
    off = ~np.eye(n, dtype=bool)
    # Over four samples that differ: of all pairs of pairs, those that share none.
    total, rows = K[off].sum() * L[off].sum(), (K * off).sum(1) @ (L * off).sum(1)
    both = (K * L * off).sum()
    four = (total - 4 * rows + 2 * both) / (n * (n - 1) * (n - 2) * (n - 3))
    return two + four - 2 * three


def cka(x, y):
    """Debiased linear CKA."""
    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


def by_batches(x, y, sizes):
    """The ratio of means over batches, weighed by their samples, of unbiased HSIC; batches below four are left out."""
    sums, begin = np.zeros(3), 0
    for size in sizes:
        part = slice(begin, begin + size)
        begin += size
        if size >= 4:
            sums += size * np.array([hsic(x[part], y[part]), hsic(x[part], x[part]), hsic(y[part], y[part])])
    return sums[0] / np.sqrt(sums[1] * sums[2])


def jackknife(x, y, without):
    """Half the width of the 95 % interval, from the value without each group of samples."""
    values = [cka(x[keep], y[keep]) for keep in without]
    G = len(values)
    return 1.959963984540054 * np.sqrt((G - 1) / G * np.square(values - np.mean(values)).sum())
