"""HSIC: Gram matrices centred so that the inner product of two is the Hilbert-Schmidt independence criterion."""

from __future__ import annotations

import torch
from torch import Tensor


def doubly_centred(gram: Tensor) -> Tensor:
    """Return `H K H`, H = I - 11'/n: the sum of products of two is (n - 1)^2 times the biased HSIC.

    Gretton et al. 2005, Measuring Statistical Dependence with Hilbert-Schmidt Norms, (9).
    """
    rows = gram.mean(1)
    return gram - rows[:, None] - rows + rows.mean()


def u_centred(gram: Tensor) -> Tensor:
    """Return the U-centred matrix: the sum of products of two is n (n - 3) times the unbiased HSIC.

    Its diagonal and the sums of its rows are 0. Székely & Rizzo 2014, Ann. Statist. 42:2382, definition 2; the value is
    that of Song et al. 2012, J. Mach. Learn. Res. 13:1393, (5).

    >>> bool(u_centred(torch.eye(5)).abs().max() == 0)  # samples that are all equally far apart
    True
    """
    n = len(gram)
    gram = gram.clone().fill_diagonal_(0)
    rows = gram.sum(1)
    if n < 3:
        return torch.full_like(gram, torch.nan)
    out = gram - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return out.fill_diagonal_(0)


def u_without(rows: Tensor, own: Tensor) -> Tensor:
    """Return sums of products of U-centred matrices over all samples and all but each, up to a common factor.

    U-centring again what is left of a U-centred matrix equals U-centring what is left of the Gram matrix; sums of rows
    are 0, so that only r_i = sum_j a_ij b_ij is left: t - 2 r_i - 2 r_i / (n - 3).
    """
    n, total = len(rows), rows.sum(0, keepdim=True)
    return torch.cat([total, total - 2 * rows * (n - 2) / (n - 3)])


def doubly_without(rows: Tensor, own: Tensor) -> Tensor:
    """Return the same of doubly centred matrices: without sample i the sums of rows are -a_ij, and of all a_ii."""
    n, total = len(rows), rows.sum(0, keepdim=True)
    return torch.cat([total, total - 2 * rows + own - 2 * (rows - own) / (n - 1) + own / (n - 1) ** 2])
