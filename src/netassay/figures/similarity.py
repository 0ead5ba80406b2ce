"""Figures of a similarity map: every layer against every layer beside what chance gives, and each one's best match."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.result import Array, Result

SHOWN: Mapping[str, tuple[str, str]] = {
    "": ("similarity", "as it is measured"),
    "/null": ("by chance", "mean of permuted samples"),
    "/calibrated": ("calibrated", "share of the way from chance to equal"),
    "/untrained": ("untrained", "of networks that have learned nothing"),
}
"""Maps that stand beside each other: the end of an array's name, its title, and what it is."""
UNTOLD = "not told from chance"
NEAR = 0.05
"""How far below 0 a debiased similarity may lie and still have the darkest shade."""
FEW = 24
"""Layers that half the width of a page has room for."""


def similarity_map(results: Results, measure: str | None = None) -> Figure:
    """Draw every layer against every layer, what chance gives beside it, and what is left above chance."""
    result = last(results)
    name = measured(result, measure)
    told = _told(result, name)
    limits = scale(result, name)
    parts = [_part(result, name, end, limits) for end in SHOWN if name + end in result.arrays]
    a, b = models(result, "a"), models(result, "b")
    far = distant(told)
    scales = "Bright is near; the calibrated map has a scale of its own, from 0 to 1, equal. " if far else ""
    return Figure(
        name="map",
        title=f"Every layer against every layer: {told.get('title', name)}",
        healthy=f"Healthy: a bright band along the line of equal relative depth that the map of chance lacks. A "
        "map as bright as that of chance shows sizes of layers and of the sample, not what was learned. Grey: "
        f"{UNTOLD} at 5 %. {scales}Rows are layers of a ({a}), columns of b ({b}), both from input to output.",
        kind="maps",
        wide=True,
        x=(),
        series={},
        x_label=f"b: {b}",
        y_label=f"a: {a}",
        limits=limits,
        ends=("far", "equal") if far else ("none", "equal"),
        unit=told.get("title", name),
        parts=tuple(parts),
        columns=2 if len(parts) == len(SHOWN) else len(parts),
        apart=(UNTOLD, "not defined"),
    )


def measured(result: Result, measure: str | None) -> str:
    """Return a measure of a map, by default its first."""
    known = [row["measure"] for row in result.tables["measures"].rows()] if "measures" in result.tables else []
    if not known:
        raise NothingToDraw("map", "no measure was taken", "map with measures=['cka']")
    if measure is not None and measure not in known:
        raise UnknownName("measure of this similarity map", measure, known)
    return measure or str(known[0])


def _told(result: Result, name: str) -> Mapping[str, Any]:
    """Return what the table of measures says of one."""
    return next(row for row in result.tables["measures"].rows() if row["measure"] == name)


def models(result: Result, side: str) -> str:
    """Name the models of a side, in the order of their rows or columns."""
    told = result.tables["layers"].columns
    return ", ".join(dict.fromkeys(map(str, told["model"][told["side"] == side])))


def distant(told: Mapping[str, Any]) -> bool:
    """Tell a distance from a similarity."""
    return bool(told["direction"] == "distance")


def scale(result: Result, name: str) -> tuple[float, float]:
    """Return the numbers of the darkest and the brightest shade, which is that of equal features.

    Of a similarity it is 1, and the darkest is 0 where nothing lies far below, so that maps can be compared.
    """
    values = [np.asarray(result.arrays[name + end], dtype=float) for end in ("", "/null")]
    known = np.concatenate([one[np.isfinite(one)] for one in values])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if distant(_told(result, name)):
        return max(high, 1e-12), min(low, 0.0)
    return (math.floor(10 * low) / 10 if low < -NEAR else 0.0), max(high, 1.0)


def _part(result: Result, name: str, end: str, limits: tuple[float, float]) -> Figure:
    """Return one of the maps; the calibrated one has its own scale where the measure is a distance."""
    array, (title, what) = result.arrays[name + end], SHOWN[end]
    title = "distance" if not end and distant(_told(result, name)) else title
    values = np.asarray(array, dtype=float)
    above = end == "/calibrated"
    return drawn(
        array,
        np.where(values <= 0, -np.inf, values) if above else values,
        name=title,
        title=f"{title}: {what}",
        x_label=f"b: {models(result, 'b')}",
        y_label=f"a: {models(result, 'a')}",
        limits=(0.0, 1.0) if above else limits,
        lines=lines(result),
    )


def drawn(array: Array, values: np.ndarray, **more: Any) -> Figure:
    """Return one map; a cell of minus infinity is not told from chance."""
    rows, columns = (list(labels) for labels in array.axes.values())
    return Figure(
        healthy="",
        kind="map",
        x=columns,
        series=dict(zip(rows, values, strict=True)),
        cell="a: {y}\nb: {x}\n{value}",
        apart=(UNTOLD, "not defined"),
        **more,
    )


Line = tuple[float, float, float, float]


def lines(result: Result) -> tuple[Line, ...]:
    """Return where layers of a and b are at equal relative depth, and where one model ends: from x, y to x, y."""
    rows, columns = (_models(result, side) for side in "ab")
    equal = [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]
    diagonals = [diagonal(y0, y1, x0, x1) for x0, y0, x1, y1 in equal]
    height, width = rows[-1][1] + 0.5, columns[-1][1] + 0.5
    across = [(-0.5, end + 0.5, width, end + 0.5) for _, end in rows[:-1]]
    down = [(end + 0.5, -0.5, end + 0.5, height) for _, end in columns[:-1]]
    return (*diagonals, *across, *down)


def diagonal(top: int, bottom: int, left: int, right: int) -> Line:
    """Return the line of equal relative depth (i + 1) / I over the cells of two models.

    >>> diagonal(0, 3, 0, 7)
    (0.0, -0.5, 7.0, 3.0)
    """
    tall, wide = bottom - top + 1, right - left + 1
    from_ = max(0.5 / tall, 0.5 / wide)
    return (left - 1 + wide * from_, top - 1 + tall * from_, float(right), float(bottom))


def _models(result: Result, side: str) -> list[tuple[int, int]]:
    """Return the first and last place of each model of a side."""
    told = result.tables["layers"].columns
    models = told["model"][told["side"] == side].tolist()
    starts = [i for i, model in enumerate(models) if i == 0 or model != models[i - 1]]
    return list(zip(starts, [*(start - 1 for start in starts[1:]), len(models) - 1], strict=True))


def best(results: Results, measure: str | None = None) -> Figure:
    """Draw where in b the best match of each layer of a lies."""
    return _best(results, "a", "best", measure)


def best_of_b(results: Results, measure: str | None = None) -> Figure:
    """Draw where in a the best match of each layer of b lies; of a network against itself that is said already."""
    values = np.asarray(last(results).arrays[measured(last(results), measure)])
    if values.shape == values.T.shape and np.array_equal(values, values.T, equal_nan=True):
        raise NothingToDraw("best_of_b", "a network against itself", "draw 'best'")
    return _best(results, "b", "best_of_b", measure)


def _best(results: Results, side: str, name: str, measure: str | None) -> Figure:
    result = last(results)
    chosen = measured(result, measure)
    rows = [row for row in result.table("best") if row["of"] == side and row["measure"] == chosen]
    pairs = list(dict.fromkeys((row["model_a"], row["model_b"]) for row in rows))
    if not rows:
        found = "no layer has a match: the map is of one side, or has no other layer"
        raise NothingToDraw(name, found, "map two networks: similarity_map(a, b, data)")
    rows = [row for row in rows if (row["model_a"], row["model_b"]) == pairs[0]]
    other = "b" if side == "a" else "a"
    at = _positions(result)
    own, match = (np.array([at[_key(row, one)] for row in rows]) for one in (side, other))
    labels = [str(row[f"layer_{side}"]) for row in rows]
    more = f" Of several pairs of models the first is drawn: {pairs[0][0]} and {pairs[0][1]}." if pairs[1:] else ""
    return Figure(
        name=name,
        title=f"Where each layer of {side} has its best match in {other}",
        healthy="Healthy: points along the dashed line, where the match is as deep as the layer itself (1: the last "
        "layer). Level points "
        "are a stretch of layers that all resemble one. Hollow: whether it is the most alike is not told from chance, "
        f"over all layers of {other}.{more}",
        kind="lines",
        wide=max(map(len, result.arrays[chosen].axes.values())) > FEW,
        x=labels,
        series={"best match": match, "own depth": own},
        x_label=f"layer of {side}, from input to output",
        y_label=f"relative depth in {other}",
        limits=(0.0, 1.05),
        points=frozenset(["best match"]),
        dashed=frozenset(["own depth"]),
        marks=frozenset(label for label, row in zip(labels, rows, strict=True) if not row["p"] <= LEVEL),
        notes=tuple(_said(row, other) for row in rows),
    )


LEVEL = 0.05
"""Chance of calling a layer the most alike where nothing is, over all layers of the other network."""


def _positions(result: Result) -> dict[tuple[str, str, str], float]:
    rows = result.table("layers")
    return {(row["side"], row["model"], row["layer"].removeprefix(f"{row['model']}/")): row["position"] for row in rows}


def _key(row: Mapping[str, Any], side: str) -> tuple[str, str, str]:
    return side, row[f"model_{side}"], row[f"layer_{side}"]


def _said(row: Mapping[str, Any], other: str) -> str:
    """Say a match in words.

    >>> told = {"layer_b": "conv2", "score": 0.8123, "low": 0.79, "high": 0.83, "p": 0.005}
    >>> _said({**told, "second": "conv1", "second_score": 0.5}, "b")
    'conv2: 0.812 (0.79 to 0.83), p 0.005; next conv1: 0.5'
    """
    known = f" ({row['low']:.3g} to {row['high']:.3g})" if np.isfinite(row.get("low", np.nan)) else ""
    following = f"; next {row['second']}: {row['second_score']:.3g}" if row.get("second") else ""
    return f"{row[f'layer_{other}']}: {row['score']:.3g}{known}, p {row['p']:.3g}{following}"
