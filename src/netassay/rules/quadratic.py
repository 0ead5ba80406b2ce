"""Quadratic form: blocks of a convolution from inner products of its taps, each with a bound on what rounding costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netassay.rules.gram import gram
from netassay.rules.taps import Plan
from netassay.rules.tiles import Singles, Tile, pieces
from netassay.rules.weights import beside_largest

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
"""Largest relative rounding error of a squared block, by its bound, that is let pass."""
WORKING = 1 << 21
"""Entries of weight products and of blocks that are worked on at a time."""

Definition = Callable[[Tensor, int, Tensor], Tensor]
"""Makes blocks from the definition: of some samples, one output channel, and some input channels of its group."""


@dataclass(frozen=True)
class Form:
    """A convolution's kernels, and the inner products of its taps.

    `weight` `(G, q, i, taps)`: groups, their outputs and inputs; `gy` `(N, G * q, *space)` near 1, `scale` `(N, G, q)`
    float64: by what the gradient was divided. `products` `(G, q, N, pairs)` of the plan's pairs of taps, beside the
    largest of a tap with itself, and `root` `(N, G, q)` float64: the root of that.
    """

    weight: Tensor
    gy: Tensor
    scale: Tensor
    plan: Plan
    definition: Definition
    products: Tensor
    root: Tensor

    @classmethod
    def of(cls, weight: Tensor, gy: Tensor, scale: Tensor, plan: Plan, definition: Definition) -> Form:
        """Make the inner products."""
        shape = (len(gy), *weight.shape[:2])
        products = gram(gy.flatten(0, 1), plan).view(*shape, len(plan.terms))
        largest = products[..., plan.own].amax(-1)
        products = products.div_(torch.where(largest > 0, largest, 1)[..., None]).permute(1, 2, 0, 3).contiguous()
        return cls(weight, gy, scale.view(shape), plan, definition, products, largest.double().sqrt())

    def tiles(self) -> Iterator[Tile | Singles]:
        """Yield the blocks, a few groups or outputs at a time; at the end those that had to be made once more."""
        G, q, i, taps = self.weight.shape
        if taps == 1:
            one, top = beside_largest(self.weight[..., 0])
            yield Tile(0, 0, one.abs_()[:, :, None], (self.scale * self.root * top).flatten(1))
            return
        cuts = list(pieces(G, q, WORKING // (i * (len(self.plan.terms) + len(self.scale)))))
        most = max((g.stop - g.start) * (o.stop - o.start) for g, o in cuts)
        # One piece of memory for all tiles: whoever takes a tile is done with it before the next.
        memory = self.weight.new_empty(most, len(self.plan.terms), i), self.weight.new_empty(most, len(self.scale), i)
        vague: list[Tensor] = []
        for groups, outputs in cuts:
            yield self._tile(groups, outputs, memory, vague)
        for part in torch.split(torch.cat(vague), max(1, WORKING // len(self.plan.terms))) if vague else ():
            yield self._again(part)

    def _tile(self, groups: slice, outputs: slice, memory: tuple[Tensor, Tensor], vague: list[Tensor]) -> Tile:
        kernel, part, top = self._kernels(groups, outputs)
        products, root = self.products[groups, outputs], self.root[:, groups, outputs]
        g, q, N, _ = products.shape
        i = kernel.shape[2]
        size = torch.abs(kernel, out=memory[0][: g * q, : kernel.shape[1]]).sum(1).view(g, q, 1, i)
        pairs = pairwise(kernel, self.plan, memory[0][: g * q])
        squares = torch.bmm(products.flatten(0, 1), pairs, out=memory[1][: g * q]).view(g, q, N, i)
        unsure = squares < vague_below(squares.dtype) * size.square()
        if squares.device.type != "cpu" or unsure.any():
            unsure &= (root > 0).permute(1, 2, 0)[..., None]
            vague.append(unsure.nonzero() + torch.tensor([groups.start, outputs.start, 0, 0], device=unsure.device))
            squares.masked_fill_(unsure, 0).clamp_(min=0)
        scale = (self.scale[:, groups, outputs] * root * top).flatten(1)
        return Tile(
            groups.start * self.weight.shape[1] + outputs.start, groups.start * i, squares.sqrt_().mul_(part), scale
        )

    def _kernels(self, groups: slice, outputs: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return kernels beside their largest weights, `(g * q, taps, i)`, and those weights.

        In two parts, `(g, q, 1, i)` beside the largest of an output, and that, `(g, q)`: a kernel that is smaller than
        others of its output by 1e20 keeps its digits.
        """
        weight = self.weight[groups, outputs]
        if self.plan.order != tuple(range(weight.shape[-1])):
            weight = weight[..., torch.tensor(self.plan.order, device=weight.device)]
        each = torch.maximum(weight.amax(3), -weight.amin(3))
        top = each.amax(2)
        top = torch.where(top > 0, top, 1)
        own = torch.where(each > 0, each, 1)[:, :, None]
        kernel = torch.div(weight.mT, own, out=weight.new_empty(weight.mT.shape))
        return kernel.flatten(0, 1), each[:, :, None] / top[..., None, None], top.double()

    def _again(self, blocks: Tensor) -> Singles:
        """Make blocks `(M, 4)` of group, output, sample and input in float64; from the definition where that fails."""
        _, q, inputs, _ = self.weight.shape
        group, output, sample, given = blocks.T
        channel = group * q + output
        maps, at = (sample * self.gy.shape[1] + channel).unique(return_inverse=True)
        products = gram(self.gy.flatten(0, 1)[maps].double(), self.plan)[at]
        weight = self.weight[group, output, given].double()[:, list(self.plan.order)]
        squares = (products * pairwise(weight[..., None], self.plan)[..., 0]).sum(1)
        made = squares.clamp(min=0).sqrt() * self.scale[sample, group, output]
        largest = products[:, self.plan.own].amax(1) * weight.abs().sum(1).square()
        for one in channel[vague := squares < vague_below(torch.float64) * largest].unique().tolist():
            at = vague & (channel == one)
            (samples, n), (chosen, i) = (which[at].unique(return_inverse=True) for which in (sample, given))
            made[at] = self.definition(samples, one, chosen)[n, i]
        return Singles(sample, channel, group * inputs + given, made)


def vague_below(dtype: torch.dtype) -> float:
    """Return the squared block, beside the bound on its parts, below which rounding may take more than is tolerated.

    With `kappa = max_k M[k, k] (sum |w|)^2 / B^2`, rounding costs `u kappa` of `B^2`; u is half of eps.
    """
    return torch.finfo(dtype).eps / 2 / TOLERANCE[dtype]


def pairwise(kernel: Tensor, plan: Plan, made: Tensor | None = None) -> Tensor:
    """Return the products of the weights of the plan's pairs of taps: `(B, pairs, i)` of `kernel` `(B, taps, i)`."""
    made = kernel.new_empty(len(kernel), len(plan.terms), kernel.shape[2]) if made is None else made
    for a, (begin, end) in enumerate(zip(plan.own, plan.ends, strict=True)):
        torch.mul(kernel[:, a : a + 1], kernel[:, a:end], out=made[:, begin : begin + end - a])
    return made
