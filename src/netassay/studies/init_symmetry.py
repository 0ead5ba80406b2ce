"""Symmetry: how many distinct channels layers have, what gets no gradient, and what never moved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.conv import _ConvTransposeNd

from netassay.data import Batch
from netassay.layers import has_weight, named_layers
from netassay.quiet import quiet
from netassay.shape import distinct_channels, still
from netassay.studies.forward import device_of
from netassay.studies.init_payload import Payload


def distinct(model: nn.Module, when: str) -> Payload:
    """Count the channels of every weight layer, and how many of them differ."""
    names, channels, different = [], [], []
    for name, weight, bias in _matrices(model):
        names.append(name)
        channels.append(len(weight))
        different.append(distinct_channels(weight.numpy(), None if bias is None else bias.numpy()))
    return {
        "distinct/layer": np.array(names, dtype=str),
        "distinct/channels": np.array(channels, dtype=np.int64),
        f"distinct/{when}": np.array(different, dtype=np.int64),
    }


def gradient_zeros(model: nn.Module, batch: Batch) -> Payload:
    """Return, parameter by parameter, the share of entries whose gradient is exactly 0 (all, where there is none).

    Of the mean cross-entropy of one batch, in eval mode; `.grad` stays untouched.
    """
    assert batch.y is not None
    named = {name: one for name, one in model.named_parameters() if one.requires_grad}
    device = device_of(model)
    with quiet(model), torch.enable_grad():
        loss = F.cross_entropy(model(batch.x.to(device, copy=True)), batch.y.to(device))
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    shares = [1.0 if gradient is None else float((gradient == 0).double().mean()) for gradient in gradients]
    return {"zero_gradient/parameter": np.array(list(named), dtype=str), "zero_gradient/share": np.array(shares)}


def unmoved(before: nn.Module, after: nn.Module) -> Payload:
    """Return, parameter by parameter, the share of entries that training left bit for bit where they were."""
    later = dict(after.named_parameters())
    shares = {name: still(one, later[name]) for name, one in before.named_parameters()}
    return {"unmoved/parameter": np.array(list(shares), dtype=str), "unmoved/share": np.array(list(shares.values()))}


def _matrices(model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield each layer whose rows are channels: weight (O, ...) and bias (O,)."""
    for layer in named_layers(model):
        weight = getattr(layer.module, "weight", None)
        if not has_weight(layer.module) or isinstance(layer.module, nn.Embedding) or not isinstance(weight, Tensor):
            continue
        bias = getattr(layer.module, "bias", None)
        yield layer.name, _rows(layer.module, weight).detach().cpu(), None if bias is None else bias.detach().cpu()


def _rows(module: nn.Module, weight: Tensor) -> Tensor:
    if not isinstance(module, _ConvTransposeNd):
        return weight
    # (inputs, outputs of a group, ...): groups come one after another, their outputs within.
    parts = weight.view(module.groups, -1, *weight.shape[1:])
    return parts.transpose(1, 2).flatten(0, 1)
