"""Figures of the cells of a stitch grid: what accuracy says of each, against how far it is from what is expected."""

from __future__ import annotations

from typing import Any

import numpy as np

from netassay.errors import NothingToDraw
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.result import Result

CONSTANT, HALF = 1.0, 0.5
"""Distance of a constant; share of the receiver's own accuracy above which accuracy alone says compatible."""
WIDEST = 3.0
"""Distance at which points that lie farther are drawn."""
SERIES = {"none": "stitches", "random_sender": "random sender"}


def warning(results: Results) -> Figure:
    """Draw accuracy against representation distance, a point for each stitch and for each of its random control."""
    result = last(results)
    rows = [row for row in result.table("cells") if row["control"] in SERIES and np.isfinite(row["mse"])]
    if not rows:
        raise NothingToDraw("warning", "no stitch was made", "read the table: result.table('cuts')")
    rows.sort(key=lambda row: row["mse"])
    least = least_accuracy(result)
    beyond = sum(row["mse"] > WIDEST for row in rows)
    off = f" {beyond} that lie farther than {WIDEST:g} are drawn there." if beyond else ""
    return Figure(
        name="warning",
        title="Compatible by accuracy, and how far from what is expected",
        healthy="Healthy: points at the upper left, right and near. In the shaded corner accuracy says compatible, while "
        "what the receiver gets is farther from what it expects than a constant would be: the stitch has found another "
        f"way to the answer, and the layers need not carry the same.{off}",
        kind="scatter",
        wide=True,
        x=np.array([min(row["mse"], WIDEST) for row in rows]),
        series={
            name: np.array([row["accuracy"] if row["control"] == control else np.nan for row in rows])
            for control, name in SERIES.items()
            if any(row["control"] == control for row in rows)
        },
        x_label="representation distance: error over that of a constant",
        y_label="accuracy",
        limits=(0.0, 1.0),
        corner=(CONSTANT, least, 1.03 * max(1.2 * CONSTANT, min(WIDEST, rows[-1]["mse"])), 1.0),
        said=("compatible by accuracy alone",),
        tones={"stitches": 0, "random sender": 1},
        notes=tuple(map(_told, rows)),
    )


def least_accuracy(result: Result) -> float:
    """Return the accuracy above which accuracy says compatible: half of what the best receiver answers by itself."""
    return HALF * float(np.max(result.tables["nets"].columns["accuracy"]))


def _told(row: dict[str, Any]) -> str:
    control = "" if row["control"] == "none" else f" ({SERIES[row['control']]})"
    places = [f"{row[side]}/{row[f'{side}_layer']}" for side in ("sender", "receiver")]
    return f"{places[0]} into {places[1]}{control}: accuracy {row['accuracy']:.3g}, distance {row['mse']:.3g}"
