"""Distributions: grids of histograms, start | end, with their numbers in words; what the grids of a study share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.density import short, signed, tidied
from netassay.figures.figure import Figure
from netassay.result import Array, Result, Table

WHEN = ("start", "end")
TOTALS = ("n", "nan", "inf")
NUMBERS = (
    "n", "mean", "std", "skewness", "kurtosis", "minimum", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "maximum",
    "gaussian", "nan", "inf",
)  # fmt: skip
Numbers = Mapping[str, Mapping[str, float]]
"""The numbers of each series."""


def measured(result: Result, figure: str, table: str, *arrays: str) -> tuple[Table, list[Array]]:
    """Return a table with rows and arrays of a result, or say what is missing."""
    if not len(result.tables.get(table, Table({}))) or not all(name in result.arrays for name in arrays):
        raise NothingToDraw(figure, f"this result holds no {table}", f"run {result.study} so that {table} are measured")
    return result.tables[table], [result.arrays[name] for name in arrays]


def gathered(table: Table, *owners: Sequence[str]) -> dict[tuple[str, ...], dict[str, float]]:
    """Return the numbers of each owner: counts are added over seeds, the rest are means of what is finite.

    >>> rows = [{"seed": 0, "n": 4, "mean": 1.0}, {"seed": 1, "n": 4, "mean": 2.0}]
    >>> gathered(Table.of(rows), ["ones", "ones"])
    {('ones',): {'n': 8.0, 'mean': 1.5}}
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, owner in enumerate(zip(*owners, strict=True)):
        groups.setdefault(owner, []).append(row)
    told = {name: table.columns[name].astype(float) for name in NUMBERS if name in table.columns}
    return {owner: {name: _one(name, told[name][rows]) for name in told} for owner, rows in groups.items()}


def _one(name: str, values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    if name in TOTALS:
        return float(known.sum())
    return float(known.mean()) if len(known) else float("nan")


def density(title: str, head: str, edges: np.ndarray, densities: Mapping[str, np.ndarray], numbers: Numbers) -> Figure:
    """Return a cell of a grid: its histograms, and for each a line of words."""
    x, series = tidied(np.asarray(edges, dtype=float), densities)
    said = tuple(spoken(name, numbers.get(name)) for name in densities)
    return Figure(
        name=f"{head} {title}".strip(),
        title=title,
        healthy="",
        kind="density",
        x=x,
        series=series,
        x_label="value",
        y_label=head,
        said=said,
        numbers=numbers,
    )


def spoken(when: str, told: Mapping[str, float] | None) -> str:
    """Say a distribution in a line: mean and standard deviation to the digits of the latter, and skewness.

    >>> spoken("end", {"mean": 0.0102, "std": 0.1423, "skewness": -0.31}), spoken("start", {"mean": 1.0, "std": 0.0})
    ('end 0.01 ± 0.14, skew −0.3', 'start 1, constant')
    """
    if told is None:
        return f"{when}: not measured"
    lost = told.get("nan", 0) + told.get("inf", 0)
    more = f", {lost:.0f} not finite" if lost else ""
    mean, std, skew = (told.get(name, float("nan")) for name in ("mean", "std", "skewness"))
    if not np.isfinite([mean, std]).all():
        return f"{when}: nothing finite"
    if std == 0:
        return f"{when} {short(mean, 3)}, constant{more}"
    middle = round(mean, 1 - int(np.floor(np.log10(std))))
    shape = f", skew {signed(f'{skew:.1f}')}" if np.isfinite(skew) else ""
    return f"{when} {short(middle, 4)} ± {short(std, 2)}{shape}{more}"


def sizes(table: Table) -> dict[str, float]:
    """Return how many numbers each parameter has."""
    return dict(zip(table.columns["parameter"].tolist(), table.columns["n"].tolist(), strict=True))


def chosen(
    labels: Sequence[str],
    wanted: Sequence[str] | None,
    most: int,
    kind: str,
    sizes: Mapping[str, float] | None = None,
) -> list[str]:
    """Return the labels that are asked for, or the first, the last and some evenly in between.

    Where there are too many, those of less than the middle of `sizes` stay behind: biases and gains before weights.

    >>> chosen(["a", "b", "c", "d"], None, 2, "parameter"), chosen(["a", "b"], ["b"], 2, "parameter")
    (['a', 'd'], ['b'])
    """
    for name in wanted or ():
        if name not in labels:
            raise UnknownName(kind, name, labels)
    if wanted is not None:
        return list(wanted)
    if len(labels) > most and sizes is not None:
        middle = float(np.median([sizes[label] for label in labels]))
        labels = [label for label in labels if sizes[label] >= middle]
    return [labels[i] for i in np.unique(np.linspace(0, len(labels) - 1, min(most, len(labels))).round().astype(int))]
