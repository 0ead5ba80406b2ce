"""Solving: the best affine, orthogonal, permuting or low-rank map from a sender to a receiver, from sums alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from netassay.errors import BadInput, NoMatch
from netassay.measures.matching import needs_scipy
from netassay.stitching.sums import Sums

RIDGES = tuple(10.0**k for k in range(-8, 3))
"""Penalties tried besides 0, in units of the mean variance of the sender's channels."""
RANK = 1e-10
"""A share of the largest variance below which a direction of the sender is rounding: float32 squared, and room."""
NOTHING = torch.finfo(torch.float64).eps
"""A share of a sender's mean square below which its variance is rounding."""
EIGEN, CHOLESKY = 4.5, 1 / 6
"""Multiply-adds of an eigendecomposition and of a Cholesky factorisation, in cubes of the size (Golub & Van Loan 2013,
sections 8.3 and 4.2)."""


@dataclass(frozen=True)
class Map:
    """A map `weight x + bias` of rows, `(D, C)` and `(D,)`, float64, and how well it fits the rows it was made from.

    `r2` is `1 - sum (y - y')^2 / sum (y - mean y)^2`, both sums over all rows and all of the receiver's channels, each
    about its own mean; NaN where the receiver is constant. A sender that is constant gives 0 and the receiver's mean.
    `ridge` is the penalty in units of the mean variance of the sender's channels; `n` the rows, `madds` the
    multiply-adds of solving, without those of the sums.
    """

    weight: Tensor
    bias: Tensor
    r2: float
    ridge: float
    n: int
    madds: int


def affine(folds: Sequence[Sums], ridge: float | None = None) -> Map:
    """Return the least-squares map with intercept; the penalty by cross-validation over folds unless it is given.

    Minimises `sum |y - W x - b|^2 + n ridge v |W|^2`, v the mean variance of the sender's channels (Hoerl & Kennard
    1970). Penalties tried are `RIDGES`, and 0 where every direction of the sender varies (see `RANK`) in each fit;
    the least squared error on folds left out decides, the larger penalty among equals. `ridge=0` where some
    directions do not vary takes the least map of the best ones.

    >>> x = torch.randn(50, 3)
    >>> found = affine([Sums.of(x, x @ torch.ones(3, 2) + 5)], ridge=0)
    >>> found.weight.round(decimals=6)[0], round(found.r2, 6)
    (tensor([1., 1., 1.], dtype=torch.float64), 1.0)
    """
    if ridge is not None and not 0 <= ridge < math.inf:
        raise BadInput(f"a match with ridge={ridge}", "a penalty is 0 or more, and finite", "ridge=0, or None")
    total, madds = _total(folds), 0
    if ridge is None:
        ridge = _validated(folds)
        madds = len(folds) * _work(total, EIGEN + 2)
    if not ridge or _constant(total):
        return _map(total, Decomposed.of(total).weight(), ridge=0.0, madds=madds + _work(total, EIGEN))
    damped = total.xx + total.n * ridge * _variance(total) * torch.eye(len(total.xx)).to(total.xx)
    weight = torch.cholesky_solve(total.xy, torch.linalg.cholesky(damped)).T
    return _map(total, weight, ridge=ridge, madds=madds + _work(total, CHOLESKY))


def low_rank(folds: Sequence[Sums], rank: int, ridge: float | None = None) -> Map:
    """Return the best affine map whose weight has at most `rank`; the penalty is that of `affine`.

    The full map, projected on the leading directions of what it foretells (reduced-rank regression: Izenman 1975, J.
    Multivar. Anal. 5:248; with a penalty: Mukherjee & Zhu 2011, Stat. Anal. Data Min. 4:612).
    """
    full, total = affine(folds, ridge), _total(folds)
    damped = total.xx + total.n * full.ridge * _variance(total) * torch.eye(len(total.xx)).to(total.xx)
    leading = torch.linalg.eigh(full.weight @ damped @ full.weight.T).eigenvectors[:, -rank:]
    made = _map(total, leading @ (leading.T @ full.weight), ridge=full.ridge)
    return replace(made, madds=full.madds + round(EIGEN * len(total.y) ** 3))


def orthogonal(folds: Sequence[Sums]) -> Map:
    """Return the best rotation or reflection about the means, without scaling (Schoenemann 1966, Psychometrika 31:1).

    Of unequal widths, a partial isometry: it maximises `tr(W C)` for C the cross-products, which minimises the
    squared error for C <= D only.
    """
    total = _total(folds)
    u, _, v = torch.linalg.svd(total.xy, full_matrices=False)
    return _map(total, (u @ v).T, madds=round(2 * EIGEN * min(total.xy.shape) ** 2 * max(total.xy.shape)))


def permutation(folds: Sequence[Sums]) -> Map:
    """Return the best pairing of channels about the means, without scaling; exact (Crouse 2016), and needs scipy.

    Maximises the sum of covariances of pairs. Of unequal widths, a sender's channel left over goes nowhere, and a
    receiver's gets its mean.
    """
    total = _total(folds)
    assign = needs_scipy("adapter 'permutation'").linear_sum_assignment
    found = assign(total.xy.cpu().numpy(), maximize=True)
    weight = torch.zeros_like(total.xy.T)
    weight[found[1], found[0]] = 1
    return _map(total, weight)


def same(folds: Sequence[Sums]) -> Map:
    """Return the map that leaves everything as it is, and what it explains."""
    total = _total(folds)
    return _map(total, torch.eye(len(total.x)).to(total.xx), moved=False)


def explained(sums: Sums, weight: Tensor, bias: Tensor) -> float:
    """Return the R2 of a map on the rows of some sums (see `Map.r2`); NaN where the receiver is constant."""
    missed = sums.y - weight @ sums.x - bias
    products = torch.einsum("dc,ce,de->", weight, sums.xx, weight) - 2 * (weight.T * sums.xy).sum()
    wrong = sums.yy.sum() + products + sums.n * missed.square().sum()
    about = float(sums.yy.sum())
    return 1 - float(wrong) / about if about > 0 else math.nan


@dataclass(frozen=True)
class Decomposed:
    """The sender's variances `s` along orthonormal directions `v`, and `a` `(C, D)`, the cross-products there."""

    v: Tensor
    s: Tensor
    a: Tensor

    @classmethod
    def of(cls, sums: Sums) -> Decomposed:
        """Decompose."""
        s, v = torch.linalg.eigh(sums.xx / sums.n)
        return cls(v, s.clamp(min=0), v.T @ sums.xy / sums.n)

    @property
    def full(self) -> bool:
        """Tell whether every direction varies."""
        return bool((self.s > RANK * self.s.amax()).all())

    def shrink(self, ridge: float) -> Tensor:
        """Return the factors `1 / (s + ridge)`, 0 along what does not vary."""
        return torch.where(self.s > RANK * self.s.amax(), 1 / (self.s + ridge * self.s.mean()), 0.0)

    def weight(self) -> Tensor:
        """Return the least map `(D, C)` of the best ones."""
        return (self.v @ (self.shrink(0.0)[:, None] * self.a)).T


def _validated(folds: Sequence[Sums]) -> float:
    """Return the penalty with the least error on folds left out."""
    if len(folds) < 2:
        raise NoMatch("a ridge by cross-validation", "samples of one fold only", "give more samples, or ridge=0")
    errors, well_posed = torch.zeros(len(RIDGES) + 1, dtype=torch.float64), True
    for i, held in enumerate(folds):
        train = _total((*folds[:i], *folds[i + 1 :]))
        decomposed = Decomposed.of(train)
        errors += _errors(decomposed, held.about(train.x, train.y))
        well_posed &= decomposed.full
    errors[0] = errors[0] if well_posed else math.inf
    return (0.0, *RIDGES)[len(RIDGES) - int(errors.flip(0).argmin())]


def _errors(train: Decomposed, held: Sums) -> Tensor:
    """Return the squared error on held-out rows, whose sums are about the training means, for 0 and each penalty."""
    cross = (train.a * (train.v.T @ held.xy)).sum(1)
    both = (train.a @ train.a.T) * (train.v.T @ held.xx @ train.v)
    shrunk = torch.stack([train.shrink(ridge) for ridge in (0.0, *RIDGES)])
    return (held.yy.sum() - 2 * shrunk @ cross + ((shrunk @ both) * shrunk).sum(1)).cpu()


def _map(total: Sums, weight: Tensor, *, ridge: float = math.nan, madds: int = 0, moved: bool = True) -> Map:
    if moved and _constant(total):
        weight = torch.zeros_like(weight)
    bias = total.y - weight @ total.x if moved else torch.zeros_like(total.y)
    return Map(weight, bias, explained(total, weight, bias), ridge, total.n, madds)


def _variance(sums: Sums) -> Tensor:
    return sums.xx.diagonal().mean() / sums.n


def _constant(sums: Sums) -> bool:
    """Tell whether the sender says nothing: beside its own size it varies by rounding alone."""
    return float(sums.xx.trace()) <= NOTHING * sums.n * float(sums.x.square().sum())


def _total(folds: Sequence[Sums]) -> Sums:
    """Merge the sums of several folds; refuse what is not finite."""
    total = reduce(Sums.merge, folds)
    if not all(bool(torch.isfinite(part).all()) for part in (total.xx, total.xy, total.yy)):
        raise NoMatch("a match in closed form", "activations with NaN or Inf", "cut at another layer")
    return total


def _work(sums: Sums, cubes: float) -> int:
    """Count the multiply-adds of one factorisation, and of the errors and maps that come from it."""
    C, D = sums.xy.shape
    return round(cubes * C**3 + 4 * C * C * D)
