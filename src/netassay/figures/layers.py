"""Layers: what the figures of several studies draw alike, a line along the layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from netassay.figures.figure import Figure
from netassay.result import Result

Results = Mapping[str, Result]
"""Results of one study under names such as "start" and "end"; a single one under ""."""


def column(result: Result, table: str, name: str) -> np.ndarray:
    """Return a column of one of a result's tables."""
    return result.tables[table].columns[name]


def last(results: Results) -> Result:
    """Return the result that is looked at where only one can be drawn."""
    return list(results.values())[-1]


def by_layer(results: Results, measure: str, **more: Any) -> Figure:
    """Draw one column of the layer table along the layers, a line for each result."""
    series = {name or measure: column(one, "layers", measure) for name, one in results.items()}
    return along_layers(last(results), series, **more)


def along_layers(result: Result, series: Mapping[str, np.ndarray], **more: Any) -> Figure:
    """Draw lines along the layers of a result; calls on a branch are marked."""
    labels = column(result, "layers", "layer").tolist()
    paths = column(result, "layers", "path").tolist()
    branch = frozenset(label for label, path in zip(labels, paths, strict=True) if path == "branch")
    return Figure(kind="lines", x=labels, series=series, x_label="layer, in order of execution", marks=branch, **more)
