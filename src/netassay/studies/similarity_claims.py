"""Similarity, claimed: what a map shows beyond chance, which layers correspond, and what pattern it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from netassay.inference import binomial_interval, holm
from netassay.measures import Measure, calibrate
from netassay.patterns import Pattern, fewest_known, middles, pattern
from netassay.result import Claim
from netassay.studies.similarity_estimators import Estimate
from netassay.studies.similarity_look import Look
from netassay.studies.similarity_patterns import patterned
from netassay.studies.similarity_tables import Pair

FEWEST = 5
"""Layers of a side from which on a single map has a pattern: with fewer, ideals are hardly told from each other."""
SHOWN = 4
"""Maps, beyond which only what is decided has a claim."""


def patterns(look: Look, measure: Measure, every: Sequence[Pair]) -> dict[tuple[str, str], Pattern]:
    """Name the pattern of each pair's map, where it has rows and columns enough."""
    sign, seed, level = 1 if measure.direction == "similarity" else -1, look.ask.seed, look.ask.level
    return {
        (pair.one.name, pair.other.name): pattern(
            sign * pair.found.value, itself=pair.one is pair.other, seed=seed, level=level
        )
        for pair in every
        if fewest_known(pair.found.value) >= FEWEST
    }


def remarks(
    name: str, measure: Measure, every: Sequence[Pair], found: Mapping[tuple[str, str], Pattern]
) -> Iterator[str]:
    """Tell how the map of a measure must not be read."""
    if len(found) > SHOWN:
        yield f"{name}: of {len(found)} maps only what is decided has a claim; the tables best and patterns have all"
    few = [pair for pair in every if fewest_known(pair.found.value) < FEWEST]
    if few:
        yield f"{name}: no pattern is told of maps with fewer than {FEWEST} layers on a side ({len(few)} of them here)"
    if "scale" not in measure.invariances and measure.direction == "distance":
        yield f"{name}: layers of small norm are near everything; the calibrated map, or angular_procrustes, is not so"


def claims(look: Look, name: str, every: Sequence[Pair], found: Mapping[tuple[str, str], Pattern]) -> Iterator[Claim]:
    """Put to the test, for every pair of models: more than chance, corresponding layers, the pattern."""
    apart = [pair for pair in every if pair.one is not pair.other]
    yield from _shared(look, name, apart)
    adjusted = _adjusted(found)
    for pair in every:
        names, value = (pair.one.name, pair.other.name), pair.found.value
        several = f" of {' and '.join(names)}" if len(every) > 1 else ""
        if pair.one is not pair.other and min(value.shape) > 1:
            made = _corresponding(look, name, value, several, len(apart))
            yield from (claim for claim in made if len(apart) <= SHOWN or claim.decision != "undecided")
        if names in found:
            cells = int(np.isfinite(value).sum())
            claim = patterned(name, found[names], adjusted[names], len(found), cells, several, look.ask.level)
            if len(found) <= SHOWN or claim.decision == "holds":
                yield claim


def _adjusted(found: Mapping[tuple[str, str], Pattern]) -> dict[tuple[str, str], float]:
    """Return p of the pattern that each pair's map is called, corrected for there being several pairs."""
    return dict(zip(found, map(float, holm([one.row(one.name)["p"] for one in found.values()])), strict=True))


def _shared(look: Look, name: str, every: Sequence[Pair]) -> Iterator[Claim]:
    """Claim that some layer of the one is more similar to one of the other than chance makes the most similar pair.

    Orders are the same for all pairs of networks, so that the maximum over all of them is corrected for at once.
    """
    measure, level = look.ask.measures[name], look.ask.level
    chances = over_all(measure, [pair.found for pair in every], level)
    tested = [(p, pair.one, pair.other, pair.found) for p, pair in zip(chances, every, strict=True) if np.isfinite(p)]
    if not tested:
        return
    alike = [f"{one.name} and {other.name}" for p, one, other, _ in tested if p <= 1 - level + 1e-9]
    p, one, other, mine = max(tested, key=lambda test: test[0])
    at = _best(mine.value, measure)
    assert at is not None
    orders = 0 if mine.analytic is not None else len(mine.permuted)
    yield Claim(
        statement=f"{_who(look, len(tested), alike, f'{one.name} and {other.name}')} ({name}; {chance(p, orders)})",
        effect=float(mine.value[at]),
        interval=(float(mine.low[at]), float(mine.high[at])),
        n=look.n,
        counted="samples",
        decision="holds" if len(alike) == len(tested) else "undecided",
        unit="at the most similar pair of layers" + (f" of {one.name} and {other.name}" if tested[1:] else ""),
        level=level,
        tests=sum(int(np.isfinite(pair[-1].value).sum()) for pair in tested),
        correction=("maxT" if orders else "Bonferroni") + " over pairs of layers",
    )


def _who(look: Look, count: int, alike: Sequence[str], pair: str) -> str:
    """Say which networks share more than chance allows, and how many of the pairs do."""
    if count == 1:
        who = "a and b" if len(look.wanted.a) == len(look.wanted.b) == 1 else pair
        return f"{who} share more than chance allows"
    told = "" if len(alike) == count else f"; {len(alike)} do"
    return f"each of {count} pairs of networks shares more than chance allows{told}"


def over_all(measure: Measure, every: Sequence[Estimate], level: float) -> np.ndarray:
    """Return for each of several maps the chance that any of them has as good a best value."""
    if any(one.analytic is not None for one in every):
        return np.minimum(1.0, [len(every) * one.analytic.p_max for one in every if one.analytic is not None])
    sign = 1 if measure.direction == "similarity" else -1
    found = [_largest(sign * one.value, sign * one.permuted) for one in every]
    if not found:
        return np.empty(0)
    largest, under = np.array([one for one, _ in found]), np.max([one for _, one in found], axis=0)
    null = np.repeat(under[:, None, None], len(found), axis=1)
    return np.asarray(calibrate(largest[:, None], null, "similarity", np.inf, 1 - level).p[:, 0])


def _largest(value: np.ndarray, permuted: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest value that is known, and what it is under each order."""
    known = np.isfinite(value) & np.isfinite(permuted).all(0)
    largest = np.where(known, permuted, -np.inf).max((1, 2), initial=-np.inf)
    return float(np.where(known, value, -np.inf).max(initial=-np.inf)), largest


def chance(p: float, orders: int) -> str:
    """Write a p, and whether it is the least that so many random orders can give; 0 orders have no least.

    >>> chance(0.25, 200), chance(1 / 201, 200)
    ('p = 0.25', 'p = 0.005, the least of 200 orders')
    """
    least = f", the least of {orders} orders" if orders and p * (orders + 1) < 1.5 else ""
    return f"p = {p:.2g}{least}"


def _best(values: np.ndarray, measure: Measure) -> tuple[int, int] | None:
    """Return where the best value stands."""
    if not np.isfinite(values).any():
        return None
    best = np.nanargmax(values) if measure.direction == "similarity" else np.nanargmin(values)
    row, column = np.unravel_index(best, values.shape)
    return int(row), int(column)


def _corresponding(look: Look, name: str, values: np.ndarray, several: str, tests: int) -> Iterator[Claim]:
    """Claim that most layers are most similar to the one at their own relative position; of rows that both have."""
    sign = 1 if look.ask.measures[name].direction == "similarity" else -1
    score = np.where(np.isfinite(values), sign * values, -np.inf)
    hits = [score[i].argmax() == j for i, j in enumerate(nearest(*values.shape)) if np.isfinite(values[i, j])]
    if not hits:
        return
    level = 1 - (1 - look.ask.level) / tests
    low, high = binomial_interval(sum(map(int, hits)), len(hits), level)
    yield Claim.above(
        0.5,
        statement=f"most layers{several} are most similar to the one at their own relative depth ({name})",
        effect=float(np.mean(hits)),
        interval=(float(low), float(high)),
        n=len(hits),
        counted="layers of a",
        unit="of the layers",
        level=level,
        tests=tests,
        correction="Bonferroni over pairs of networks" if tests > 1 else "none",
    )


def nearest(rows: int, columns: int) -> list[int]:
    """Return for each of `rows` layers the one of `columns` at the nearest relative position; of two the first.

    >>> nearest(3, 3), nearest(2, 6)
    ([0, 1, 2], [1, 4])
    """
    here, there = middles(rows), middles(columns)
    return [int(one) for one in np.abs(here[:, None] - there).round(9).argmin(1)]
