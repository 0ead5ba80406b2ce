"""What a similarity map says of itself: its measures, its networks, its level of tests and its scale of colours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.result import Result

NEAR = 0.05
"""How far below 0 a debiased similarity may lie and still have the darkest shade."""
SEVERAL = 3
"""Networks of a side that are all named."""


def measured(result: Result, measure: str | None) -> str:
    """Return a measure of a map, by default its first."""
    known = [row["measure"] for row in result.tables["measures"].rows()] if "measures" in result.tables else []
    if not known:
        raise NothingToDraw("map", "no measure was taken", "map with measures=['cka']")
    if measure is not None and measure not in known:
        raise UnknownName("measure of this similarity map", measure, known)
    return measure or str(known[0])


def told_of(result: Result, name: str) -> Mapping[str, Any]:
    """Return what the table of measures says of one."""
    return next(row for row in result.tables["measures"].rows() if row["measure"] == name)


def named(result: Result, side: str) -> list[str]:
    """Return the models of a side, in the order of their rows or columns."""
    told = result.tables["layers"].columns
    return list(dict.fromkeys(map(str, told["model"][told["side"] == side])))


def models(result: Result, side: str) -> str:
    """Name the models of a side; of many the first and the last."""
    names = named(result, side)
    return ", ".join(names) if len(names) <= SEVERAL else f"{len(names)} networks, {names[0]} to {names[-1]}"


def itself(result: Result) -> bool:
    """Tell whether rows and columns are the same layers: of one network, or of the same ones."""
    if "layers" not in result.tables or named(result, "a") != named(result, "b"):
        return False
    every = [np.asarray(result.arrays[row["measure"]], dtype=float) for row in result.tables["measures"].rows()]
    same = [one.shape == one.T.shape and np.allclose(one, one.T, rtol=1e-9, equal_nan=True) for one in every]
    return any(same)


def errs_at(result: Result) -> float:
    """Return the chance at which a test of the map calls something that is nothing."""
    return float(round(1 - result.provenance.get("level", 0.95), 12))


def distant(told: Mapping[str, Any]) -> bool:
    """Tell a distance from a similarity."""
    return bool(told["direction"] == "distance")


def scale(result: Result, name: str) -> tuple[float, float]:
    """Return the numbers of the darkest and the brightest shade, which is that of equal features.

    Of a similarity it is 1, and the darkest is 0 where nothing lies far below, so that maps can be compared.
    """
    values = [np.asarray(result.arrays[name + end], dtype=float) for end in ("", "/null")]
    known = np.concatenate([one[np.isfinite(one)] for one in values])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if distant(told_of(result, name)):
        return max(high, 1e-12), min(low, 0.0)
    return (math.floor(10 * low) / 10 if low < -NEAR else 0.0), max(high, 1.0)
