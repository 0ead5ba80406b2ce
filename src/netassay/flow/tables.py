"""Tables: what was read of a network as the tables and arrays of a Result, and in the layout of plain JSON series."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from netassay.flow.law import law, laws, stretch
from netassay.flow.readings import Readings
from netassay.named import Array, Table
from netassay.result import Result, Verdict

WHEN = ("start", "end", "all")
SHARES = {
    "zero_share": ("zero", "entries"),
    "subnormal_share": ("subnormal", "entries"),
    "gradient_zero_share": ("gradient_zero", "gradient_entries"),
    "gradient_subnormal_share": ("gradient_subnormal", "gradient_entries"),
}
"""Shares of entries, by the counts that they are of; arrays (step, layer) and columns of "layers"."""
BAD = ("nan", "inf", "gradient_nan", "gradient_inf")
CALLS = ("layer", "kind", "role", "depth", "path", "into")
PARAMETERS = ("parameter", "layer", "kind", "role", "size", "dtype", "trained", "optimizer")
PLAIN = ("gradient", "weight", "update", "unchanged", "lost", "adam", "radial", "rate")
Predicted = Mapping[str, tuple[float, float]]


def result(
    readings: Readings,
    verdicts: Sequence[Verdict] = (),
    dismissed: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    predicted: Predicted | None = None,
    channels: Table | None = None,
) -> Result:
    """Put readings and what was judged of them into a Result "flow".

    `predicted` maps a path to the chi and attenuation that theory gives for it, `channels` are the states of channels.
    """
    made = tables(readings, predicted)
    made["channels"] = Table({}) if channels is None else channels
    made["dismissed"] = Table.of(dismissed)
    assumed = {"assumed": dict(readings.assumed), "told": dict(readings.told)}
    return Result("flow", made, arrays(readings), (), tuple(verdicts), tuple(notes), {**assumed, **(provenance or {})})


def tables(readings: Readings, predicted: Predicted | None = None) -> dict[str, Table]:
    """Return the tables "layers", "parameters", "law" and "steps"; of a step range, medians over the steps read."""
    steps = {"step": readings.steps, "epoch": readings.epochs, "loss": readings.loss, "samples": readings.samples}
    return {
        "layers": Table(_layers(readings)),
        "parameters": Table(_parameters(readings)),
        "law": Table.of(_law(readings, predicted or {})),
        "steps": Table(steps),
    }


def arrays(readings: Readings) -> dict[str, Array]:
    """Return the series, step by layer and step by parameter, under the names of the columns."""
    steps = [str(step) for step in readings.steps.tolist()]
    signals = readings.signals
    layers = {name: signals[name] for name in ("gradient", "second_moment", "variance", "flat") if name in signals}
    layers |= {name: share(signals[top], signals[of]) for name, (top, of) in SHARES.items() if top in signals}
    found = {name: Array(one, step=steps, layer=readings.calls["layer"].tolist()) for name, one in layers.items()}
    if readings.updates:
        names = readings.parameters["parameter"].tolist()
        series = {name: readings.updates[name] for name in ("adam", "lost", "unchanged", "weight", "update")}
        series |= {"parameter_gradient": readings.updates["gradient"], "update_ratio": update_ratio(readings)}
        found |= {name: Array(one, step=steps, parameter=names) for name, one in series.items()}
    return found


def update_ratio(readings: Readings) -> np.ndarray:
    """Return what each step added to each parameter over the parameter's size, `(S, P)`; NaN for a size of 0."""
    return share(readings.updates["update"], readings.updates["weight"])


def share(top: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(np.asarray(of) > 0, np.float64(top) / of, np.nan))


def middle(values: np.ndarray) -> np.ndarray:
    """Return the median of each column over what is known; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=0)) if len(values) else np.full(values.shape[1], np.nan)


def _layers(readings: Readings) -> dict[str, np.ndarray]:
    signals = readings.signals
    columns = {name: readings.calls[name] for name in CALLS}
    columns["gradient"] = middle(signals["gradient"])
    for when in ("start", "end"):
        columns[f"gradient_{when}"] = middle(signals["gradient"][stretch(readings, when)])
    last = columns["gradient"][np.isfinite(columns["gradient"])][-1:]
    columns["attenuation"] = share(
        np.full(len(columns["gradient"]), last[0] if len(last) else np.nan), columns["gradient"]
    )
    columns |= {name: middle(signals[name]) for name in ("second_moment", "variance", "entries", "flat")}
    columns["dependence"] = middle(share(signals["variance"], signals["second_moment"]))
    columns |= {name: middle(share(signals[top], signals[of])) for name, (top, of) in SHARES.items()}
    return columns | {name: np.nansum(signals[name], axis=0) for name in BAD}


def _parameters(readings: Readings) -> dict[str, np.ndarray]:
    updates = readings.updates
    if not updates:
        return {}
    columns = {name: readings.parameters[name] for name in PARAMETERS}
    columns |= {name: middle(updates[name]) for name in PLAIN}
    columns["ratio"] = middle(update_ratio(readings))
    columns["gradient_zero_share"] = middle(updates["gradient_zero"] / readings.parameters["size"])
    columns["steps_without_gradient"] = (np.isnan(updates["gradient"]) & np.isfinite(updates["rate"])).sum(0)
    bad = [name for name in updates if name.endswith(("_nan", "_inf"))]
    return columns | {name: np.nansum(updates[name], axis=0) for name in bad}


def _law(readings: Readings, predicted: Predicted) -> list[dict[str, Any]]:
    rows = []
    for when in WHEN:
        chosen = stretch(readings, when)
        for slope in laws(readings, chosen):
            row = {f"chi_{key}" if key in ("low", "high") else key: value for key, value in asdict(slope).items()}
            forward = law(readings, slope.path, chosen, "variance")
            chi, attenuation = predicted.get(slope.path, (np.nan, np.nan))
            row |= {"when": when, "chi_forward": forward.chi if forward else np.nan}
            rows.append(row | {"chi_predicted": chi, "attenuation_predicted": attenuation})
    return rows
