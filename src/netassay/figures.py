"""Figures as data: what is drawn, what it says, and what healthy looks like. Drawn by `plots` and by the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from netassay.errors import UnknownName
from netassay.result import Result, Table

Results = Mapping[str, Result]
"""Results of one study under names such as "start" and "end"; a single one under ""."""
SHADES = 64
"""Columns into which a layer's sorted channels are gathered in a heat map."""
BOX = ("q05", "q25", "q50", "q75", "q95")


@dataclass(frozen=True)
class Figure:
    """One figure. `series` maps a name to values along `x`; boxes have five columns, a heat map one row each.

    `x` holds labels, or numbers for a numeric axis. `marks` are x labels to be set apart, such as calls on a branch.
    """

    name: str
    title: str
    healthy: str
    kind: Literal["lines", "bars", "boxes", "heat"]
    x: Sequence[str] | np.ndarray
    series: Mapping[str, np.ndarray]
    x_label: str
    y_label: str
    log: bool = False
    limits: tuple[float, float] | None = None
    wide: bool = False
    marks: frozenset[str] = field(default_factory=frozenset)

    def table(self) -> Table:
        """Return the figure's numbers, one row for each x."""
        if self.kind == "heat":
            columns = {str(x): np.array([row[i] for row in self.series.values()]) for i, x in enumerate(self.x)}
            return Table({self.y_label: np.array(list(self.series)), **columns})
        columns = {self.x_label: np.asarray(self.x)}
        for name, values in self.series.items():
            if self.kind == "boxes":
                columns |= {f"{name} {q}".strip(): values[:, i] for i, q in enumerate(BOX)}
            else:
                columns[name] = values
        return Table(columns)


def figures(results: Results) -> list[Figure]:
    """Make every figure of one study's results that has something to show."""
    study = next(iter(results.values())).study
    made = [make(results) for make in FIGURES.get(study, {}).values()]
    return [one for one in made if len(one.x) and one.series]


def figure(results: Results, name: str | None) -> Figure:
    """Make one figure by name; the study's first by default."""
    study = next(iter(results.values())).study
    known = FIGURES.get(study, {})
    wanted = name or next(iter(known), "")
    if wanted not in known:
        raise UnknownName(f"figure of {study}", wanted, known)
    return known[wanted](results)


def _column(result: Result, table: str, column: str) -> np.ndarray:
    return result.tables[table].columns[column]


def _last(results: Results) -> Result:
    return list(results.values())[-1]


def _by_layer(results: Results, column: str, **more: Any) -> Figure:
    """Draw one column of the layer table along the layers, a line for each result."""
    result = _last(results)
    labels = _column(result, "layers", "layer").tolist()
    paths = _column(result, "layers", "path").tolist()
    branch = frozenset(label for label, path in zip(labels, paths, strict=True) if path == "branch")
    series = {name or column: _column(one, "layers", column) for name, one in results.items()}
    return Figure(x=labels, series=series, x_label="layer, in order of execution", marks=branch, **more)


def gradient_by_layer(results: Results) -> Figure:
    """Draw how much gradient arrives at each layer."""
    return _by_layer(
        results,
        "gy_norm",
        name="gradient",
        title="Gradient that arrives at each layer",
        healthy="Healthy: a level band from the first layer to the last. A steady slope on this axis is vanishing or "
        "exploding gradient. Hollow points lie on a branch, which a skip connection bypasses.",
        kind="lines",
        wide=True,
        y_label="gradient norm per sample, RMS",
        log=True,
    )


def signal_by_layer(results: Results) -> Figure:
    """Draw the size of each layer's output."""
    return _by_layer(
        results,
        "y_rms",
        name="signal",
        title="Signal that each layer passes on",
        healthy="Healthy: within a factor of ten or so along the whole depth. A slope means that each layer shrinks or "
        "grows what it is given.",
        kind="lines",
        y_label="output, RMS over entries",
        log=True,
    )


def input_dependence(results: Results) -> Figure:
    """Draw which share of each layer's output power differs between samples."""
    shares = {}
    for name, one in results.items():
        power = _column(one, "layers", "y_mean_square")
        varies = _column(one, "layers", "y_variance_across_samples")
        shares[name or "share"] = np.divide(varies, power, out=np.full(len(power), np.nan), where=power > 0)
    base = _by_layer(
        results,
        "y_rms",
        name="dependence",
        title="Output that depends on the input",
        healthy="Healthy: well above zero everywhere. Near zero, a layer says the same whatever it is shown, however "
        "large its output is.",
        kind="lines",
        y_label="variance across samples / mean square",
        limits=(0.0, 1.0),
    )
    return Figure(**{**vars(base), "series": shares})


def activity(results: Results) -> Figure:
    """Draw every channel, sorted by how often it fires: the share of its activation's entries that are not zero.

    A model without activation layers shows where gradient arrives instead, which functional activations decide.
    """
    result = _last(results)
    layer, activation = (_column(result, "layers", name) for name in ("layer", "activation"))
    side = "y" if activation.any() else "gy"
    zero, owner = _column(result, "channels", f"{side}_zero_share"), _column(result, "channels", "layer")
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
    result = _last(results)
    array = result.array(f"{side}_quantiles")
    labels = array.axes["layer"]
    columns = [array.axes["quantile"].index(q) for q in BOX]
    series = {name: np.asarray(one.array(f"{side}_quantiles"))[:, columns] for name, one in results.items()}
    return Figure(kind="boxes", wide=True, x=labels, series=series, x_label="layer, in order of execution", **more)


def parameters_by_layer(results: Results) -> Figure:
    """Draw where parameters and multiply-adds are."""
    result = _last(results)
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


FIGURES: Mapping[str, Mapping[str, Callable[[Results], Figure]]] = {
    "channel_profile": {
        "gradient": gradient_by_layer,
        "signal": signal_by_layer,
        "dependence": input_dependence,
        "activity": activity,
        "outputs": output_quantiles,
    },
    "summary": {"structure": parameters_by_layer},
}
