"""Learning of each scheme: the training loss along the way, and the accuracy at the end, over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from netassay.figures.distributions import measured
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.window import outside, window
from netassay.result import Result, Table

POINTS = 200
"""Points of a curve at most."""


def loss(results: Results) -> Figure:
    """Draw the training loss of each scheme: its mean over seeds, and the lowest and highest of them."""
    table, _ = measured(last(results), "loss", "curves")
    told = _whole(table.columns)
    steps, at = np.unique(told["step"], return_inverse=True)
    each = -(-len(steps) // POINTS)
    bins = np.arange(0, len(steps), each)
    x = np.add.reduceat(steps.astype(float), bins) / np.diff([*bins, len(steps)])
    series, bands = {}, {}
    for scheme in dict.fromkeys(told["scheme"].tolist()):
        rows = told["scheme"] == scheme
        seeds, run = np.unique(told["seed"][rows], return_inverse=True)
        curves = np.full((len(seeds), len(steps)), np.nan)
        curves[run, at[rows]] = told["loss"][rows]
        curves[~np.isfinite(curves)] = np.nan
        means = np.add.reduceat(curves, bins, axis=1) / np.diff([*bins, len(steps)])
        series[scheme] = means.mean(0)
        bands[scheme] = (np.fmin.reduce(means, 0), np.fmax.reduce(means, 0))
    return Figure(
        name="loss",
        title="Training loss",
        healthy="Healthy: a steady fall whose band stays narrow. A level line is a scheme from which nothing is "
        "learned. Lines are means over seeds, bands reach from the lowest seed to the highest; a line ends where a "
        "seed's loss is no longer finite." + outside(series),
        kind="lines",
        wide=True,
        x=x,
        series=series,
        limits=window(series),
        x_label=f"step, means of {each}" if each > 1 else "step",
        y_label="training loss",
        log=True,
        bands=bands,
    )


def loss_of(result: Result, owner: str, kept: Sequence[str]) -> Figure:
    """Draw the training loss of some owners of curves, such as remedies, by the column that names them."""
    told = result.tables["curves"].columns
    rows = np.isin(told[owner], kept)
    columns: dict[str, np.ndarray] = {name: values[rows] for name, values in told.items()}
    made = loss({"": replace(result, tables={"curves": Table(columns | {"scheme": columns[owner]})})})
    word = "combination" if owner == "cell" else owner
    return replace(made, healthy=made.healthy.replace("a scheme", f"a {word}"))


def _whole(told: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Leave out steps that the longest curve has not: the end of one that broke off, which would tear the others."""
    owners = list(zip(told["scheme"].tolist(), told["seed"].tolist(), strict=True))
    longest = Counter(owners).most_common(1)[0][0]
    steps = told["step"][[owner == longest for owner in owners]]
    kept = np.isin(told["step"], steps)
    return {name: values[kept] for name, values in told.items()}


def accuracy(results: Results) -> Figure:
    """Draw each scheme's accuracy at the end: its mean over seeds, and the interval."""
    table, _ = measured(last(results), "accuracy", "schemes")
    told = table.columns
    return Figure(
        name="accuracy",
        title="Accuracy after training",
        healthy="Healthy: well above what always naming one class would give. Schemes whose whiskers, intervals over "
        "seeds, overlap by much have not been told apart.",
        kind="bars",
        wide=True,
        x=told["scheme"].tolist(),
        series={"": told["accuracy"]},
        x_label="scheme",
        y_label="share of samples it gets right",
        bands={"": (told["accuracy_low"], told["accuracy_high"])},
    )
