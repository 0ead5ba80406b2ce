"""Figures of the law: gradient against depth, the line fitted to it, and the one that theory predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.result import Result

WHEN = {"start": "over the first steps", "end": "over the latest steps", "all": "over everything read"}
FEWEST = 3
"""Depths from which on layers with weights are enough for a line, as in `flow.law`."""
FEW = 16
"""Layers that half the width of a page has room for."""
STRAIGHT = 0.5
"""Share of the variance along depth below which points do not lie on a line."""
ALARM = 1000
"""Attenuation, or growth, from which on `verdicts` make a finding of it (AutoTrainer, Zhang et al. 2021)."""
NO_LAW = "There is no line: fewer than 3 depths with a gradient."
Columns = Mapping[str, np.ndarray]


def law(results: Results, when: str | None = None) -> Figure:
    """Draw gradient against depth with the line fitted to it: at the end, or over all batches where there is no end.

    `when` is "start" or "end" of a training, or "all".
    """
    if when is not None and when not in WHEN:
        raise UnknownName("stretch of a flow", when, WHEN)
    return _law(*_looked(results, when or ("end" if ended(results) else "all")), name="law")


def law_start(results: Results) -> Figure:
    """Draw gradient against depth at the start: of the network before it was trained, or over its first steps."""
    if not ended(results):
        raise NothingToDraw("law_start", "this flow is of no training", "draw 'law': it is over all batches")
    return _law(*_looked(results, "start"), name="law_start")


def ended(results: Results) -> bool:
    """Tell whether there is a start and an end: two results, or one that was read while training."""
    return {"start", "end"} <= set(results) or trained(last(results))


def trained(result: Result) -> bool:
    """Tell a flow that was read while training from one of a network as it stands."""
    return len(result.tables["parameters"]) > 0


def _looked(results: Results, when: str) -> tuple[Result, str, str]:
    """Return the result that is looked at, over which of its steps, and what that is in words."""
    if when in results and not trained(results[when]):
        return results[when], "all", f"at the {when}"
    return last(results), when, WHEN[when]


def _law(result: Result, when: str, words: str, name: str) -> Figure:
    told = result.tables["layers"].columns
    measure = told["gradient" if when == "all" else f"gradient_{when}"]
    rows = [row for row in result.tables["law"].rows() if row["when"] == when]
    paths = [row["path"] for row in rows] or list(dict.fromkeys(told["path"].tolist()))
    at = {path: _fitted(told, path) for path in paths}
    order = np.array(sorted(np.concatenate([*at.values(), np.zeros(0, int)]).tolist()), dtype=int)
    order = order[np.argsort(told["depth"][order], kind="stable")]
    series, bands = {path: np.where(np.isin(order, at[path]), measure[order], np.nan) for path in paths}, {}
    rows = [_narrowed(row, told["depth"][at[row["path"]]], measure[at[row["path"]]]) for row in rows]
    for row in rows:
        lines = _lines(row, told["depth"][at[row["path"]]], measure[at[row["path"]]], told["depth"][order])
        series |= lines
        bands[f"{row['path']} fitted"] = _band(row, lines[f"{row['path']} fitted"], told["depth"][order])
    return Figure(
        name=name,
        title=f"Gradient against depth, {words}",
        healthy="Healthy: a level line. One that rises to the right is gradient that vanishes on its way back to the "
        "first layers, one that falls is gradient that explodes. " + (" ".join(map(said, rows)) or NO_LAW),
        kind="lines",
        wide=len(order) > FEW,
        x=told["layer"][order].tolist(),
        series=series,
        x_label="layer, by depth",
        y_label="gradient norm per sample, RMS",
        log=True,
        bands=bands,
        dashed=frozenset(one for one in series if one.endswith(" predicted")),
        points=frozenset(paths),
    )


def _fitted(told: Columns, path: str) -> np.ndarray:
    """Return the calls that the law of a path is fitted to: layers with weights, or all where those are too few."""
    there = (told["path"] == path) & (told["depth"] >= 0)
    weights = there & (told["role"] == "weight")
    enough = len(np.unique(told["depth"][weights])) >= FEWEST
    return np.flatnonzero(weights if enough else there & ~np.isin(told["role"], ("input", "other")))


def _narrowed(row: dict[str, Any], depth: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Return a law over the depths that have a gradient: fitted without the others, it says nothing of them."""
    there = depth[np.isfinite(values) & (values > 0)]
    if not row["left_out"] or not len(there):
        return row
    low, high = int(there.min()), int(there.max())
    return {**row, "depth_from": low, "depth_to": high, "attenuation": row["chi"] ** (-(high - low) / 2)}


def _lines(row: Mapping[str, Any], depth: np.ndarray, values: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fitted line, through the mean over depths, and the predicted one, from where gradient comes in."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values)
    depths = np.unique(depth[np.isfinite(logs)])
    if not len(depths):
        return {f"{row['path']} fitted": np.full(len(x), np.nan)}
    means = [logs[(depth == one) & np.isfinite(logs)].mean() for one in depths]
    within = (x >= row["depth_from"]) & (x <= row["depth_to"])
    fitted = np.mean(means) - (x - depths.mean()) * np.log(row["chi"]) / 2
    made = {f"{row['path']} fitted": np.where(within, np.exp(fitted), np.nan)}
    if np.isfinite(row["chi_predicted"]):
        end = np.mean(means) - (row["depth_to"] - depths.mean()) * np.log(row["chi"]) / 2
        guess = end - (x - row["depth_to"]) * np.log(row["chi_predicted"]) / 2
        made[f"{row['path']} predicted"] = np.where(within, np.exp(guess), np.nan)
    return made


def _band(row: Mapping[str, Any], line: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lines of the slopes at the ends of the law's band, about the middle of its depths."""
    away = (x - (row["depth_from"] + row["depth_to"]) / 2) / 2
    sides = [line * np.exp(-away * np.log(row[side] / row["chi"])) for side in ("chi_low", "chi_high")]
    return np.fmin(*sides), np.fmax(*sides)


def said(row: Mapping[str, Any]) -> str:
    """Say a law in words.

    >>> said({"path": "trunk", "chi": 0.9, "chi_low": 0.8, "chi_high": 1.1, "depth_from": 1, "depth_to": 7, "r2": 0.8,
    ...       "chi_predicted": float("nan")})
    'On the trunk chi, 0.9, is not told from 1 (band 0.8 to 1.1), from depth 7 back to depth 1.'
    """
    path = {"unknown": "Where the path is not known"}.get(row["path"], f"On the {row['path']}")
    if row["r2"] < STRAIGHT and not _level(row):  # a level line explains nothing, and is one
        return f"{path}, {_depths(row)}, the points do not lie on a line (R² = {row['r2']:.2g}); no factor is given."
    guess = row["chi_predicted"]
    theory = f" Mean-field theory predicts chi {guess:.3g} at the start (dashed)." if np.isfinite(guess) else ""
    return f"{path} {_slope(row)}.{theory}"


def _slope(row: Mapping[str, Any]) -> str:
    """Say chi, and what it makes of the gradient, unless it is not told from 1."""
    band = f"{row['chi_low']:.3g} to {row['chi_high']:.3g}"
    if _level(row):
        fit = f", R² = {row['r2']:.2g}" if row["r2"] < STRAIGHT else ""
        return f"chi, {row['chi']:.3g}, is not told from 1 (band {band}{fit}), {_depths(row)}"
    shrinks = row["attenuation"] >= 1
    factor = row["attenuation"] if shrinks else 1 / row["attenuation"]
    known = f" ({band})" if np.isfinite(row["chi_low"]) else ""
    does = f"the gradient {'shrinks' if shrinks else 'grows'} by a factor of {factor:.3g}"
    return f"chi is {row['chi']:.3g}{known}: {_depths(row)} {does} ({ALARM} and more is a finding)"


def _level(row: Mapping[str, Any]) -> bool:
    return bool(row["chi_low"] <= 1 <= row["chi_high"])


def _depths(row: Mapping[str, Any]) -> str:
    return f"from depth {row['depth_to']} back to depth {row['depth_from']}"
