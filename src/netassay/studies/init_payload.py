"""Payload: what one cell of the study hands over, as named arrays, and how it is read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from netassay.engine import Payload
from netassay.shape import Distribution
from netassay.studies.change import END, START

__all__ = ["END", "START", "Key", "Outcome", "Payload", "packed"]

Key = tuple[str, str, str]
"""When, of what ("conv1.weight" or "conv1 before"), and over which input ("" for parameters)."""


def packed(distributions: Mapping[Key, Distribution]) -> Payload:
    """Return distributions as arrays, each under its key and its part's name."""
    parts = {key: one.arrays() for key, one in distributions.items()}
    return {json.dumps([*key, part]): array for key, arrays in parts.items() for part, array in arrays.items()}


@dataclass(frozen=True)
class Outcome:
    """One scheme and one seed: what was found at the start, along the way and at the end."""

    scheme: str
    seed: int
    arrays: Payload

    @cached_property
    def distributions(self) -> dict[Key, Distribution]:
        """The distributions, by when, of what, and over which input."""
        parts: dict[Any, Payload] = {}
        for name, array in self.arrays.items():
            if name.startswith("["):
                *key, part = json.loads(name)
                parts.setdefault(tuple(key), {})[part] = array
        return {key: Distribution.from_arrays(arrays) for key, arrays in parts.items()}

    @property
    def diverged(self) -> int:
        """The step at which the loss was no longer finite, -1 where it stayed so."""
        return int(self.arrays["diverged"])

    @property
    def untouched(self) -> list[str]:
        """Parameters that the scheme did not reach."""
        return [str(name) for name in self.arrays["untouched"]]

    @property
    def training_loss(self) -> float:
        """Mean over all steps; NaN where the training did not come to its end."""
        curve = self.named("curve")
        if self.diverged >= 0:
            return float("nan")
        return float(np.average(curve["loss"], weights=np.diff(curve["step"], prepend=0)))

    def named(self, what: str) -> dict[str, np.ndarray]:
        """Return the arrays of one table, such as "curve/step" and "curve/loss" of "curve"."""
        lead = f"{what}/"
        return {name.removeprefix(lead): array for name, array in self.arrays.items() if name.startswith(lead)}
