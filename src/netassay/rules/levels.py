"""Levels: gradients brought near 1 by powers of two, so that squares neither vanish nor overflow; and their norms."""

from __future__ import annotations

import torch
from torch import Tensor

LOW, HIGH = 2.0**-40, 2.0**40
"""Norms between these need no scaling: what of them underflows when squared is below rounding."""


def levelled(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `gradient` `(N, C, ...)` near 1, by what it was divided, and its norms, `(N, C)` in float64.

    Divided by a power of two for each sample and channel, which is exact; not at all where nothing calls for it. In
    float32, or in float64 where it was.
    """
    gradient = gradient if gradient.dtype == torch.float64 else gradient.float()
    size = _norm(gradient)
    if not gradient.numel() or (gradient.device.type == "cpu" and _near_one(gradient, size)):
        return gradient, torch.ones_like(size, dtype=torch.float64), size.double()
    top = gradient.flatten(2).abs().amax(2) if gradient.dim() > 2 else gradient.abs()
    exponent = torch.where(top.isfinite(), torch.frexp(top)[1], 0)
    gradient, scale = lowered(gradient, exponent)
    return gradient, scale, _norm(gradient).double() * scale


def lowered(gradient: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """Divide `gradient` by `2**exponent`, which holds for its first axes; return that, too, in float64."""
    # In two steps: a float32 holds neither 2**140 nor 2**-149 as a factor of its own.
    half = exponent // 2
    for part in (half, exponent - half):
        factor = torch.ldexp(torch.ones_like(part, dtype=gradient.dtype), -part)
        gradient = gradient * factor.view(*factor.shape, *(1,) * (gradient.dim() - factor.dim()))
    return gradient, torch.ldexp(torch.ones_like(exponent, dtype=torch.float64), exponent)


def _near_one(gradient: Tensor, size: Tensor) -> bool:
    """Tell whether nothing calls for scaling: norms are in range, or those of nothing but zeros."""
    nothing = size == 0
    return bool((nothing | (size > LOW) & (size < HIGH)).all() and not gradient[nothing].any())


def norms(gradient: Tensor) -> Tensor:
    """Return the norm of each sample and channel of `(N, C, ...)`: `(N, C)` in float64, right at any size."""
    return levelled(gradient)[2]


def _norm(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient.flatten(2), dim=2) if gradient.dim() > 2 else gradient.abs()
