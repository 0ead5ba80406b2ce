"""Figures of a summary: where parameters and work are."""

from __future__ import annotations

import numpy as np

from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last


def parameters_by_layer(results: Results) -> Figure:
    """Draw where parameters and multiply-adds are."""
    result = last(results)
    table = result.tables["layers"].columns
    used = (table["parameters"] > 0) | (table["multiply_adds"] > 0)
    counts = {"parameters": table["parameters"], "multiply-adds": table["multiply_adds"]}
    shares = {name: 100 * np.divide(values[used], max(int(values.sum()), 1)) for name, values in counts.items()}
    return Figure(
        name="structure",
        title="Where parameters and work are",
        healthy="No health here: early layers usually do the work, late layers hold the parameters.",
        kind="bars",
        wide=True,
        x=table["layer"][used].tolist(),
        series=shares,
        x_label="layer, in order of execution",
        y_label="share of the total, %",
    )
