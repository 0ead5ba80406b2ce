"""Local gradients and what is made of them, from the definition, in float64: kernel positions and outputs one by one.

`local(layer, x, gy)` is `(N, O, I, positions)`: the gradient at input channel i that comes through output channel o.
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
from torch import nn

TOKENS = (nn.LayerNorm, nn.RMSNorm)


def local(layer, x, gy):
    """Local gradients of any layer, `(N, O, I, P)`, with all positions on one axis."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        made = transposed(layer, x, gy) if layer.transposed else convolved(layer, x, gy)
    elif isinstance(layer, nn.MultiheadAttention):
        made = multiplied(layer.out_proj, gy if layer.batch_first else gy.transpose(0, 1))
    elif isinstance(layer, nn.Linear):
        made = multiplied(layer, gy)
    else:
        made = differentiated(layer, x, gy, -1 if isinstance(layer, TOKENS) else 1)
    return torch.as_tensor(made).flatten(3)


def convolved(layer, x, gy):
    """Tap j puts `w[o, i, j] gy[o, r]` on position `r * stride + j * dilation - padding`, folded as the padding is."""
    axes = range(len(layer.kernel_size))
    made, weight, gy = empty(layer, x, gy), dense(layer), gy.double().numpy()
    for tap in itertools.product(*map(range, layer.kernel_size)):
        places = [
            [fold(r * layer.stride[a] + tap[a] * layer.dilation[a] - before(layer, a), x.shape[2 + a], layer)
             for r in range(gy.shape[2 + a])]
            for a in axes
        ]  # fmt: skip
        kept = [[r for r, place in enumerate(one) if place is not None] for one in places]
        onto = [[place for place in one if place is not None] for one in places]
        part = (
            weight[(..., *tap)][(None, ..., *(None for _ in axes))]
            * gy[np.ix_(*map(range, gy.shape[:2]), *kept)][:, :, None]
        )
        np.add.at(made, np.ix_(*map(range, made.shape[:3]), *onto), part)
    return made


def before(layer, axis):
    """Positions that padding puts before the first."""
    if layer.padding == "valid":
        return 0
    if layer.padding == "same":
        return layer.dilation[axis] * (layer.kernel_size[axis] - 1) // 2
    return layer.padding[axis]


def fold(at, size, layer):
    """Where a position beside the input is read from; None for one that is zero."""
    if 0 <= at < size:
        return at
    if layer.padding_mode == "circular":
        return at % size
    if layer.padding_mode == "replicate":
        return min(max(at, 0), size - 1)
    if layer.padding_mode == "reflect":
        return -at if at < 0 else 2 * (size - 1) - at
    return None


def transposed(layer, x, gy):
    """Tap j reads `w[i, o, j] gy[o, r * stride + j * dilation - padding]` at position r, where the gradient has it."""
    made, weight, gy = empty(layer, x, gy), dense(layer), gy.double().numpy()
    axes = range(len(layer.kernel_size))
    for tap in itertools.product(*map(range, layer.kernel_size)):
        read = [[r * layer.stride[a] + tap[a] * layer.dilation[a] - layer.padding[a] for r in range(x.shape[2 + a])]
                for a in axes]  # fmt: skip
        kept = [[r for r, place in enumerate(one) if 0 <= place < gy.shape[2 + a]] for a, one in enumerate(read)]
        source = gy[np.ix_(*map(range, gy.shape[:2]), *([read[a][r] for r in kept[a]] for a in axes))]
        into = np.ix_(*map(range, made.shape[:3]), *kept)
        made[into] += weight[(..., *tap)][(None, ..., *(None for _ in axes))] * source[:, :, None]
    return made


def empty(layer, x, gy):
    return np.zeros((len(gy), layer.out_channels, layer.in_channels, *x.shape[2:]))


def dense(layer):
    """The weight as `(O, I, *kernel)`, zero between groups."""
    weight, G = layer.weight.detach().double().numpy(), layer.groups
    made = np.zeros((layer.out_channels, layer.in_channels, *layer.kernel_size))
    q, i = layer.out_channels // G, layer.in_channels // G
    for o, j in itertools.product(range(layer.out_channels), range(i)):
        g = o // q
        made[o, g * i + j] = weight[g * i + j, o % q] if layer.transposed else weight[o, j]
    return made


def multiplied(layer, gy):
    """`LG[n, o, i, t] = gy[n, t, o] W[o, i]`."""
    weight, gy = layer.weight.detach().double(), gy.double().reshape(len(gy), -1, gy.shape[-1])
    return gy.mT[:, :, None] * weight[None, :, :, None]


def differentiated(layer, x, gy, axis):
    """By autograd in float64, with the gradient at all outputs but one set to 0."""
    layer, leaf = copy.deepcopy(layer).double(), x.detach().double().clone().requires_grad_()
    if isinstance(layer, nn.RMSNorm) and layer.eps is None and x.dtype != torch.float64:
        layer.eps = torch.finfo(torch.float32).eps
    y = layer(leaf.clone())
    y = y[0] if isinstance(y, tuple) else y
    parts = []
    for o in range(y.shape[axis]):
        alone = torch.zeros_like(y)
        alone.select(axis, o).copy_(gy.double().select(axis, o))
        (part,) = torch.autograd.grad(y, leaf, alone, retain_graph=True)
        part = part.movedim(axis, 1)
        parts.append(part.reshape(*part.shape[:2], -1))
    return torch.stack(parts, 1)


def blocks(parts):
    """Norms over positions, `(N, O, I)`."""
    return parts.square().sum(3).sqrt()


def emission(parts):
    return blocks(parts).sum(2)


def absorption(parts):
    return blocks(parts).sum(1)


def coherence(parts):
    """What is left of what arrives, `(N, I)`; NaN where nothing does."""
    return parts.sum(1).norm(dim=2) / absorption(parts)


def overlap(parts, other=None):
    """`sum_n <LG(n, o, i), v[n, i]>` with v the input gradient, or another `(N, I, P)`."""
    other = parts.sum(1) if other is None else other
    return (parts * other[:, None]).sum((0, 3))


def share(parts):
    """`(O, I)`, sums to 1 over outputs; NaN where nothing arrives."""
    return overlap(parts) / parts.sum(1).square().sum((0, 2))
