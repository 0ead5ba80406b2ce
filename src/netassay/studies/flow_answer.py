"""Flow answer: which switch it was, said in a few sentences that are made of the effects and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netassay.inference import Effect
from netassay.studies.flow_effects import decision
from netassay.studies.flow_tables import MEASURES, told

MOST = 3
"""Most interactions that are told."""
SAID = {"decades": "What gradient loses from output to input at the start", "learned": "What is learned"}


def answer(found: Mapping[str, Sequence[Effect]]) -> str:
    """Say of gradient and of learning which switches matter, in which order, and what they do only together."""
    return " ".join(_about(name, found[name]) for name in SAID)


def _about(name: str, every: Sequence[Effect]) -> str:
    title, unit = SAID[name], MEASURES[name].unit
    parts = [f"{title}, on average over the other switches: {_ranked(_of(every, 'main'), unit)}"]
    joint = [one for one in _of(every, "interaction") if decision(one) != "undecided"][:MOST]
    if joint:
        parts.append(f"Together beyond that: {'; '.join(_said(one, unit) for one in joint)}")
        parts += _within(every, joint, unit)
    return ". ".join([*parts, _alone(every, unit)]) + "."


def _of(every: Sequence[Effect], kind: str) -> list[Effect]:
    """Return the effects of a kind, the largest first."""
    return sorted((one for one in every if one.kind == kind), key=lambda one: -abs(one.effect))


def _ranked(mains: Sequence[Effect], unit: str) -> str:
    clear = [_said(one, unit) for one in mains if decision(one) != "undecided"]
    open = [_said(one, unit) for one in mains if decision(one) == "undecided"]
    unclear = [f"not told from 0: {'; '.join(open)}"] if open else []
    return "; ".join([*clear, *unclear])


def _within(every: Sequence[Effect], joint: Sequence[Effect], unit: str) -> list[str]:
    """Say what the later switch of each pair that acts together does at each level of the other."""
    told_of = []
    for pair in (one.changed for one in joint if len(one.changed) == 2):
        for first, second in (tuple(pair), tuple(pair)[::-1]):
            change = {first: pair[first]}
            ways = [one for one in every if one.kind == "simple" and one.changed == change and second in one.within]
            if any(decision(one) == "undecided" for one in ways):
                inside = "; ".join(f"with {told(one.within)} {_number(one, unit)}" for one in ways)
                told_of.append(f"{told(change)} does {inside}")
    return told_of


def _alone(every: Sequence[Effect], unit: str) -> str:
    singles = _of(every, "single")
    cell = {**singles[0].references, **singles[0].within}
    changes = "; ".join(_said(one, unit) for one in singles)
    return f"One change alone where gradient is farthest from kept ({told(cell)}): {changes}"


def _said(one: Effect, unit: str) -> str:
    return f"{told(one.changed).replace(', ', ' with ')} {_number(one, unit)}"


def _number(one: Effect, unit: str) -> str:
    return f"{one.effect:+.2g} {unit} ({one.low:.2g} to {one.high:.2g})"
