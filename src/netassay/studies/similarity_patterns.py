"""Similarity, shaped: what a pattern of a map means, in words, and whether it is decided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from netassay.patterns import UNEXPLAINED, Pattern
from netassay.result import Claim

Means = Mapping[str, str]
MEANS = {
    "diagonal": "layers at equal depth are more alike",
    "triangle": "layers on one side of equal depth are more alike",
    "block": "layers within a stretch are more alike",
}
"""What a pattern says."""


def pattern_rows(name: str, found: Mapping[tuple[str, str], Pattern]) -> list[dict[str, Any]]:
    """One row for each pair of models and each pattern; intervals end where the index does."""
    return [
        {"model_a": a, "model_b": b, "measure": name, **row, "low": within(row)[0], "high": within(row)[1]}
        for (a, b), one in found.items()
        for row in one.rows
    ]


def within(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the interval of an index, cut where the index can go no further; one of no width is unknown.

    >>> within({"pattern": "block", "low": -0.2, "high": 1.3}), within({"pattern": "triangle", "low": 1, "high": 1})
    ((0.0, 1.0), (nan, nan))
    """
    low, high = (
        float(np.clip(row[end], -1.0 if row["pattern"] == "triangle" else 0.0, 1.0)) for end in ("low", "high")
    )
    return (low, high) if row["low"] < row["high"] else (math.nan, math.nan)


def patterned(
    name: str, found: Pattern, p: float, tests: int, cells: int, several: str, level: float, means: Means = MEANS
) -> Claim:
    """Claim the pattern that was named; where its interval holds 0, the test alone does not decide."""
    row = found.row(found.name)
    beyond = p <= 1 - level + 1e-9
    decided = found.name != "flat" and beyond and not row["low"] <= 0 <= row["high"]
    return Claim(
        statement=_stated(name, found, p, several, means, "" if decided or not beyond else "; its interval holds 0"),
        effect=row["index"],
        interval=within(row),
        n=cells,
        counted="pairs of layers",
        decision="holds" if decided else "undecided",
        unit="index",
        level=level,
        tests=3 * tests,
        correction="min-p over patterns" + (", Holm over pairs of networks" if tests > 1 else ""),
    )


def _stated(name: str, found: Pattern, p: float, several: str, means: Means, doubt: str) -> str:
    """Say what a pattern means; a map of none is flat only where most of it is explained by none."""
    evidence = f"{name}; p = {p:.2g}{doubt}"
    if found.name != "flat":
        side = f", {found.side}" if found.side else ""
        told = f"{means[found.name]} (a {found.name}{side}; {evidence})"
        return f"beyond what each layer{several} is like on average, {told}"
    if found.row("flat")["index"] > UNEXPLAINED:
        return f"the map{several} is flat: no pattern explains most of it ({evidence})"
    nearest = max(found.rows[:-1], key=lambda row: abs(row["index"]))
    like = f"most like: {nearest['pattern']}, {nearest['index']:.2g}"
    return f"no pattern of the map{several} is told from chance ({like}; {evidence})"
