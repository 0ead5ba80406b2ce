"""Pointwise: the rule for activations, pooling and the like, whose channels do not mix: blocks are diagonal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.rules.levels import norms
from netassay.rules.tiles import Diagonal, alike

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity, nn.LeakyReLU,
    nn.LogSigmoid, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus,
    nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
    nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout,
)  # fmt: skip
"""Layers that treat every entry by itself."""
POOLS: tuple[type[nn.Module], ...] = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d, nn.LPPool3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d,
)  # fmt: skip
"""Layers that gather or spread positions, channel by channel."""
RANDOM = (nn.RReLU, nn.modules.dropout._DropoutNd)


def diagonal(layer: nn.Module, x: Tensor, gy: Tensor) -> Diagonal:
    """Blocks of a layer whose channels, at axis 1, do not mix: the size of `gx`, channel by channel."""
    if layer.training and isinstance(layer, RANDOM):
        raise BadInput(
            f"blocks of {type(layer).__name__} in train mode",
            "a layer that draws random numbers, so that a second run is not the first",
            "use eval mode",
        )
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        # Not through __call__, whose hooks may be those that are asking; a copy, for layers in place.
        y = type(layer).forward(layer, leaf.clone())
        y = y[0] if isinstance(y, tuple) else y
        alike(layer, gy, y)
        return Diagonal(norms(torch.autograd.grad(y, leaf, gy)[0]))
