"""Centring: features and squared distances in float64, so that neither offsets nor scales cost digits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netassay.measures.reducing import about_mean


def centred(x: Tensor) -> Tensor:
    """Return features `(n, d)` in float64 about their means, times a power of two that makes the largest about 1.

    >>> centred(torch.tensor([[1e6, 3.0], [1e6 + 2, 3.0]]))
    tensor([[-0.5000,  0.0000],
            [ 0.5000,  0.0000]], dtype=torch.float64)
    """
    return scaled(about_mean(x))


def scaled(x: Tensor) -> Tensor:
    """Return x in float64 times a power of two, exactly, so that squares of squares neither vanish nor overflow."""
    x = x.double()
    largest = float(x.abs().max())
    if not math.isfinite(largest) or largest == 0:
        return x
    # Two steps: the factor of a subnormal number is itself out of range.
    exponent = math.frexp(largest)[1]
    half = exponent // 2
    return x * 2.0**-half * 2.0 ** (half - exponent)


def directions(x: Tensor) -> Tensor:
    """Return each sample's features in float64 over their norm; NaN for a sample of zeros."""
    x = scaled(x)
    norms: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / norms


def squared_distances(x: Tensor) -> Tensor:
    """Return squared Euclidean distances of all samples, `(n, n)`; x is about its median.

    Rounding can leave a distance of equal samples just below 0; it is set to 0.
    """
    squares = x.square().sum(1)
    return (squares[:, None] + squares - 2 * (x @ x.T)).clamp_(min=0)


def unit(matrix: Tensor, beside: Tensor | None = None) -> Tensor:
    """Return a matrix over its Frobenius norm; NaN where it is 0, or rounding of what it was made from (`beside`)."""
    norm = torch.linalg.vector_norm(matrix)
    noise = 0.0 if beside is None else len(matrix) * torch.finfo(matrix.dtype).eps * torch.linalg.vector_norm(beside)
    return matrix / torch.where(norm > noise, norm, torch.nan)


def above(matrix: Tensor) -> Tensor:
    """Return the entries above the diagonal, one for each pair of samples."""
    rows, columns = torch.triu_indices(len(matrix), len(matrix), offset=1)
    return matrix[rows, columns]
