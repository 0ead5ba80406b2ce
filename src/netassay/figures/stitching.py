"""Figures of a stitch grid: what each stitch answers, with its controls, its penalty and how far it is from home."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.similarity import between
from netassay.result import Array, Result

CONTROLS: Mapping[str, str] = {
    "random_sender": "random sender",
    "random_receiver": "random receiver",
    "noise": "noise sender",
    "shuffled": "shuffled labels",
}
"""Controls of a grid, and how they are called; the first that was run is drawn."""
REFUSED = ("no stitch: a skip crosses", "not defined")
SIDES = ("sender", "receiver")
FAR = 2.0
"""Representation distance of the darkest shade, twice that of a constant."""
MANY, ABREAST = 36, 4
"""Pairs of networks that are drawn one by one, and how many in a row."""


def grids(results: Results, control: str | None = None) -> Figure:
    """Draw accuracy of every stitch, of its control, what it costs, and how far it is from what is expected there."""
    result = last(results)
    own, other = _accuracy(result, "grids"), _control(result, control)
    maps = [("accuracy", "accuracy", f"accuracy: {_how(result)}", (0.0, 1.0))]
    maps += [(f"accuracy/{other}", CONTROLS[other], f"accuracy: {CONTROLS[other]}", (0.0, 1.0))] if other else []
    maps += [("penalty", "penalty", "penalty: accuracy of the receiver less that of the stitch", _falling(result))]
    maps += [("mse", "distance", "representation distance: error over that of a constant", (_farthest(result), 0.0))]
    parts = [_part(result, *one) for one in maps if one[0] in result.arrays]
    senders, receivers = (", ".join(nets(result, side)) for side in SIDES)
    return (
        Figure(
            name="grids",
            title="Every layer stitched into every layer",
            healthy="Healthy: accuracy along the line of equal relative depth that the random control lacks. What the "
            "control reaches, too, was not learned by the sender. Bright accuracy at a dark distance is compatible by "
            f"accuracy alone. Rows send (layers of {senders}), columns receive ({receivers}); bright is good.",
            kind="maps",
            wide=True,
            x=(),
            series={},
            x_label=f"receiver: {receivers}",
            y_label=f"sender: {senders}",
            limits=(0.0, 1.0),
            unit="accuracy",
            parts=tuple(parts),
            columns=2,
            apart=REFUSED,
        )
        if own.size
        else _nothing("grids")
    )


def _accuracy(result: Result, name: str) -> Array:
    """Return what every stitch answers right."""
    made = result.arrays.get("accuracy")
    return made if made is not None and np.isfinite(made).any() else _nothing(name)


def _nothing(name: str) -> Any:
    raise NothingToDraw(name, "no stitch was made", "read the table: result.table('cuts')")


def _control(result: Result, asked: str | None) -> str | None:
    """Return the control that is drawn."""
    run = [name for name in CONTROLS if f"accuracy/{name}" in result.arrays]
    if asked is not None and asked not in run:
        raise UnknownName("control of this grid", asked, run)
    return asked or (run[0] if run else None)


def _how(result: Result) -> str:
    told = result.provenance
    return ", ".join(str(told[key]).replace("_", " ") for key in ("adapter", "matching") if key in told) or "stitched"


def _falling(result: Result) -> tuple[float, float]:
    """Return the penalties of the darkest and the brightest shade, tenths around what there is."""
    values = _known(result, "penalty")
    return max(0.1, math.ceil(10 * values.max()) / 10), min(0.0, math.floor(10 * values.min() + 1e-9) / 10)


def _farthest(result: Result) -> float:
    return min(FAR, max(1.0, float(_known(result, "mse").max())))


def _known(result: Result, name: str) -> np.ndarray:
    values = np.asarray(result.arrays[name], dtype=float)
    known = values[np.isfinite(values)]
    return known if known.size else np.zeros(1)


def _part(result: Result, name: str, short: str, title: str, limits: tuple[float, float]) -> Figure:
    """Return one map with a scale of its own, cells where nothing can be stitched in grey."""
    array = result.arrays[name]
    rows, columns = (list(labels) for labels in array.axes.values())
    senders, receivers = (", ".join(nets(result, side)) for side in SIDES)
    return Figure(
        name=short,
        title=title,
        healthy="",
        kind="map",
        x=columns,
        series=dict(zip(rows, _odd(result, array), strict=True)),
        x_label=f"receiver: {receivers}",
        y_label=f"sender: {senders}",
        limits=limits,
        unit=ENDS[short][2] if short in ENDS else ENDS["accuracy"][2],
        ends=(ENDS[short] if short in ENDS else ENDS["accuracy"])[:2],
        lines=between(*(extents(result, side) for side in SIDES)),
        cell="from {y}\ninto {x}\n" + short + " {value}",
        apart=REFUSED,
    )


ENDS = {
    "accuracy": ("none", "all right", "accuracy"),
    "penalty": ("costs", "free", "penalty"),
    "distance": ("far", "as expected", "distance"),
}


def _odd(result: Result, array: Array) -> np.ndarray:
    """Return the cells of a map, minus infinity where a layer is no place to cut at."""
    values = np.array(array, dtype=float)
    for axis, labels in enumerate(array.axes.values()):
        shut = np.isin(labels, list(closed(result, SIDES[axis])))
        values[shut if axis == 0 else (slice(None), shut)] = -np.inf
    return values


def closed(result: Result, side: str) -> set[str]:
    """Return the labels of the layers of a side that are refused."""
    several = len(nets(result, side)) > 1
    rows = [row for row in result.table("cuts") if not row["clean"] and row["net"] in nets(result, side)]
    return {f"{row['net']}/{row['layer']}" if several else row["layer"] for row in rows}


def nets(result: Result, side: str) -> list[str]:
    """Return the networks of a side, in the order of their rows or columns."""
    return list(dict.fromkeys(result.tables["cells"].columns[side].tolist()))


def extents(result: Result, side: str) -> list[tuple[int, int]]:
    """Return the first and last place of each network of a side."""
    labels = result.arrays["accuracy"].axes[f"{side} layer"]
    names = nets(result, side)
    if len(names) == 1:
        return [(0, len(labels) - 1)]
    places = [[i for i, label in enumerate(labels) if label.startswith(f"{name}/")] for name in names]
    return [(own[0], own[-1]) for own in places if own]


def pairs(results: Results, quantity: str = "accuracy") -> Figure:
    """Draw the grid of each pair of networks beside those of the others."""
    result = last(results)
    _accuracy(result, "pairs")
    if quantity not in result.arrays:
        raise UnknownName("quantity of this grid", quantity, [name for name in result.arrays if name != "decoded"])
    names = [nets(result, side) for side in SIDES]
    chosen = [(i, j) for i in range(len(names[0])) for j in range(len(names[1]))]
    if len(chosen) < 2:
        raise NothingToDraw("pairs", "one pair of networks", "draw 'grids'")
    parts = [_pair(result, quantity, names, place) for place in chosen[:MANY]]
    more = f" The first {MANY} of {len(chosen)} pairs are drawn." if len(chosen) > MANY else ""
    limits = _falling(result) if quantity.startswith("penalty") else (0.0, 1.0)
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
        ends=ENDS["penalty" if quantity.startswith("penalty") else "accuracy"][:2],
        unit=quantity.partition("/")[0],
        parts=tuple(parts),
        columns=min(len(names[1]), ABREAST),
        apart=REFUSED,
    )


def _pair(result: Result, quantity: str, names: Sequence[Sequence[str]], place: tuple[int, int]) -> Figure:
    """Return the part of a map that is one pair's."""
    rows, columns = (extents(result, side)[i] for side, i in zip(SIDES, place, strict=True))
    array = result.arrays[quantity]
    labels = [own[first : final + 1] for own, (first, final) in zip(array.axes.values(), (rows, columns), strict=True)]
    cells = _odd(result, array)[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
    sender, receiver = (own[i] for own, i in zip(names, place, strict=True))
    short = [
        [label.removeprefix(f"{net}/") for label in own] for net, own in zip((sender, receiver), labels, strict=True)
    ]
    return Figure(
        name=f"{sender} into {receiver}",
        title=f"{sender} into {receiver}",
        healthy="",
        kind="map",
        x=short[1],
        series=dict(zip(short[0], cells, strict=True)),
        x_label="",
        y_label="",
        limits=_falling(result) if quantity.startswith("penalty") else (0.0, 1.0),
        lines=between([(0, len(short[0]) - 1)], [(0, len(short[1]) - 1)]),
        cell="from {y}\ninto {x}\n" + quantity + " {value}",
        apart=REFUSED,
    )
