"""Similarity, claimed: what a map shows beyond chance, which layers correspond, and what pattern it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netassay.inference import binomial_interval, holm
from netassay.measures import Measure
from netassay.patterns import LEAST, Pattern, pattern
from netassay.result import Claim
from netassay.studies.similarity_asked import Run
from netassay.studies.similarity_estimators import Estimate
from netassay.studies.similarity_look import Look
from netassay.studies.similarity_tables import blocks, judged, part

Pair = tuple[Run, Run, Estimate]


def pairs(look: Look, name: str) -> list[Pair]:
    """Return each pair of models and its part of a measure's map; of a map and its mirror image the first."""
    a, b = look.wanted.sides
    mirrored = {(a[i], a[j]) for i in range(len(a)) for j in range(i)} if a == b else set()
    every = [pair for pair in blocks(look.a, look.b) if pair[:2] not in mirrored]
    return [(one, other, part(look.found[name], i, j, one is other)) for one, other, i, j in every]


def patterns(look: Look, name: str) -> dict[tuple[str, str], Pattern]:
    """Name the pattern of each pair's map, where it has rows and columns enough."""
    sign = 1 if look.ask.measures[name].direction == "similarity" else -1
    found = {}
    for one, other, mine in pairs(look, name):
        known = np.isfinite(mine.value)
        if min(known.any(1).sum(), known.any(0).sum()) >= LEAST + (one is other):
            named = pattern(sign * mine.value, itself=one is other, seed=look.ask.seed, level=look.ask.level)
            found[one.name, other.name] = named
    return found


def pattern_rows(name: str, found: Mapping[tuple[str, str], Pattern]) -> list[dict[str, Any]]:
    """One row for each pair of models and each pattern."""
    return [{"model_a": a, "model_b": b, "measure": name, **row} for (a, b), one in found.items() for row in one.rows]


def claims(look: Look, name: str, found: Mapping[tuple[str, str], Pattern]) -> Iterator[Claim]:
    """Put to the test, for every pair of models: more than chance, corresponding layers, the pattern."""
    every = pairs(look, name)
    apart = [pair for pair in every if pair[0] is not pair[1]]
    yield from _shared(look, name, apart)
    for one, other, mine in every:
        several = f" of {one.name} and {other.name}" if len(every) > 1 else ""
        if one is not other:
            yield from _corresponding(look, name, mine.value, several, len(apart))
        if (one.name, other.name) in found:
            yield _patterned(name, found[one.name, other.name], int(np.isfinite(mine.value).sum()), several, look)


def _shared(look: Look, name: str, every: Sequence[Pair]) -> Iterator[Claim]:
    """Claim that some layer of the one is more similar to one of the other than chance makes the most similar pair."""
    measure, level = look.ask.measures[name], look.ask.level
    p = holm([judged(measure, mine, level).p_max for _, _, mine in every])
    for (one, other, mine), chance in zip(every, p, strict=True):
        at = _best(mine.value, measure)
        if at is None or not np.isfinite(chance):
            continue
        who = "a and b" if len(look.wanted.a) == len(look.wanted.b) == 1 else f"{one.name} and {other.name}"
        yield Claim(
            statement=f"{who} share more than chance allows ({name}; p = {chance:.2g})",
            effect=float(mine.value[at]),
            interval=(float(mine.low[at]), float(mine.high[at])),
            n=look.n,
            counted="samples",
            decision="holds" if chance <= 1 - level + 1e-9 else "undecided",
            unit="at the most similar pair of layers",
            level=level,
            tests=int(np.isfinite(mine.value).sum()) * len(every),
            correction="maxT over pairs of layers" + (", Holm over pairs of networks" if len(every) > 1 else ""),
        )


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
    """Return for each of `rows` layers the one of `columns` at the nearest relative position (i + 1) / I.

    >>> nearest(3, 3), nearest(2, 4)
    ([0, 1, 2], [1, 3])
    """
    here, there = (np.arange(1, size + 1) / size for size in (rows, columns))
    return [int(one) for one in np.abs(here[:, None] - there).argmin(1)]


def _patterned(name: str, found: Pattern, cells: int, several: str, look: Look) -> Claim:
    """Claim the pattern that was named."""
    row = found.row(found.name)
    side = f" ({found.side})" if found.side else ""
    known = found.name == "flat" or row["p"] > 1 - look.ask.level + 1e-9
    return Claim(
        statement=f"the map{several} is {'flat' if found.name == 'flat' else f'a {found.name}{side}'} ({name})",
        effect=row["index"],
        interval=(row["low"], row["high"]),
        n=cells,
        counted="pairs of layers",
        decision="undecided" if known else "holds",
        unit="index",
        level=look.ask.level,
        tests=3,
        correction="min-p over patterns",
    )
