"""Slow twins of netassay.comparing and netassay.studies.prescribe, from the definitions; none imports netassay."""

from __future__ import annotations

import math
import statistics

import scipy.stats


def mover(a, a_low, a_high, b, b_low, b_high):
    """Zou and Donner's limits of b - a: variance estimates recovered from each limit, z cancelling."""
    z = 1.959963984540054
    variance = {
        "low of b": ((b - b_low) / z) ** 2,
        "high of b": ((b_high - b) / z) ** 2,
        "low of a": ((a - a_low) / z) ** 2,
        "high of a": ((a_high - a) / z) ** 2,
    }
    low = b - a - z * math.sqrt(variance["low of b"] + variance["high of a"])
    high = b - a + z * math.sqrt(variance["high of b"] + variance["low of a"])
    return b - a, low, high


def welch(a, b, level=0.95):
    """Welch's interval of mean(b) - mean(a)."""
    v, w = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    difference = statistics.fmean(b) - statistics.fmean(a)
    freedom = (v + w) ** 2 / (v**2 / (len(a) - 1) + w**2 / (len(b) - 1))
    half = scipy.stats.t.ppf((1 + level) / 2, freedom) * math.sqrt(v + w)
    return difference, difference - half, difference + half


def paired(a, b, level=0.95):
    """Student's interval of the mean of the differences."""
    each = [y - x for x, y in zip(a, b, strict=True)]
    half = scipy.stats.t.ppf((1 + level) / 2, len(each) - 1) * statistics.stdev(each) / math.sqrt(len(each))
    return statistics.fmean(each), statistics.fmean(each) - half, statistics.fmean(each) + half


def stretches(values, most=10):
    """Means of ten stretches, the first ones longer by a step where it does not divide; of at least two steps each."""
    count = max(1, min(most, len(values) // 2))
    size, more = divmod(len(values), count)
    found, at = [], 0
    for i in range(count):
        step = size + (i < more)
        finite = [value for value in values[at : at + step] if math.isfinite(value)]
        found.append(sum(finite) / len(finite) if finite else math.nan)
        at += step
    return found


def slope(depths, values):
    """Least squares, from the sums."""
    n = len(depths)
    sx, sy = sum(depths), sum(values)
    sxx, sxy = sum(x * x for x in depths), sum(x * y for x, y in zip(depths, values, strict=True))
    return (n * sxy - sx * sy) / (n * sxx - sx * sx)
