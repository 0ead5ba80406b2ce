"""Figures of an initialisation study: distributions at start and end, loss, signal against depth, and the shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.distributions import WHEN, Numbers, chosen, density, gathered, measured, sizes
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.window import outside, window
from netassay.result import Array

COLUMNS, WRAPPED, ACROSS = 10, 12, 4
"""Parameters of a study's grid, of a profile's and in one of its rows."""
SAID = "Below each: mean ± standard deviation and skewness"
TITLES = {
    "before": "Output of {}, before its nonlinearity",
    "after": "Output of {}, a nonlinearity",
    "penultimate": "What goes into {}, the last weight layer",
    "logits": "Logits, out of {}",
}
CUT = "every cell has its own axes, and a bar far above the rest is cut."

Told = Mapping[tuple[str, ...], Mapping[str, float]]
"""The numbers of each owner of a distribution."""


def weights(results: Results, parameters: Sequence[str] | None = None) -> Figure:
    """Draw every parameter's distribution at start and end, a row for each scheme."""
    result = last(results)
    table, (values, edges) = measured(result, "weights", "weights", "weights/density", "weights/edges")
    told = gathered(table, *(table.columns[name].tolist() for name in ("scheme", "parameter", "when")))
    names = list(values.axes["parameter"])
    columns = chosen(names, parameters, COLUMNS, "parameter of init_study", sizes(table))
    parts = [
        density(
            name, scheme, edges[i, names.index(name)], *_cell(values[i, names.index(name)], values, told, scheme, name)
        )
        for i, scheme in enumerate(values.axes["scheme"])
        for name in columns
    ]
    return Figure(
        name="weights",
        title="Weights and biases at the start, and what training made of them",
        healthy="Healthy: the mean stays about zero, and the end is wider than the start by a little in every layer; "
        f"an end that lies on its start may have moved all the same. {SAID}, averaged over seeds; {CUT}"
        + _some(columns, names),
        kind="grid",
        wide=True,
        x=(),
        series={},
        x_label="parameter",
        y_label="scheme",
        parts=tuple(parts),
        columns=len(columns),
    )


def _cell(rows: Array, values: Array, told: Told, *owner: str) -> tuple[dict[str, np.ndarray], Numbers]:
    """Return the densities and numbers of start and end, as far as there are some."""
    when = [one for one in WHEN if one in values.axes["when"]]
    densities = {one: np.asarray(rows[values.axes["when"].index(one)], dtype=float) for one in when}
    return densities, {one: told[*owner, one] for one in when if (*owner, one) in told}


def features(results: Results, place: str | None = None) -> Figure:
    """Draw the distribution of features at one place for each scheme and input; by default before the last layer."""
    result = last(results)
    table, (values, edges) = measured(result, "features", "features", "features/density", "features/edges")
    at = _place(values.axes["place"], place)
    layers, places = (table.columns[name].tolist() for name in ("layer", "place"))
    labels = [f"{layer} {one}".strip() for layer, one in zip(layers, places, strict=True)]
    told = gathered(table, labels, *(table.columns[name].tolist() for name in ("scheme", "input", "when")))
    where, inputs = values.axes["place"].index(at), values.axes["input"]
    parts = [
        density(kind, scheme, edges[i, where, j], *_cell(values[i, where, j], values, told, at, scheme, kind))
        for i, scheme in enumerate(values.axes["scheme"])
        for j, kind in enumerate(inputs)
    ]
    return Figure(
        name="features",
        title=_titled(at),
        healthy="Healthy: a spread that training widens, and noise that looks different from images. All in one bar: "
        f"the layer says the same whatever it is shown. {SAID}, averaged over seeds; {CUT}",
        kind="grid",
        wide=len(inputs) > 3,
        x=(),
        series={},
        x_label="input",
        y_label="scheme",
        parts=tuple(parts),
        columns=len(inputs),
    )


def _place(known: Sequence[str], wanted: str | None, otherwise: str = "penultimate") -> str:
    """Return the place that is asked for, or the first whose name ends so, or the last."""
    if wanted is not None and wanted not in known:
        raise UnknownName("place of init_study", wanted, known)
    return wanted or next((one for one in known if one.endswith(otherwise)), known[-1])


def features_before(results: Results) -> Figure:
    """Draw the features of the first layer before its nonlinearity."""
    _, (values,) = measured(last(results), "features_before", "features", "features/density")
    return replace(features(results, _place(values.axes["place"], None, "before")), name="features_before")


def depth(results: Results) -> Figure:
    """Draw the second moment of each layer's pre-activation at the start, measured and predicted."""
    table, _ = measured(last(results), "depth", "signal")
    told = table.columns
    layers = list(dict.fromkeys(told["layer"][np.argsort(told["depth"], kind="stable")].tolist()))
    columns = {name: _pivot(told, "layer", layers, name) for name in ("measured", "low", "high", "predicted")}
    schemes = list(columns["measured"])
    predicted = {f"{one} predicted": columns["predicted"][one] for one in schemes}
    return Figure(
        name="depth",
        title="Signal against depth, at the start",
        healthy="Healthy: level, within a factor of ten or so over the whole depth, and on the dashed line, which is "
        "what theory predicts. Bands reach from the lowest seed to the highest; what is zero has no place here."
        + _anew(told)
        + outside(columns["measured"]),
        kind="lines",
        wide=True,
        x=layers,
        limits=window(columns["measured"]),
        series=columns["measured"] | predicted,
        x_label="layer, by depth",
        y_label="second moment of the pre-activation",
        log=True,
        bands={one: (columns["low"][one], columns["high"][one]) for one in schemes},
        dashed=frozenset(predicted),
    )


def _anew(told: Mapping[str, np.ndarray]) -> str:
    """Say where a prediction does not come all the way from the input."""
    names = list(dict.fromkeys(told["layer"][told["anchored"]].tolist())) if "anchored" in told else []
    return f" At {', '.join(names)} it begins anew from what is measured before." if names else ""


def _titled(place: str) -> str:
    """Say in words what a place is."""
    layer, _, where = place.rpartition(" ")
    return TITLES[where].format(layer) if where in TITLES else f"Features, {place}"


def _some(shown: Sequence[str], names: Sequence[str]) -> str:
    """Say how many parameters are drawn, where that is not all."""
    return (
        f" {len(shown)} of {len(names)} parameters, those with many numbers first." if len(shown) < len(names) else ""
    )


def _pivot(told: Mapping[str, np.ndarray], key: str, labels: Sequence[str], column: str) -> dict[str, np.ndarray]:
    """Return a column along labels for each scheme, NaN where there is no row or its number is not finite."""
    at = np.array([labels.index(one) if one in labels else -1 for one in told[key].tolist()])
    series = {}
    for scheme in dict.fromkeys(told["scheme"].tolist()):
        rows = (told["scheme"] == scheme) & (at >= 0)
        series[scheme] = np.full(len(labels), np.nan)
        series[scheme][at[rows]] = told[column][rows]
        series[scheme][~np.isfinite(series[scheme])] = np.nan
    return series


def shift(results: Results, parameters: Sequence[str] | None = None) -> Figure:
    """Draw how much training changed each parameter's variance, for each scheme."""
    table, _ = measured(last(results), "shift", "shift")
    return _shift(table.columns, parameters, "init_study", "Whiskers are the interval over seeds. ")


def _shift(told: Mapping[str, np.ndarray], wanted: Sequence[str] | None, study: str, whiskers: str) -> Figure:
    ratio = "log_variance_ratio"
    finite = told["parameter"][np.isfinite(told[ratio])].tolist()
    names = list(dict.fromkeys(told["parameter"].tolist() if wanted else finite))
    if not names:
        raise NothingToDraw("shift", "every parameter began, or ended, constant", "draw the weights: 'weights'")
    shown = chosen(names, wanted, WRAPPED, f"parameter of {study}")
    sides = [f"{ratio}_{side}" for side in ("low", "high") if f"{ratio}_{side}" in told]
    low, high = (_pivot(told, "parameter", shown, side) for side in sides) if sides else ({}, {})
    return Figure(
        name="shift",
        title="How much training changed the spread of the weights",
        healthy="Healthy: about zero or a little above. At 0 the variance is what it was, at 0.7 twice that, below 0 "
        f"it shrank. {whiskers}What began constant has no ratio and is left out.",
        kind="bars",
        wide=True,
        x=shown,
        series=_pivot(told, "parameter", shown, ratio),
        x_label="parameter",
        y_label="log of variance at the end / at the start",
        bands={name: (low[name], high[name]) for name in low},
    )


def own_weights(results: Results, parameters: Sequence[str] | None = None) -> Figure:
    """Draw every parameter's distribution beside that of its own initialisation."""
    result = last(results)
    table, (values, edges) = measured(result, "weights", "weights", "weights/density", "weights/edges")
    told = gathered(table, *(table.columns[name].tolist() for name in ("parameter", "when")))
    names = list(values.axes["parameter"])
    shown = chosen(names, parameters, WRAPPED, "parameter of init_profile", sizes(table))
    places = [(name, names.index(name)) for name in shown]
    return Figure(
        name="weights",
        title="The weights beside their own initialisation",
        healthy="Healthy: the mean stays about zero, and the end is wider than the start by a little in every layer; "
        f"an end that lies on its start may have moved all the same. {SAID}; {CUT}" + _some(shown, names),
        kind="grid",
        wide=True,
        x=(),
        series={},
        x_label="parameter",
        y_label="",
        parts=tuple(density(name, "", edges[i], *_cell(values[i], values, told, name)) for name, i in places),
        columns=ACROSS,
    )


def own_shift(results: Results, parameters: Sequence[str] | None = None) -> Figure:
    """Draw how much each parameter's variance differs from that of its initialisation."""
    table, _ = measured(last(results), "shift", "shift")
    one = {**table.columns, "scheme": np.full(len(table), "end / start")}
    return _shift(one, parameters, "init_profile", "")
