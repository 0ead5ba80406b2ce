"""Sides: what there is to compare of a run or a result, and which results of two sides belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from netassay.errors import BadInput
from netassay.result import Result, Table
from netassay.store import Run, open_run

Source = Run | Result | str | Path
TAIL = 10
"""The last tenth of a series, whose mean is compared."""
ITSELF = ("status", "ended", "error", "host", "locked", "started", "study")
"""What a run says of its being written."""


@dataclass(frozen=True)
class Side:
    """One of two things to compare; `series` is a row for each series of a run, `told` what the run says of itself."""

    name: str
    results: Mapping[str, Result]
    series: Table = field(default_factory=lambda: Table({}))
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def studies(self) -> str:
        """What is there, for a sentence."""
        return ", ".join(dict.fromkeys(one.study for one in self.results.values())) or "no result"


@dataclass(frozen=True)
class Pair:
    """Two results that answer one question, and the label under which both are told of."""

    label: str
    a: Result
    b: Result
    labels: tuple[str, str]


def side(source: Source) -> Side:
    """Read what there is to compare; a path is opened as a run."""
    if isinstance(source, Result):
        return Side(f"<result of {source.study}>", {source.study: source})
    if isinstance(source, str | Path):
        source = open_run(source)
    if not isinstance(source, Run):
        found = f"a {type(source).__name__}"
        raise BadInput("compare two runs", found, "give runs, paths of runs, or two results")
    told = {name: value for name, value in source.meta.items() if name not in ITSELF}
    return Side(str(source.path), source.results, _ends(source), told)


def _ends(run: Run) -> Table:
    """Return the last value of each series, and the mean of its last tenth."""
    rows = []
    for one, table in run.all_series.items():
        values = table.columns["value"]
        tail = values[-max(len(values) // TAIL, 1) :]
        named = {"name": one.name, "layer": one.layer, "unit": one.unit}
        rows.append({**named, "points": len(values), "last": values[-1], "last_tenth": np.mean(tail)})
    return Table.of(rows)


def pairs(a: Side, b: Side) -> list[Pair]:
    """Match results under one label that are of one study, then the others of each study in order.

    Raises `BadInput` where nothing is of one study.
    """
    same = [label for label in a.results if label in b.results and a.results[label].study == b.results[label].study]
    rest = {label: one for label, one in b.results.items() if label not in same}
    found = []
    for label, one in a.results.items():
        other = label if label in same else next((name for name in rest if rest[name].study == one.study), None)
        if other is not None:
            rest.pop(other, None)
            found.append(Pair(label, one, b.results[other], (label, other)))
    if not found:
        has = f"{a.name} has {a.studies}; {b.name} has {b.studies}"
        raise BadInput(f"compare {a.name} with {b.name}", has, "give two runs of one study")
    return found
