"""Alarms: what is wrong is told at once, each finding once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from netassay.result import Verdict

LOG = logging.getLogger("netassay")
EARLY, LATE = (1, 2, 4, 8, 16), 16
"""Windows read after which all rules are asked: these, then every so many."""
LOUD = ("finding", "warning")


class Alarms:
    """Decides when to judge, and tells each verdict that is new by rule and layer."""

    def __init__(self, on_verdict: Callable[[Verdict], Any] | None) -> None:
        self.on_verdict = on_verdict
        self.told: set[tuple[str, str]] = set()
        self.read = 0
        self.broken = self.due = False

    def note(self, bad: float) -> None:
        """Note a window that was read: it is judged when its turn comes, and when the first number is not finite."""
        self.read += 1
        first, self.broken = bad > 0 and not self.broken, self.broken or bad > 0
        self.due = self.due or first or self.read in EARLY or self.read % LATE == 0

    def fresh(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Return the verdicts that are loud and have not been told, and log them."""
        new = [one for one in verdicts if one.severity in LOUD and (one.rule, one.layer) not in self.told]
        for one in new:
            self.told.add((one.rule, one.layer))
            LOG.warning("%s", one)
        return new


def not_finite(numbers: dict[str, np.ndarray]) -> float:
    """Count what is NaN or infinite in what was read of a step."""
    return float(sum(np.nansum(one) for name, one in numbers.items() if name.endswith(("nan", "inf"))))


def bad_loss(loss: float, step: int) -> Verdict:
    """Name a loss that is not finite, on any step whose loss was told as a number."""
    return Verdict(
        rule="loss not finite",
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
