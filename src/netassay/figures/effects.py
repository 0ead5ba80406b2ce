"""Figures of effects: what switches do to gradient and learning, and what two runs differ in, as bars with whiskers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw
from netassay.figures.distributions import measured
from netassay.figures.figure import Figure
from netassay.figures.gradients import evenly
from netassay.figures.layers import Results, last
from netassay.figures.loss import loss_of

MOST, CURVES = 40, 8
"""Bars of a figure, and curves."""
KINDS = ("main", "interaction")
OUTCOMES = {
    "decades": "decades lost on the way to the input",
    "learned": "nats below the loss of guessing",
}


def effects(results: Results) -> Figure:
    """Draw what each switch does to the gradient on its way to the input."""
    return _effects(
        results,
        "decades",
        name="effects",
        title="What each switch does to the gradient",
        healthy="A bar to the right: with this change, gradient loses more on its way to the first layers.",
    )


def effects_learning(results: Results) -> Figure:
    """Draw what each switch does to learning."""
    return _effects(
        results,
        "learned",
        name="effects_learning",
        title="What each switch does to learning",
        healthy="A bar to the left: with this change, less is learned.",
    )


def _effects(results: Results, outcome: str, healthy: str, **more: Any) -> Figure:
    table, _ = measured(last(results), more["name"], "effects")
    rows = [row for row in table.rows() if row["outcome"] == outcome and row["kind"] in KINDS]
    rows.sort(key=lambda row: (KINDS.index(row["kind"]), -abs(np.nan_to_num(row["effect"]))))
    return whiskered(
        {row["change"].replace(", ", " × "): (row["effect"], row["low"], row["high"]) for row in rows[:MOST]},
        healthy=f"{healthy} Whiskers are intervals over seeds; one that crosses 0 decides nothing. First each change "
        "alone, averaged over the other switches, then with ×, what two do together beyond what each does."
        + _first(rows),
        x_label="change",
        y_label=OUTCOMES[outcome],
        **more,
    )


def cells(results: Results) -> Figure:
    """Draw how much gradient each combination of switches loses."""
    return _cells(
        results,
        "decades",
        name="cells",
        title="Gradient of each combination",
        healthy="Healthy: about 0 decades. 3 decades and more reach the first layers as next to nothing; below 0 the "
        "gradient grows on its way.",
    )


def cells_learning(results: Results) -> Figure:
    """Draw how much each combination of switches learned."""
    return _cells(
        results,
        "learned",
        name="cells_learning",
        title="Learning of each combination",
        healthy="Healthy: well above 0. At 0 the loss never came below that of guessing.",
    )


def _cells(results: Results, outcome: str, healthy: str, **more: Any) -> Figure:
    table, _ = measured(last(results), more["name"], "cells")
    rows = table.rows()
    kept = evenly([row["cell"] for row in sorted(rows, key=lambda row: -np.nan_to_num(row["decades"]))], MOST)
    told = {row["cell"]: row for row in rows}
    few = f" {MOST} of {len(rows)} combinations are drawn." if len(kept) < len(rows) else ""
    return whiskered(
        {cell: tuple(told[cell][f"{outcome}{end}"] for end in ("", "_low", "_high")) for cell in kept},
        healthy=f"{healthy} Whiskers are intervals over seeds.{few}",
        x_label="combination",
        y_label=OUTCOMES[outcome],
        **more,
    )


def curves(results: Results) -> Figure:
    """Draw the training loss of some combinations of switches, from the one that learned least to the best."""
    result = last(results)
    measured(result, "curves", "curves")
    scores = result.tables["cells"].columns
    order = scores["cell"][np.argsort(np.nan_to_num(scores["learned"]), kind="stable")].tolist()
    made = loss_of(result, "cell", evenly(order, CURVES))
    few = f" {CURVES} of {len(order)} combinations are drawn, by what they learned." if len(order) > CURVES else ""
    return replace(made, name="curves", healthy=made.healthy + few)


def differences(results: Results) -> Figure:
    """Draw what differs most between two runs, each over the reach of its interval towards 0."""
    table, _ = measured(last(results), "differences", "largest")
    rows = [row for row in table.rows() if np.isfinite(row["size"])]
    if not rows:
        raise NothingToDraw("differences", "no difference has an interval that excludes 0", "read table 'overview'")
    return whiskered(
        {_where(row): _standardized(row) for row in rows[:MOST]},
        name="differences",
        title="What differs most (intervals are not corrected for their number)",
        healthy="Every difference, b less a, over the reach of its 95 % interval towards 0, so that all can be "
        "compared; those between -1 and 1 are left out. Of many numbers that do not differ, one in twenty is "
        "drawn all the same. To the right: more in b." + _first(rows),
        x_label="number",
        y_label="difference / reach of its interval",
        wide=True,
    )


def _where(row: Mapping[str, Any]) -> str:
    """Name a number: its table without the label, the row without the names of its keys, and the quantity."""
    keys = [part.partition("=")[2] for part in row["where"].split(", ")]
    return " ".join([*filter(None, keys), row["quantity"]])


def _standardized(row: Mapping[str, Any]) -> tuple[float, float, float]:
    reach = abs(row["difference"]) / row["size"]
    return row["difference"] / reach, row["difference_low"] / reach, row["difference_high"] / reach


def _first(rows: Sequence[Any]) -> str:
    return f" The first {MOST} of {len(rows)} are drawn." if len(rows) > MOST else ""


def whiskered(rows: Mapping[str, tuple[float, ...]], **more: Any) -> Figure:
    """Return bars that lie, each a number with its interval."""
    told = np.array(list(rows.values()), dtype=float).reshape(len(rows), 3)
    middle, low, high = np.where(np.isfinite(told), told, np.nan).T
    return Figure(kind="bars", flat=True, x=list(rows), series={"": middle}, bands={"": (low, high)}, **more)
