"""Measures from their definitions, in numpy and loops: eigenproblems, all permutations, explicit hat matrices."""

from __future__ import annotations

import itertools
import math

import numpy as np


def centred(x):
    x = np.asarray(x, dtype=np.float64)
    return x - x.mean(0)


def canonical(x, y):
    """Correlations, largest first, and the first's variates: eigenvectors of Sxx^-1 Sxy Syy^-1 Syx (Hotelling)."""
    x, y = centred(x), centred(y)
    product = np.linalg.solve(x.T @ x, x.T @ y) @ np.linalg.solve(y.T @ y, y.T @ x)
    squares, directions = np.linalg.eig(product)
    first = np.argsort(-squares.real)[: min(x.shape[1], y.shape[1])]
    variates = x @ directions.real[:, first]
    return np.sqrt(np.maximum(squares.real[first], 0)), variates / np.linalg.norm(variates, axis=0)


def cca(x, y):
    return canonical(x, y)[0].mean()


def cca_squared(x, y):
    return (canonical(x, y)[0] ** 2).mean()


def principal(x, variance):
    """Scores on the fewest principal directions that hold `variance`."""
    x = centred(x)
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    k = next(k for k in range(1, len(values) + 1) if values[:k].sum() >= variance * values.sum())
    return x @ vectors[:, :k]


def svcca(x, y, variance=0.99):
    return cca(principal(x, variance), principal(y, variance))


def pwcca(x, y):
    rho, variates = canonical(x, y)
    x = centred(x)
    alpha = [sum(abs(float(h @ x[:, j])) for j in range(x.shape[1])) for h in variates.T]
    return sum(a * r for a, r in zip(alpha, rho, strict=True)) / sum(alpha)


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T


def fidelity(x, y):
    """tr (A^1/2 B A^1/2)^1/2 of the two Gram matrices."""
    a, b = (centred(one) @ centred(one).T for one in (x, y))
    return np.trace(root(root(a) @ b @ root(a)))


def procrustes(x, y):
    """The Bures distance of the two Gram matrices."""
    return math.sqrt(max((centred(x) ** 2).sum() + (centred(y) ** 2).sum() - 2 * fidelity(x, y), 0))


def nbs(x, y):
    return fidelity(x, y) / (np.linalg.norm(centred(x)) * np.linalg.norm(centred(y)))


def angular_procrustes(x, y):
    return math.acos(min(nbs(x, y), 1))


def permutation(x, y):
    """Every way to give each neuron of the smaller side one of the larger."""
    x, y = (centred(one) / np.linalg.norm(centred(one)) for one in (x, y))
    if x.shape[1] > y.shape[1]:
        x, y = y, x
    orders = itertools.permutations(range(y.shape[1]), x.shape[1])
    return max(float((x * y[:, list(order)]).sum()) for order in orders)


def soft_matching(x, y):
    """Every pairing of as many copies of each side as make the numbers equal."""
    x, y = (centred(one) / np.linalg.norm(centred(one), axis=0) for one in (x, y))
    gain, many = x.T @ y, math.lcm(x.shape[1], y.shape[1])
    left, right = ([i % width for i in range(many)] for width in gain.shape)
    return (
        max(sum(gain[i, j] for i, j in zip(left, order, strict=True)) for order in set(itertools.permutations(right)))
        / many
    )


def foretold(x, y, parts, ridges):
    """Held-out predictions: an explicit hat matrix a fold, the ridge with the least generalised cross-validation."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    made = np.full(y.shape, np.nan)
    for test in parts:
        train = [i for i in range(len(x)) if i not in test]
        m, mx, my = len(train), x[train].mean(0), y[train].mean(0)
        xs, ys = x[train] - mx, y[train] - my
        unit = np.trace(xs.T @ xs) / np.linalg.matrix_rank(xs)
        scores = []
        for ridge in ridges:
            inverse = np.linalg.inv(xs.T @ xs + ridge * unit * np.eye(x.shape[1]))
            hat = xs @ inverse @ xs.T + np.ones((m, m)) / m
            wrong = ((y[train] - hat @ y[train]) ** 2).sum()
            scores.append((wrong / np.trace(np.eye(m) - hat) ** 2, inverse @ xs.T @ ys))
        made[test] = my + (x[test] - mx) @ min(scores, key=lambda one: one[0])[1]
    return made


def regression(x, y, parts, ridges):
    wrong = np.asarray(y) - foretold(x, y, parts, ridges)
    return 1 - (wrong**2).sum() / (centred(y) ** 2).sum()


def correlation(x, y, parts, ridges):
    made = foretold(x, y, parts, ridges)
    return np.mean([np.corrcoef(np.asarray(y)[:, j], made[:, j])[0, 1] for j in range(made.shape[1])])


def softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def jsd(x, y, power=1.0):
    """Mean over rows, in bits."""
    total = 0.0
    for p, q in zip(x, y, strict=True):
        p, q = softmax(p), softmax(q)
        half = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        entropy = lambda r: -math.fsum(v * math.log2(v) for v in r if v)  # noqa: E731
        total += max(entropy(half) - (entropy(p) + entropy(q)) / 2, 0) ** power
    return total / len(x)


def disagreement(x, y):
    return sum(list(p).index(max(p)) != list(q).index(max(q)) for p, q in zip(x, y, strict=True)) / len(x)


def effective_rank(x):
    x = centred(x)
    shares = np.linalg.svd(x)[1] ** 2 / (x**2).sum()
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


def runs(labels):
    """Mean and deviation of the number of runs over all orders."""
    counts = [1 + sum(a != b for a, b in itertools.pairwise(order)) for order in itertools.permutations(labels)]
    return np.mean(counts), np.std(counts)
