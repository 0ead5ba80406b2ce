"""Figures of signal: what was measured along the layers, and what mean-field theory predicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from netassay.figures.figure import Figure
from netassay.figures.layers import Results, along_layers, column, last


def moment_by_layer(results: Results) -> Figure:
    """Draw the second moment of each layer's output."""
    return _beside(
        results,
        "q",
        name="signal",
        title="Signal: what each layer makes of it, and what theory says",
        healthy="Healthy: level, and the two lines together. A slope is signal that dies or explodes with depth; where "
        "the lines part, weights or signal are not what a random start would have. Hollow points lie on a branch.",
        wide=True,
        y_label="output, mean square of an entry",
        log=True,
    )


def correlation_by_layer(results: Results) -> Figure:
    """Draw how alike different samples look to each layer."""
    return _beside(
        results,
        "c",
        name="correlation",
        title="Correlation: how alike two samples look to each layer",
        healthy="Healthy: well below 1 up to the last layer. At 1, all samples look the same, and nothing can be told "
        "apart any more.",
        y_label="cosine of two samples' outputs, mean over pairs",
    )


def backward_by_layer(results: Results) -> Figure:
    """Draw the second moment of the gradient that arrives at each layer."""
    return _beside(
        results,
        "g",
        name="backward",
        title="Gradient: what arrives at each layer, and what theory says",
        healthy="Healthy: level from the last layer to the first, and the two lines together. Where the size of layers "
        "changes, a step is no fault.",
        y_label="gradient per sample, mean square of an entry",
        log=True,
    )


def _beside(results: Results, column_name: str, **more: Any) -> Figure:
    result = last(results)
    series: dict[str, np.ndarray] = {
        side: column(result, "layers", f"{column_name}_{side}") for side in ("measured", "predicted")
    }
    return along_layers(result, series, **more)
