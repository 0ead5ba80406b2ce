"""Histograms of logarithms by hand: every number is put into its bin one after another."""

from __future__ import annotations

import math


def edges(values, widths, most):
    """Edges in decades over all positive finite numbers, from a whole decade to a whole one."""
    logs = [math.log10(one) for one in values if one > 0 and math.isfinite(one)]
    low, high = math.floor(min(logs)), math.floor(max(logs)) + 1
    width = next((one for one in widths if round((high - low) / one) <= most), widths[-1])
    return [low + width * i for i in range(round((high - low) / width) + 1)]


def shares(values, at):
    """Share of the numbers in each bin, the left edge in and the right one out; zero and NaN count but are in none."""
    counts = [0] * (len(at) - 1)
    for one in values:
        if one > 0 and math.isfinite(one):
            counts[max(i for i, edge in enumerate(at[:-1]) if math.log10(one) >= edge)] += 1
    return [count / len(values) for count in counts]


def line(depths, values):
    """Least squares of ln(value) against depth, those of one depth averaged: (middle depth, ln there, slope)."""
    each = {}
    for depth, value in zip(depths, values, strict=True):
        each.setdefault(depth, []).append(math.log(value))
    points = [(depth, sum(logs) / len(logs)) for depth, logs in each.items()]
    x, y = (sum(column) / len(points) for column in zip(*points, strict=True))
    slope = sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)
    return x, y, slope
