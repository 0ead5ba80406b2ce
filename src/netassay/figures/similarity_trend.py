"""Figures of a trend, of similarity or of stitches: which pattern the map of a family has, size by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from netassay.errors import NothingToDraw
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.similarity import diagonal, drawn
from netassay.figures.similarity_told import NEAR
from netassay.patterns import PATTERNS, UNEXPLAINED
from netassay.result import Result

ACROSS = 4
"""Maps that stand beside each other."""


class Words(NamedTuple):
    """What patterns mean, what a map shows, its rows and columns, its unit, and the ends of its shades."""

    patterns: str
    map: str
    axes: tuple[str, str]
    unit: str
    ends: tuple[str, str]


WORDS = {
    "similarity_trend": Words(
        "Diagonal: layers match those of equal relative depth. Triangle: a layer matches all that are relatively "
        "earlier (below 0: later). Block: a stretch of layers is alike.",
        "Calibrated similarity of two networks that differ in their seed only; the thin line is equal relative depth. "
        "Rows are layers of the one, columns of the other.",
        ("layer of the first seed", "layer of the second seed"),
        "calibrated similarity",
        ("chance", "equal"),
    ),
    "stitch_trend": Words(
        "Diagonal: stitches between equal relative depths are more accurate. Triangle: a layer goes into all that are "
        "relatively earlier with a higher accuracy (below 0: later). Block: stitches within a stretch are more "
        "accurate.",
        "Accuracy of stitches between two networks that differ in their seed only; the thin line is equal relative "
        "depth. Rows send, columns receive.",
        ("sender layer", "receiver layer"),
        "accuracy",
        ("none right", "all right"),
    ),
}
"""What is said of each study."""


def trend(results: Results) -> Figure:
    """Draw the index of each pattern against the size of the networks, a part for each family."""
    result = last(results)
    rows = _rows(result, "trend")
    families = list(dict.fromkeys(row["family"] for row in rows))
    parts = [_family(result, family, [row for row in rows if row["family"] == family]) for family in families]
    return Figure(
        name="trend",
        title="Which pattern the map has, size by size",
        healthy="No health here: lines that cross are a family whose pattern changes with size. "
        f"{WORDS[result.study].patterns} Flat: the share that no pattern explains. On top the pattern that is told "
        "from chance, if any: flat only where most is unexplained. Whiskers are intervals over networks, cut at the "
        "edge.",
        kind="panel",
        wide=True,
        x=(),
        series={},
        x_label="family",
        y_label="index of the pattern",
        parts=tuple(parts),
        columns=min(len(parts), 2),
    )


def _rows(result: Result, name: str) -> list[dict[str, Any]]:
    rows = result.table("sizes")
    if not rows:
        raise NothingToDraw(name, "no network was compared", f"name networks: {result.study}(specs, data)")
    families = [row["family"] for row in rows]
    return sorted(rows, key=lambda row: (families.index(row["family"]), row["size"]))


def _family(result: Result, family: str, rows: Sequence[dict[str, Any]]) -> Figure:
    names = short([row["spec"] for row in rows])
    known = [one for one in PATTERNS if one in rows[0]]
    return Figure(
        name=f"trend {family}",
        title=family,
        healthy="",
        kind="lines",
        x=[f"{name} ({row['size']:.0f})" for name, row in zip(names, rows, strict=True)],
        series={one: np.array([row[one] for row in rows], dtype=float) for one in known},
        x_label="network (layers compared)",
        y_label="index of the pattern",
        limits=(-1.0 if min(row["triangle"] for row in rows) < -NEAR else 0.0, 1.15),
        bands={one: _band(rows, one) for one in known},
        whiskers=True,
        said=tuple(map(called, rows)),
        notes=tuple(f"told: {called(row)}" for row in rows),
    )


def called(row: Mapping[str, Any]) -> str:
    """Say what the map of a size is called; one without a pattern is flat only where most of it is unexplained.

    >>> called({"told": "flat", "flat": 0.01}), called({"told": "flat", "flat": 0.8})
    ('none told', 'flat')
    """
    return "none told" if row["told"] == "flat" and row["flat"] <= UNEXPLAINED else str(row["told"])


def _band(rows: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.array([row[f"{name}_{end}"] for row in rows], dtype=float) for end in ("low", "high"))
    return np.clip(low, -1, 1), np.clip(high, -1, 1)


def short(specs: Sequence[str]) -> list[str]:
    """Return specs without the options that all of them share.

    >>> short(["resnet[1,1]:input=8,skip=none", "resnet[1,1]:input=8"])
    ['resnet[1,1]:skip=none', 'resnet[1,1]']
    """
    parted = [(name, options.split(",") if options else []) for name, _, options in (s.partition(":") for s in specs)]
    common = set.intersection(*(set(options) for _, options in parted)) if len(parted) > 1 else set()
    rest = [(name, ",".join(one for one in options if one not in common)) for name, options in parted]
    return [f"{name}:{options}" if options else name for name, options in rest]


def maps(results: Results) -> Figure:
    """Draw the mean map of each network beside those of the others, small to large."""
    result = last(results)
    rows = [row for row in _rows(result, "maps") if f"map/{row['spec']}" in result.arrays]
    if not rows:
        raise NothingToDraw("maps", "no map was kept", "read the table: result.table('sizes')")
    names, words = short([row["spec"] for row in rows]), WORDS[result.study]
    parts = [_part(result, row, name) for row, name in zip(rows, names, strict=True)]
    return Figure(
        name="maps",
        title="The map of each network, mean over pairs of seeds",
        healthy=f"No health here: the change of pattern as a picture. {words.map}",
        kind="maps",
        wide=True,
        x=(),
        series={},
        x_label=words.axes[1],
        y_label=words.axes[0],
        limits=(0.0, 1.0),
        ends=words.ends,
        unit=words.unit,
        parts=tuple(parts),
        columns=min(ACROSS, len(parts)),
    )


def _part(result: Result, row: dict[str, Any], name: str) -> Figure:
    array = result.arrays[f"map/{row['spec']}"]
    tall, wide = array.shape
    return drawn(
        array,
        np.asarray(array, dtype=float),
        name=name,
        title=f"{called(row)}: {name}",
        x_label="",
        y_label="",
        limits=(0.0, 1.0),
        lines=(diagonal(0, tall - 1, 0, wide - 1),),
    )
