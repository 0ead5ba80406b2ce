"""Normalisation: rules for layers that divide by a statistic.

Channels meet in those of layer, RMS and group norm; batch and instance norm have one for each, and are diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from netassay.errors import BadInput
from netassay.rules.levels import norms
from netassay.rules.linear import by_token
from netassay.rules.tiles import Diagonal, Tile, alike, block_diagonal, pieces

WORKING = 1 << 20
CANCELLED = 1e-7
"""Share of a squared block's parts below which it is added up term by term: float64 then holds it to 1e-8."""


@dataclass(frozen=True)
class Tokens:
    """What a layer or RMS norm makes of tokens, `(N, C, T)`: `hat`, normalised inputs; `pull = gain * gy / deviation`.

    The local gradient of output o at another input i is `-pull[o] * (one + hat[o] * hat[i]) / C`: `one` is 1 where the
    mean is taken off, 0 where not (Ba et al. 2016, arXiv 1607.06450; Zhang & Sennrich 2019, arXiv 1910.07467).
    """

    hat: Tensor
    pull: Tensor
    one: float

    @classmethod
    def of(cls, layer: nn.LayerNorm | nn.RMSNorm, x: Tensor, gy: Tensor) -> Tokens:
        """Normalise `x` as the layer does, in float64."""
        if len(layer.normalized_shape) != 1:
            raise BadInput(
                f"blocks of {type(layer).__name__}{tuple(layer.normalized_shape)}",
                "a gain over several axes, none of which is the channels'",
                "use GroupNorm(1, C), write a rule for it, or leave it out: skip=...",
            )
        alike(layer, gy, x)
        own = torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).eps
        x, gy = by_token(x).double(), by_token(gy).double()
        centred = x - x.mean(-1, keepdim=True) if isinstance(layer, nn.LayerNorm) else x
        deviation = (centred.square().mean(-1, keepdim=True) + (own if layer.eps is None else layer.eps)).sqrt()
        gain = 1.0 if layer.weight is None else layer.weight.detach().double()
        return cls((centred / deviation).mT, (gain * gy / deviation).mT, float(isinstance(layer, nn.LayerNorm)))

    def squares(self, outputs: slice) -> Tensor:
        """Return squared blocks of some outputs, `(N, o, C)`."""
        C = self.hat.shape[1]
        hat, power = self.hat[:, outputs], (self.pull[:, outputs] / C).square()
        alone = power.sum(2, keepdim=True) * self.one
        both = (power * hat.square()) @ self.hat.square().mT
        squares = alone + 2 * self.one * (power * hat) @ self.hat.mT + both
        n, o, i = (squares < CANCELLED * (alone + both)).nonzero(as_tuple=True)
        squares[n, o, i] = (power[n, o] * (self.one + hat[n, o] * self.hat[n, i]).square()).sum(1)
        own = self.pull[:, outputs] * (1 - (self.one + hat.square()) / C)
        squares.diagonal(outputs.start, 1, 2)[:] = own.square().sum(2)
        return squares


def over_tokens(layer: nn.LayerNorm | nn.RMSNorm, x: Tensor, gy: Tensor) -> Iterator[Tile]:
    """Blocks of a layer or RMS norm over the last axis, exact in float64."""
    made = Tokens.of(layer, x, gy)
    N, C, _ = made.hat.shape
    for _, outputs in pieces(1, C, WORKING // max(1, N * C)):
        values = made.squares(outputs).sqrt().transpose(0, 1)[None]
        yield Tile(outputs.start, 0, values, torch.ones_like(made.pull[:, outputs, 0]))


def overlap_of_tokens(layer: nn.LayerNorm | nn.RMSNorm, x: Tensor, gy: Tensor, gx: Tensor) -> Tensor:
    """Return `sum_n <LG(n, o, i), gx[n, i]>`, `(C, C)`."""
    made, gx = Tokens.of(layer, x, gy), by_token(gx).double().mT
    C = made.hat.shape[1]
    alone = torch.einsum("not,nit->oi", made.pull, gx) * made.one
    both = torch.einsum("not,nit->oi", made.pull * made.hat, made.hat * gx)
    return torch.diag((made.pull * gx).sum((0, 2))) - (alone + both) / C


@dataclass(frozen=True)
class Groups:
    """What a group norm makes of its input, `(N, G, c, P)`: `hat` and `pull` as for tokens, and their sums.

    The local gradient of output o at another input i of its group, of m entries, is
    `-(total[o] + hat[i] * slope[o]) / m` (Wu & He 2018, arXiv 1803.08494).
    """

    hat: Tensor
    pull: Tensor

    @classmethod
    def of(cls, layer: nn.GroupNorm, x: Tensor, gy: Tensor) -> Groups:
        """Normalise `x` as the layer does, in float64."""
        alike(layer, gy, x)
        N, C, G = len(x), layer.num_channels, layer.num_groups
        x, gy = (one.double().reshape(N, G, C // G, prod(x.shape[2:])) for one in (x, gy))
        centred = x - x.mean((2, 3), keepdim=True)
        deviation = (centred.square().mean((2, 3), keepdim=True) + layer.eps).sqrt()
        gain = 1.0 if layer.weight is None else layer.weight.detach().double().view(G, C // G, 1)
        return cls(centred / deviation, gain * gy / deviation)

    @property
    def entries(self) -> int:
        """Entries of a group."""
        return self.hat.shape[2] * self.hat.shape[3]

    def squares(self, groups: slice, outputs: slice) -> Tensor:
        """Return squared blocks of some outputs of some groups, `(N, g, o, c)`."""
        hat, pull = self.hat[:, groups], self.pull[:, groups, outputs]
        mean = hat.mean(3)
        spread = (hat - mean[..., None]).square().sum(3)
        total, slope = pull.sum(3)[..., None], (pull * hat[:, :, outputs]).sum(3)[..., None]
        level = hat.shape[3] * (total + mean[:, :, None] * slope).square()
        squares = (level + spread[:, :, None] * slope.square()) / self.entries**2
        own = pull - (total + hat[:, :, outputs] * slope) / self.entries
        squares.diagonal(outputs.start, 2, 3)[:] = own.square().sum(3)
        return squares


def over_groups(layer: nn.GroupNorm, x: Tensor, gy: Tensor) -> Iterator[Tile]:
    """Blocks of a group norm, exact in float64."""
    made = Groups.of(layer, x, gy)
    N, G, c, _ = made.hat.shape
    for groups, outputs in pieces(G, c, WORKING // max(1, N * c)):
        values = made.squares(groups, outputs).sqrt().permute(1, 2, 0, 3)
        scale = torch.ones_like(made.pull[:, groups, outputs, 0]).flatten(1)
        yield Tile(groups.start * c + outputs.start, groups.start * c, values, scale)


def overlap_of_groups(layer: nn.GroupNorm, x: Tensor, gy: Tensor, gx: Tensor) -> Tensor:
    """Return `sum_n <LG(n, o, i), gx[n, i]>`, `(C, C)`, zero between groups."""
    made = Groups.of(layer, x, gy)
    gx = gx.double().reshape(made.hat.shape)
    total, slope = made.pull.sum(3), (made.pull * made.hat).sum(3)
    level = torch.einsum("ngo,ngi->goi", total, gx.sum(3)) + torch.einsum("ngo,ngi->goi", slope, (made.hat * gx).sum(3))
    return block_diagonal(torch.diag_embed((made.pull * gx).sum((0, 3))) - level / made.entries)


def over_batches(layer: nn.modules.batchnorm._BatchNorm, x: Tensor, gy: Tensor) -> Diagonal:
    """Blocks of a batch norm: the size of `gx`, channel by channel, for channels do not meet.

    Where it normalises by the batch, samples do: what reaches a sample's input came from the gradients of all.
    """
    alike(layer, gy, x)
    if layer.training or layer.running_mean is None:
        return Diagonal(norms(_pulled(layer, x, gy)))
    if layer.running_var is None:
        raise BadInput(
            "blocks of a batch norm", "a running mean without a running variance", "give it both, or neither"
        )
    return _fixed(layer, layer.running_var, gy)


def over_instances(layer: nn.modules.instancenorm._InstanceNorm, x: Tensor, gy: Tensor) -> Diagonal:
    """Blocks of an instance norm: the size of `gx`, channel by channel, for channels do not meet."""
    alike(layer, gy, x)
    if not layer.training and layer.running_var is not None:
        return _fixed(layer, layer.running_var, gy)
    return Diagonal(norms(_pulled(layer, x, gy)))


def _fixed(layer: nn.modules.batchnorm._NormBase, variance: Tensor, gy: Tensor) -> Diagonal:
    """Blocks of a norm with statistics of its own: each channel is multiplied by one number."""
    gain = 1.0 if layer.weight is None else layer.weight.detach().double().abs()
    return Diagonal(norms(gy) * gain / (variance.double() + layer.eps).sqrt())


def _pulled(layer: nn.modules.batchnorm._NormBase, x: Tensor, gy: Tensor) -> Tensor:
    """Return the gradient at the input of a norm that takes its statistics from the input, in float64."""
    if not x.numel():
        return x.double()
    weight = None if layer.weight is None else layer.weight.detach().double()
    alone = isinstance(layer, nn.modules.instancenorm._InstanceNorm)
    with torch.enable_grad():
        leaf = x.detach().to(torch.float64, copy=True).requires_grad_()
        if alone:
            y = F.instance_norm(leaf, None, None, weight, None, True, 0.0, layer.eps)
        else:
            y = F.batch_norm(leaf, None, None, weight, None, True, 0.0, layer.eps)
        return torch.autograd.grad(y, leaf, gy.double())[0]
