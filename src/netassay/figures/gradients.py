"""Figures of gradient flow: its law against depth, its series and heat map over time, and the size of updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.distributions import measured
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.result import Array, Result

LINES, POINTS, ROWS, BINS = 8, 400, 48, 120
"""Lines of a figure, and points of one; rows and columns of a heat map, at most."""
UPDATES = (1e-4, 1e-2)
"""A decade on either side of 1e-3 (CS231n, "Neural networks 3", ratio of weights and updates)."""
WHEN = {"start": "over the first steps", "end": "over the latest steps", "all": "over everything read"}
FEWEST = 3
"""Depths from which on layers with weights are enough for a line, as in `flow.law`."""
Columns = Mapping[str, np.ndarray]


def law(results: Results, when: str | None = None) -> Figure:
    """Draw gradient against depth with the line fitted to it; of a training at its end, else over all batches."""
    result = last(results)
    when = when or ("end" if trained(result) else "all")
    if when not in WHEN:
        raise UnknownName("stretch of a flow", when, WHEN)
    return _law(result, when, "law" if when != "start" else "law_start")


def law_start(results: Results) -> Figure:
    """Draw gradient against depth over the first steps of a training."""
    if not trained(last(results)):
        raise NothingToDraw("law_start", "this flow is of no training", "draw 'law': it is over all batches")
    return _law(last(results), "start", "law_start")


def trained(result: Result) -> bool:
    """Tell a flow that was read while training from one of a network as it stands."""
    return len(result.tables["parameters"]) > 0


def _law(result: Result, when: str, name: str) -> Figure:
    told = result.tables["layers"].columns
    measure = told["gradient" if when == "all" else f"gradient_{when}"]
    rows = [row for row in result.tables["law"].rows() if row["when"] == when]
    paths = [row["path"] for row in rows] or list(dict.fromkeys(told["path"].tolist()))
    at = {path: _fitted(told, path) for path in paths}
    order = np.array(sorted(np.concatenate([*at.values(), np.zeros(0, int)]).tolist()), dtype=int)
    order = order[np.argsort(told["depth"][order], kind="stable")]
    series, bands = {path: np.where(np.isin(order, at[path]), measure[order], np.nan) for path in paths}, {}
    for row in rows:
        lines = _lines(row, told["depth"][at[row["path"]]], measure[at[row["path"]]], told["depth"][order])
        series |= lines
        bands[f"{row['path']} fitted"] = _band(row, lines[f"{row['path']} fitted"], told["depth"][order])
    return Figure(
        name=name,
        title=f"Gradient against depth, {WHEN[when]}",
        healthy="Healthy: a level line. One that rises to the right is gradient that vanishes on its way back to the "
        "first layers, one that falls is gradient that explodes. " + (" ".join(map(said, rows)) or NO_LAW),
        kind="lines",
        wide=True,
        x=told["layer"][order].tolist(),
        series=series,
        x_label="layer, by depth",
        y_label="gradient norm per sample, RMS",
        log=True,
        bands=bands,
        dashed=frozenset(one for one in series if one.endswith(" predicted")),
        points=frozenset(paths),
    )


NO_LAW = "There is no line: fewer than 3 depths with a gradient."


def _fitted(told: Columns, path: str) -> np.ndarray:
    """Return the calls that the law of a path is fitted to: layers with weights, or all where those are too few."""
    there = (told["path"] == path) & (told["depth"] >= 0)
    weights = there & (told["role"] == "weight")
    enough = len(np.unique(told["depth"][weights])) >= FEWEST
    return np.flatnonzero(weights if enough else there & ~np.isin(told["role"], ("input", "other")))


def _lines(row: Mapping[str, Any], depth: np.ndarray, values: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fitted line, through the mean over depths, and the predicted one, from where gradient comes in."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values)
    depths = np.unique(depth[np.isfinite(logs)])
    if not len(depths):
        return {f"{row['path']} fitted": np.full(len(x), np.nan)}
    means = [logs[(depth == one) & np.isfinite(logs)].mean() for one in depths]
    within = (x >= row["depth_from"]) & (x <= row["depth_to"])
    fitted = np.mean(means) - (x - depths.mean()) * np.log(row["chi"]) / 2
    made = {f"{row['path']} fitted": np.where(within, np.exp(fitted), np.nan)}
    if np.isfinite(row["chi_predicted"]):
        end = np.mean(means) - (row["depth_to"] - depths.mean()) * np.log(row["chi"]) / 2
        guess = end - (x - row["depth_to"]) * np.log(row["chi_predicted"]) / 2
        made[f"{row['path']} predicted"] = np.where(within, np.exp(guess), np.nan)
    return made


def _band(row: Mapping[str, Any], line: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lines of the slopes at the ends of the law's band, about the middle of its depths."""
    away = (x - (row["depth_from"] + row["depth_to"]) / 2) / 2
    sides = [line * np.exp(-away * np.log(row[side] / row["chi"])) for side in ("chi_low", "chi_high")]
    return np.fmin(*sides), np.fmax(*sides)


def said(row: Mapping[str, Any]) -> str:
    """Say a law in words.

    >>> said({"path": "trunk", "chi": 0.5, "chi_low": 0.4, "chi_high": 0.6, "attenuation": 8.0, "depth_from": 1,
    ...       "depth_to": 7, "chi_predicted": float("nan")})
    'On the trunk chi is 0.5 (0.4 to 0.6): from depth 7 back to depth 1 the gradient shrinks by a factor of 8.'
    """
    shrinks = row["attenuation"] >= 1
    factor = row["attenuation"] if shrinks else 1 / row["attenuation"]
    band = f" ({row['chi_low']:.3g} to {row['chi_high']:.3g})" if np.isfinite(row["chi_low"]) else ""
    path = {"unknown": "Where the path is not known"}.get(row["path"], f"On the {row['path']}")
    guess = f" Mean-field theory predicts chi {row['chi_predicted']:.3g}." if np.isfinite(row["chi_predicted"]) else ""
    way = f"from depth {row['depth_to']} back to depth {row['depth_from']}"
    return f"{path} chi is {row['chi']:.3g}{band}: {way} the gradient {('grows', 'shrinks')[shrinks]} by a factor of " + (
        f"{factor:.3g}.{guess}"
    )


def series(results: Results, layers: Sequence[str] | None = None) -> Figure:
    """Draw the gradient of some layers over the steps that were read."""
    array = _gradients(last(results), "series")
    names = chosen(last(results), array, layers, LINES)
    steps = last(results).tables["steps"].columns["step"]
    keep = np.unique(np.linspace(0, len(steps) - 1, POINTS).astype(int))
    return Figure(
        name="series",
        title="Gradient of each layer, step by step",
        healthy="Healthy: lines that stay together, within a few decades, and move together. A fan that opens is "
        "gradient that dies, or explodes, in some layers only; a line that ends is a gradient of zero or not finite."
        + _few(names, array.axes["layer"], "layers"),
        kind="lines",
        wide=True,
        x=steps[keep].astype(float),
        series={name: np.asarray(array)[keep, array.axes["layer"].index(name)] for name in names},
        x_label="step",
        y_label="gradient norm per sample, RMS",
        log=True,
        ramp=True,
    )


def heat(results: Results, layers: Sequence[str] | None = None) -> Figure:
    """Draw the gradient of every layer over time as a map, the first layer on top."""
    array = _gradients(last(results), "heat")
    names = chosen(last(results), array, layers, ROWS)
    steps = last(results).tables["steps"].columns["step"]
    starts = np.arange(0, len(steps), -(-len(steps) // BINS))
    rows = {name: binned(np.asarray(array)[:, array.axes["layer"].index(name)], starts) for name in names}
    known = np.concatenate([row[np.isfinite(row)] for row in rows.values()])
    low, high = (float(known.min()), float(known.max())) if len(known) else (-1.0, 0.0)
    return Figure(
        name="heat",
        title="Gradient by depth and time",
        healthy="Healthy: one shade throughout, or shades that change slowly. A dark band on top that grows is gradient "
        "that vanishes before it reaches the first layers. Grey is a gradient of exactly zero, red one that is not "
        "finite or missing." + _few(names, array.axes["layer"], "layers"),
        kind="heat",
        wide=True,
        x=[str(steps[i]) for i in starts],
        series=rows,
        x_label="step" if len(starts) == len(steps) else f"step, medians of {starts[1]} that were read",
        y_label="layer",
        limits=(low, high if high > low else low + 1.0),
        ends=(f"10^{low:.3g}", f"10^{high:.3g}"),
        cell="{y}\nstep {x}: log10 of the gradient {value}",
        unit="log10 of the gradient",
    )


def binned(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return log10 of the median of each bin; NaN where one of its numbers is not finite, minus infinity for zero.

    >>> binned(np.array([1.0, 100.0, 0.0, 0.0, np.nan, 1.0]), np.array([0, 2, 4])).tolist()
    [1.703291378118661, -inf, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([np.log10(np.median(part)) for part in np.split(values, starts[1:])])


def updates(results: Results, parameters: Sequence[str] | None = None) -> Figure:
    """Draw what each step added to some weight matrices, over their size."""
    result = last(results)
    table, (array,) = measured(result, "updates", "parameters", "update_ratio")
    told, names = table.columns, list(array.axes["parameter"])
    matrices = told["parameter"][(told["role"] == "matrix") & np.isfinite(told["ratio"])].tolist()
    shown = evenly(matrices or names, LINES) if parameters is None else _known(parameters, names, "parameter of a flow")
    steps = result.tables["steps"].columns["step"]
    keep = np.unique(np.linspace(0, len(steps) - 1, POINTS).astype(int))
    return Figure(
        name="updates",
        title="How much each step changes the weights",
        healthy=f"Healthy: in the shaded range, {UPDATES[0]:g} to {UPDATES[1]:g}, and a slow fall. Far below it a layer "
        "hardly learns, far above it each step overwrites what was there." + _few(shown, matrices, "weight matrices"),
        kind="lines",
        wide=True,
        x=steps[keep].astype(float),
        series={name: np.asarray(array)[keep, names.index(name)] for name in shown},
        x_label="step",
        y_label="norm of the update / norm of the weight",
        log=True,
        ramp=True,
        healthy_range=UPDATES,
    )


def _gradients(result: Result, figure: str) -> Array:
    _, (array,) = measured(result, figure, "layers", "gradient")
    if array.shape[0] < 2:
        raise NothingToDraw(figure, "one step was read", "watch more steps, or draw 'law'")
    return array


def chosen(result: Result, array: Array, wanted: Sequence[str] | None, most: int) -> list[str]:
    """Return the layers that are asked for; else those with weights, evenly from the first to the last by depth."""
    told = result.tables["layers"].columns
    if wanted is not None:
        return _known(wanted, list(array.axes["layer"]), "layer of a flow")
    weights = np.flatnonzero(told["role"] == "weight")
    rows = weights if len(weights) else np.flatnonzero(told["role"] != "input")
    return evenly(told["layer"][rows[np.argsort(told["depth"][rows], kind="stable")]].tolist(), most)


def _known(wanted: Sequence[str], names: Sequence[str], kind: str) -> list[str]:
    for one in wanted:
        if one not in names:
            raise UnknownName(kind, one, names)
    return list(wanted)


def evenly(names: Sequence[str], most: int) -> list[str]:
    """Return names evenly, the first and the last among them.

    >>> evenly(["a", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, most).round().astype(int))] if names else []


def _few(shown: Sequence[str], names: Sequence[str], what: str) -> str:
    """Say how many are drawn, where that is not all."""
    return f" {len(shown)} of {len(names)} {what} are drawn." if len(shown) < len(names) else ""
