"""Flow effects: what each switch does to gradient and to learning, alone and together, and which does most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from netassay.inference import Effect, factorial, seed_interval, single_changes
from netassay.result import Claim, Table
from netassay.studies.change import ERROR
from netassay.studies.flow_tables import MEASURES, OUTCOMES, Trial, told, values
from netassay.studies.init_claims import FEWEST, enough

Levels = Mapping[str, Sequence[str]]
ORDER = 3
"""Most switches whose interaction is taken."""
ASKED = {
    "decades": ("makes gradient lose more on its way to the input", "the loss of gradient", False),
    "learned": ("leaves less learned", "what is learned", True),
}
"""Of which outcomes claims are made: what a switch is said to do, to what, and whether its effect is below 0."""


def effects(trials: Sequence[Trial], switches: Levels) -> dict[str, tuple[Effect, ...]]:
    """Return the effects on each outcome: of the whole factorial, and of single changes from the worst cell."""
    sizes, found = [len(levels) for levels in switches.values()], {}
    cell = worst(values(trials, sizes, "decades"))
    for name in OUTCOMES:
        each = values(trials, sizes, name)
        whole = factorial(each, switches, order=min(ORDER, len(sizes)), confidence=1 - ERROR)
        found[name] = (*whole, *single_changes(each, switches, cell, confidence=1 - ERROR))
    return found


def worst(decades: np.ndarray) -> tuple[int, ...]:
    """Return the levels of the cell whose gradient loses or gains most, on average over seeds."""
    means = np.abs(decades.mean(-1))
    place = np.argmax(np.where(np.isfinite(means), means, -1.0))
    return tuple(int(level) for level in np.unravel_index(place, means.shape))


def table(found: Mapping[str, Sequence[Effect]]) -> Table:
    """Return a row for each effect on each outcome."""
    return Table.of([row(name, one) for name, every in found.items() for one in every])


def row(name: str, one: Effect) -> dict[str, str | float | int]:
    """Return one effect as a row; `change` names the levels that change, `reference` what they are compared with."""
    return {
        "outcome": name,
        "kind": one.kind,
        "factor": " x ".join(one.changed),
        "change": told(one.changed),
        "reference": told(one.references),
        "within": told(one.within),
        "effect": one.effect,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "unit": MEASURES[name].unit,
        "decision": decision(one),
        "level": one.confidence,
        "tests": one.tests,
    }


def decision(one: Effect) -> str:
    """Return "raises" or "lowers" where the interval excludes 0 and there are seeds enough, else "undecided"."""
    if one.n < FEWEST:
        return "undecided"
    return "raises" if one.low > 0 else "lowers" if one.high < 0 else "undecided"


def claims(found: Mapping[str, Sequence[Effect]]) -> tuple[Claim, ...]:
    """Claim of each main effect what it does, and of the largest that it is the largest."""
    made: list[Claim] = []
    for name in ASKED:
        mains = [one for one in found[name] if one.kind == "main"]
        made += [_claim(name, one) for one in mains] + _largest(name, mains)
    return tuple(made)


def _claim(name: str, one: Effect) -> Claim:
    says, _, below = ASKED[name]
    decide = Claim.below if below else Claim.above
    made = decide(
        0.0,
        statement=f"{told(one.changed)} instead of {told(one.references)} {says}",
        effect=one.effect,
        interval=(one.low, one.high),
        n=one.n,
        counted="seeds",
        unit=MEASURES[name].unit,
        level=one.confidence,
        tests=one.tests,
        correction="Bonferroni",
    )
    return enough(made)


def _largest(name: str, mains: Sequence[Effect]) -> list[Claim]:
    """Compare the largest main effect with those of every other switch, seed by seed; the nearest one decides."""
    best: dict[str, Effect] = {}
    for one in sorted(mains, key=size, reverse=True):
        best.setdefault(" ".join(one.changed), one)
    known = [one for one in best.values() if not math.isnan(one.effect)]
    if len(known) < 2:
        return []
    first, *others = known
    pairs = len(list(combinations(best, 2)))
    confidence = 1 - ERROR / pairs
    level: dict[str, Any] = {"level": confidence, "tests": pairs, "correction": "Bonferroni"}
    apart = {told(one.changed): _apart(first, one) for one in others}
    found = {other: seed_interval(seen, confidence) for other, seen in apart.items()}
    nearest = min(found, key=lambda other: (found[other][1], found[other][0]))
    effect, *interval = found[nearest]
    statement = f"Of the main effects on {ASKED[name][1]}, that of {told(first.changed)} is the largest"
    unit = f"{MEASURES[name].unit}, its size less that of {nearest}"
    ends = {"interval": tuple(interval), "n": len(apart[nearest]), "counted": "seeds", "unit": unit}
    return [enough(Claim.above(0.0, statement=statement, effect=effect, **ends, **level))]


def _apart(one: Effect, other: Effect) -> list[float]:
    """Return how much larger one effect is than the other, in each seed that has both."""
    sizes = math.copysign(1.0, one.effect) * one.series - math.copysign(1.0, other.effect) * other.series
    found: list[float] = sizes[np.isfinite(sizes)].tolist()
    return found


def size(one: Effect) -> float:
    """Return how large an effect is, to sort by; what is not known comes last."""
    return -1.0 if math.isnan(one.effect) else abs(one.effect)
