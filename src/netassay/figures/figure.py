"""Figure: what one figure draws, says and calls healthy, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from netassay.result import Table

BOX = ("q05", "q25", "q50", "q75", "q95")


@dataclass(frozen=True)
class Figure:
    """One figure. `series` maps a name to values along `x`; boxes have five columns, a heat map one row each.

    `x` holds labels, or numbers for a numeric axis. `marks` are x labels to be set apart, such as calls on a branch.
    """

    name: str
    title: str
    healthy: str
    kind: Literal["lines", "bars", "boxes", "heat"]
    x: Sequence[str] | np.ndarray
    series: Mapping[str, np.ndarray]
    x_label: str
    y_label: str
    log: bool = False
    limits: tuple[float, float] | None = None
    wide: bool = False
    marks: frozenset[str] = field(default_factory=frozenset)

    def table(self) -> Table:
        """Return the figure's numbers, one row for each x."""
        if self.kind == "heat":
            columns = {str(x): np.array([row[i] for row in self.series.values()]) for i, x in enumerate(self.x)}
            return Table({self.y_label: np.array(list(self.series)), **columns})
        columns = {self.x_label: np.asarray(self.x)}
        for name, values in self.series.items():
            if self.kind == "boxes":
                columns |= {f"{name} {q}".strip(): values[:, i] for i, q in enumerate(BOX)}
            else:
                columns[name] = values
        return Table(columns)
