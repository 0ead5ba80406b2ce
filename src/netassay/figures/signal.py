"""Figures of signal: what was measured along the layers, and what mean-field theory predicts."""

from __future__ import annotations

from typing import Any

from netassay.figures.figure import Figure
from netassay.figures.layers import Results, along_layers, column, last


def moment_by_layer(results: Results) -> Figure:
    """Draw the second moment of each layer's output."""
    return _beside(
        results,
        "q",
        name="signal",
        title="Signal, measured and predicted",
        healthy="Healthy: level, and the two lines together. A slope is signal that dies or explodes with depth; where "
        "the lines part by more than narrow layers do by chance, weights are not what a random start would have. "
        "Hollow points lie on a branch.",
        wide=True,
        y_label="output, mean square",
        log=True,
    )


def correlation_by_layer(results: Results) -> Figure:
    """Draw how alike different samples look to each layer."""
    return _beside(
        results,
        "c",
        name="correlation",
        title="Correlation of samples",
        healthy="Healthy: well below 1 up to the last layer. At 1 all samples look the same, and nothing can be told "
        "apart any more.",
        y_label="cosine of outputs",
    )


def backward_by_layer(results: Results) -> Figure:
    """Draw the second moment of the gradient that arrives at each layer."""
    return _beside(
        results,
        "g",
        name="backward",
        title="Gradient, measured and predicted",
        healthy="Healthy: level between layers of one size, and the two lines together. A slope is gradient that "
        "vanishes or explodes; where the number of entries changes, a step is no fault.",
        wide=True,
        y_label="gradient, mean square",
        log=True,
    )


def _beside(results: Results, quantity: str, **more: Any) -> Figure:
    result = last(results)
    sides = ("measured", "predicted")
    return along_layers(result, {side: column(result, "layers", f"{quantity}_{side}") for side in sides}, **more)
