"""Factorial: what each factor of a full factorial does, alone and together, with every seed as a block.

The same seed is used in every cell. Each effect is computed within each seed, and its interval is Student's t over
seeds: what all cells of a seed share cancels, and no cell needs the variance of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations, product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput
from netassay.inference.student import seed_interval

Kind = Literal["main", "interaction", "simple", "single"]
Factors = Mapping[str, Sequence[str]]
Change = tuple[int, int]
"""A level, and the one that it is compared with."""
Asked = list[tuple[dict[int, Change], dict[int, int]]]
"""Axes that change, and axes that are held."""


@dataclass(frozen=True)
class Effect:
    """What a change of one factor does, or of several together beyond what each does, in the unit of the values.

    `changed` and `references` map the factors that change to their levels; `within` those that are held fixed; over all
    others it is a mean. `series` `(seeds,)` holds each seed's own effect, NaN where one of its cells is missing; `n`
    seeds have one. `confidence` was corrected for `tests` effects (Bonferroni), so that 95 % is for all together.
    """

    kind: Kind
    changed: Mapping[str, str]
    references: Mapping[str, str]
    within: Mapping[str, str]
    series: np.ndarray = field(repr=False, compare=False)
    effect: float
    low: float
    high: float
    n: int
    confidence: float
    tests: int


def contrast(
    values: npt.ArrayLike, changed: Mapping[int, Change], within: Mapping[int, int] | None = None
) -> np.ndarray:
    """Return each seed's effect of changing some axes together, `(seeds,)`.

    Of `values` (levels of each factor ..., seeds): along each axis in `changed` the difference of two levels, so that
    two axes give a difference of differences; along those in `within` one level; over every other the mean. What is not
    finite is missing, and so is the effect of a seed that misses a cell which it needs.

    >>> contrast([[[1.0], [2.0]], [[3.0], [7.0]]], {0: (1, 0), 1: (1, 0)})  # (7 - 3) - (2 - 1)
    array([3.])
    """
    left: Any = np.array(values, dtype=np.float64)
    left[~np.isfinite(left)] = np.nan
    for axis in reversed(range(left.ndim - 1)):
        if axis in changed:
            level, reference = changed[axis]
            left = left.take(level, axis) - left.take(reference, axis)
        elif within is not None and axis in within:
            left = left.take(within[axis], axis)
        else:
            left = left.mean(axis)
    return np.asarray(left)


def factorial(
    values: npt.ArrayLike, factors: Factors, *, order: int = 2, confidence: float = 0.95
) -> tuple[Effect, ...]:
    """Return main effects, interactions of up to `order` factors, and each factor's effect at each level of another.

    `values` `(levels of each factor ..., seeds)`, NaN where a cell gave nothing. A factor's first level is its
    reference; a "main" effect is a level less the reference, averaged over all levels of the other factors; an
    "interaction" is a difference of differences, not halved (Box, Hunter & Hunter 2005, Statistics for Experimenters,
    chapter 5, halve it); a "simple" effect is taken within one level of one other factor. Intervals hold together with
    `confidence` for all main effects and interactions, and again for all simple effects.

    Raises `BadInput` for values whose shape is not that of the factors, and for a factor of one level.

    >>> effects = factorial([[1.0, 2.0], [4.0, 5.0]], {"skip": ["residual", "none"]})
    >>> [(one.kind, dict(one.changed), one.effect, one.low, one.n) for one in effects]
    [('main', {'skip': 'none'}, 3.0, 3.0, 2)]
    """
    made = _checked(values, factors)
    axes = range(len(factors))
    groups = [group for size in range(1, order + 1) for group in combinations(axes, size)]
    joint: Asked = [
        ({axis: (level, 0) for axis, level in one}, {}) for group in groups for one in _levels(group, factors)
    ]
    pairs = [(one, other) for one, other in permutations(axes, 2)]
    simple: Asked = [
        ({one: (level, 0)}, {other: at})
        for one, other in pairs
        for at in range(made.shape[other])
        for level in range(1, made.shape[one])
    ]
    return (*_effects(made, factors, joint, confidence), *_effects(made, factors, simple, confidence, "simple"))


def single_changes(
    values: npt.ArrayLike, factors: Factors, cell: Sequence[int], *, confidence: float = 0.95
) -> tuple[Effect, ...]:
    """Return what changing one factor alone does, from one `cell` (a level of each factor), to each other level.

    >>> found = single_changes([[[1.0], [2.0]], [[3.0], [7.0]]], {"a": ["0", "1"], "b": ["0", "1"]}, (1, 1))
    >>> [(dict(one.changed), dict(one.within), one.effect) for one in found]
    [({'a': '0'}, {'b': '1'}, -5.0), ({'b': '0'}, {'a': '1'}, -4.0)]
    """
    made = _checked(values, factors)
    asked = [
        ({axis: (level, at)}, {other: cell[other] for other in range(len(factors)) if other != axis})
        for axis, at in enumerate(cell)
        for level in range(made.shape[axis])
        if level != at
    ]
    return _effects(made, factors, asked, confidence, "single")


def _checked(values: npt.ArrayLike, factors: Factors) -> np.ndarray:
    made = np.asarray(values, dtype=np.float64)
    for name, levels in factors.items():
        if len(levels) < 2:
            raise BadInput(f"a factorial over {name!r}", f"{len(levels)} level", "give two levels or more")
    sizes = tuple(map(len, factors.values()))
    if not factors or made.ndim != len(sizes) + 1 or made.shape[:-1] != sizes:
        found = f"values of shape {made.shape}, where the factors have {sizes} levels"
        raise BadInput("a factorial", found, "give an axis for each factor, and one for seeds")
    return made


def _levels(group: Sequence[int], factors: Factors) -> Iterator[tuple[tuple[int, int], ...]]:
    """List the levels, references left out, that the axes of a group may change to."""
    sizes = [len(levels) for levels in factors.values()]
    for levels in product(*(range(1, sizes[axis]) for axis in group)):
        yield tuple(zip(group, levels, strict=True))


def _effects(
    values: np.ndarray,
    factors: Factors,
    asked: Asked,
    confidence: float,
    kind: Kind | None = None,
) -> tuple[Effect, ...]:
    names, levels = list(factors), list(factors.values())
    corrected = 1 - (1 - confidence) / max(len(asked), 1)
    made = []
    for changed, within in asked:
        series = contrast(values, changed, within)
        seen = series[np.isfinite(series)]
        effect, low, high = seed_interval(seen.tolist(), corrected)
        to, since = ({names[axis]: levels[axis][change[i]] for axis, change in changed.items()} for i in (0, 1))
        held = {names[axis]: levels[axis][level] for axis, level in within.items()}
        told: Kind = kind or ("main" if len(to) == 1 else "interaction")
        made.append(Effect(told, to, since, held, series, effect, low, high, len(seen), corrected, len(asked)))
    return tuple(made)
