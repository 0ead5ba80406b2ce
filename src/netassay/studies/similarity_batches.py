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

from netassay.measures import diagnose, rows
from netassay.measures.hsic import doubly_centred, u_centred
from netassay.seeds import generator
from netassay.studies.similarity_asked import Tap
from netassay.studies.similarity_pairs import Pairs, power, reordered

GROUPS, LEAST, COLUMNS, PARTS, WORD, SAFE, FAR = 20, 4, 8192, 4, 7, 1e-12, 32.0
"""Groups of batches for the jackknife; samples below which nothing is debiased; features that fit a cache; parts of
the samples, and of those features, whose products are taken apart; a word of the seed for orders within batches; the
least square norm that float32 is trusted with; the square norm of a mean, over the variance, from which it is taken
off first: one digit."""
PROBED = 64
"""Features by which that is foretold, so that few Gram matrices are made twice."""


Sums = tuple[Tensor, Tensor, Tensor]
"""Of products of each pair of layers `(A, B)`, and of each layer's own, `(A,)` and `(B,)`."""


class Batched:
    """Sums over batches of the debiased HSIC of every pair of layers, and of each order of samples within batches."""

    def __init__(self, taps: Sequence[Tap], a: Sequence[int], b: Sequence[int], permutations: int, seed: int) -> None:
        self.taps, self.a, self.b, self.permutations, self.seed = taps, list(a), list(b), permutations, seed
        self.pilots: dict[int, Tensor] = {}
        self.scales: dict[int, float] = {}
        self.grams: dict[int, Tensor] = {}
        self.first: dict[int, dict[str, float]] = {}
        self.groups: list[Sums] = []
        self.permuted: Tensor | Any = 0
        self.batches = self.left_out = self.samples = 0
        self.memory: dict[Any, Tensor] = {}
        self.far: dict[int, bool] = {}
        self.scaled: set[int] = set()
        self.eps: dict[int, float] = {}

    def take(self, tap: int, x: Tensor) -> None:
        """Make the batch's Gram matrix of a layer; about the first batch's mean, unless that is near 0 anyhow."""
        if tap not in self.far:
            on_cpu = x.device.type == "cpu"  # to look would make another device wait
            self.far[tap], self.scales[tap] = not on_cpu or seems_far(x), 1.0
        if not self.far[tap]:
            self.grams[tap] = self._gram(tap, x)
            self.far[tap] = is_far(self.grams[tap])
        if self.far[tap]:
            self.grams[tap] = self._gram(tap, x)
        self._keep_in_range(tap, x)
        if tap not in self.first:
            self.first[tap] = diagnose(x, doubly_centred(self.grams[tap]))

    def _keep_in_range(self, tap: int, x: Tensor) -> None:
        """Choose another scale where the batch left float32; of tiny features only while there were no others."""
        largest = float(self.grams[tap].diagonal().max())
        if largest <= 1 / SAFE and (largest >= SAFE or tap in self.scaled):
            self.scaled.add(tap)
        elif (scale := power(x)) != 0:
            if tap in self.scaled:
                self._rescale(tap, scale / self.scales[tap])
            self.scales[tap] = scale
            self.scaled.add(tap)
            self.grams[tap] = self._gram(tap, x)

    def _rescale(self, tap: int, factor: float) -> None:
        """Bring sums of earlier batches to another scale of a layer; what is too small to matter becomes 0."""
        a, b = (torch.tensor([factor**2 if one == tap else 1.0 for one in side]).double() for side in (self.a, self.b))
        a, b = (one.to(self.grams[tap].device) for one in (a, b))
        both = torch.outer(a, b)
        self.groups = [(ab * both, aa * a.square(), bb * b.square()) for ab, aa, bb in self.groups]
        self.permuted = self.permuted * both if self.groups else self.permuted

    def _gram(self, tap: int, x: Tensor) -> Tensor:
        at = (x.device, torch.promote_types(x.dtype, torch.float32))
        self.eps[tap] = torch.finfo(at[1]).eps
        if at not in self.memory or self.memory[at].numel() < len(x) * COLUMNS:
            self.memory[at] = torch.empty(len(x) * COLUMNS, device=x.device, dtype=at[1])
        pilot = None
        if self.far[tap] or self.scales[tap] != 1:
            pilot = self.pilots[tap] if tap in self.pilots else pilot_of(x.to(at[1]))
        return gram(x, pilot, self.memory[at], self.scales[tap])

    def end(self, n: int) -> None:
        """Add a batch, weighed by its samples."""
        if n < LEAST:
            self.left_out += n
            return
        size = len(next(iter(self.grams.values())))
        pairs = Pairs(size, symmetric=True)
        packed = pairs.packed(torch.stack([varying(one, self.eps[tap]) for tap, one in self.grams.items()]))
        every = dict(zip(self.grams, packed, strict=True))
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
        sides = [self.groups, *(self.groups[:g] + self.groups[g + 1 :] for g in range(len(self.groups)))]
        # Summed anew: what is left of a difference of sums would be rounding where a layer changes in one group only.
        return torch.stack([_ratio(*_summed(groups)) for groups in sides if groups])

    def reordered(self) -> Tensor:
        """Return the map for each order, `(K, A, B)`, in the precision of its products."""
        _, a, b = _summed(self.groups)
        if not self.permutations:
            return torch.zeros(0, len(a), len(b))
        return (self.permuted / torch.sqrt(torch.outer(a, b))).float()


def pilot_of(x: Tensor) -> Tensor:
    """Return the mean of features, which is exactly that of each where all samples are equal."""
    return x[0] + (x - x[:1]).mean(0)


def varying(k: Tensor, eps: float) -> Tensor:
    """Return a Gram matrix U-centred; 0 where it is no more than what rounding to `eps` leaves of equal samples."""
    out = u_centred(k)
    noise = max(4 * eps, len(k) * torch.finfo(k.dtype).eps)
    return torch.where(torch.linalg.vector_norm(out) <= noise * torch.linalg.vector_norm(k), 0.0, out)


def seems_far(x: Tensor) -> bool:
    """Tell the same from a few features, for half the limit."""
    few = x[:, :: max(1, x.shape[1] // PROBED)].double()
    return not float(few.mean(0).square().sum()) <= FAR / 2 * float(few.var(0, correction=0).sum())


def is_far(k: Tensor) -> bool:
    """Tell from a Gram matrix whether the features' mean is so far from 0 that centring it would cost digits."""
    mean, size = float(k.mean()), float(k.diagonal().mean())
    return not mean <= FAR * (size - mean)


def gram(x: Tensor, pilot: Tensor | None, memory: Tensor, scale: float = 1.0) -> Tensor:
    """Return the Gram matrix `(n, n)` of `scale (x - pilot)`, float64; products are in the dtype of `memory`.

    Features go by in parts that a cache holds, shifted into `memory`, each in shares that threads multiply apart.
    Most below the diagonal is not computed.
    """
    n = len(x)
    total = torch.zeros(n, n, dtype=memory.dtype, device=x.device)
    step, wide = -(-n // PARTS), memory.numel() // n
    for columns in (slice(begin, begin + wide) for begin in range(0, x.shape[1], wide)):
        part = x[:, columns]
        if pilot is not None:
            part = torch.sub(part, pilot[columns], out=memory[: part.numel()].view(part.shape))
            part = part if scale == 1 else part.mul_(scale)
        elif part.dtype != memory.dtype:
            part = memory[: part.numel()].view(part.shape).copy_(part)
        shares = part.view(n, math.gcd(part.shape[1], PARTS), -1).transpose(0, 1)
        for here in (slice(begin, begin + step) for begin in range(0, n, step)):
            total[: here.stop, here] += torch.bmm(shares[:, : here.stop], shares[:, here].mT).sum(0)
    upper = total.double().triu()
    return upper + upper.triu(1).T


def _summed(groups: Sequence[Sums]) -> Sums:
    ab, a, b = (sum(parts[1:], parts[0]) for parts in zip(*groups, strict=True))
    return ab, a, b


def _ratio(ab: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return ab / torch.sqrt(torch.outer(a, b))
