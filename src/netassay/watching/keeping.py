"""Keeping: the steps that were read go to a writer, at most once a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Protocol

import numpy as np

from netassay.flow import SIGNALS, UPDATES
from netassay.watching.parameters import Parameter
from netassay.watching.plan import Plan
from netassay.watching.series import Row, settle

Key = tuple[str, str]
"""The name of a series, and the layer or parameter that it is of."""
SECONDS = 1.0
GRADIENT = list(SIGNALS).index("gradient")
WEIGHT, UPDATE = list(UPDATES).index("weight"), list(UPDATES).index("update")


class Keep(Protocol):
    """Where steps are kept; a store's writer, or anything that logs as it does."""

    def log(self, step: int, values: Mapping[Key, float], *, unit: str = "") -> None:
        """Keep the values of one step."""
        ...


class Keeping:
    """Holds rows back until their loss may be known, and hands them on in batches."""

    def __init__(self, keep: Keep | None) -> None:
        self.keep = keep
        self.rows: list[tuple[Row, dict[Key, float]]] = []
        self.last = monotonic()

    def row(self, row: Row, plan: Plan, parameters: Sequence[Parameter]) -> None:
        """Take a step: the gradient of each layer and the update ratio of each parameter."""
        if self.keep is None:
            return
        if monotonic() - self.last >= SECONDS:
            self.flush()
        labels = plan.labels()
        values = {("gradient", labels[key]): row.signals[GRADIENT, i] for i, key in enumerate(plan.keys)}
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = row.updates[UPDATE] / row.updates[WEIGHT]
        values |= {("update ratio", one.name): ratios[i] for i, one in enumerate(parameters)}
        self.rows.append((row, {name: float(one) for name, one in values.items() if np.isfinite(one)}))

    def flush(self) -> None:
        """Hand on what is held."""
        self.last = monotonic()
        settle([row for row, _ in self.rows])
        while self.rows:
            row, values = self.rows[0]
            loss = {} if row.loss is None else {("loss", ""): row.loss}
            if self.keep is not None:
                self.keep.log(row.step, {**loss, **values})
            del self.rows[0]
