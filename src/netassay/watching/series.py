"""Series: the steps that were read, at most so many, and what a resumed run takes up again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.flow import SIGNALS, UPDATES
from netassay.watching.cells import Key

MOST = 4096
"""Steps that are kept."""
BYTES = 1 << 27
"""Memory beyond which fewer are kept, where a network has very many layers."""
FEWEST = 64


@dataclass
class Row:
    """One step that was read: `signals` `(K, L)`, `updates` `(U, P)`, in the order of their names."""

    step: int
    epoch: int
    loss: Any
    samples: int
    signals: np.ndarray
    updates: np.ndarray


class Series:
    """Rows of steps in order. When full, every second of the older half goes; the first and the last stay."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.keys: list[Key] = []
        self.rows: list[Row] = []

    def append(self, keys: Sequence[Key], row: Row) -> None:
        """Add a step; calls that are new get a column, NaN before."""
        if list(keys) != self.keys:
            self._reorder(list(keys))
        self.rows.append(row)
        each = row.signals.nbytes + row.updates.nbytes + 1
        if len(self.rows) > max(min(self.most, BYTES // each), min(FEWEST, self.most)):
            half = len(self.rows) // 2
            self.rows = self.rows[:half:2] + self.rows[half:]

    def _reorder(self, keys: list[Key]) -> None:
        at = {key: i for i, key in enumerate(self.keys)}
        here = np.array([at.get(key, -1) for key in keys], dtype=int)
        for row in self.rows:
            wide = np.concatenate([row.signals, np.full((len(SIGNALS), 1), np.nan)], axis=1)
            row.signals = wide[:, here]
        self.keys = keys

    def arrays(self) -> dict[str, Any]:
        """Return the fields of `Readings` that have a row for each step."""
        rows = self.rows
        settle(rows)
        signals, updates = self._stacked()
        return {
            "steps": np.array([row.step for row in rows], dtype=int),
            "epochs": np.array([row.epoch for row in rows], dtype=int),
            "loss": np.array([math.nan if row.loss is None else row.loss for row in rows], dtype=float),
            "samples": np.array([row.samples for row in rows], dtype=int),
            "signals": {name: signals[:, i] for i, name in enumerate(SIGNALS)},
            "updates": {name: updates[:, i] for i, name in enumerate(UPDATES)} if updates.shape[2] else {},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the rows as plain tensors and lists, which `torch.load(weights_only=True)` reads."""
        told = self.arrays()
        plain = {name: torch.from_numpy(told[name]) for name in ("steps", "epochs", "loss", "samples")}
        signals, updates = (torch.from_numpy(one) for one in self._stacked())
        names = {"names": {"signals": list(SIGNALS), "updates": list(UPDATES)}}
        return {**plain, **names, "signals": signals, "updates": updates, "keys": [list(key) for key in self.keys]}

    def _stacked(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.rows:
            return np.zeros((0, len(SIGNALS), len(self.keys))), np.zeros((0, len(UPDATES), 0))
        return np.stack([row.signals for row in self.rows]), np.stack([row.updates for row in self.rows])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up rows that were kept; what was not read then is NaN."""
        self.keys = [(str(name), int(call)) for name, call in state["keys"]]
        columns = [state[name].tolist() for name in ("steps", "epochs", "loss", "samples")]
        columns[2] = [None if math.isnan(loss) else loss for loss in columns[2]]
        signals = _placed(state["signals"].numpy(), state["names"]["signals"], SIGNALS)
        updates = _placed(state["updates"].numpy(), state["names"]["updates"], UPDATES)
        self.rows = [Row(*row) for row in zip(*columns, signals, updates, strict=True)]


def _placed(kept: np.ndarray, names: Sequence[str], wanted: Iterable[str]) -> list[np.ndarray]:
    at = {name: kept[:, i] for i, name in enumerate(names)}
    nothing = np.full((len(kept), kept.shape[2]), np.nan)
    return list(np.stack([at.get(name, nothing) for name in wanted], axis=1))


def settle(rows: Sequence[Row]) -> None:
    """Turn losses into numbers, those that are tensors in one transfer from their device."""
    waiting = [row for row in rows if isinstance(row.loss, Tensor)]
    if waiting:
        losses = [row.loss.detach().float().mean() for row in waiting]
        told = torch.stack([one.to(losses[0].device) for one in losses]).tolist()
        for row, loss in zip(waiting, told, strict=True):
            row.loss = loss
    for row in rows:
        row.loss = None if row.loss is None else float(row.loss)
