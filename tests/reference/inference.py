"""Slow twins of netassay.inference, written from the definitions with plain loops; none imports it."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np


def tail(k, n, p):
    """P(X >= k), summed exactly: p may be a Fraction or a float, which is a fraction of powers of two."""
    p = Fraction(p)
    return sum((math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(max(k, 0), n + 1)), Fraction(0))


def interval(k, n, level):
    """Clopper and Pearson's two equations, each solved by halving."""
    alpha = (1 - Fraction(level)) / 2
    low = 0.0 if k == 0 else halve(lambda p: tail(k, n, p) > alpha)
    high = 1.0 if k == n else halve(lambda p: 1 - tail(k + 1, n, p) < alpha)
    return low, high


def halve(above):
    """The chance at which `above` turns from false to true."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if above(middle) else (middle, high)
    return (low + high) / 2


def normal_cdf(z):
    return (1 + math.erf(z / math.sqrt(2))) / 2


def normal_quantile(level):
    low, high = -40.0, 40.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if normal_cdf(middle) < level else (low, middle)
    return (low + high) / 2


def quantile(values, level):
    """The value at a place in sorted order, between neighbours in proportion."""
    place = level * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    values = sorted(values)
    return values[below] + (place - below) * (values[above] - values[below])


def bca(values, statistic, level, resamples, seed):
    """Efron & Tibshirani 1993, section 14.3, one resample at a time."""
    n = len(values)
    estimate = statistic(values)
    indices = np.random.default_rng(seed).integers(n, size=(resamples, n))
    draws = [statistic([values[i] for i in row]) for row in indices]
    below = sum(1.0 if draw < estimate else 0.5 if draw == estimate else 0.0 for draw in draws)
    z0 = normal_quantile(min(max(below, 0.5), resamples - 0.5) / resamples)
    without = [statistic([*values[:i], *values[i + 1 :]]) for i in range(n)]
    mean = sum(without) / n
    cubes, squares = sum((mean - each) ** 3 for each in without), sum((mean - each) ** 2 for each in without)
    a = cubes / (6 * squares**1.5) if squares else 0.0
    ends = []
    for z in (normal_quantile((1 - level) / 2), normal_quantile((1 + level) / 2)):
        ends.append(quantile(draws, normal_cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))))
    return estimate, ends[0], ends[1]


def permutation(a, b, statistic):
    """The share of all orders of the pooled values whose statistic is no smaller in size."""
    pool = [*a, *b]
    seen = abs(statistic(a, b))
    null = [abs(statistic(order[: len(a)], order[len(a) :])) for order in itertools.permutations(pool)]
    return sum(each >= seen - 1e-9 for each in null) / len(null)


def holm(p):
    """Holm's steps: a hypothesis is rejected at every level above its adjusted value."""
    ranks = sorted(range(len(p)), key=lambda i: p[i])
    adjusted = [0.0] * len(p)
    for place, i in enumerate(ranks):
        adjusted[i] = min(1.0, max((len(p) - j) * p[ranks[j]] for j in range(place + 1)))
    return adjusted


def benjamini_hochberg(p):
    """The smallest level at which the step-up procedure rejects each hypothesis."""
    ranks = sorted(range(len(p)), key=lambda i: p[i])
    adjusted = [0.0] * len(p)
    for place, i in enumerate(ranks):
        adjusted[i] = min(1.0, min(p[ranks[j]] * len(p) / (j + 1) for j in range(place, len(p))))
    return adjusted


def fisher(k, n, other_k, other_n):
    """Deal the hits out to both groups in every way there is, and count the ways that give the first k or more."""
    hits = list(itertools.combinations(range(n + other_n), k + other_k))
    return sum(sum(one < n for one in dealt) >= k for dealt in hits) / len(hits)


def paired_difference(b, c, n, level):
    """Write out each sample's difference, one of each kind more, and take the Gaussian interval of their mean."""
    each = [1] * (b + 1) + [-1] * (c + 1) + [0] * (n - b - c)
    mean = sum(each) / len(each)
    error = math.sqrt(sum((one - mean) ** 2 for one in each) / len(each) ** 2)
    reach = normal_quantile((1 + level) / 2) * error
    return max(mean - reach, -1), min(mean + reach, 1)


def one_more(value, others):
    """The chance that one more of the same Gaussian is as high: t of the prediction, its density summed by Simpson."""
    R = len(others)
    mean = math.fsum(others) / R
    variance = math.fsum((one - mean) ** 2 for one in others) / (R - 1)
    if variance == 0:
        return float(value <= mean)
    t, df = (value - mean) / math.sqrt(variance * (1 + 1 / R)), R - 1
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    # Over the angle: t = sqrt(df) tan(angle) makes the range finite.
    at = np.linspace(math.atan(t / math.sqrt(df)), math.pi / 2, 20001)
    density = scale * math.sqrt(df) * np.cos(at) ** (df - 1)
    weight = np.ones(len(at))
    weight[1:-1:2], weight[2:-1:2] = 4, 2
    return float((density * weight).sum() * (at[1] - at[0]) / 3)
