"""Logged series: what one is called, and how a number that is not finite is kept beside SQLite's NULL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from netassay.errors import UnknownName, closest
from netassay.result import Table

# By `point.kind`. SQLite stores NaN as NULL, so the kind says what a NULL was.
NUMBERS = np.array([0.0, np.nan, np.inf, -np.inf])
FINITE, NAN, PLUS, MINUS = range(4)

Point = tuple[int, float | None, int]


class Series(NamedTuple):
    """The name, layer and unit of a series."""

    name: str
    layer: str
    unit: str

    def __str__(self) -> str:
        return f"{self.name} of {self.layer}" if self.layer else self.name


def stored(number: float) -> tuple[float | None, int]:
    """Return the value and the kind under which a number is stored.

    >>> stored(0.5), stored(float("nan"))
    ((0.5, 0), (None, 1))
    """
    if math.isfinite(number):
        return number, FINITE
    return None, NAN if math.isnan(number) else PLUS if number > 0 else MINUS


def table(points: Sequence[Point]) -> Table:
    """Return stored points as columns `step` (int64) and `value` (float64)."""
    steps = np.array([step for step, _, _ in points], dtype=np.int64)
    values = np.array([value or 0.0 for _, value, _ in points], dtype=np.float64)
    kinds = np.array([kind for _, _, kind in points], dtype=np.int64)
    return Table({"step": steps, "value": np.where(kinds == FINITE, values, NUMBERS[kinds])})


def joined(tables: Mapping[Series, Table]) -> Table:
    """Stack series into one table: name, layer, unit, step, value."""
    parts = [*tables.items(), (Series("", "", ""), table([]))]  # the empty one gives the columns their types
    columns = {
        key: np.repeat([getattr(series, key) for series, _ in parts], [len(each) for _, each in parts])
        for key in Series._fields
    }
    for key in ("step", "value"):
        columns[key] = np.concatenate([each.columns[key] for _, each in parts])
    return Table(columns)


def unknown(run: str, name: str, layer: str, known: Iterable[Series]) -> UnknownName:
    """Refuse a series that is not there, with the call that reads the nearest one."""
    spelt = {str(series): series for series in known}
    asked = str(Series(name, layer, ""))
    near = [spelt[text] for text in closest(asked, spelt) or list(spelt)[:1]]
    next = f"run.series({near[0].name!r}, {near[0].layer!r})" if near else "log one first"
    return UnknownName(f"series of run {run!r}", asked, spelt, next)
