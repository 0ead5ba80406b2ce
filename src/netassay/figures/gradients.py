"""Figures of gradient flow over time: series and heat map of the gradient, and the size of updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.distributions import measured
from netassay.figures.figure import Figure
from netassay.figures.law import trained
from netassay.figures.layers import Results
from netassay.result import Array, Result

LINES, POINTS, ROWS, BINS = 8, 400, 48, 120
"""Lines of a figure, and points of one; rows and columns of a heat map, at most."""
DECADES = 3.0
"""Least range of a heat map's colours: what varies by less looks alike."""
UPDATES = (1e-4, 1e-2)
"""A decade on either side of 1e-3 (CS231n, "Neural networks 3", ratio of weights and updates)."""


def told_loss(results: Results) -> Figure:
    """Draw the loss of the steps that were read, where it was told."""
    result, _ = watched(results, "loss")
    told = result.tables["steps"].columns
    known = np.flatnonzero(np.isfinite(told["loss"]))
    if not len(known):
        raise NothingToDraw("loss", "no loss was told while it trained", "tell it: monitor.step(loss) after each step")
    keep = known[np.unique(np.linspace(0, len(known) - 1, POINTS).astype(int))]
    return Figure(
        name="loss",
        title="Loss of the steps that were read",
        healthy="Healthy: falls quickly, then slowly; no jumps upwards that stay.",
        kind="lines",
        wide=True,
        x=told["step"][keep].astype(float),
        series={"loss": told["loss"][keep]},
        x_label="step",
        y_label="training loss",
        log=bool((told["loss"][keep] > 0).all()),
    )


def series(results: Results, layers: Sequence[str] | None = None) -> Figure:
    """Draw the gradient of some layers over the steps that were read."""
    result, array = watched(results, "series")
    names = chosen(result, array, layers, LINES)
    steps = result.tables["steps"].columns["step"]
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
    result, array = watched(results, "heat")
    names = chosen(result, array, layers, ROWS)
    steps = result.tables["steps"].columns["step"]
    starts = np.arange(0, len(steps), -(-len(steps) // BINS))
    rows = {name: binned(np.asarray(array)[:, array.axes["layer"].index(name)], starts) for name in names}
    known = np.concatenate([row[np.isfinite(row)] for row in rows.values()])
    low, high = _range(known)
    return Figure(
        name="heat",
        title="Gradient by depth and time",
        healthy="Healthy: one shade throughout, or shades that change slowly. A dark band on top that grows is "
        "gradient that vanishes before it reaches the first layers. Grey is a gradient of exactly zero, "
        "red one that is not finite or missing." + _few(names, array.axes["layer"], "layers"),
        kind="heat",
        wide=True,
        x=[str(steps[i]) for i in starts],
        series=rows,
        x_label="step" if len(starts) == len(steps) else f"step, medians of {starts[1]} that were read",
        y_label="layer",
        limits=(low, high),
        ends=(f"{10**low:.2g}", f"{10**high:.2g}"),
        cell="{y}\nstep {x}: log10 of the gradient {value}",
        unit="log10 of the gradient",
    )


def _range(known: np.ndarray) -> tuple[float, float]:
    """Return the ends of a heat map's colours, in decades: what was found, in the middle where that is narrow.

    >>> _range(np.array([-2.0, -1.0])), _range(np.array([-9.0, 0.0]))
    ((-3.0, 0.0), (-9.0, 0.0))
    """
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    room = max(DECADES - (high - low), 0.0) / 2
    return low - room, high + room


def binned(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return log10 of the median of each bin; NaN where one of its numbers is not finite, minus infinity for zero.

    >>> binned(np.array([10.0, 10.0, 0.0, 0.0, np.nan, 1.0]), np.array([0, 2, 4])).tolist()
    [1.0, -inf, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([np.log10(np.median(part)) for part in np.split(values, starts[1:])])


def updates(results: Results, parameters: Sequence[str] | None = None) -> Figure:
    """Draw what each step added to some weight matrices, over their size."""
    result, _ = watched(results, "updates")
    table, (array,) = measured(result, "updates", "parameters", "update_ratio")
    told, names = table.columns, list(array.axes["parameter"])
    matrices = told["parameter"][(told["role"] == "matrix") & np.isfinite(told["ratio"])].tolist()
    shown = evenly(matrices or names, LINES) if parameters is None else _known(parameters, names, "parameter of a flow")
    steps = result.tables["steps"].columns["step"]
    keep = np.unique(np.linspace(0, len(steps) - 1, POINTS).astype(int))
    return Figure(
        name="updates",
        title="How much each step changes the weights",
        healthy=f"Usual: in the shaded range, {UPDATES[0]:g} to {UPDATES[1]:g}, and below it as the rate falls. Far "
        "below it a layer hardly learns, far above it each step overwrites what was there."
        + _few(shown, matrices, "weight matrices"),
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


def watched(results: Results, figure: str) -> tuple[Result, Array]:
    """Return the last result that was read while training, and its gradients, step by step."""
    found = [one for one in results.values() if trained(one) and one.array("gradient").shape[0] > 1]
    if not found:
        raise NothingToDraw(figure, "no training was watched for two steps that were read", "draw 'law'")
    return found[-1], found[-1].array("gradient")


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
