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
WRITTEN = 8
"""Most layers a side of a map that has its numbers in its cells."""
REFUSED = ("no stitch: something goes around the layer", "not defined")
SIDES = ("sender", "receiver")
FAR = 2.0
"""Representation distance of the darkest shade, twice that of a constant."""
MANY, ABREAST = 36, 4
"""Pairs of networks that are drawn one by one, and how many in a row."""


def grids(results: Results, control: str | None = None) -> Figure:
    """Draw accuracy of every stitch, of its control, what it costs, and how far it is from what is expected there."""
    result = last(results)
    shown = _shown(stitched(result, "grids"), control)
    place = Place(result)
    senders, receivers = (", ".join(nets(result, side)) for side in SIDES)
    return Figure(
        name="grids",
        title="Every layer stitched into every layer",
        healthy="Healthy: bright accuracy along the thin line of equal relative depth, where the random control is "
        "dark: what the control reaches, too, was not learned by the sender. Bright accuracy at a dark distance is "
        "compatible by accuracy alone. Bright is good everywhere. "
        f"Rows send ({senders}), columns receive ({receivers}).",
        kind="maps",
        wide=True,
        x=(),
        series={},
        x_label=f"receiver: {receivers}",
        y_label=f"sender: {senders}",
        parts=tuple(_part(result, place, *one) for one in shown),
        columns=3 if len(shown) == 3 else 2,
        apart=REFUSED,
    )


def stitched(result: Result, name: str) -> Result:
    """Return a grid that has a stitch."""
    if "accuracy" not in result.arrays or not np.isfinite(result.arrays["accuracy"]).any():
        raise NothingToDraw(name, "no stitch was made", "read the table: result.table('cuts')")
    return result


def _shown(result: Result, asked: str | None) -> list[tuple[str, str, str]]:
    """Return the maps: array, name and title."""
    run = [name for name in CONTROLS if f"accuracy/{name}" in result.arrays]
    if asked is not None and asked not in run:
        raise UnknownName("control of this grid", asked, run)
    told = [
        str(result.provenance[key]).replace("_", " ") for key in ("adapter", "matching") if key in result.provenance
    ]
    beside = [(f"accuracy/{name}", CONTROLS[name]) for name in ([asked] if asked else run[:1])]
    return [
        ("accuracy", "accuracy", ": ".join(["accuracy", ", ".join(told) or "stitched"])),
        *((array, name, f"accuracy: {name}") for array, name in beside),
        ("penalty", "penalty", "penalty: accuracy lost against the receiver"),
        ("mse", "distance", "representation distance: error over that of a constant"),
    ]


def scale(result: Result, name: str) -> tuple[tuple[float, float], tuple[str, str]]:
    """Return the numbers of the darkest and the brightest shade of a map, and what they mean; beyond is drawn as they.

    Accuracy goes from chance to the best receiver's, a penalty from a tenth above the highest to 0.
    """
    if name == "mse":
        return (min(FAR, max(1.0, float(_known(result, name).max()))), 0.0), ("far", "near")
    if name.startswith("penalty"):
        return (max(0.1, math.ceil(10 * _known(result, name).max() - 1e-9) / 10), 0.0), ("dear", "free")
    chance = 1 / result.provenance["classes"] if "classes" in result.provenance else 0.0
    best = max((row["accuracy"] for row in result.table("nets") if row["receives"]), default=1.0)
    return (chance, max(best, chance + 0.1)), ("chance" if chance else "none", "receiver's")


def called(label: str) -> str:
    """Return what a layer is called; the input has no name of its own.

    >>> called(""), called("a net/"), called("conv1")
    ('input', 'a net/input', 'conv1')
    """
    return label if label and not label.endswith("/") else f"{label}input"


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
            labels += map(called, own)
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


def _part(result: Result, place: Place, array: str, name: str, title: str) -> Figure:
    """Return one map with a scale of its own."""
    senders, receivers = (", ".join(nets(result, side)) for side in SIDES)
    kind, (limits, ends) = title.partition(":")[0].removeprefix("representation "), scale(result, array)
    return _map(
        place.labels[0], place.labels[1], place.cells(result, array), kind,
        name=name, title=title, x_label=f"receiver: {receivers}", y_label=f"sender: {senders}", limits=limits,
        unit=kind, ends=ends, lines=place.lines(),
    )  # fmt: skip


def _map(rows: Sequence[str], columns: Sequence[str], cells: np.ndarray, quantity: str, **more: Any) -> Figure:
    series = dict(zip(rows, cells, strict=True))
    said = "from {y}\ninto {x}\n" + quantity + " {value}"
    written = max(len(rows), len(columns)) <= WRITTEN
    return Figure(
        healthy="", kind="map", x=list(columns), series=series, cell=said, apart=REFUSED, written=written, **more
    )


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
    (limits, ends), place = scale(result, quantity), Place(result)
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
        ends=ends,
        unit=unit,
        parts=tuple(_pair(result, place, quantity, one, limits) for one in chosen[:MANY]),
        columns=min(len(nets(result, "receiver")), ABREAST),
        apart=REFUSED,
    )


def _pair(result: Result, place: Place, quantity: str, at: tuple[int, int], limits: tuple[float, float]) -> Figure:
    """Return the part of a map that is one pair's."""
    (top, bottom), (left, right) = (own[i] for own, i in zip(place.extents, at, strict=True))
    who = [nets(result, side)[i] for side, i in zip(SIDES, at, strict=True)]
    rows, columns = place.labels[0][top : bottom + 1], place.labels[1][left : right + 1]
    names, own = (
        [label.removeprefix(f"{net}/") for label in side] for net, side in zip(who, (rows, columns), strict=True)
    )
    cells = place.cells(result, quantity)[top : bottom + 1, left : right + 1]
    lines = tuple(even(place.clean[0][at[0]] - top, place.clean[1][at[1]] - left))
    title = " into ".join(who)
    return _map(
        names, own, cells, quantity, name=title, title=title, x_label="", y_label="", limits=limits, lines=lines
    )
