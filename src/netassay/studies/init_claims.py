"""Init claims: what is said of initialisations, put to the test; one number for each seed, an interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from netassay.inference import seed_interval
from netassay.result import Claim, Decision
from netassay.studies.change import ERROR
from netassay.studies.init_payload import Outcome
from netassay.studies.init_statements import STATEMENTS, Seed, Statement

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
    decide = Claim.below if one.below else Claim.above
    claim = decide(
        one.null,
        statement=one.text,
        effect=effect,
        interval=(low, high),
        n=len(values),
        counted="seeds",
        unit=one.unit,
        level=level,
        tests=tests,
        correction="none" if one.exact else "Bonferroni",
    )
    claim = enough(claim)
    return replace(claim, decision=_exactly(one.null, values)) if one.exact else claim


def enough(claim: Claim) -> Claim:
    """Leave a claim over seeds undecided, and say why, where they are too few."""
    if claim.n >= FEWEST:
        return claim
    return replace(claim, decision="undecided", counted="seeds, too few to decide")


def _exactly(null: float, values: list[float]) -> Decision:
    """Decide what must be so in each seed: one that speaks against it is enough."""
    if any(value != null and not math.isnan(value) for value in values):
        return "does not hold"
    return "holds" if len(values) >= FEWEST and all(value == null for value in values) else "undecided"


def _said(one: Statement, seed: Seed, groups: list[list[str]]) -> float:
    """Return a seed's number; NaN where a training that it speaks of did not come to its end."""
    stopped = any(seed[scheme].diverged >= 0 for group in groups for scheme in group)
    return math.nan if stopped else one.effect(seed, groups)
