"""Similarity, from kept features: a whole map as one matrix product, or pair by pair, and again for each order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures import Measure
from netassay.seeds import generator
from netassay.studies.similarity_asked import Tap

BLOCK = 1 << 16
"""Entries of two matrices that are multiplied at once while one of them is in another order."""
ORDERS = 6
"""A word of the seed that belongs to orders of samples."""


@dataclass(frozen=True)
class Estimate:
    """A measure's map `(A, B)`, the same for each order of the second side's samples `(K, A, B)`, and its interval."""

    value: np.ndarray
    permuted: np.ndarray
    low: np.ndarray
    high: np.ndarray
    estimator: str
    why: str


def orders(n: int, permutations: int, seed: int) -> Tensor:
    """Draw the orders `(K, n)` that all layers of a map share."""
    drawn = [torch.randperm(n, generator=generator(seed, ORDERS, k)) for k in range(permutations)]
    return torch.stack(drawn) if drawn else torch.zeros(0, n, dtype=torch.int64)


class Kept:
    """Features of all samples, as the layers made them, within a budget of bytes."""

    def __init__(self, taps: Sequence[Tap], memory: int) -> None:
        self.taps, self.memory, self.bytes = taps, memory, 0
        self.parts: list[list[Tensor]] = [[] for _ in taps]

    def take(self, tap: int, x: Tensor) -> None:
        """Keep a copy: what comes later may overwrite the layer's output."""
        self.parts[tap].append(x.clone())
        self.bytes += x.numel() * x.element_size()

    def end(self, n: int) -> None:
        """Refuse what does not fit."""
        if self.bytes > self.memory:
            refuse(self.taps, self.bytes, self.memory, "at least ")

    def features(self, tap: int) -> Tensor:
        """Return the features `(n, d)` of a tap."""
        if len(self.parts[tap]) > 1:
            self.parts[tap] = [torch.cat(self.parts[tap])]
        return self.parts[tap][0]


def refuse(taps: Sequence[Tap], needed: int, memory: int, least: str = "") -> None:
    """Say that features do not fit, and what would."""
    found = f"{least}{needed / 2**30:.3g} GiB for {len(taps)} layers, and memory={memory / 2**30:.3g} GiB"
    raise BadInput(
        "keep the features of every sample",
        found,
        "take positions='pool', fewer layers or samples, or mode='minibatch'",
    )


def from_pairwise(measure: Measure, a: Sequence[Tensor], b: Sequence[Tensor], drawn: Tensor) -> tuple[Any, Any]:
    """Return a pairwise measure's map `(A, B)` and that of each order `(K, A, B)`, as matrix products."""
    first = torch.stack([measure.prepare(x.double()) for x in a])
    second = first if a is b else torch.stack([measure.prepare(x.double()) for x in b])
    value = first.flatten(1) @ second.flatten(1).T
    return value.cpu().numpy(), reordered(first.float(), second.float(), drawn).cpu().numpy()


def reordered(first: Tensor, second: Tensor, drawn: Tensor) -> Tensor:
    """Return `<A, B[order][:, order]>` for each order: `(K, A, B)`, float64, of `(A, n, n)` and `(B, n, n)`.

    Layers go last, so that an order fetches the entries of all layers at once.
    """
    n = first.shape[-1]
    rows = max(1, BLOCK // n)
    flat = second.permute(1, 2, 0).reshape(n * n, -1)
    out = torch.zeros(len(drawn), len(first), len(second), dtype=torch.float64, device=first.device)
    for k, order in enumerate(drawn.to(first.device)):
        for begin in range(0, n, rows):
            here = slice(begin, begin + rows)
            there = flat[(order[here, None] * n + order).reshape(-1)]
            out[k] += first[:, here].flatten(1) @ there
    return out


def one_by_one(measure: Measure, a: Sequence[Tensor], b: Sequence[Tensor], drawn: Tensor) -> tuple[Any, Any]:
    """Return any measure's map and that of each order, pair by pair."""
    first = [measure.prepare(x.double()) for x in a]
    second = first if a is b else [measure.prepare(x.double()) for x in b]
    given: list[Tensor | None] = [None, *drawn.to(a[0].device)]
    every = np.array([[[measure.compare(x, y, order) for y in second] for x in first] for order in given])
    return every[0], every[1:].reshape(len(drawn), len(a), len(b))
