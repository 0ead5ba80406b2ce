"""Signals: counts of a step as what is told of each call."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

from netassay.flow import SIGNALS
from netassay.watching.cells import Column
from netassay.watching.pulse import COUNTS


def signals(
    counts: np.ndarray, columns: list[Column], bounded: list[bool], samples: int, scale: float
) -> dict[str, np.ndarray]:
    """Turn the counts of both sides of each call into `SIGNALS`."""
    y, gy = ({name: side[:, i] for i, name in enumerate(COUNTS)} for side in np.split(counts, 2, axis=1))
    entries = np.array([one.y.entries for one in columns], dtype=float)
    arrived = np.array([one.gy.entries for one in columns], dtype=float)
    called, reached = entries > 0, arrived > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        told = {
            "gradient": np.where(reached, np.sqrt(gy["squares"]) * scale / np.sqrt(max(samples, 1)), np.nan),
            "second_moment": y["squares"] / (entries - y["nan"] - y["inf"]),
            "variance": y["spread"] / y["places"],
            "entries": entries,
            **{name: np.where(called, y[name], np.nan) for name in ("zero", "subnormal", "nan", "inf")},
            "flat": np.where(bounded, y["flat"] / entries, np.nan),
            "gradient_entries": np.where(called, arrived, np.nan),
        }
    told |= {f"gradient_{name}": np.where(called, gy[name], np.nan) for name in ("zero", "subnormal", "nan", "inf")}
    told["entries"] = np.where(called, entries, np.nan)
    return {name: told[name] for name in SIGNALS}


def batch(given: Any) -> int:
    """Return the samples of what a model was called with: the length of its first tensor."""
    for leaf in tree_leaves(given, is_leaf=lambda one: isinstance(one, PackedSequence)):
        if isinstance(leaf, PackedSequence):
            return int(leaf.batch_sizes[0])
        if isinstance(leaf, Tensor) and leaf.dim():
            return len(leaf)
    return 1
