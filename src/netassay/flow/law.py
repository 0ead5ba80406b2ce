"""Law: how fast gradient shrinks or grows from layer to layer, as a slope of its logarithm against executed depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from netassay.flow.readings import Readings
from netassay.inference import seed_interval

PATHS = ("trunk", "branch", "unknown")
ROLES = ("weight", "norm", "activation", "block")
POWERS: Mapping[str, float] = {"gradient": -2.0, "second_moment": 1.0, "variance": 1.0}
"""chi is exp(power x slope): squares of the gradient going back, squares of the signal going forward."""
FEWEST_DEPTHS = 3
START, END = 5, 32
Rows = slice | Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Slope:
    """The law of one path over one stretch of steps.

    `chi` is the factor of the squared gradient from one layer to the one before it, `low` and `high` its 95 % band over
    `batches` steps; `attenuation` is chi**(-D/2) over the D layers from `depth_from` to `depth_to`: the gradient at the
    output end over that at the input end, above 1 where it vanishes. `layers` calls were fitted, `r2` is the mean over
    steps of the share of variance that the line explains, `left_out` counts gradients that were 0 or not finite.
    """

    path: str
    chi: float
    low: float
    high: float
    attenuation: float
    attenuation_low: float
    attenuation_high: float
    layers: int
    batches: int
    depth_from: int
    depth_to: int
    r2: float
    left_out: int


def stretch(readings: Readings, when: str) -> slice:
    """Return the rows of "start" (the first 5), "end" (the latest 32, at most half of all) or "all"."""
    half = (len(readings) + 1) // 2
    return {"start": slice(0, START), "end": slice(-min(END, half), None), "all": slice(None)}[when]


def law(readings: Readings, path: str, rows: Rows | None = None, signal: str = "gradient") -> Slope | None:
    """Fit ln(gradient) against depth over the calls of a path; None below 3 distinct depths.

    Ordinary least squares in each step read, over its depths (several calls at one depth are averaged in the log), then
    the mean slope over steps with a band by Student's t; NaN with one step. Points are calls of layers with weights,
    where the path has 3 depths of them, else all calls. Multiplying every gradient by a number changes nothing.
    chi as in Schoenholz et al. 2017 (arXiv 1611.01232), equation 9, measured. With `signal` "second_moment" or
    "variance", chi is the factor per layer going forward.

    >>> chain = Readings(*[np.zeros(1)] * 4,
    ...     calls={"role": np.array(["weight"] * 3), "path": np.array(["trunk"] * 3), "depth": np.array([1, 2, 3])},
    ...     signals={"gradient": np.array([[0.25, 0.5, 1.0]])})
    >>> slope = law(chain, "trunk")
    >>> round(slope.chi, 9), round(slope.attenuation, 9), slope.layers
    (0.25, 4.0, 3)
    """
    chosen = points(readings, path)
    depths, place = np.unique(readings.calls["depth"][chosen], return_inverse=True)
    values = readings.signals[signal][slice(None) if rows is None else rows][:, chosen]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(np.isfinite(values) & (values > 0), np.log(values), np.nan)
    by_depth = _by_depth(logs, place, len(depths))
    slopes, explained = _least_squares(depths.astype(float), by_depth)
    known = np.isfinite(slopes)
    if not known.any():
        return None
    depths = depths[np.isfinite(by_depth).any(0)]
    power, span = POWERS[signal], int(depths[-1] - depths[0])
    band = seed_interval((power * slopes[known]).tolist())
    chi, low, high = map(_exp, band)
    return Slope(
        path=path,
        chi=chi,
        low=low,
        high=high,
        attenuation=_exp(-span / 2 * band[0]),
        attenuation_low=_exp(-span / 2 * band[2]),
        attenuation_high=_exp(-span / 2 * band[1]),
        layers=int(np.isfinite(logs).any(0).sum()),
        batches=int(known.sum()),
        depth_from=int(depths[0]),
        depth_to=int(depths[-1]),
        r2=float(np.mean(explained[known])),
        left_out=int((~np.isfinite(logs)).sum()),
    )


def laws(readings: Readings, rows: Rows | None = None, signal: str = "gradient") -> tuple[Slope, ...]:
    """Return the law of each path that has one: trunk, branch, and calls whose place is not known."""
    found = (law(readings, path, rows, signal) for path in PATHS)
    return tuple(slope for slope in found if slope is not None)


def points(readings: Readings, path: str) -> np.ndarray:
    """Return the calls that the law of a path is fitted to, in order of execution."""
    calls = readings.calls
    there = (calls["path"] == path) & (calls["depth"] >= 0)
    weights = there & (calls["role"] == "weight")
    enough = len(np.unique(calls["depth"][weights])) >= FEWEST_DEPTHS
    return np.flatnonzero(weights if enough else there & np.isin(calls["role"], ROLES))


def _by_depth(logs: np.ndarray, place: np.ndarray, depths: int) -> np.ndarray:
    """Average over the calls at each depth, `(S, D)`; NaN where none is known."""
    known = np.isfinite(logs)
    each = np.equal.outer(place, np.arange(depths)).astype(float)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.where(known, logs, 0.0) @ each) / (known.astype(float) @ each))


def _least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and share of variance explained, row by row; NaN where fewer than 3 points are known."""
    known = np.isfinite(y)
    n = known.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.where(known, x - (known * x).sum(1, keepdims=True) / n, 0.0)
        y = np.where(known, y, 0.0)
        y = np.where(known, y - y.sum(1, keepdims=True) / n, 0.0)
        slope = (x * y).sum(1) / (x * x).sum(1)
        residual, total = ((y - slope[:, None] * x) ** 2).sum(1), (y * y).sum(1)
        r2 = np.where(residual > 0, 1 - residual / total, 1.0)
    return np.where(n[:, 0] >= FEWEST_DEPTHS, slope, np.nan), r2


def _exp(value: float) -> float:
    """Return exp, infinite where a double cannot hold it."""
    return math.exp(value) if value < 709 else (math.nan if math.isnan(value) else math.inf)
