"""Similarity, by batches: a Gram matrix of every layer for each batch, and the ratio of their sums.

Nguyen, Raghu & Kornblith 2021 (arXiv 2010.15327), section 2: the debiased HSIC of a batch has no bias, so its mean over
batches estimates the same thing. Here the mean weighs batches by their samples. CKA is a ratio of such means; it is
a different estimator than that of all samples at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netassay.measures import rows
from netassay.measures.hsic import doubly_centred, u_centred
from netassay.seeds import generator
from netassay.studies.similarity_asked import Tap
from netassay.studies.similarity_diagnoses import from_gram
from netassay.studies.similarity_pairs import Pairs, reordered

GROUPS, LEAST, COLUMNS, WORD, SQUARED = 20, 4, 4096, 7, 20
"""Groups of batches for the jackknife; samples below which nothing is debiased; features that fit a cache; a word of
the seed for orders within batches."""


class Batched:
    """Sums over batches of the debiased HSIC of every pair of layers, and of each order of samples within batches."""

    def __init__(self, taps: Sequence[Tap], a: Sequence[int], b: Sequence[int], permutations: int, seed: int) -> None:
        self.taps, self.a, self.b, self.permutations, self.seed = taps, list(a), list(b), permutations, seed
        self.pilots: dict[int, Tensor] = {}
        self.scales: dict[int, float] = {}
        self.grams: dict[int, Tensor] = {}
        self.first: dict[int, dict[str, float]] = {}
        self.groups: list[tuple[Tensor, Tensor, Tensor]] = []
        self.permuted: Tensor | Any = 0
        self.batches = self.left_out = self.samples = 0
        self.memory: Tensor | None = None

    def take(self, tap: int, x: Tensor) -> None:
        """Make the batch's Gram matrix of a layer."""
        if tap not in self.pilots:
            self.pilots[tap] = x.mean(0, dtype=torch.promote_types(x.dtype, torch.float32))
            self.scales[tap] = near_one(x, self.pilots[tap])
        if self.memory is None or self.memory.numel() < len(x) * COLUMNS or self.memory.device != x.device:
            self.memory = torch.empty(len(x) * COLUMNS, device=x.device)
        self.grams[tap] = gram(x, self.pilots[tap], self.memory, self.scales[tap])
        if tap not in self.first:
            self.first[tap] = from_gram(doubly_centred(self.grams[tap]), x)

    def end(self, n: int) -> None:
        """Add a batch, weighed by its samples."""
        if n < LEAST:
            self.left_out += n
            return
        size = len(next(iter(self.grams.values())))
        pairs = Pairs(size, symmetric=True)
        every = {tap: pairs.packed(u_centred(one)) for tap, one in self.grams.items()}
        a, b = (torch.stack([every[tap] for tap in side]) for side in (self.a, self.b))
        weight = 1 / (size - 3)  # HSIC is the inner product over n(n - 3), and its weight n
        part = (weight * (a @ b.T), weight * a.square().sum(1), weight * b.square().sum(1))
        at = self.batches % GROUPS
        if at == len(self.groups):
            self.groups.append(part)
        else:
            x = self.groups[at]
            self.groups[at] = (x[0] + part[0], x[1] + part[1], x[2] + part[2])
        if self.permutations:
            drawn = torch.rand(self.permutations, n, generator=generator(self.seed, WORD, self.batches)).argsort(1)
            moved = [rows(order, size) for order in drawn]
            self.permuted = self.permuted + weight * reordered(a.float(), b.float(), moved, pairs)
        self.batches += 1
        self.samples += n

    def told(self, tap: int) -> dict[str, float]:
        """Tell what a layer's features are like in the first batch."""
        return self.first[tap]

    def estimates(self) -> Tensor:
        """Return the map `(A, B)` from all batches, and from all but each group of them: `(1 + G, A, B)`."""
        whole = [sum(parts[1:], parts[0]) for parts in zip(*self.groups, strict=True)]
        without = [[x - y for x, y in zip(whole, group, strict=True)] for group in self.groups]
        return torch.stack([_ratio(*one) for one in [whole, *without]])

    def reordered(self) -> Tensor:
        """Return the map for each order, `(K, A, B)`."""
        _, a, b = [sum(parts[1:], parts[0]) for parts in zip(*self.groups, strict=True)]
        return self.permuted / torch.sqrt(torch.outer(a, b)) if self.permutations else torch.zeros(0, len(a), len(b))


def near_one(x: Tensor, pilot: Tensor) -> float:
    """Return the power of two that makes features about 1 where their squares would leave float32, else 1."""
    largest = float((x - pilot).abs().max())
    if largest == 0 or not math.isfinite(largest) or 2.0**-SQUARED < largest < 2.0**SQUARED:
        return 1.0
    return 2.0 ** -math.frexp(largest)[1]


def gram(x: Tensor, pilot: Tensor, memory: Tensor, scale: float = 1.0) -> Tensor:
    """Return the Gram matrix `(n, n)` of `scale (x - pilot)` in float64, products in the dtype of `pilot`.

    Features go by in parts that a cache holds, shifted into `memory`; half of the symmetric product's entries below the
    diagonal are not computed.
    """
    n, d = x.shape
    half = n // 2
    total = torch.zeros(n, n, dtype=torch.float64, device=x.device)
    shifted = memory if memory.dtype == pilot.dtype else memory.to(pilot.dtype)
    for begin in range(0, d, COLUMNS):
        columns = slice(begin, min(begin + COLUMNS, d))
        part = shifted[: n * (columns.stop - begin)].view(n, -1)
        torch.sub(x[:, columns], pilot[columns], out=part)
        if scale != 1:
            part.mul_(scale)
        total[:half] += part[:half] @ part.T
        total[half:, half:] += part[half:] @ part[half:].T
    total[half:, :half] = total[:half, half:].T
    return total


def _ratio(ab: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return ab / torch.sqrt(torch.outer(a, b))
