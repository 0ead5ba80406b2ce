"""Flow tables: what the cells of a gradient-flow study gave, as rows by cell and seed, and as values for effects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from netassay.engine import Payload
from netassay.inference import seed_interval
from netassay.result import Table

POINTS = 200
"""Most points of a loss curve; each is the mean over as many steps."""


class Measure(NamedTuple):
    """A number that each run gives: its unit, and the least and most that it can be."""

    unit: str
    least: float = -math.inf
    most: float = math.inf


MEASURES: Mapping[str, Measure] = {
    "chi": Measure("per layer", 0.0),
    "decades": Measure("decades"),
    "ratio_decades": Measure("decades"),
    "learned": Measure("nats", 0.0),
    "fall": Measure("nats"),
    "accuracy": Measure("of the test samples", 0.0, 1.0),
}
"""What each run is measured by."""
OUTCOMES = ("decades", "learned", "fall", "accuracy")
"""Of which of these effects are taken."""


@dataclass(frozen=True)
class Trial:
    """One combination of levels and one seed: what was measured at the start, and what training made of it."""

    levels: Mapping[str, str]
    seed: int
    arrays: Payload

    @property
    def name(self) -> str:
        """The levels in words."""
        return told(self.levels)

    @property
    def diverged(self) -> int:
        """The step at which the loss was no longer finite, -1 where it stayed so."""
        return int(self.arrays["diverged"])

    def number(self, name: str) -> float:
        """Return one of `MEASURES`, or what the cell put down."""
        return float({"fall": self._fall, "learned": self._learned}.get(name, lambda: self.arrays[name])())

    @property
    def end_loss(self) -> float:
        """Mean loss of the last tenth of the steps; NaN where the training broke off."""
        losses = self.arrays["loss"]
        return float(np.mean(losses[-math.ceil(len(losses) / 10) :])) if self.diverged < 0 else math.nan

    def _fall(self) -> float:
        return float(self.arrays["start_loss"]) - self.end_loss

    def _learned(self) -> float:
        """Return how far the loss came below that of guessing; 0 where it did not, or broke off."""
        below = float(self.arrays["chance"]) - self.end_loss
        return max(below, 0.0) if math.isfinite(below) else 0.0


def told(levels: Mapping[str, str]) -> str:
    """Name a combination of levels.

    >>> told({"skip": "none", "norm": "batch"})
    'skip=none, norm=batch'
    """
    return ", ".join(f"{name}={level}" for name, level in levels.items())


def values(trials: Sequence[Trial], sizes: Sequence[int], name: str) -> np.ndarray:
    """Return a measure as (levels of each factor ..., seeds); trials come with the seed fastest."""
    return np.array([trial.number(name) for trial in trials]).reshape(*sizes, -1)


def tables(trials: Sequence[Trial]) -> dict[str, Table]:
    """Make the tables of cells, runs and curves."""
    found = {
        "cells": _cells(trials),
        "runs": map(_run, trials),
        "curves": (row for one in trials for row in _curve(one)),
    }
    return {name: Table.of(list(rows)) for name, rows in found.items()}


def _who(one: Trial) -> dict[str, Any]:
    return {"cell": one.name, **one.levels, "seed": one.seed}


def _run(one: Trial) -> dict[str, Any]:
    found = {name: one.number(name) for name in MEASURES}
    losses = {name: float(one.arrays[name]) for name in ("start_loss", "chance", "test_loss")}
    return {**_who(one), **found, **losses, "end_loss": one.end_loss, "diverged_at": one.diverged}


def _curve(one: Trial) -> Iterator[dict[str, Any]]:
    losses = one.arrays["loss"]
    every = max(-(-len(losses) // POINTS), 1)
    for first in range(0, len(losses), every):
        part = losses[first : first + every]
        yield {**_who(one), "step": first + len(part), "loss": float(part.mean())}


def _cells(trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    """Yield, for each combination of levels, means over seeds with their intervals."""
    found: dict[str, list[Trial]] = {}
    for one in trials:
        found.setdefault(one.name, []).append(one)
    for name, seeds in found.items():
        row: dict[str, Any] = {"cell": name, **seeds[0].levels}
        for measure, (_, least, most) in MEASURES.items():
            mean, *ends = seed_interval([one.number(measure) for one in seeds])
            low, high = np.clip(ends, least, most).tolist()
            row |= {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
        yield {**row, "diverged": sum(one.diverged >= 0 for one in seeds), "n": len(seeds)}
