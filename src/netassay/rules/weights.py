"""Weights: a layer's weight as it multiplies by it, and weights brought near 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def effective(layer: nn.Module) -> Tensor:
    """Return the weight that the layer used last, without autograd.

    Where it is computed from others, as if in eval mode: in train mode spectral norm steps on at each look.
    """
    computed = getattr(layer, "parametrizations", None)
    training = [one for one in computed.modules() if one.training] if computed is not None else []
    try:
        for one in training:
            one.training = False
        weight: Tensor = layer.weight.detach()  # type: ignore[operator]
    finally:
        for one in training:
            one.training = True
    return weight


def beside_largest(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights `(..., O, I)` beside the largest of each output, and what they were divided by, `(..., O)`.

    By a power of two, which is exact, so that squares and sums of them stay in range; in float32, or in float64.
    """
    weight = weight if weight.dtype == torch.float64 else weight.float()
    exponent = torch.frexp(weight.abs().amax(-1))[1] - 1
    top = torch.ldexp(torch.ones_like(weight[..., 0]), exponent)
    top = torch.where((top > 0) & top.isfinite(), top, 1)
    return weight / top[..., None], top.double()
