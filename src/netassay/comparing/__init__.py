"""Comparing: two runs or results of any study, table by table, with intervals of the differences.

Rooms: `intervals` (of a difference), `rows` (two tables), `sides` (what there is to compare), `telling` (what is said).
"""

from __future__ import annotations

from collections.abc import Iterator

from netassay.comparing.rows import STEPS, Matched, matched, series, unrolled
from netassay.comparing.sides import Pair, Source, pairs, side
from netassay.comparing.telling import claims, drawn_apart, largest, notes, only_b, overview, setup, verdicts
from netassay.result import Array, Result

__all__ = ["compare"]
MOST = 20_000
"""Entries of an array beyond which it is not compared entry by entry."""
CHARTS = {"bin", "edge"}
"""Axes of densities, whose numbers mean nothing one by one."""


def compare(a: Source, b: Source) -> Result:
    """Put two runs, or two results, of any study beside each other, number by number, with intervals of b - a.

    Each is a `Run`, the path of one, or a `Result`. Results under one label are compared, then those of one study;
    rows are matched by what identifies them. Table "<label>/<table>" holds, for each row and number: `a`, `b`,
    `difference` (b - a) with its 95 % interval, `ratio` (b / a), and the `evidence` of the interval: "limits" of the
    two numbers (Zou & Donner 2008), "replicates" such as seeds (Welch 1947), "paired replicates" where both have the
    same (Student 1908), "stretches" of an array over steps, often of logarithms (then the ratio is exp(difference)), or
    "none", where it is NaN; `n` counts replicates. Tables "setup" (what was done otherwise), "overview", "largest"
    (rows whose interval excludes 0, not corrected for how many there are, by how far; without single channels where
    seeds or hashes of the networks differ), "verdicts", "claims" and, of runs with series, "series". The result's own
    verdicts are those of b that a has not. Changing a and b changes signs.

    Raises `BadInput` where no study is in both, or a path holds no run.

    >>> from netassay.result import Table
    >>> a, b = (Result("demo", {"layers": Table.of([{"layer": "fc", "rms": rms}])}) for rms in (1.0, 3.0))
    >>> row = compare(a, b).table("demo/layers")[0]
    >>> row["layer"], row["difference"], row["ratio"], row["evidence"]
    ('fc', 2.0, 3.0, 'none')
    """
    first, second = side(a), side(b)
    both = pairs(first, second)
    found = {name: one for pair in both for name, one in _compared(pair)}
    if first.series.columns and second.series.columns:
        found["series"] = matched(first.series, second.series)
    long = {name: one.table for name, one in found.items()}
    made = setup(first, second, both)
    tables = {
        "setup": made,
        "overview": overview(found),
        "largest": largest(long, drawn_apart(made)),
        "verdicts": verdicts(both),
        "claims": claims(both),
    }
    told = {"a": first.name, "b": second.name}
    return Result(
        "compare", {**tables, **long}, verdicts=only_b(both), notes=notes(first, second, both, found), provenance=told
    )


def _compared(pair: Pair) -> Iterator[tuple[str, Matched]]:
    a, b = pair.a, pair.b
    for name in (name for name in a.tables if name in b.tables):
        yield f"{pair.label}/{name}", matched(a.tables[name], b.tables[name])
    for name in (name for name in a.arrays if name in b.arrays):
        one, two = a.arrays[name], b.arrays[name]
        if comparable(one, two):
            label = f"{pair.label}/{name}" + (" by entry" if name in a.tables else "")
            yield label, _arrays(one, two, name)


def comparable(a: Array, b: Array) -> bool:
    """Tell whether two arrays have named axes that are the same, and are no charts of densities."""
    if not a.axes or [*a.axes] != [*b.axes] or CHARTS & {*a.axes}:
        return False
    return _by_step(a) or max(a.size, b.size) <= MOST


def _arrays(a: Array, b: Array, name: str) -> Matched:
    short = name.rpartition("/")[2]
    return series(a, b, short) if _by_step(a) else matched(unrolled(a, short), unrolled(b, short))


def _by_step(array: Array) -> bool:
    return next(iter(array.axes)) == STEPS
