"""Alarms: what is wrong is told at once, each finding once, and stays told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from netassay.result import Verdict
from netassay.verdicts.judging import ORDER
from netassay.verdicts.thresholds import RATIO_HIGH

LOG = logging.getLogger("netassay")
EARLY, LATE = (1, 2, 4, 8, 16), 16
"""Windows read after which all rules are asked: these, then every so many."""
LOUD = ("finding", "warning")
BAD_LOSS = "loss not finite"


class Alarms:
    """Decides when to judge, and tells each verdict that is new by rule and layer."""

    def __init__(self, on_verdict: Callable[[Verdict], Any] | None) -> None:
        self.on_verdict = on_verdict
        self.told: dict[tuple[str, str], tuple[int, Verdict]] = {}
        self.read = 0
        self.broken = self.due = False

    def note(self, bad: float) -> None:
        """Note a window that was read: it is judged when its turn comes, and when the first number is not finite."""
        self.read += 1
        first, self.broken = bad > 0 and not self.broken, self.broken or bad > 0
        self.due = self.due or first or self.read in EARLY or self.read % LATE == 0

    def fresh(self, verdicts: Iterable[Verdict], step: int) -> list[Verdict]:
        """Return the verdicts that are loud and have not been told, and log them."""
        new = [one for one in verdicts if one.severity in LOUD and (one.rule, one.layer) not in self.told]
        for one in new:
            self.told[one.rule, one.layer] = step, one
            LOG.warning("%s", one)
        return new

    def joined(self, final: Sequence[Verdict]) -> tuple[Verdict, ...]:
        """Put what was told on the way, and is not found in the end, to the final verdicts, the worst first.

        Of equal severity, what makes numbers leave their range comes first, then what is found in the end.
        """
        found = {(one.rule, one.layer) for one in final}
        gone = [_gone(*told) for key, told in self.told.items() if key not in found]
        ranked = [(1, one) for one in final] + [(0 if _leads(one) else 2, one) for one in gone]
        return tuple(one for _, one in sorted(ranked, key=lambda each: (ORDER[each[1].severity], each[0])))

    def state_dict(self) -> list[dict[str, Any]]:
        """Return what was told, as strings and numbers."""
        return [{"step": step, **_plain(verdict)} for step, verdict in self.told.values()]

    def load_state_dict(self, kept: Iterable[Mapping[str, Any]]) -> None:
        """Take up what was told."""
        for one in kept:
            verdict = Verdict(**{name: value for name, value in one.items() if name != "step"})
            self.told[verdict.rule, verdict.layer] = one["step"], verdict


def _gone(step: int, verdict: Verdict) -> Verdict:
    # A loss was what it was: its sentence names its step.
    ending = "" if verdict.rule == BAD_LOSS else f" (told at step {step}; no longer so in the latest steps)"
    return replace(verdict, cause=verdict.cause + ending)


def _leads(verdict: Verdict) -> bool:
    too_large = verdict.rule == "update ratio" and verdict.numbers["update_ratio"] > RATIO_HIGH
    return too_large or verdict.rule in ("not finite", BAD_LOSS)


def _plain(verdict: Verdict) -> dict[str, Any]:
    numbers = {name: np.asarray(one).item() for name, one in verdict.numbers.items()}
    return {**asdict(verdict), "numbers": numbers, "n": int(verdict.n)}


def not_finite(numbers: dict[str, np.ndarray]) -> float:
    """Count what is NaN or infinite in what was read of a step."""
    return float(sum(np.nansum(one) for name, one in numbers.items() if name.endswith(("nan", "inf"))))


def bad_loss(loss: float, step: int) -> Verdict:
    """Name a loss that is not finite, on any step whose loss was told as a number."""
    return Verdict(
        rule=BAD_LOSS,
        layer="",
        cause=f"the loss is {loss} at step {step}",
        severity="finding",
        numbers={"loss": loss, "step": step},
        threshold="any",
        source="netassay",
        n=1,
        wrong_if="never",
        next="look at the first layer that is not finite, at the learning rate and at the inputs",
    )
