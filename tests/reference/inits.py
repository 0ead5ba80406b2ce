"""Slow twins of initialisation: fans by counting which inputs an output hangs on, moments by integrating densities."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn


def fans(layer: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """Count the inputs that the middle output hangs on, and the outputs that hang on the middle input.

    `x` is `(1, channels, *space)`, large enough that its middle is away from every border; `(1, features)` if linear.
    """
    J = torch.autograd.functional.jacobian(lambda one: layer(one)[0], x)[..., 0, :] if x.dim() == 2 else None
    if J is not None:
        return int((J[0] != 0).sum()), int((J[:, 0] != 0).sum())
    J = torch.autograd.functional.jacobian(lambda one: layer(one)[0], x).squeeze(x.dim() - 1)
    out_space, in_space = J.shape[1 : x.dim() - 1], x.shape[2:]
    middle_out = (0, *(size // 2 for size in out_space))
    middle_in = (0, *(size // 2 for size in in_space))
    per_output = J[middle_out]
    per_input = J[(slice(None),) * (x.dim() - 1) + middle_in]
    return int((per_output != 0).sum()), int((per_input != 0).sum())


def density(family: str, variance: float):
    """Return a density, and where it ends; "truncated" takes its parent's standard deviation for the variance."""
    if family == "uniform":
        end = math.sqrt(3 * variance)
        return (lambda x: np.full_like(x, 1 / (2 * end))), end
    if family == "normal":
        sigma = math.sqrt(variance)
        return (lambda x: np.exp(-((x / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))), 12 * sigma
    sigma = variance  # of the parent
    inside = math.erf(math.sqrt(2))
    return (lambda x: np.exp(-((x / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi) * inside)), 2 * sigma


def moments(family: str, scale: float) -> list[float]:
    """Integrate x, x^2, x^3, x^4 over a density by the midpoint rule; `scale` as in `density`."""
    f, end = density(family, scale)
    edges = np.linspace(-end, end, 200_001)
    x = (edges[1:] + edges[:-1]) / 2
    return [float(np.sum(x**k * f(x)) * (edges[1] - edges[0])) for k in (1, 2, 3, 4)]


def haar_moments(rows: int, columns: int, gain: float) -> list[float]:
    """Moments of an entry of a random matrix with orthonormal shorter side: a coordinate of the unit sphere."""
    N = max(rows, columns)
    return [0.0, gain**2 / N, 0.0, 3 * gain**4 / (N * (N + 2))]


def sphericity(flat: np.ndarray) -> float:
    """Return `sum s^4 / size` over the singular values of a matrix scaled to mean square 1."""
    scaled = flat / math.sqrt(float(np.mean(flat**2)))
    return float(np.sum(np.linalg.svd(scaled, compute_uv=False) ** 4) / flat.size)
