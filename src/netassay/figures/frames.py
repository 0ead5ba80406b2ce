"""Frames: how the gradient of each layer is distributed over steps, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netassay.errors import NothingToDraw
from netassay.figures.figure import Figure
from netassay.figures.gradients import LINES, chosen, watched
from netassay.figures.layers import Results
from netassay.result import Result

TENTHS, FEWEST, MOST, BARS = 10, 4, 40, 60
"""Frames where epochs are not known or short, the fewest steps of one, the most frames, and the most bins."""
WIDTHS = (0.1, 0.2, 0.5, 1.0)
"""Decades of a bin."""


def histograms(results: Results, layers: Sequence[str] | None = None) -> Figure:
    """Draw how the gradient of some layers is distributed over the steps of each epoch, or tenth of the training."""
    result, array = watched(results, "histograms")
    stretches = spans(result)
    names = chosen(result, array, layers, LINES)
    values = np.asarray(array)[:, [array.axes["layer"].index(name) for name in names]]
    edges = bins(values)
    frames = {title: shares(values[rows], edges) for title, rows in stretches.items()}
    top = max(float(made.max(initial=0)) for made in frames.values())
    return Figure(
        name="histograms",
        title="Distribution of each layer's gradient",
        healthy="Healthy: humps that keep their place, or wander to the left together as the loss falls. Humps that "
        "drift apart are layers whose gradient dies; what is zero or not finite is in no bin, so that its hump is low.",
        kind="frames",
        wide=True,
        x=(),
        series={},
        x_label="log10 of the gradient norm per sample",
        y_label="share of steps",
        parts=tuple(_frame(title, edges, names, made, top) for title, made in frames.items()),
    )


def _frame(title: str, edges: np.ndarray, names: Sequence[str], made: np.ndarray, top: float) -> Figure:
    return Figure(
        name=title,
        title=title,
        healthy="",
        kind="lines",
        x=np.round((edges[1:] + edges[:-1]) / 2, 6),
        series=dict(zip(names, made, strict=True)),
        x_label="log10 of the gradient norm per sample",
        y_label="share of steps",
        limits=(0.0, min(1.0, np.ceil(10.5 * top) / 10) or 1.0),
        ramp=True,
        filled=True,
    )


def spans(result: Result) -> dict[str, np.ndarray]:
    """Return the rows of each frame under its title: epochs where they have steps enough, else tenths of all."""
    epochs = result.tables["steps"].columns["epoch"]
    known = np.unique(epochs)
    if len(known) > 1 and len(epochs) >= FEWEST * len(known):
        kept = known[np.unique(np.linspace(0, len(known) - 1, MOST).round().astype(int))]
        return {f"epoch {epoch:g}": np.flatnonzero(epochs == epoch) for epoch in kept.tolist()}
    parts = min(TENTHS, len(epochs) // FEWEST)
    if parts < 2:
        raise NothingToDraw("histograms", f"{len(epochs)} steps were read", "watch more steps, or draw 'series'")
    steps = result.tables["steps"].columns["step"]
    split = np.array_split(np.arange(len(epochs)), parts)
    return {f"steps {steps[rows[0]]} to {steps[rows[-1]]}": rows for rows in split}


def bins(values: np.ndarray) -> np.ndarray:
    """Return edges, in decades, that hold every positive finite value, in whole bins of one width.

    >>> bins(np.array([[0.02, 0.0], [0.3, np.nan]]))[[0, -1]].tolist()
    [-2.0, 0.0]
    """
    known = np.log10(values[np.isfinite(values) & (values > 0)])
    low, high = (np.floor(known.min()), np.floor(known.max()) + 1) if len(known) else (-1.0, 0.0)
    width = next((one for one in WIDTHS if (high - low) / one <= BARS), WIDTHS[-1])
    return np.asarray(low + width * np.arange(round((high - low) / width) + 1))


def shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of steps whose log10 lies in each bin, `(layers, bins)`; 0 and what is not finite is in none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(values)
    counts = [np.histogram(column[np.isfinite(column)], edges)[0] for column in logs.T]
    return np.array(counts).reshape(len(counts), len(edges) - 1) / max(1, len(values))
