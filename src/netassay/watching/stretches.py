"""Stretches: channels over the first samples that were read, and over the latest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

ENOUGH = 256
"""Samples after which a stretch is full."""

Sums = dict[str, Any]
ROWS = ("firing", "open", "size", "flat", "squares", "spread")
"""What is summed by channel: the rows of one tensor, so that stretches join by one sum."""


class Stretches:
    """Sums by channel of one call: the first stretch, and the two latest, of which the older one is full."""

    def __init__(self, activation: bool, bounded: bool) -> None:
        self.activation, self.bounded = activation, bounded
        self.first: Sums = {}
        self.before: Sums = {}
        self.now: Sums = {}

    def add(self, y: Mapping[str, Tensor], gy: Mapping[str, Tensor], samples: int, entries: int) -> None:
        """Fold in what a step left; `entries` of a channel."""
        judged = y if self.activation else gy
        if not y or ("rows" in self.now and len(y["squares"]) != self.now["rows"].shape[1]):
            return
        nothing = torch.zeros_like(y["squares"])
        fires = {name: judged.get(name, nothing) for name in ("firing", "open")}
        varies = {} if samples > 1 else {"squares": nothing, "spread": nothing}
        told = {**y, **fires, **varies}
        new: Sums = {
            "samples": samples,
            "judged": samples if judged else 0,
            "entries": entries,
            "rows": torch.stack([told[name] for name in ROWS]),
        }
        if self.first.get("samples", 0) < ENOUGH:
            self.first = _joined(self.first, new)
        if self.now.get("samples", 0) >= ENOUGH:
            self.before, self.now = self.now, {}
        self.now = _joined(self.now, new)

    def numbers(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return what `verdicts.states` judges by: of the first stretch, and of the latest."""
        return self._numbers(self.first), self._numbers(_joined(self.before, self.now))

    def _numbers(self, sums: Sums) -> dict[str, np.ndarray]:
        if not sums:
            return {}
        told = {**sums, **dict(zip(ROWS, sums["rows"].cpu().numpy(), strict=True))}
        C = len(told["squares"])
        nothing, size = np.full(C, np.nan), told["size"] / told["entries"]
        reached = self.activation or bool(told["firing"].any())
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "samples": np.full(C, told["judged"] if reached else 0),
                "firing": told["firing"] if told["judged"] else nothing,
                "open": told["open"] / told["entries"] if told["judged"] else nothing,
                "size": size / size.mean() if self.activation else nothing,
                "spread": told["spread"] / told["squares"],
                "flat": told["flat"] / told["entries"] if self.bounded else nothing,
            }

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as plain tensors and numbers."""
        return {"first": _plain(self.first), "before": _plain(self.before), "now": _plain(self.now)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up sums that were kept."""
        self.first, self.before, self.now = dict(state["first"]), dict(state["before"]), dict(state["now"])


def _joined(a: Sums, b: Sums) -> Sums:
    return {name: a[name] + _like(b[name], a[name]) for name in a} if a and b else a or b


def _like(one: Any, other: Any) -> Any:
    return one.to(other.device) if isinstance(one, Tensor) and isinstance(other, Tensor) else one


def _plain(sums: Sums) -> dict[str, Any]:
    return {name: one.cpu() if isinstance(one, Tensor) else one for name, one in sums.items()}
