"""Regression: how well an affine map of the first's features foretells the second's, on samples it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.measure import ROTATIONS, Invariance, Measure
from netassay.measures.reducing import about_mean, decomposed, reduced, taken

RIDGES = tuple(10.0**k for k in range(-6, 4))
"""Penalties tried, in units of the mean squared singular value of the training features."""
SOURCE = "ridge: Hoerl & Kennard 1970; its penalty: Golub, Heath & Wahba 1979, (1.4); Kornblith et al. 2019, (5)"


@dataclass(frozen=True)
class Fold:
    """One part held out: the map from the training targets to what is foretold of it, for any penalty.

    `u` `(m, r)` and `s` `(r,)` of the centred training features, `scores` `(n - m, r)` of the held-out ones over `s`.
    """

    train: Tensor
    test: Tensor
    u: Tensor
    s: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Fitted:
    """Features prepared to foretell (folds) and to be foretold: centred and rotated to n columns or fewer, and raw."""

    folds: tuple[Fold, ...]
    rotated: Tensor
    raw: Tensor


def regression(*, folds: int = 5) -> Measure:
    """Linear predictivity: the R2 of the second's features from the first's, by ridge regression, cross-validated.

    `1 - sum (y - y')^2 / sum (y - mean y)^2` over all samples and features, y' foretold by a fit to the other folds
    (drawn once, the same for any data); the penalty minimises generalised cross-validation within them. Below 0 where
    the mean foretells better. `folds=0` is the R2 of a plain fit to the same samples: 1 for any d >= n - 1, refused.
    Not symmetric. Kornblith et al. 2019, arXiv 1905.00414, (5).

    >>> x = torch.randn(40, 3)
    >>> measure = regression()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x @ torch.randn(3, 2) + 5), None), 6)
    1.0
    """
    return _regression("regression", "Linear predictivity", "similarity", folds, _share)


def mse(*, folds: int = 5) -> Measure:
    """Mean squared error of the second's features after the best affine map of the first's, over their variance.

    1 less `regression`, cross-validated alike: 0 is a perfect map, 1 no better than the mean. Not symmetric.
    """

    def error(a: Fitted, b: Fitted, order: Tensor | None = None) -> float:
        return 1 - _share(a, b, order)

    return _regression("mse", "Mean squared error after an affine map", "distance", folds, error)


def correlation(*, folds: int = 5) -> Measure:
    """Correlation of each of the second's features with what `regression` foretells of it, mean over features.

    Pearson, over all samples at once, each foretold by a fit to the other folds. Constant features are left out; where
    what is foretold is constant, the correlation counts as 0. Not symmetric. Yamins et al. 2014, PNAS 111:8619.
    """
    kept = ROTATIONS - {"orthogonal"}
    return _regression("correlation", "Correlation after an affine map", "similarity", folds, _correlated, kept)


def _regression(
    name: str,
    title: str,
    direction: Literal["similarity", "distance"],
    folds: int,
    compare: Callable[[Fitted, Fitted, Tensor | None], float],
    invariances: frozenset[Invariance] = ROTATIONS,
) -> Measure:
    if folds < 0 or folds == 1:
        raise BadInput(f"{name} with folds={folds}", "no samples to test on", f"{name}:folds=5, or folds=0 for none")
    ends = {"regression": (-torch.inf, 1.0), "mse": (0.0, torch.inf), "correlation": (-1.0, 1.0)}
    lowest, highest = ends[name]
    return Measure(
        name=name,
        title=title + ("" if folds else ", in sample"),
        direction=direction,
        lowest=lowest if folds else 0.0,
        highest=highest if folds else 1.0,
        invariances=invariances,
        symmetric=False,
        arranged=lambda x: Fitted(tuple(_folds(x, folds)), reduced(x), x),
        compare=compare,
        smallest=(lambda d, e: 2 * folds) if folds else (lambda d, e: d + 2),
        source=SOURCE + ("; Yamins et al. 2014, PNAS 111:8619" if name == "correlation" else ""),
        biased=not folds,
    )


def _folds(x: Tensor, folds: int) -> Iterator[Fold]:
    n = len(x)
    # Drawn, for samples that come in an order; always the same, for the same bits.
    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(0)).to(x.device)
    x = reduced(x)
    for part in range(max(folds, 1)):
        test = drawn[part::folds].sort().values if folds else drawn
        held = torch.zeros(n, dtype=torch.bool, device=x.device)
        held[test] = bool(folds)
        train = torch.nonzero(~held)[:, 0]
        centre = x[train].mean(0)
        features = x[train] - centre
        u, s = decomposed(features)
        yield Fold(train, test, u, s, (x[test] - centre) @ (features.T @ u) / s.square())


def _foretold(fold: Fold, targets: Tensor, rotated: Tensor) -> Tensor:
    """Return what a fold's fit foretells of its held-out samples; the penalty is chosen on the rotated targets."""
    weights = _shrinking(fold, rotated)
    hat = (fold.scores * weights) @ fold.u.T
    known = targets[fold.train].double()
    mean = known.mean(0)
    return mean + hat @ (known - mean)


def _shrinking(fold: Fold, rotated: Tensor) -> Tensor:
    """Return the factors `s^2 / (s^2 + ridge)` whose generalised cross-validation is least."""
    squares = fold.s.square()
    if len(fold.train) == len(fold.test):
        return torch.ones_like(squares)
    m, known = len(fold.train), rotated[fold.train]
    known = known - known.mean(0)
    powers = (fold.u.T @ known).square().sum(1)
    factors = squares / (squares + squares.mean() * squares.new_tensor(RIDGES)[:, None])
    # What a penalty leaves: all that lies outside the features, and of the rest what is shrunk away.
    left = (known.square().sum() - powers.sum()).clamp(min=0) + (1 - factors).square() @ powers
    return factors[int((left / (m - 1 - factors.sum(1)).square()).argmin())]


def _share(a: Fitted, b: Fitted, order: Tensor | None = None) -> float:
    y = taken(b.rotated, order)
    wrong = sum((y[fold.test] - _foretold(fold, y, y)).square().sum() for fold in a.folds)
    return float(1 - wrong / _or_nan(y.square().sum()))


def _correlated(a: Fitted, b: Fitted, order: Tensor | None = None) -> float:
    y, rotated = taken(b.raw, order).double(), taken(b.rotated, order)
    foretold = torch.empty_like(y)
    for fold in a.folds:
        foretold[fold.test] = _foretold(fold, y, rotated)
    y, foretold = about_mean(y), about_mean(foretold)
    norm, size = y.square().sum(0).sqrt(), foretold.square().sum(0).sqrt()
    rho = (y * foretold).sum(0) / (_or_nan(norm) * torch.where(size > 0, size, 1.0))
    return float(rho[norm != 0].mean())


def _or_nan(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.nan)
