"""Effects of a full factorial by loops over cells, from the definition: a dict from levels and seed to a number."""

from __future__ import annotations

import itertools
import math


def cells(factors, seeds):
    """List every combination of level names, and a seed."""
    return list(itertools.product(*factors.values(), range(seeds)))


def effect(table, factors, seed, changed, within):
    """Return one seed's effect: signs over the changed factors, a mean over what is neither changed nor held.

    `changed` maps a factor to (level, reference), `within` a factor to its level; `table` maps (*levels, seed).
    """
    names = list(factors)
    total, n = 0.0, 0
    for combination in itertools.product(*factors.values()):
        named = dict(zip(names, combination, strict=True))
        if any(named[name] != level for name, level in within.items()):
            continue
        if any(named[name] not in pair for name, pair in changed.items()):
            continue
        sign = 1
        for name, (_, reference) in changed.items():
            if named[name] == reference:
                sign = -sign
        total += sign * table[(*combination, seed)]
        n += 1
    return total / (n / 2 ** len(changed))


def interval(values, quantile):
    """Return mean and Student's interval of a few numbers, given the quantile."""
    n = len(values)
    mean = sum(values) / n
    s = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return mean, mean - quantile * s / math.sqrt(n), mean + quantile * s / math.sqrt(n)


def between(table, factors, seeds):
    """Return the sum of squares between cells: of each cell's mean about the grand mean, times its seeds."""
    means = []
    for combination in itertools.product(*factors.values()):
        means.append(sum(table[(*combination, seed)] for seed in range(seeds)) / seeds)
    grand = sum(means) / len(means)
    return seeds * sum((mean - grand) ** 2 for mean in means)
