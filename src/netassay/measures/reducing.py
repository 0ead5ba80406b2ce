"""Reducing: features about their mean, in as few columns as hold them exactly, and orthonormal bases of them."""

from __future__ import annotations

import torch
from torch import Tensor

RANK = 1e-6
"""Directions whose singular value is below this share of the largest do not count: float32 cannot tell them apart."""


def about_mean(x: Tensor) -> Tensor:
    """Return features `(n, d)` in float64 less their means; the first sample is taken off before.

    >>> about_mean(torch.tensor([[1e6, 3.0], [1e6 + 2, 3.0]]))
    tensor([[-1.,  0.],
            [ 1.,  0.]], dtype=torch.float64)
    """
    x = x.double()
    x = x - x[:1]
    return x - x.mean(0)


def about_median(x: Tensor) -> Tensor:
    """Return features `(n, d)` in float64 less their medians, which one sample far away does not pull along.

    >>> about_median(torch.tensor([[1.0], [2.0], [1e9]])).tolist()
    [[-1.0], [0.0], [999999998.0]]
    """
    x = x.double()
    return x - x.median(0).values


def reduced(x: Tensor) -> Tensor:
    """Return centred features `(n, min(n, d))` that are a rotation of those of x: every inner product is kept."""
    x = about_mean(x)
    return x if x.shape[1] <= len(x) else torch.linalg.qr(x.T, mode="r")[1].T


def decomposed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return left singular vectors `(n, r)` and values `(r,)` of a matrix; r is the numerical rank (see `RANK`)."""
    if not bool(torch.isfinite(x).all()):
        return x[:, :1] * torch.nan, x[0, :1] * torch.nan
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    kept = s > RANK * s.amax() if len(s) else s > 0
    return u[:, kept], s[kept]


def cosines(m: Tensor) -> Tensor:
    """Return the singular values of a matrix, largest first; NaN where it holds one."""
    return torch.linalg.svdvals(m) if bool(torch.isfinite(m).all()) else m.new_tensor([torch.nan])


def taken(x: Tensor, order: Tensor | None) -> Tensor:
    """Return rows in another order, or as they are."""
    return x if order is None else x[order]
