"""Similarity, in feature space: sums over samples from which the debiased CKA of all of them is had exactly.

With centred features X, Y, their row norms r_i = |x_i|^2 and s_i = |y_i|^2, the U-centred inner product of the Gram
matrices (Song et al. 2012, JMLR 13:1393, eq. 5, times n(n - 3)) is

    |X'Y|_F^2 - n/(n - 2) sum_i r_i s_i + sum_i r_i sum_i s_i / ((n - 1)(n - 2)),

since each row of a centred Gram matrix sums to 0. No matrix of n x n is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.measures.centring import centred
from netassay.studies.similarity_asked import Tap
from netassay.studies.similarity_diagnoses import from_covariance
from netassay.studies.similarity_pairs import power

GROUPS = 10
"""Groups of samples, each of which the jackknife leaves out once."""
NOISE = 1e3 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Cross:
    """Sums over samples of shifted features `x` `(n, dx)` of layers A and `y` `(n, dy)` of layers B, side by side.

    `of_x` `(dx,)` and `of_y` tell which layer a feature belongs to. The shift is the same for all that is added.
    """

    of_x: Tensor
    of_y: Tensor
    n: Tensor
    x: Tensor
    y: Tensor
    xy: Tensor
    r: Tensor
    s: Tensor
    rs: Tensor
    ry: Tensor
    sx: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Cross:
        """Take the sums of some samples."""
        r, s = summed(x.square(), of_x, 1).T, summed(y.square(), of_y, 1).T
        sums = (x.sum(0), y.sum(0), x.T @ y, r.sum(1), s.sum(1), r @ s.T, r @ y, s @ x)
        return cls(of_x, of_y, torch.tensor(float(len(x)), dtype=x.dtype, device=x.device), *sums)

    def __add__(self, other: Cross) -> Cross:
        fields = [name for name in vars(self) if not name.startswith("of_")]
        return Cross(self.of_x, self.of_y, *(getattr(self, f) + getattr(other, f) for f in fields))

    def covariance(self) -> Tensor:
        """Return `X'Y` `(dx, dy)` of the centred features."""
        return self.xy - torch.outer(self.x, self.y) / self.n

    def norms(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return sums over samples of the centred rows' square norms, r `(A,)` and s `(B,)`, and of r s `(A, B)`."""
        n, p, q = self.n, self.x / self.n, self.y / self.n
        pp, qq = summed(p.square(), self.of_x, 0), summed(q.square(), self.of_y, 0)
        rs = self.rs - 2 * summed(self.ry * q, self.of_y, 1) - 2 * summed(self.sx * p, self.of_x, 1).T
        rs = rs + torch.outer(self.r, qq) + torch.outer(pp, self.s) - 3 * n * torch.outer(pp, qq)
        rs = rs + 4 * self._by_layer(p[:, None] * self.xy * q)
        return self.r - n * pp, self.s - n * qq, rs

    def debiased(self) -> Tensor:
        """Return n(n - 3) times the debiased HSIC of each pair of layers, `(A, B)`."""
        r, s, rs = self.norms()
        n = self.n
        return self._by_layer(self.covariance().square()) - n / (n - 2) * rs + torch.outer(r, s) / ((n - 1) * (n - 2))

    def own(self) -> Tensor:
        """Return `debiased` `(A,)` of layers with themselves; NaN where fewer than three digits of it are known."""
        value, size = self.debiased().diagonal(), self.r.square()
        return torch.where(value > NOISE * size, value, torch.nan)

    def _by_layer(self, values: Tensor) -> Tensor:
        return summed(summed(values, self.of_x, 0), self.of_y, 1)


class Sums:
    """What the debiased CKA of two sides needs of any number of samples, in groups; memory does not depend on n."""

    def __init__(self, taps: Sequence[Tap], a: Sequence[int], b: Sequence[int]) -> None:
        self.taps, self.a, self.b, self.seen = taps, list(a), list(b), 0
        self.pilots: dict[int, Tensor] = {}
        self.scales: dict[int, float] = {}
        self.batch: dict[int, Tensor] = {}
        self.groups: list[dict[Any, Cross]] = [{} for _ in range(GROUPS)]

    def take(self, tap: int, x: Tensor) -> None:
        """Shift by the median of the first batch, which no single sample pulls away, in float64; bring to about 1."""
        x = x.to(torch.float64, copy=True)
        if tap not in self.pilots:
            self.pilots[tap] = x.median(0).values
        x = x.sub_(self.pilots[tap])
        if tap not in self.scales and (scale := power(x)) != 0:
            self.scales[tap] = scale
        self.batch[tap] = x.mul_(self.scales.get(tap, 1.0))

    def end(self, n: int) -> None:
        """Add the batch to its groups: samples are dealt out in turn, so that no split into batches matters."""
        for g in range(GROUPS):
            group = self.groups[g]
            for key, (left, right) in self._pairs().items():
                x, of_x = self._side(left, n, g)
                y, of_y = self._side(right, n, g)
                if len(x):
                    part = Cross.of(x, y, of_x, of_y)
                    group[key] = group[key] + part if key in group else part
        self.seen += n
        self.batch.clear()

    def _pairs(self) -> dict[Any, tuple[list[int], list[int]]]:
        own = {tap: ([tap], [tap]) for tap in dict.fromkeys([*self.a, *self.b])}
        return {"all": (self.a, self.b), **own}

    def _side(self, taps: list[int], n: int, group: int) -> tuple[Tensor, Tensor]:
        """Return features `(rows, d)` of the group's samples, side by side, and which layer each belongs to."""
        samples = slice((group - self.seen) % GROUPS, None, GROUPS)
        return beside([self.batch[tap].view(n, -1, self.taps[tap].d)[samples].flatten(0, 1) for tap in taps])

    def total(self, key: Any) -> Cross:
        """Return the sums of all samples."""
        return self._less(None, key)

    def _less(self, left: int | None, key: Any) -> Cross:
        """Sum up all groups but one: a difference would keep the rounding of whatever is large in that one."""
        parts = [group[key] for g, group in enumerate(self.groups) if key in group and g != left]
        return sum(parts[1:], parts[0])

    def estimates(self) -> Tensor:
        """Return the map `(A, B)` from all samples, and from all but each group: `(1 + G, A, B)`."""
        there = [g for g, group in enumerate(self.groups) if group]
        left = [None, *there] if len(there) > 1 else [None]
        return torch.stack([self._map({key: self._less(g, key) for key in self._pairs()}) for g in left])

    def spectrum(self, tap: int) -> np.ndarray:
        """Return the eigenvalues of a layer's covariance, rising; NaN where it is not finite."""
        covariance = self.total(tap).covariance()
        if not bool(torch.isfinite(covariance).all()):
            return np.full(len(covariance), np.nan)
        return np.asarray(torch.linalg.eigvalsh(covariance).clamp(min=0).cpu().numpy())

    def told(self, tap: int) -> dict[str, float]:
        """Tell what a layer's features are like."""
        total = self.total(tap)
        return from_covariance(total.covariance(), int(total.n))

    def _map(self, sums: dict[Any, Cross]) -> Tensor:
        own = {tap: sums[tap].own()[0] for tap in dict.fromkeys([*self.a, *self.b])}
        a, b = (torch.stack([own[tap] for tap in side]) for side in (self.a, self.b))
        return sums["all"].debiased() / torch.sqrt(torch.outer(a, b))


def beside(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put features of several layers side by side, and say which layer each belongs to."""
    owner = [torch.full((part.shape[1],), i, device=part.device) for i, part in enumerate(parts)]
    return torch.cat(list(parts), 1), torch.cat(owner)


def reordered(a: Sequence[Tensor], b: Sequence[Tensor], drawn: Sequence[Tensor]) -> Tensor:
    """Return the debiased CKA of two sides for each order of the second's rows, `(K, A, B)`, from kept features."""
    sides = [[centred(x) for x in side] for side in (a, b)]
    own = [torch.cat([Cross.of(x, x, *2 * [beside([x])[1]]).own() for x in side]) for side in sides]
    (x, of_x), (y, of_y) = beside(sides[0]), beside(sides[1])
    found = [Cross.of(x, y[order.to(y.device)], of_x, of_y).debiased() for order in drawn]
    scale = torch.sqrt(torch.outer(*own))
    return torch.stack(found) / scale if found else scale.new_zeros(0, *scale.shape)


def summed(values: Tensor, owner: Tensor, axis: int) -> Tensor:
    """Add up what belongs to one layer, along an axis."""
    shape = list(values.shape)
    shape[axis] = int(owner[-1]) + 1
    return torch.zeros(shape, dtype=values.dtype, device=values.device).index_add_(axis, owner, values)
