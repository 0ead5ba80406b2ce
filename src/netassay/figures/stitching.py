"""Figures of a stitch grid: what each stitch answers, beside a control, its penalty and how far it is from home."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.similarity import Line, between
from netassay.patterns import middles
from netassay.result import Result

CONTROLS: Mapping[str, str] = {
    "random_sender": "random sender",
    "random_receiver": "random receiver",
    "noise": "noise sender",
    "shuffled": "shuffled",
}
"""Controls of a grid, and how they are called; the first that was run is drawn."""
ENDS = {"accuracy": ("none", "all"), "penalty": ("dear", "free"), "distance": ("far", "as expected")}
"""What the darkest and the brightest shade mean."""
REFUSED = ("no stitch: something goes around the layer", "not defined")
INPUT = "input"
SIDES = ("sender", "receiver")
FAR = 2.0
"""Representation distance of the darkest shade, twice that of a constant."""
MANY, ABREAST = 36, 4
"""Pairs of networks that are drawn one by one, and how many in a row."""


def grids(results: Results, control: str | None = None) -> Figure:
    """Draw accuracy of every stitch, of its control, what it costs, and how far it is from what is expected there."""
    result = last(results)
    parts = [_part(result, Place(result), *one) for one in _shown(stitched(result, "grids"), control)]
    senders, receivers = (", ".join(nets(result, side)) for side in SIDES)
    return Figure(
        name="grids",
        title="Every layer stitched into every layer",
        healthy="Healthy: bright accuracy along the line of equal relative depth, where the random control is dark: "
        "what the control reaches, too, was not learned by the sender. Bright accuracy at a dark distance is "
        "compatible by accuracy alone. Bright is good everywhere. "
        f"Rows send ({senders}), columns receive ({receivers}).",
        kind="maps",
        wide=True,
        x=(),
        series={},
        x_label=f"receiver: {receivers}",
        y_label=f"sender: {senders}",
        parts=tuple(parts),
        columns=2,
        apart=REFUSED,
    )


def stitched(result: Result, name: str) -> Result:
    """Return a grid that has a stitch."""
    if "accuracy" not in result.arrays or not np.isfinite(result.arrays["accuracy"]).any():
        raise NothingToDraw(name, "no stitch was made", "read the table: result.table('cuts')")
    return result


def _shown(result: Result, asked: str | None) -> list[tuple[str, str, str, tuple[float, float]]]:
    """Return the maps: array, name, title, and the numbers of the darkest and the brightest shade."""
    run = [name for name in CONTROLS if f"accuracy/{name}" in result.arrays]
    if asked is not None and asked not in run:
        raise UnknownName("control of this grid", asked, run)
    told = [
        str(result.provenance[key]).replace("_", " ") for key in ("adapter", "matching") if key in result.provenance
    ]
    beside = [(f"accuracy/{name}", CONTROLS[name]) for name in ([asked] if asked else run[:1])]
    far = (min(FAR, max(1.0, float(_known(result, "mse").max()))), 0.0)
    return [
        ("accuracy", "accuracy", ": ".join(["accuracy", ", ".join(told) or "stitched"]), (0.0, 1.0)),
        *((array, name, f"accuracy: {name}", (0.0, 1.0)) for array, name in beside),
        ("penalty", "penalty", "penalty: accuracy of the receiver less that of the stitch", penalties(result)),
        ("mse", "distance", "representation distance: error over that of a constant", far),
    ]


def penalties(result: Result, name: str = "penalty") -> tuple[float, float]:
    """Return the penalties of the darkest and the brightest shade, tenths around what there is."""
    values = _known(result, name)
    return max(0.1, math.ceil(10 * values.max() - 1e-9) / 10), min(0.0, math.floor(10 * values.min() + 1e-9) / 10)


def _known(result: Result, name: str) -> np.ndarray:
    values = np.asarray(result.arrays[name], dtype=float)
    known = values[np.isfinite(values)]
    return known if known.size else np.zeros(1)


def nets(result: Result, side: str) -> list[str]:
    """Return the networks of a side, in the order of their rows or columns."""
    cells = result.tables["cells"].columns
    return list(dict.fromkeys(cells[side][cells["control"] == "none"].tolist()))


class Place:
    """Where layers stand on both sides of a map, those that are refused among the others."""

    def __init__(self, result: Result) -> None:
        self.labels: list[list[str]] = []
        self.extents: list[list[tuple[int, int]]] = []
        self.clean: list[list[np.ndarray]] = []
        for side in SIDES:
            self._add(result, side)

    def _add(self, result: Result, side: str) -> None:
        names, known = nets(result, side), set(result.arrays["accuracy"].axes[f"{side} layer"])
        labels: list[str] = []
        extents, clean = [], []
        for net in names:
            every = [row["layer"] for row in result.table("cuts") if row["net"] == net]
            own = [f"{net}/{layer}" if len(names) > 1 else layer for layer in dict.fromkeys(every)]
            stitched = [label in known for label in own]
            own = own if 2 * sum(stitched) >= len(own) else [label for label in own if label in known]
            extents.append((len(labels), len(labels) + len(own) - 1))
            clean.append(np.array([len(labels) + i for i, label in enumerate(own) if label in known]))
            labels += [label if label and not label.endswith("/") else f"{label}{INPUT}" for label in own]
        self.labels.append(labels)
        self.extents.append(extents)
        self.clean.append(clean)

    def cells(self, result: Result, name: str) -> np.ndarray:
        """Return the numbers of a map, minus infinity where a layer is no place to cut at."""
        made = np.full([len(labels) for labels in self.labels], -np.inf)
        made[np.ix_(*(np.concatenate(own) for own in self.clean))] = np.asarray(result.arrays[name], dtype=float)
        return made

    def lines(self) -> tuple[Line, ...]:
        """Return lines of equal relative depth for each pair of networks, and those between networks."""
        count = len(self.extents[0]) * len(self.extents[1])
        equal = [line for rows in self.clean[0] for columns in self.clean[1] for line in even(rows, columns)]
        return (*equal, *between(*self.extents)[count:])


def even(rows: np.ndarray, columns: np.ndarray) -> list[Line]:
    """Return the line where (i + 1/2) / I is equal for the i-th clean layer of both sides, past those refused.

    >>> even(np.array([0, 2]), np.array([0, 1]))
    [(0.0, 0.0, 1.0, 2.0)]
    """
    depth = [middles(len(side)) for side in (rows, columns)]
    shared = np.unique(np.concatenate(depth))
    shared = shared[(shared >= max(one[0] for one in depth)) & (shared <= min(one[-1] for one in depth))]
    at = [np.interp(shared, share, side).tolist() for share, side in zip(depth, (rows, columns), strict=True)]
    return [(x0, y0, x1, y1) for (y0, x0), (y1, x1) in pairwise(zip(*at, strict=True))]


def _part(
    result: Result, place: Place, array: str, name: str, title: str, limits: tuple[float, float]
) -> Figure:  # fmt: skip
    """Return one map with a scale of its own."""
    senders, receivers = (", ".join(nets(result, side)) for side in SIDES)
    kind = name if name in ENDS else "accuracy"
    return _map(
        place.labels[0], place.labels[1], place.cells(result, array), kind,
        name=name, title=title, x_label=f"receiver: {receivers}", y_label=f"sender: {senders}", limits=limits,
        unit=kind, ends=ENDS[kind], lines=place.lines(),
    )  # fmt: skip


def _map(rows: Sequence[str], columns: Sequence[str], cells: np.ndarray, quantity: str, **more: Any) -> Figure:
    series = dict(zip(rows, cells, strict=True))
    said = "from {y}\ninto {x}\n" + quantity + " {value}"
    return Figure(healthy="", kind="map", x=list(columns), series=series, cell=said, apart=REFUSED, **more)


def pairs(results: Results, quantity: str = "accuracy") -> Figure:
    """Draw the grid of each pair of networks beside those of the others: accuracy, penalty, accuracy/noise, ..."""
    result = stitched(last(results), "pairs")
    known = [name for name in result.arrays if name.startswith(("accuracy", "penalty"))]
    if quantity not in known:
        raise UnknownName("quantity of this grid", quantity, known)
    chosen = [(i, j) for i in range(len(nets(result, "sender"))) for j in range(len(nets(result, "receiver")))]
    if len(chosen) < 2:
        raise NothingToDraw("pairs", "one pair of networks", "draw 'grids'")
    unit = "penalty" if quantity.startswith("penalty") else "accuracy"
    limits = penalties(result, quantity) if unit == "penalty" else (0.0, 1.0)
    more = f" The first {MANY} of {len(chosen)} pairs are drawn." if len(chosen) > MANY else ""
    return Figure(
        name="pairs",
        title=f"Each pair of networks: {quantity.replace('/', ', ').replace('_', ' ')}",
        healthy="No health here: pairs that look alike share a pattern that is not one pair's. The thin line is equal "
        f"relative depth; rows send, columns receive.{more}",
        kind="maps",
        wide=True,
        x=(),
        series={},
        x_label="layer of the receiver",
        y_label="layer of the sender",
        limits=limits,
        ends=ENDS[unit],
        unit=unit,
        parts=tuple(_pair(result, Place(result), quantity, one, limits) for one in chosen[:MANY]),
        columns=min(len(nets(result, "receiver")), ABREAST),
        apart=REFUSED,
    )


def _pair(
    result: Result, place: Place, quantity: str, at: tuple[int, int], limits: tuple[float, float]
) -> Figure:  # fmt: skip
    """Return the part of a map that is one pair's."""
    (top, bottom), (left, right) = (own[i] for own, i in zip(place.extents, at, strict=True))
    who = [nets(result, side)[i] for side, i in zip(SIDES, at, strict=True)]
    rows, columns = place.labels[0][top : bottom + 1], place.labels[1][left : right + 1]
    short = [[label.removeprefix(f"{net}/") for label in own] for net, own in zip(who, (rows, columns), strict=True)]
    cells = place.cells(result, quantity)[top : bottom + 1, left : right + 1]
    lines = even(place.clean[0][at[0]] - top, place.clean[1][at[1]] - left)
    title = " into ".join(who)
    names, own = short
    return _map(
        names, own, cells, quantity, name=title, title=title, x_label="", y_label="", limits=limits, lines=tuple(lines)
    )
