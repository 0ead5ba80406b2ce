"""The law of gradient from its definition: one step, one depth, one sum at a time."""

from __future__ import annotations

import math

from scipy import stats


def usable(value):
    return math.isfinite(value) and value > 0


def exp(value):
    return math.exp(min(value, 705)) if value == value else value


def slope(points):
    """Ordinary least squares over (x, y), by the normal equations with exact sums."""
    n = len(points)
    mx, my = math.fsum(x for x, _ in points) / n, math.fsum(y for _, y in points) / n
    top = math.fsum((x - mx) * (y - my) for x, y in points)
    return top / math.fsum((x - mx) ** 2 for x, _ in points)


def law(depths, gradients):
    """chi, its band, and the attenuation over all depths met, of gradients step by step; None without a slope."""
    slopes = []
    for row in gradients:
        by_depth = {}
        for depth, value in zip(depths, row, strict=True):
            if usable(value):
                by_depth.setdefault(depth, []).append(math.log(value))
        points = [(depth, math.fsum(logs) / len(logs)) for depth, logs in by_depth.items()]
        if len(points) >= 3:
            slopes.append(slope(points))
    if not slopes:
        return None
    n, mean = len(slopes), math.fsum(slopes) / len(slopes)
    half = math.nan
    if n > 1:
        deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in slopes) / (n - 1))
        half = stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n)
    met = {depth for row in gradients for depth, value in zip(depths, row, strict=True) if usable(value)}
    span = max(met) - min(met)
    return {
        "chi": exp(-2 * mean),
        "low": exp(-2 * (mean + half)),
        "high": exp(-2 * (mean - half)),
        "attenuation": exp(span * mean),
        "attenuation_low": exp(span * (mean - half)),
        "attenuation_high": exp(span * (mean + half)),
        "batches": n,
    }
