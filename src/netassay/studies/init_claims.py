"""Init claims: what is said of initialisations, put to the test; one number for each seed, an interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from netassay.inference import seed_interval
from netassay.result import Claim, Decision
from netassay.studies.init_payload import Outcome
from netassay.studies.init_statements import STATEMENTS, Seed, Statement

ERROR = 0.05
"""How often one interval or more misses; shared out over the claims that are made together (Bonferroni)."""
FEWEST = 3
"""Seeds below which nothing is decided."""


def claims(outcomes: Sequence[Outcome]) -> tuple[Claim, ...]:
    """Test every statement of which the schemes were studied."""
    seeds: dict[int, dict[str, Outcome]] = {}
    for one in outcomes:
        seeds.setdefault(one.seed, {})[one.scheme] = one
    schemes = list(dict.fromkeys(one.scheme for one in outcomes))
    asked = [(one, one.groups_in(schemes)) for one in STATEMENTS]
    asked = [(one, groups) for one, groups in asked if all(groups)]
    tests = sum(not one.exact for one, _ in asked)
    effects = [(one, [_said(one, seed, groups) for seed in seeds.values()]) for one, groups in asked]
    return tuple(_tested(one, values, 1 if one.exact else tests) for one, values in effects)


def _tested(one: Statement, values: list[float], tests: int) -> Claim:
    level = 1 - ERROR / max(tests, 1)
    effect, low, high = seed_interval(values, level)
    few = len(values) < FEWEST
    holds, fails = (high < one.null, low > one.null) if one.below else (low > one.null, high < one.null)
    if one.exact:
        holds = all(value == one.null for value in values)
        fails = any(value != one.null and not math.isnan(value) for value in values)
    return Claim(
        statement=one.text,
        effect=effect,
        interval=(low, high),
        n=len(values),
        counted="seeds, too few to decide" if few else "seeds",
        decision=decided(holds and not few, fails and (one.exact or not few)),
        unit=one.unit,
        level=level,
        tests=tests,
        correction="none" if one.exact else "Bonferroni",
    )


def decided(holds: bool, fails: bool) -> Decision:
    """Return the word for it."""
    return "holds" if holds else "does not hold" if fails else "undecided"


def _said(one: Statement, seed: Seed, groups: list[list[str]]) -> float:
    """Return a seed's number; NaN where a training that it speaks of did not come to its end."""
    stopped = any(seed[scheme].diverged >= 0 for group in groups for scheme in group)
    return math.nan if stopped else one.effect(seed, groups)
