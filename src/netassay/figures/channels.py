"""Figures of a channel profile: gradient, signal, activity and distribution, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from netassay.figures.figure import BOX, Figure
from netassay.figures.layers import Results, along_layers, by_layer, column, last

SHADES = 64
"""Columns into which a layer's sorted channels are gathered in a heat map."""


def gradient_by_layer(results: Results) -> Figure:
    """Draw how much gradient arrives at each layer."""
    return by_layer(
        results,
        "gy_norm",
        name="gradient",
        title="Gradient that arrives at each layer",
        healthy="Healthy: a level band from the first layer to the last. A steady slope on this axis is vanishing or "
        "exploding gradient. Hollow points lie on a branch, which a skip connection bypasses.",
        wide=True,
        y_label="gradient norm per sample, RMS",
        log=True,
    )


def signal_by_layer(results: Results) -> Figure:
    """Draw the size of each layer's output."""
    return by_layer(
        results,
        "y_rms",
        name="signal",
        title="Signal that each layer passes on",
        healthy="Healthy: within a factor of ten or so along the whole depth. A slope means that each layer shrinks or "
        "grows what it is given.",
        y_label="output, RMS over entries",
        log=True,
    )


def input_dependence(results: Results) -> Figure:
    """Draw which share of each layer's output power differs between samples."""
    shares = {}
    for name, one in results.items():
        power = column(one, "layers", "y_mean_square")
        varies = column(one, "layers", "y_variance_across_samples")
        shares[name or "share"] = np.divide(varies, power, out=np.full(len(power), np.nan), where=power > 0)
    return along_layers(
        last(results),
        shares,
        name="dependence",
        title="Output that depends on the input",
        healthy="Healthy: well above zero everywhere. Near zero, a layer says the same whatever it is shown, however "
        "large its output is.",
        y_label="variance across samples / mean square",
        limits=(0.0, 1.0),
    )


def activity(results: Results) -> Figure:
    """Draw every channel, sorted by how often it fires: the share of its activation's entries that are not zero.

    A model without activation layers shows where gradient arrives instead, which functional activations decide.
    """
    result = last(results)
    layer, activation = (column(result, "layers", name) for name in ("layer", "activation"))
    side = "y" if activation.any() else "gy"
    zero, owner = column(result, "channels", f"{side}_zero_share"), column(result, "channels", "layer")
    chosen = layer[activation] if activation.any() else layer
    rows = {str(label): _gathered(1 - zero[owner == label]) for label in chosen}
    return Figure(
        name="activity",
        title="How often every channel fires" if side == "y" else "How often gradient arrives at every channel",
        healthy="Healthy: a gradual shade from left to right. A dark block at the left is channels that never fire; "
        "one shade throughout is a layer whose channels all do the same."
        if side == "y"
        else "Healthy: light. A dark block at the left is channels at which no gradient arrives.",
        kind="heat",
        wide=True,
        x=[f"{round(100 * (i + 0.5) / SHADES)} %" for i in range(SHADES)],
        series=rows,
        x_label="channels of the layer, least active first",
        y_label="layer",
        limits=(0.0, 1.0),
    )


def _gathered(values: np.ndarray) -> np.ndarray:
    """Gather sorted values into SHADES columns of equal share; few channels become wide steps."""
    ordered = np.sort(values)
    place = ((np.arange(SHADES) + 0.5) / SHADES * len(ordered)).astype(int)
    return np.asarray(ordered[np.clip(place, 0, len(ordered) - 1)])


def output_quantiles(results: Results) -> Figure:
    """Draw the distribution of each layer's output."""
    return _quantiles(
        results,
        "y",
        name="outputs",
        title="Distribution of each layer's output",
        healthy="Healthy: boxes of similar height. Whiskers span 90 % of all entries; a box that collapses to its "
        "middle holds hardly any information.",
        y_label="output: 5, 25, 50, 75, 95 %",
    )


def _quantiles(results: Results, side: str, **more: Any) -> Figure:
    result = last(results)
    array = result.array(f"{side}_quantiles")
    labels = array.axes["layer"]
    columns = [array.axes["quantile"].index(q) for q in BOX]
    series = {name: np.asarray(one.array(f"{side}_quantiles"))[:, columns] for name, one in results.items()}
    return Figure(kind="boxes", wide=True, x=labels, series=series, x_label="layer, in order of execution", **more)
