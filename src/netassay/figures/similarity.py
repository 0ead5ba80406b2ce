"""Figures of a similarity map: every layer against every layer beside what chance gives, and each one's best match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.similarity_told import distant, errs_at, itself, measured, models, named, scale, told_of
from netassay.result import Array, Result

SHOWN: Mapping[str, tuple[str, str]] = {
    "": ("similarity", "as it is measured"),
    "/null": ("by chance", "mean of permuted samples"),
    "/calibrated": ("calibrated", "share of the way from chance to equal"),
    "/untrained": ("untrained", "of networks that have learned nothing"),
}
"""Maps that stand beside each other: the end of an array's name, its title, and what it is."""
FAR, NONE = ("far", "equal"), ("none", "equal")
UNTOLD = "not told from chance"
FEW = 24
"""Layers that half the width of a page has room for."""


def similarity_map(results: Results, measure: str | None = None) -> Figure:
    """Draw every layer against every layer, what chance gives beside it, and what is left above chance."""
    result = last(results)
    name = measured(result, measure)
    told = told_of(result, name)
    limits = scale(result, name)
    parts = [_part(result, name, end, limits) for end in SHOWN if name + end in result.arrays]
    a, b = models(result, "a"), models(result, "b")
    far, same = distant(told), itself(result)
    where = f" in the same network{'s' * (len(named(result, 'a')) > 1)}" if same else ""
    scales = "Bright is near; the calibrated map has a scale of its own, from 0 to 1, equal. " if far else ""
    who = f"Rows and columns are layers of {a}" if same else f"Rows are layers of a ({a}), columns of b ({b})"
    return Figure(
        name="map",
        title=f"Every layer against every layer{where}: {told.get('title', name)}",
        healthy="How to read it: bright along the thin line of equal relative depth are layers that correspond; bright "
        "in squares, stretches of layers that are alike. A map as bright as that of chance shows sizes of layers and "
        f"of the sample, not what was learned. Grey: {UNTOLD} at {100 * errs_at(result):g} %. {scales}{who}, from "
        "input to output.",
        kind="maps",
        wide=True,
        x=(),
        series={},
        x_label="" if same else f"b: {b}",
        y_label=a if same else f"a: {a}",
        limits=limits,
        ends=FAR if far else NONE,
        unit=told.get("title", name),
        parts=tuple(parts),
        columns=2 if len(parts) == len(SHOWN) else len(parts),
        apart=(UNTOLD, "not defined"),
    )


def _part(result: Result, name: str, end: str, limits: tuple[float, float]) -> Figure:
    """Return one of the maps; the calibrated one has its own scale where the measure is a distance."""
    array, (title, what) = result.arrays[name + end], SHOWN[end]
    far = distant(told_of(result, name))
    title = "distance" if not end and far else title
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
        ends=FAR if far and not above else NONE,
        unit=title if far else "",
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
    return between(*(_models(result, side) for side in "ab"))


def between(rows: Sequence[tuple[int, int]], columns: Sequence[tuple[int, int]]) -> tuple[Line, ...]:
    """Return the lines over a map whose models have these first and last places."""
    equal = [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]
    diagonals = [diagonal(y0, y1, x0, x1) for x0, y0, x1, y1 in equal]
    height, width = rows[-1][1] + 0.5, columns[-1][1] + 0.5
    across = [(-0.5, end + 0.5, width, end + 0.5) for _, end in rows[:-1]]
    down = [(end + 0.5, -0.5, end + 0.5, height) for _, end in columns[:-1]]
    return (*diagonals, *across, *down)


def diagonal(top: int, bottom: int, left: int, right: int) -> Line:
    """Return the line of equal relative depth over the cells of two models, from corner to corner.

    >>> diagonal(0, 3, 0, 7)
    (-0.5, -0.5, 7.5, 3.5)
    """
    return (left - 0.5, top - 0.5, right + 0.5, bottom + 0.5)


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
    if itself(last(results)):
        raise NothingToDraw("best_of_b", "a network against itself", "draw 'best'")
    return _best(results, "b", "best_of_b", measure)


def _best(results: Results, side: str, name: str, measure: str | None) -> Figure:
    result = last(results)
    rows, more = _drawn(result, side, name, measured(result, measure))
    other, at, level = "b" if side == "a" else "a", _positions(result), errs_at(result)
    one, match = rows[0][f"model_{side}"], rows[0][f"model_{other}"]
    same = itself(result) and one == match
    theirs = "the same network" if same else f"{other} ({match})"
    drawn = {"best match": side, **({} if same else {"own depth": side})}
    series = {key: np.array([at[_key(row, other if key == "best match" else side)] for row in rows]) for key in drawn}
    labels = [str(row[f"layer_{side}"]) for row in rows]
    return Figure(
        name=name,
        title=f"Where each layer of {side} ({one}) has its best match in {theirs}",
        healthy=f"How to read it: {SAME if same else LINE} Level points are a stretch of layers that all resemble one. "
        f"Hollow: whether it is the most alike is not told from chance at {100 * level:g} %, over all layers of "
        f"{theirs}.{more}",
        kind="lines",
        wide=True,
        x=labels,
        series=series,
        x_label=f"layer of {side}, from input to output",
        y_label=f"relative depth in {theirs}",
        limits=(0.0, 1.0),
        points=frozenset(["best match"]),
        dashed=frozenset(series) - {"best match"},
        marks=frozenset(label for label, row in zip(labels, rows, strict=True) if not row["p"] <= level + 1e-9),
        said=tuple(str(row[f"layer_{other}"]) for row in rows) if len(rows) <= FEW else (),
        notes=tuple(_said(row, other) for row in rows),
    )


LINE = (
    "on the dashed line the match is as deep as the layer itself (0: input, 1: output); below it, it is earlier. "
    "Networks of different depths, and layers that many resemble, leave the line without being ill."
)
SAME = "which other layer a layer is most like, itself left out; mostly one of its neighbours."


def _drawn(result: Result, side: str, name: str, chosen: str) -> tuple[list[dict[str, Any]], str]:
    """Return the matches of one pair of models, of two different ones where there are, and what is left out."""
    rows = [row for row in result.table("best") if row["of"] == side and row["measure"] == chosen]
    pairs = list(dict.fromkeys((row["model_a"], row["model_b"]) for row in rows))
    if not rows:
        found = "no layer has a match: the map is of one side, or has no other layer"
        raise NothingToDraw(name, found, "map two networks: similarity_map(a, b, data)")
    pair = next((one for one in pairs if one[0] != one[1]), pairs[0])
    more = f" Of {len(pairs)} pairs of models one is drawn: {pair[0]} and {pair[1]}." if pairs[1:] else ""
    return [row for row in rows if (row["model_a"], row["model_b"]) == pair], more


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
    known = f" ({row['low']:.3g} to {row['high']:.3g})" if np.isfinite(row["low"]) else ""
    following = f"; next {row['second']}: {row['second_score']:.3g}" if row.get("second") else ""
    return f"{row[f'layer_{other}']}: {row['score']:.3g}{known}, p {row['p']:.3g}{following}"
