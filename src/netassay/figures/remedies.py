"""Figures of a prescription: gradient against depth before and after, the ranking, and the loss of the first steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from netassay.figures.distributions import measured
from netassay.figures.effects import whiskered
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.loss import loss_of
from netassay.result import Result, Table

BEST, MOST = 3, 30
"""Remedies whose gradient is drawn beside that of the network as it is, and remedies that are ranked, at most."""
KEPT = (0.95, 1.05)
"""chi that keeps the gradient, to within a factor of 2 over 27 layers."""


def before_after(results: Results) -> Figure:
    """Draw gradient against depth of the network as it is, and with the best remedies."""
    result = last(results)
    table, _ = measured(result, "before_after", "before_after")
    told = table.columns
    shown = _best(result, _changing(told))
    order = np.argsort(told["depth"], kind="stable")
    layers = list(dict.fromkeys(told["layer"][order][np.isin(told["remedy"][order], shown)].tolist()))
    drawn = {one: _along(layers, told, one) for one in shown}
    return Figure(
        name="before_after",
        title="Gradient against depth, before and after",
        healthy=f"Healthy: a level line. '{shown[0]}' is the network before, the others are copies of it with the best "
        "remedies that change the law, in their order; a rate or an epsilon does not. Bands are intervals over seeds; "
        "a gap is a layer that a network does not have.",
        kind="lines",
        wide=True,
        x=layers,
        series={one: values[0] for one, values in drawn.items()},
        x_label="layer, by depth",
        y_label="gradient norm per sample, RMS",
        log=True,
        bands={one: (values[1], values[2]) for one, values in drawn.items()},
        tones=_tones(result),
    )


def _changing(told: Mapping[str, np.ndarray]) -> list[str]:
    """Return the network as it is, and the remedies with which the gradient at the start is another."""
    every = list(dict.fromkeys(told["remedy"].tolist()))
    law = {one: tuple(told[name][told["remedy"] == one].tolist() for name in ("layer", "gradient")) for one in every}
    return [one for one in every if one == every[0] or law[one] != law[every[0]]]


def _tones(result: Result) -> dict[str, int]:
    """Return the place among the colours of each remedy that is a line of some figure, the same in all of them."""
    drawn = []
    for name, known in (("before_after", _changing), ("curves", _named)):
        if len(result.tables.get(name, Table({}))):
            drawn += _best(result, known(result.tables[name].columns))
    return {one: i for i, one in enumerate(dict.fromkeys(drawn))}


def _named(told: Mapping[str, np.ndarray]) -> list[str]:
    return list(dict.fromkeys(told["remedy"].tolist()))


def _along(layers: list[str], told: Mapping[str, np.ndarray], remedy: str) -> np.ndarray:
    """Return a remedy's gradient and its interval along the layers, NaN where there is none."""
    at = np.full((3, len(layers)), np.nan)
    rows = np.flatnonzero(told["remedy"] == remedy)
    places = [layers.index(layer) for layer in told["layer"][rows].tolist()]
    at[:, places] = [told[name][rows] for name in ("gradient", "low", "high")]
    return at


def ranking(results: Results) -> Figure:
    """Draw how far the loss falls in the first steps with each remedy, in their order."""
    return _ranked(
        results,
        "loss_fall",
        name="ranking",
        title="How far the loss falls in the first steps",
        healthy="Healthy: to the right of 0. Remedies stand in their order, the best on top; whiskers are intervals, "
        "and remedies whose whiskers overlap by much have not been told apart. Grey: no line of another figure.",
        y_label="fall of the loss, nats",
    )


def chi(results: Results) -> Figure:
    """Draw the law with each remedy."""
    return _ranked(
        results,
        "chi",
        name="chi",
        title="The law with each remedy",
        healthy="Healthy: in the shaded range about 1, where the gradient is kept. Below it vanishes from layer to "
        "layer, above it explodes. Whiskers are intervals over seeds.",
        y_label="chi, factor of the squared gradient per layer",
        healthy_range=KEPT,
    )


def first_steps(results: Results) -> Figure:
    """Draw the loss of the first steps of the network as it is, and with the best remedies."""
    result = last(results)
    table, _ = measured(result, "loss", "curves")
    told = table.columns
    made = loss_of(result, "remedy", _best(result, _named(told)))
    return replace(made, title="Loss of the first steps", tones=_tones(result))


def _best(result: Result, known: list[str]) -> list[str]:
    """Return the network as it is, and the best remedies in their order."""
    ranked = [row["remedy"] for row in _rows(result) if row["remedy"] in known]
    before = known[0]
    return [before, *[one for one in ranked if one != before][:BEST]]


def _rows(result: Result) -> list[Mapping[str, Any]]:
    return sorted(result.tables["remedies"].rows(), key=lambda row: row["rank"])


def _ranked(results: Results, measure: str, **more: Any) -> Figure:
    result = last(results)
    measured(result, more["name"], "remedies")
    rows = _rows(result)[:MOST]
    told = {row["remedy"]: tuple(row[f"{measure}{end}"] for end in ("", "_low", "_high")) for row in rows}
    return whiskered(told, x_label="remedy", tones=_tones(result), **more)
