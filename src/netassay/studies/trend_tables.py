"""Trend tables: the pattern of each size, the slope of each index, and where the pattern changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from netassay.engine import Payload
from netassay.inference import seed_interval
from netassay.patterns import PATTERNS, Pattern
from netassay.result import Claim, Table
from netassay.studies.init_claims import enough

NONE = "none"
"""What is told where maps have too few numbers for any pattern; such a network counts in no trend."""
MEANS = ("accuracy", "stitched", "random_receiver")
"""Numbers of which the table of sizes has the mean: accuracy of the networks, of stitches, and of their control."""
ROUNDING = 1e-12
"""A slope below this is none: equal indices have no spread that would call it undecided."""


@dataclass(frozen=True)
class Size:
    """One spec: its family, how many layers were compared over how many pairs of seeds, and its pattern."""

    family: str
    spec: str
    size: int
    pairs: int
    told: Pattern
    made: Payload

    def each(self, name: str) -> np.ndarray:
        """Return the index of a pattern for each network, as the jackknife sees it; of a triangle, on its own side."""
        side = -1.0 if name == "triangle" and self.told.row(name)["index"] < 0 else 1.0
        return side * np.array([one[PATTERNS.index(name)] for one in self.told.values])


def sizes(found: Sequence[Size]) -> Table:
    """One row for each spec."""
    return Table.of([_row(one) for one in found])


def _row(one: Size) -> dict[str, Any]:
    row: dict[str, Any] = {"family": one.family, "spec": one.spec, "size": one.size, "pairs": one.pairs}
    for name in PATTERNS:
        told = one.told.row(name)
        row |= {name: told["index"], f"{name}_low": told["low"], f"{name}_high": told["high"], f"{name}_p": told["p"]}
    means = {name: _known(one.made[name]) for name in MEANS if name in one.made}
    return row | {"told": one.told.name, "side": one.told.side, **means}


def _known(values: np.ndarray) -> float:
    """Return the mean of what is a number."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def trends(found: Sequence[Size], seeds: Sequence[int], level: float) -> dict[str, Table]:
    """Return "trends", a row for each family and pattern, and "nets", a row for each network."""
    rows = []
    for family, ordered in _families(found):
        changed = change(ordered)
        for name in PATTERNS:
            slope, low, high = seed_interval(_slopes(ordered, name), level)
            between = changed.between if changed and name in changed.names else "none"
            told = {"slope": slope, "low": low, "high": high, "changes_between": between}
            rows.append({"family": family, "pattern": name, **told})
    nets = [
        {"family": one.family, "spec": one.spec, "seed": seed, "accuracy": hits, "diverged": end}
        for one in found
        for seed, hits, end in zip(seeds, one.made["accuracy"].tolist(), one.made["diverged"].tolist(), strict=True)
    ]
    return {"trends": Table.of(rows), "nets": Table.of(nets)}


class Change(NamedTuple):
    """The patterns before and after, the sizes before and after, and how many sizes are called otherwise."""

    names: tuple[str, str]
    before: Sequence[Size]
    after: Sequence[Size]
    mistakes: int

    @property
    def between(self) -> str:
        """Name the two specs between which it lies."""
        return f"{self.before[-1].spec} and {self.after[0].spec}"

    @property
    def effects(self) -> list[float]:
        """Return by how much more the second pattern gains than the first, for each network."""
        first, second = self.names
        gains = [np.mean([one.each(second) - one.each(first) for one in side], 0) for side in (self.before, self.after)]
        return (gains[1] - gains[0]).tolist()  # type: ignore[no-any-return]


def change(ordered: Sequence[Size]) -> Change | None:
    """Return the one change of pattern that says best what the sizes are called; None where none says more."""
    names = [one.told.name for one in ordered]
    found = []
    for k in range(1, len(names)):
        (first, hits), (second, more) = (Counter(part).most_common(1)[0] for part in (names[:k], names[k:]))
        if first != second:
            found.append(Change((first, second), ordered[:k], ordered[k:], len(names) - hits - more))
    best = min(found, key=lambda one: one.mistakes, default=None)
    return best if best and best.mistakes < len(names) - Counter(names).most_common(1)[0][1] else None


def claims(found: Sequence[Size], level: float) -> tuple[Claim, ...]:
    """Claim of each family of several sizes that its pattern changes, or that it grows; corrected for all of them."""
    asked = [_asked(family, ordered) for family, ordered in _families(found) if len(ordered) > 1]
    corrected = 1 - (1 - level) / max(len(asked), 1)
    return tuple(_claim(*one, corrected, len(asked)) for one in asked)


def _asked(family: str, ordered: Sequence[Size]) -> tuple[str, list[float], str]:
    """Return a statement with its effect for each network, and the unit of that."""
    if changed := change(ordered):
        first, second = changed.names
        statement = f"{family}: the pattern changes from {first} to {second} between {changed.between}"
        return statement, changed.effects, "index"
    name, hits = Counter(one.told.name for one in ordered).most_common(1)[0]
    statement = f"{family}: the pattern is {name} at {hits} of {len(ordered)} sizes, and more so with size"
    return statement, _slopes(ordered, name), "index per doubling of the size"


def _claim(statement: str, values: list[float], unit: str, level: float, tests: int) -> Claim:
    effect, low, high = seed_interval(values, level)
    fields = {"effect": effect, "interval": (low, high), "n": len(values), "counted": "seeds", "unit": unit}
    return enough(Claim.above(0.0, statement=statement, **fields, level=level, tests=tests, correction="Bonferroni"))


def _slopes(ordered: Sequence[Size], name: str) -> list[float]:
    """Return the least-squares slope of an index per doubling of the size, for each seed."""
    if len(ordered) < 2:
        return [math.nan]
    doublings = np.log2([one.size for one in ordered])
    away = doublings - doublings.mean()
    if not np.any(away):
        return [math.nan]
    side = -1.0 if name == "triangle" and np.mean([one.told.row(name)["index"] for one in ordered]) < 0 else 1.0
    values = np.array([[one[PATTERNS.index(name)] for one in size.told.values] for size in ordered])
    slopes = side * (away @ values) / (away @ away)
    return np.where(np.abs(slopes) > ROUNDING, slopes, 0.0).tolist()  # type: ignore[no-any-return]


def _families(found: Sequence[Size]) -> Iterator[tuple[str, list[Size]]]:
    known = [one for one in found if one.told.name != NONE]
    for family in dict.fromkeys(one.family for one in found):
        yield family, sorted((one for one in known if one.family == family), key=lambda one: one.size)
