"""Figure: what one figure draws, says and calls healthy, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from netassay.figures.flow import Flow
from netassay.result import Table

BOX = ("q05", "q25", "q50", "q75", "q95")


@dataclass(frozen=True)
class Figure:
    """One figure. `series` maps a name to values along `x`; boxes have five columns, a heat map one row each.

    `x` holds labels, or numbers for a numeric axis. `marks` are x labels to be set apart, such as calls on a branch.
    `five` names the numbers of a box. A heat map's `ends` say what its lowest and highest shade mean, `cell` what one
    cell does; a wide one grows with its rows. A panel has `parts` instead of series, row by row in `columns`; each
    part's title and series are the layer and the quantity. A sankey has its nodes along `x` and its links in `flow`.
    """

    name: str
    title: str
    healthy: str
    kind: Literal["lines", "bars", "boxes", "heat", "panel", "sankey"]
    x: Sequence[str] | np.ndarray
    series: Mapping[str, np.ndarray]
    x_label: str
    y_label: str
    log: bool = False
    limits: tuple[float, float] | None = None
    wide: bool = False
    marks: frozenset[str] = field(default_factory=frozenset)
    five: tuple[str, ...] = BOX
    ends: tuple[str, str] = ("never", "always")
    cell: str = "{y}\n{x} of channels: fires in {value}"
    parts: tuple[Figure, ...] = ()
    columns: int = 1
    flow: Flow | None = None

    def table(self) -> Table:
        """Return the figure's numbers: a row for each x, each row of a heat map, or each link of a sankey."""
        if self.kind == "heat":
            columns = {str(x): np.array([row[i] for row in self.series.values()]) for i, x in enumerate(self.x)}
            return Table({self.y_label: np.array(list(self.series)), **columns})
        if self.flow is not None:
            names = {"from": [link[0] for link in self.flow.links], "to": [link[1] for link in self.flow.links]}
            return Table({name: np.array(values) for name, values in names.items()} | dict(self.series))
        if self.kind == "panel":
            return _stacked(self.parts)
        columns = {self.x_label: np.asarray(self.x)}
        for name, values in self.series.items():
            if self.kind == "boxes":
                columns |= {f"{name} {q}".strip(): values[:, i] for i, q in enumerate(self.five)}
            else:
                columns[name] = values
        return Table(columns)


def _stacked(parts: Sequence[Figure]) -> Table:
    """Join the tables of parts, each row led by its layer and its quantity."""
    rows = []
    for part in parts:
        for quantity, values in part.series.items():
            lead = {"layer": part.title, "quantity": quantity}
            table = replace(part, x_label="channel", series={"": values}).table()
            rows += [{**lead, **row} for row in table.rows()]
    return Table.of(rows)
