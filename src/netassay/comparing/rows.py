"""Rows: two tables of one name matched row by row, and every number of theirs compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netassay.comparing.intervals import Compared, Floats, mover, paired, stretched, welch
from netassay.result import Array, Table

REPLICATES = ("seed", "sample", "batch")
"""Columns and axes that number repetitions of a measurement; no row is identified by them."""
STEPS = "step"
OWN = ("quantity", "a", "b", "difference", "difference_low", "difference_high", "ratio", "n", "evidence")
WORDS, COUNTS, FLOATS = "U", "biu", "f"
ENDS = ("", "_low", "_high")

KIND = "kind"
NAMED = (("path", "when"),)
"""Columns that identify the rows of a table that has them, such as the law's."""
INDICES = ("channel", "step", "epoch", "index")
"""Columns of whole numbers that identify as well as text does."""
TALLIES = ("n", "batches", "left_out", "layers", "samples", "points")
"""Columns of whole numbers that identify nothing."""

Key = tuple[Any, ...]
Pairs = Sequence[tuple[list[int], list[int]]]
NOTHING = Compared.of(np.empty(0), np.empty(0), np.nan, 0)


@dataclass(frozen=True)
class Matched:
    """Two tables compared: the long table, the columns that identify a row, and rows that one of them lacks.

    `reworded` counts, for each column of text that identifies nothing, the rows in which it differs. `unlike` counts
    rows of one name that are of another kind, and not compared.
    """

    table: Table
    keys: tuple[str, ...]
    only_a: tuple[Key, ...] = ()
    only_b: tuple[Key, ...] = ()
    reworded: tuple[tuple[str, int], ...] = ()
    unlike: int = 0


def matched(a: Table, b: Table) -> Matched:
    """Match rows by what identifies them, and compare every column of numbers.

    A row is identified by its columns of text and truth values, and of whole numbers where those are not unique, as few
    as are unique in both tables. Rows of one name that differ in their column "kind" are not compared.
    Rows numbered by a replicate column, or that nothing identifies, are repetitions of a measurement.
    """
    again = next((one for one in REPLICATES if one in a.columns and one in b.columns), "")
    keys = identifying(a, b, again)
    rows_a, rows_b = _grouped(a, keys), _grouped(b, keys)
    named = [key for key in rows_a if key in rows_b]
    both = [key for key in named if _alike(a, b, rows_a[key], rows_b[key])]
    pairs = [(rows_a[key], rows_b[key]) for key in both]
    names = _measured(a, b, keys, again)
    alone = not again and all(len(i) == len(j) == 1 for i, j in pairs)
    found, told = _single(a, b, pairs, names) if alone else _repeated(a, b, pairs, names, again)
    columns = {name: np.array([key[i] for key in both]) for i, name in enumerate(keys)}
    quantity = np.tile(np.array(names, dtype=str), len(pairs))
    table = _long({name: np.repeat(values, len(names)) for name, values in columns.items()}, quantity, found, told)
    only_a, only_b = (tuple(k for k in x if k not in y) for x, y in ((rows_a, rows_b), (rows_b, rows_a)))
    unlike = len(named) - len(both)
    return Matched(table, keys, only_a, only_b, _reworded(a, b, pairs, (*keys, again)), unlike)


def _alike(a: Table, b: Table, i: list[int], j: list[int]) -> bool:
    """Tell whether rows are of one kind, as far as both tables say."""
    if not all(KIND in one.columns and one.columns[KIND].dtype.kind == WORDS for one in (a, b)):
        return True
    return bool({*a.columns[KIND][i].tolist()} == {*b.columns[KIND][j].tolist()})


def series(a: Array, b: Array, name: str) -> Matched:
    """Compare two arrays whose first axis is steps, over the steps and the labels that both have.

    `paired` over stretches; of the logarithms where all stretches of both are positive, and the quantity says so.
    """
    shared = {axis: [one for one in labels if one in b.axes[axis]] for axis, labels in a.axes.items()}
    only_a, only_b = (
        tuple((one,) for axis in shared for one in x.axes[axis] if one not in shared[axis]) for x in (a, b)
    )
    steps, *rest = shared.values()
    shape = (len(steps), math.prod(map(len, rest)))
    means = np.stack([stretched(_taken(one, shared).reshape(shape)) for one in (a, b)])
    positive = (means > 0).all((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = paired(*np.where(positive, np.log(means), means))
    at = np.indices([len(one) for one in rest]).reshape(len(rest), shape[1])
    columns = {axis: np.array(shared[axis], dtype=str)[i] for axis, i in zip([*shared][1:], at, strict=True)}
    table = _long(columns, np.where(positive, f"log {name}", name), found, "stretches")
    return Matched(table, tuple(columns), only_a, only_b)


def _taken(one: Array, shared: dict[str, list[str]]) -> Floats:
    at = [[one.axes[axis].index(label) for label in labels] for axis, labels in shared.items()]
    return np.asarray(one, dtype=np.float64)[np.ix_(*at)]


def unrolled(array: Array, name: str) -> Table:
    """Return an array as a long table: a column for each axis, and the values under `name`.

    >>> unrolled(Array([[1.0, 2.0]], step=["0"], layer=["fc1", "fc2"]), "gradient").rows()[1]
    {'step': '0', 'layer': 'fc2', 'gradient': 2.0}
    """
    places = np.indices(array.shape).reshape(array.ndim, -1)
    columns = {axis: np.array(labels)[at] for (axis, labels), at in zip(array.axes.items(), places, strict=True)}
    return Table({**columns, name: np.asarray(array, dtype=np.float64).ravel()})


def identifying(a: Table, b: Table, again: str = "") -> tuple[str, ...]:
    """Return the columns that together with `again` are unique in both tables, as few as will do.

    Columns of text, truth values and indices first, then of other whole numbers; never of what only counts. Columns of
    text and truth values where none will. Where there is text a single row is known by it, too.
    """
    shared = [name for name in a.columns if name in b.columns and name != again]
    kinds = {name: {one.columns[name].dtype.kind for one in (a, b)} for name in shared}
    beside = (again,) if again else ()
    for told in NAMED:
        if {*told} <= {*shared} and _unique(a, b, (*told, *beside)):
            return told
    words = [name for name in shared if kinds[name] <= set(WORDS + "b") or name in INDICES]
    able = [name for name in shared if kinds[name] <= set(WORDS + COUNTS) and name not in TALLIES]
    tried = (some[:i] for some in (words, able) for i in range(bool(words), len(some) + 1))
    chosen = next((some for some in tried if _unique(a, b, (*some, *beside))), None)
    if chosen is None:
        return tuple(name for name in words if kinds[name] <= set(WORDS + "b"))
    for kind in (COUNTS, WORDS):  # what only counts goes first
        for name in [name for name in reversed(chosen) if kinds[name] <= set(kind)]:
            less = [other for other in chosen if other != name]
            chosen = less if less and _unique(a, b, (*less, *beside)) else chosen
    return tuple(chosen)


def _unique(a: Table, b: Table, names: Sequence[str]) -> bool:
    return all(len(set(_keys(one, names))) == len(one) for one in (a, b))


def _keys(table: Table, names: Sequence[str]) -> list[Key]:
    columns = [table.columns[name].tolist() for name in names]
    return list(zip(*columns, strict=True)) if columns else [()] * len(table)


def _grouped(table: Table, keys: Sequence[str]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = {}
    for row, key in enumerate(_keys(table, keys)):
        groups.setdefault(key, []).append(row)
    return groups


def _measured(a: Table, b: Table, keys: Sequence[str], again: str) -> list[str]:
    """Return the columns of numbers that are compared; limits are evidence, and no number of their own."""
    numbers = {name for name, values in a.columns.items() if values.dtype.kind in COUNTS + FLOATS}
    numbers &= {name for name, values in b.columns.items() if values.dtype.kind in COUNTS + FLOATS}
    limits = {f"{name}_{end}" for name in numbers for end in ("low", "high")}
    return [name for name in a.columns if name in numbers - limits - {*keys, again}]


def _reworded(a: Table, b: Table, pairs: Pairs, keys: Sequence[str]) -> tuple[tuple[str, int], ...]:
    names = [name for name in a.columns if name in b.columns and name not in keys]
    names = [name for name in names if a.columns[name].dtype.kind == b.columns[name].dtype.kind == WORDS]
    counts = [(name, sum(a.columns[name][i[0]] != b.columns[name][j[0]] for i, j in pairs)) for name in names]
    return tuple((name, int(count)) for name, count in counts if count)


def _single(a: Table, b: Table, pairs: Pairs, names: list[str]) -> tuple[Compared, str]:
    """Compare one row with one row, all rows and columns at once."""
    limited = [name for name in names if all(name + end in one.columns for one in (a, b) for end in ENDS)]

    def values(side: int, end: str) -> Floats:
        rows = np.array([pair[side][0] for pair in pairs], dtype=np.int64)
        made = np.full((len(rows), len(names)), np.nan)
        for i, name in enumerate(names):
            if not end or name in limited:
                made[:, i] = (a, b)[side].columns[name + end][rows]
        return made.ravel()

    return mover(*(values(side, end) for side in (0, 1) for end in ENDS)), "limits"


def _repeated(a: Table, b: Table, pairs: Pairs, names: list[str], again: str) -> tuple[Compared, str]:
    """Compare the repetitions of each row: pair by pair where all are numbered alike."""
    sides = [
        np.array([one.columns[name] for name in names], dtype=np.float64).reshape(len(names), -1) for one in (a, b)
    ]
    numbers = [one.columns[again].tolist() if again else [0] * len(one) for one in (a, b)]
    ordered = [tuple(sorted(at, key=one.__getitem__) for at, one in zip(rows, numbers, strict=True)) for rows in pairs]
    alike = bool(again) and all([numbers[0][n] for n in i] == [numbers[1][n] for n in j] for i, j in ordered)
    each = [(paired if alike else welch)(sides[0][:, i].T, sides[1][:, j].T) for i, j in ordered]
    found = Compared(*(np.concatenate(part) for part in zip(NOTHING, *each, strict=True)))
    return found, "paired replicates" if alike else "replicates"


def _long(columns: dict[str, np.ndarray], quantity: np.ndarray, found: Compared, told: str) -> Table:
    """Put what identifies a row before what was found; a name of ours among the former says that it is a key."""
    known = np.isfinite(found.low) & np.isfinite(found.high)
    logs = np.char.startswith(quantity, "log ") if len(quantity) else np.array([], dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.where(logs, np.exp(found.difference), np.where(found.a == 0, np.nan, found.b / found.a))
    named = {f"key {name}" if name in OWN else name: values for name, values in columns.items()}
    n = np.where(known, found.n, 0)
    evidence = np.where(known, told, "none")
    parts = (quantity, found.a, found.b, found.difference, found.low, found.high, ratio, n, evidence)
    return Table({**named, **dict(zip(OWN, parts, strict=True))})
