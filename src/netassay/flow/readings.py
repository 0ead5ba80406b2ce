"""Readings: what was read of a network, a row for each step read, a column for each call of a layer or parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIGNALS: Mapping[str, str] = {
    "gradient": "root of the mean over samples of the squared norm of each sample's own gradient at the output",
    "second_moment": "mean square of an entry of the output",
    "variance": "population variance across samples, entry by entry of a sample, and the mean over these",
    "entries": "entries of the output",
    "zero": "entries that are exactly 0",
    "subnormal": "entries that are not 0 and below the smallest normal number of the output's dtype",
    "nan": "entries that are NaN",
    "inf": "entries that are infinite",
    "flat": "of a bounded activation, the share of entries where its slope is below 0.05; NaN elsewhere",
    "gradient_entries": "entries of the gradient at the output; 0 where none arrived",
    "gradient_zero": "entries of that gradient that are exactly 0",
    "gradient_subnormal": "entries of it that are not 0 and below the smallest normal number of its dtype",
    "gradient_nan": "entries of it that are NaN",
    "gradient_inf": "entries of it that are infinite",
}
"""What is read of a call at a step; sizes are over finite entries, and over all micro-batches of the step."""
UPDATES: Mapping[str, str] = {
    "gradient": "norm of the gradient as the optimizer met it; NaN where there is none (`grad is None`)",
    "gradient_zero": "its entries that are exactly 0",
    "gradient_subnormal": "its entries that are not 0 and below the smallest normal number of its dtype",
    "gradient_nan": "its entries that are NaN",
    "gradient_inf": "its entries that are infinite",
    "weight": "norm of the parameter before the step",
    "update": "norm of what the step added to it",
    "unchanged": "share of its entries that the step left bit for bit as they were",
    "lost": "share of its entries whose gradient was not 0 and which the step left bit for bit as they were",
    "adam": "mean over entries of sqrt(v) / (sqrt(v) + eps), v bias-corrected, after the step; NaN without Adam",
    "radial": "cosine between the parameter and its gradient; about 0 where scaling the weight changes nothing",
    "weight_nan": "entries of the parameter that are NaN after the step",
    "weight_inf": "entries of it that are infinite after the step",
    "state_nan": "entries of the optimizer's state of it that are NaN or infinite after the step",
    "rate": "learning rate of its group",
}
"""What is read of a parameter at a step; NaN where its optimizer made no step."""

Facts = Mapping[str, np.ndarray]
Numbers = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Readings:
    """Everything read of one network: S steps (or batches), L calls of layers, P parameters.

    `calls` are facts `(L,)` in order of execution: "layer" (the label), "name" (without #call), "kind" (class), "role"
    ("input", "weight", "norm", "activation", "block", "other"), "depth", "path" ("trunk", "branch", "unknown"), "into"
    (the class of the module that took exactly this tensor next, or ""). The first call may be "input": what the model
    was given. `signals` are `(S, L)` under the names of `SIGNALS`.

    `parameters` are facts `(P,)`: "parameter", "layer" (the module's name), "kind" (its class), "role" ("matrix",
    "gain", "bias", "embedding", "other"), "size", "dtype", "trained" (requires_grad), "optimizer" (its number, -1 for
    none), "symmetric" (channels of a weight matrix that are the same at the start, less one; -1 where not judged).
    `updates` are `(S, P)` under the names of `UPDATES`.

    `first` and `latest` map a layer's label to what `verdicts.states` judges channels by, each `(C,)`: over the first
    stretch of steps, and over the latest. `assumed` says what the scale of gradients rests on. `told` are facts about
    the whole: "steps" done, "skipped" by the scaler, "faults" (sentences), "never_ran" (names), "untold"
    (steps whose loss nobody noted: NaN there is no finding).
    """

    steps: np.ndarray
    epochs: np.ndarray
    loss: np.ndarray
    samples: np.ndarray
    calls: Facts
    signals: Mapping[str, np.ndarray]
    parameters: Facts = field(default_factory=dict)
    updates: Mapping[str, np.ndarray] = field(default_factory=dict)
    first: Mapping[str, Numbers] = field(default_factory=dict)
    latest: Mapping[str, Numbers] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Steps that were read."""
        return len(self.steps)
