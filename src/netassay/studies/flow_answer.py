"""Flow answer: which switch it was, said in a few sentences that are made of the effects and their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

from netassay.inference import Effect
from netassay.studies.flow_effects import decision, size
from netassay.studies.flow_tables import MEASURES, told

MOST = 3
"""Most interactions that are told."""
SAID = {"decades": "What gradient loses from output to input at the start", "learned": "What is learned"}


def answer(found: Mapping[str, Sequence[Effect]]) -> str:
    """Say of gradient and of learning which switches matter, in which order, and what they do only together."""
    return " ".join(_about(name, found[name]) for name in SAID)


def _about(name: str, every: Sequence[Effect]) -> str:
    title, unit = SAID[name], MEASURES[name].unit
    joint = [one for one in _of(every, "interaction") if decision(one) != "undecided"]
    parts = [f"{title}, on average over the other switches: {_ranked(_of(every, 'main'), unit)}"]
    if joint:
        parts.append(f"Together, beyond the sum of each: {'; '.join(_said(one, unit) for one in joint[:MOST])}")
    parts += [sentence for one in joint if len(one.changed) == 2 for sentence in _within(every, one, unit)]
    return ". ".join([*parts, _alone(every, unit)]) + "."


def _of(every: Sequence[Effect], kind: str) -> list[Effect]:
    """Return the effects of a kind, the largest first."""
    return sorted((one for one in every if one.kind == kind), key=lambda one: -size(one))


def _ranked(mains: Sequence[Effect], unit: str) -> str:
    clear = [_said(one, unit) for one in mains if decision(one) != "undecided"]
    unclear = [_said(one, unit) for one in mains if decision(one) == "undecided"]
    return "; ".join(clear + [f"not told from 0: {one}" for one in ["; ".join(unclear)] if one])


def _within(every: Sequence[Effect], pair: Effect, unit: str) -> Iterator[str]:
    """Say of two switches that act together what one does at each level of the other, where that is not the same."""
    for first, second in permutations(pair.changed):
        change = {first: pair.changed[first]}
        ways = [one for one in every if one.kind == "simple" and one.changed == change and second in one.within]
        if len({decision(one) for one in ways}) > 1:
            yield f"{told(change)}: {'; '.join(f'with {told(one.within)} {_number(one, unit)}' for one in ways)}"


def _alone(every: Sequence[Effect], unit: str) -> str:
    singles = _of(every, "single")
    cell = {name: level for one in every if one.kind == "single" for name, level in one.references.items()}
    changes = "; ".join(_said(one, unit) for one in singles)
    return f"One change alone where gradient is farthest from kept ({told(cell)}): {changes}"


def _said(one: Effect, unit: str) -> str:
    return f"{told(one.changed).replace(', ', ' with ')} {_number(one, unit)}"


def _number(one: Effect, unit: str) -> str:
    if math.isnan(one.effect):
        return "not known"
    return f"{one.effect:+.2g} {unit}" + ("" if math.isnan(one.low) else f" ({one.low:.2g} to {one.high:.2g})")
