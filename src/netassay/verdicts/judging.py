"""Judging: readings put to every rule of the table: verdicts, the worst and earliest first, and what was dismissed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from netassay import flow
from netassay.flow import Readings
from netassay.result import Result, Verdict
from netassay.verdicts.dismissing import Dismissed, dismissed
from netassay.verdicts.evidence import Found, cut
from netassay.verdicts.finite import first_bad
from netassay.verdicts.rules import NOT_FINITE, RULES, Needs, Rule
from netassay.verdicts.signalling import channel_table

ORDER = {"finding": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Judged:
    """What was found, findings first and causes before what they lead to, and what was considered and dismissed."""

    verdicts: tuple[Verdict, ...]
    dismissed: tuple[Dismissed, ...]


def judge(readings: Readings) -> Judged:
    """Put readings to every rule for trainings.

    What is not finite is looked for first; everything else is judged by the steps before it, and channels not at all.

    >>> ran = {name: np.array([name]) for name in ("layer", "name", "kind", "into")}
    >>> ran |= {"role": np.array(["weight"]), "path": np.array(["trunk"]), "depth": np.array([1])}
    >>> read = {name: np.zeros((1, 1)) for name in flow.SIGNALS} | {"gradient": np.ones((1, 1)), "nan": np.ones((1, 1))}
    >>> step = dict(steps=np.array([7]), epochs=np.array([0]), loss=np.array([np.nan]), samples=np.array([8]))
    >>> print(judge(Readings(**step, calls=ran, signals=read)).verdicts[0])
    layer: the first tensor that is not finite is its output (1 NaN, 0 Inf) at step 7; everything before it is finite
    """
    # What is not known is NaN throughout, and compares as false.
    with np.errstate(all="ignore"):
        bad = first_bad(readings)
        found = [] if bad is None else [_verdict(NOT_FINITE, bad[1])]
        if bad is not None:
            readings = replace(cut(readings, slice(0, bad[0])), latest={})
        found += [_verdict(rule, one) for rule in RULES if _has(readings, rule.needs) for one in rule.find(readings)]
        return Judged(tuple(sorted(found, key=lambda verdict: ORDER[verdict.severity])), dismissed(readings))


def judged_result(
    readings: Readings,
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    predicted: Mapping[str, tuple[float, float]] | None = None,
) -> Result:
    """Judge readings and put everything into a Result "flow"."""
    judged = judge(readings)
    return flow.result(
        readings, judged.verdicts, judged.dismissed, notes, provenance, predicted, channel_table(readings)
    )


def _has(readings: Readings, needs: Needs) -> bool:
    there = {
        "calls": len(readings) > 0,
        "updates": len(readings) > 0 and bool(readings.updates),
        "channels": bool(readings.latest),
        "told": bool(readings.told),
    }
    return there[needs]


def _verdict(rule: Rule, found: Found) -> Verdict:
    return Verdict(
        rule=rule.name,
        layer=found.layer,
        cause=found.cause,
        severity=found.severity,
        numbers=found.numbers,
        threshold=rule.threshold,
        source=rule.source,
        n=found.n,
        wrong_if=rule.wrong_if,
        next=found.next or rule.next,
    )
