"""CCA and its kin: correlations of the directions that two sets of features share, whatever basis they come in."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.measure import ROTATIONS, Measure
from netassay.measures.reducing import about_mean, cosines, decomposed, reduced, taken

_CANONICAL = partial(
    Measure,
    direction="similarity",
    lowest=0.0,
    highest=1.0,
    invariances=ROTATIONS | {"affine"},
    smallest=lambda d, e: max(d, e) + 2,
    biased=True,
)


def cca() -> Measure:
    """Canonical correlations, their mean: over min of the two ranks.

    The singular values of `Qx' Qy`, orthonormal bases of the centred features; directions below 1e-6 of the largest
    singular value do not count. With d >= n - 1 features the basis spans every direction, and the value is 1 whatever
    they are: refused (Kornblith et al. 2019, theorem 1). Hotelling 1936; Raghu et al. 2017, arXiv 1706.05806.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 5.0]])
    >>> measure = cca()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x @ torch.tensor([[1.0, 2.0], [0.0, 3.0]])), None), 6)
    1.0
    """
    source = "Hotelling 1936, Biometrika 28:321; mean: Kornblith et al. 2019, arXiv 1905.00414, (6)"
    return _CANONICAL(name="cca", title="Mean canonical correlation", arranged=_basis, compare=_mean, source=source)


def cca_squared() -> Measure:
    """Canonical correlations, the mean of their squares: the share of variance of a whitened side that is shared.

    As `cca`. Kornblith et al. 2019, arXiv 1905.00414, (7).
    """
    return _CANONICAL(
        name="cca_squared",
        title="Mean squared canonical correlation",
        arranged=_basis,
        compare=_mean_squared,
        source="Kornblith et al. 2019, arXiv 1905.00414, (7)",
    )


def svcca(*, variance: float = 0.99, components: int | None = None) -> Measure:
    """CCA of the leading principal directions: as few as hold `variance`, or `components` of each side.

    Variance is the sum of squared singular values of the centred features; the value is the mean correlation over
    the smaller number of directions. NaN where a side keeps all n - 1: the value is then 1 whatever they are.
    Raghu et al. 2017, arXiv 1706.05806, section 2.
    """
    if not 0 < variance <= 1 or (components is not None and components < 1):
        found = f"variance={variance:g}, components={components}"
        raise BadInput("svcca", found, "svcca:variance=0.99 or svcca:components=10")

    def arranged(x: Tensor) -> Tensor:
        u, s = decomposed(reduced(x))
        held = s.square().cumsum(0)
        u = u[:, : int((held < variance * held[-1:]).sum()) + 1 if components is None else components]
        return u if u.shape[1] < len(x) - 1 else u[:, :1] * torch.nan

    def smallest(d: int, e: int) -> int:
        # How many directions hold the variance is not known before; of n - 1 there are always fewer than n.
        return 4 if components is None else min(max(d, e), components) + 2

    return _CANONICAL(
        name="svcca",
        title="SVCCA",
        invariances=ROTATIONS,
        arranged=arranged,
        compare=_mean,
        smallest=smallest,
        source="Raghu et al. 2017, arXiv 1706.05806, section 2",
    )


def pwcca() -> Measure:
    """Canonical correlations, weighted by how much of the first's features their variates carry.

    Weights `sum_j |<h_i, x_j>|`, h_i the first's canonical variates and x_j its centred features: not symmetric, and
    not invariant to rotations. Where d + e > n - 1, the sides share d + e - n + 1 directions with correlation 1
    whatever they are, and which variates those get is up to the computation, and with it the value: refused. Morcos et
    al. 2018, arXiv 1806.05759, (3); widely copied code leaves the whitening out of h_i.
    """
    return _CANONICAL(
        name="pwcca",
        title="PWCCA",
        invariances=ROTATIONS - {"orthogonal"},
        symmetric=False,
        arranged=_basis_and_weights,
        compare=_weighted,
        smallest=lambda d, e: d + e + 1,
        source="Morcos et al. 2018, arXiv 1806.05759, (3)",
    )


def _basis(x: Tensor) -> Tensor:
    return decomposed(reduced(x))[0]


def _mean(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
    return float(cosines(a.T @ taken(b, order)).mean())


def _mean_squared(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
    return float(cosines(a.T @ taken(b, order)).square().mean())


def _basis_and_weights(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the basis, and the features in it."""
    basis = _basis(x)
    return basis, basis.T @ about_mean(x)


def _weighted(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], order: Tensor | None = None) -> float:
    shared = a[0].T @ taken(b[0], order)
    if not shared.numel() or not bool(torch.isfinite(shared).all()):
        return torch.nan
    u, rho, _ = torch.linalg.svd(shared, full_matrices=False)
    weights = (u.T @ a[1]).abs().sum(1)
    return float((weights * rho).sum() / weights.sum())
