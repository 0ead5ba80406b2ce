"""Measures that compare matrices between samples, one entry at a time, from their definitions; numpy only."""

from __future__ import annotations

import itertools
import math

import numpy as np


def gram(x):
    """Inner products of samples about the mean."""
    n = len(x)
    mean = [math.fsum(column) / n for column in np.asarray(x, float).T]
    return [[math.fsum((a - m) * (b - m) for a, b, m in zip(p, q, mean, strict=True)) for q in x] for p in x]


def rbf(x, sigma):
    """exp(-r^2 / (2 sigma^2)) of each two samples."""
    return [[math.exp(-sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / (2 * sigma**2)) for q in x] for p in x]


def median_distance(x):
    """The median over pairs of samples."""
    return float(np.median([math.dist(p, q) for p, q in itertools.combinations(x, 2)]))


def unbiased_hsic(k, m):
    """The U-statistic: the mean of k_ij (m_ij + m_qr - 2 m_iq) over all four different samples."""
    values = [k[i][j] * (m[i][j] + m[q][r] - 2 * m[i][q]) for i, j, q, r in itertools.permutations(range(len(k)), 4)]
    return math.fsum(values) / len(values)


def biased_hsic(k, m):
    """The same mean over all four samples, equal ones too."""
    n = len(k)
    values = [k[i][j] * (m[i][j] + m[q][r] - 2 * m[i][q]) for i, j, q, r in itertools.product(range(n), repeat=4)]
    return math.fsum(values) / n**4


def cka(k, m, hsic):
    """The ratio of three HSICs."""
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def dissimilarity(x, kind):
    """One value for each pair of samples i < j."""
    return [FAR[kind](p, q) for p, q in itertools.combinations(x, 2)]


def _cosine(p, q):
    return 1 - sum(a * b for a, b in zip(p, q, strict=True)) / math.hypot(*p) / math.hypot(*q)


FAR = {
    "euclidean": math.dist,
    "squared_euclidean": lambda p, q: math.dist(p, q) ** 2,
    "cosine": _cosine,
    "correlation": lambda p, q: _cosine([a - sum(p) / len(p) for a in p], [b - sum(q) / len(q) for b in q]),
}


def pearson(u, v):
    """Covariance over the standard deviations."""
    mu, mv = math.fsum(u) / len(u), math.fsum(v) / len(v)
    over = math.sqrt(math.fsum((a - mu) ** 2 for a in u) * math.fsum((b - mv) ** 2 for b in v))
    return math.fsum((a - mu) * (b - mv) for a, b in zip(u, v, strict=True)) / over


def ranks(u):
    """How many are below, and half of the others that are equal."""
    return [1 + sum(b < a for b in u) + (sum(b == a for b in u) - 1) / 2 for a in u]


def broken(u):
    """Every way of breaking ties: all rankings without ties that keep the order of values that differ."""
    groups = [[i for i, a in enumerate(u) if a == value] for value in sorted(set(u))]
    for order in itertools.product(*(itertools.permutations(group) for group in groups)):
        places = list(itertools.chain(*order))
        yield [places.index(i) + 1 for i in range(len(u))]


def rho_a(u, v):
    """The mean of Pearson's over all ways of breaking ties on both sides."""
    return float(np.mean([pearson(a, b) for a in broken(u) for b in broken(v)]))


def tau_a(u, v):
    """Pairs that agree less those that do not, over all."""
    signs = [np.sign(u[i] - u[j]) * np.sign(v[i] - v[j]) for i, j in itertools.combinations(range(len(u)), 2)]
    return float(np.mean(signs))


def cosine(u, v):
    """The cosine of two vectors."""
    return 1 - _cosine(u, v)


def mutual_knn(x, y, k):
    """The mean share of neighbours in common, over all ways of breaking ties."""
    shares = []
    for i in range(len(x)):
        sides = []
        for z in (x, y):
            others = [j for j in range(len(z)) if j != i]
            far = [math.dist(z[i], z[j]) for j in others]
            sides.append([{others[places.index(p)] for p in range(1, k + 1)} for places in broken(far)])
        shares.append(np.mean([len(a & b) / k for a in sides[0] for b in sides[1]]))
    return float(np.mean(shares))
