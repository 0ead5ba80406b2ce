"""Quadratic form: blocks of a convolution from inner products of its taps, each with a bound on what rounding costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

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
        largest = products[..., _own(plan, gy.device)].amax(-1)
        products = products.div_(torch.where(largest == 0, 1, largest)[..., None])
        # Where there is no gradient, any products that are no sum of opposites: their scale is 0.
        products[largest == 0] = products.new_zeros(len(plan.terms)).index_fill_(0, _own(plan, gy.device), 1.0)
        products = products.permute(1, 2, 0, 3).contiguous()
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
        products, root = self.products[groups, outputs], self.root[:, groups, outputs]
        g, q, N, _ = products.shape
        scratch, squares = (one[: g * q] for one in memory)
        kernel, part, top = self._kernels(groups, outputs, scratch)
        torch.bmm(products.flatten(0, 1), pairwise(kernel, self.plan, scratch), out=squares)
        squares = squares.view(g, q, N, self.weight.shape[2])
        if squares.numel() and (squares.device.type != "cpu" or not squares.amin() >= vague_below(squares.dtype)):
            there = (part > 0) & (root > 0).permute(1, 2, 0)[..., None]
            found = _vague(
                squares, there, products[..., _own(self.plan, squares.device)], kernel.view(g, q, -1, squares.shape[3])
            )
            squares.clamp_(min=0)[tuple(found.T)] = 0
            vague.append(found + torch.tensor([groups.start, outputs.start, 0, 0], device=found.device))
        output, into = groups.start * self.weight.shape[1] + outputs.start, groups.start * squares.shape[3]
        scale = (self.scale[:, groups, outputs] * root * top).flatten(1)
        return Tile(output, into, squares.sqrt_().mul_(part), scale)

    def _kernels(self, groups: slice, outputs: slice, scratch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return kernels beside the sums of their sizes, `(g * q, taps, i)`, and those sums.

        In two parts, `(g, q, 1, i)` beside the largest of an output, and that, `(g, q)`: a kernel that is smaller than
        others of its output by 1e20 keeps its digits.
        """
        weight = self.weight[groups, outputs]
        if self.plan.order != tuple(range(weight.shape[-1])):
            weight = weight[..., torch.tensor(self.plan.order, device=weight.device)]
        g, q, i, taps = weight.shape
        kernel = weight.new_empty(g * q, taps, i).copy_(weight.flatten(0, 1).mT)
        size = torch.abs(kernel, out=scratch[:, :taps]).sum(1)
        lift = 1.0
        if size.isinf().any():  # sums of weights near the largest there are
            lift = 2.0**32
            size = torch.abs(kernel.div_(lift), out=scratch[:, :taps]).sum(1)
        kernel.div_(torch.where(size > 0, size, 1)[:, None])
        top = size.amax(1, keepdim=True)
        part = size / torch.where(top > 0, top, 1)
        return kernel, part.view(g, q, 1, i), top.double().view(g, q) * lift

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
        reach = (products[:, _own(self.plan, products.device)].sqrt() * weight.abs()).sum(1).square()
        for one in channel[vague := squares < vague_below(torch.float64) * reach].unique().tolist():
            at = vague & (channel == one)
            (samples, n), (chosen, i) = (which[at].unique(return_inverse=True) for which in (sample, given))
            made[at] = self.definition(samples, one, chosen)[n, i]
        return Singles(sample, channel, group * inputs + given, made)


def vague_below(dtype: torch.dtype) -> float:
    """Return the squared block, beside the bound on its parts, below which rounding may take more than is tolerated.

    With `kappa = (sum_k |w_k| sqrt(M[k, k]))^2 / B^2`, rounding costs `u kappa` of `B^2`; u is half of eps.
    """
    return torch.finfo(dtype).eps / 2 / TOLERANCE[dtype]


def _vague(squares: Tensor, there: Tensor, own: Tensor, kernel: Tensor) -> Tensor:
    """List the squared blocks `(g, q, N, i)` that are too small for what they are the sum of: `(M, 4)`.

    No tap's product with itself, `own` `(g, q, N, taps)`, is above 1, and no kernel's sizes `(g, q, taps, i)` add up to
    more: what is above the bound for these is above its own.
    """
    bound = vague_below(squares.dtype)
    found = ((squares < bound) & there).nonzero()
    group, output, sample, given = found.T
    reach = (own[group, output, sample].sqrt() * kernel[group, output, :, given].abs()).sum(1).square()
    return found[squares[group, output, sample, given] < bound * reach]


@lru_cache(maxsize=256)
def _own(plan: Plan, device: torch.device) -> Tensor:
    return torch.tensor(plan.own, device=device)


def pairwise(kernel: Tensor, plan: Plan, made: Tensor | None = None) -> Tensor:
    """Return the products of the weights of the plan's pairs of taps: `(B, pairs, i)` of `kernel` `(B, taps, i)`."""
    made = kernel.new_empty(len(kernel), len(plan.terms), kernel.shape[2]) if made is None else made
    for a, (begin, end) in enumerate(zip(plan.own, plan.ends, strict=True)):
        torch.mul(kernel[:, a : a + 1], kernel[:, a:end], out=made[:, begin : begin + end - a])
    return made
