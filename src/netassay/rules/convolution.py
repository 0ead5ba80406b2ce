"""Convolution: the rule for Conv1d to 3d and their transposes, with any stride, padding, dilation and groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from netassay.errors import BadInput
from netassay.rules.gram import reached
from netassay.rules.levels import levelled, norms
from netassay.rules.quadratic import Form
from netassay.rules.taps import Axis, forward_axis, plan, transposed_axis
from netassay.rules.tiles import Singles, Tile, block_diagonal, pieces
from netassay.rules.weights import effective

Convolution = nn.modules.conv._ConvNd
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MANY = 1 << 12
"""Pairs of taps beyond which inner products cost more than the definition."""
WORKING = 1 << 22
"""Entries of local gradients that are held at a time."""


@dataclass(frozen=True)
class ConvolutionMap:
    """What a convolution does to an input of one size, without its bias: a linear map, given a kernel."""

    layer: Convolution
    size: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Zeros, or what stands for them, before and after each axis."""
        twice = self.layer._reversed_padding_repeated_twice
        return tuple(zip(twice[-2::-2], twice[::-2], strict=True))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Where the taps of the kernel put the gradient, axis by axis; padded with zeros."""
        layer = self.layer
        axis, pads = forward_axis, tuple(before for before, _ in self.padding)
        if layer.transposed:
            axis, pads = transposed_axis, self._pads()
        spans = zip(layer.kernel_size, layer.stride, layer.dilation, pads, self.size, self.out, strict=True)
        return tuple(axis(*span) for span in spans)

    @property
    def fits(self) -> bool:
        """Tell whether an input of these sizes has an output of those."""
        layer = self.layer
        spans = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if layer.transposed:
            least = map(lambda n, s, p, span: (n - 1) * s - 2 * p + span, self.size, layer.stride, self._pads(), spans)
            more = map(max, layer.stride, layer.dilation)
            return all(0 <= out - low < top for out, low, top in zip(self.out, least, more, strict=True))
        full = map(lambda n, pads: n + sum(pads), self.size, self.padding)
        return self.out == tuple((n - span) // s + 1 for n, span, s in zip(full, spans, layer.stride, strict=True))

    def __call__(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        """Convolve `x` `(N, I, *size)`."""
        layer, axes = self.layer, len(self.size)
        if layer.transposed:
            return TRANSPOSED[axes](x, weight, None, layer.stride, self._pads(), self._more(), groups, layer.dilation)
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode) if any(map(sum, self.padding)) else x
        return PLAIN[axes](x, weight, None, layer.stride, 0, layer.dilation, groups)

    def _pads(self) -> tuple[int, ...]:
        return tuple(int(one) for one in self.layer.padding)

    def _more(self) -> list[int]:
        """Return the output padding of a transposed convolution."""
        layer = self.layer
        spans = zip(self.size, layer.kernel_size, layer.stride, self._pads(), layer.dilation, self.out, strict=True)
        return [out - (n - 1) * s + 2 * p - d * (k - 1) - 1 for n, k, s, p, d, out in spans]

    def input_gradient(self, weight: Tensor, gy: Tensor, groups: int) -> Tensor:
        """Return the gradient at the input of the map with these kernels, in float64."""
        inputs = weight.shape[0] if self.layer.transposed else weight.shape[1] * groups
        with torch.enable_grad():
            zero = gy.new_zeros(len(gy), inputs, *self.size, dtype=torch.float64, requires_grad=True)
            return torch.autograd.grad(self(zero, weight.double(), groups), zero, gy.double())[0]

    def weight_gradient(self, weight: Tensor, x: Tensor, gy: Tensor) -> Tensor:
        """Return the gradient at the map's kernels for this input."""
        layer = self.layer
        if layer.padding_mode == "zeros" and all(before == after for before, after in self.padding):
            pads, more = ([before for before, _ in self.padding], [0] * len(self.size))
            if layer.transposed:
                pads, more = list(self._pads()), self._more()
            steps = (list(layer.stride), pads, list(layer.dilation), layer.transposed, more, layer.groups)
            made: list[Tensor] = torch.ops.aten.convolution_backward(gy, x, weight, None, *steps, [False, True, False])
            return made[1]
        with torch.enable_grad():
            leaf = weight.clone().requires_grad_()
            return torch.autograd.grad(self(x, leaf, layer.groups), leaf, gy)[0]

    def kernels(self) -> Tensor:
        """Return the weight as `(G, q, i, *kernel)`: groups, outputs and inputs of each."""
        weight, G = effective(self.layer), self.layer.groups
        split = weight.view(G, weight.shape[0] // G, *weight.shape[1:])
        return split.transpose(1, 2) if self.layer.transposed else split

    def local(self, kernels: Tensor, gy: Tensor) -> Tensor:
        """Return local gradients `(N, o, i, *size)` of outputs with kernels `(o, i, *kernel)`: the definition.

        Each output is a group of its own, so that nothing is summed over outputs.
        """
        o, i = kernels.shape[:2]
        weight = kernels.flatten(0, 1)[:, None] if self.layer.transposed else kernels
        return self.input_gradient(weight, gy, o).view(len(gy), o, i, *self.size)


def fitted(layer: Convolution, x: Tensor, gy: Tensor) -> ConvolutionMap:
    """Return the layer's map between tensors like these."""
    axes = len(layer.kernel_size)
    right = x.dim() == gy.dim() == axes + 2 and x.shape[1] == layer.in_channels and gy.shape[1] == layer.out_channels
    if not right or len(x) != len(gy):
        raise BadInput(
            f"blocks of {type(layer).__name__}({layer.in_channels}, {layer.out_channels})",
            f"x {tuple(x.shape)} and gy {tuple(gy.shape)}",
            f"give x (N, {layer.in_channels}, {axes} sizes) and gy as the layer's output, with the batch in front",
        )
    mapped = ConvolutionMap(layer, tuple(x.shape[2:]), tuple(gy.shape[2:]))
    if not mapped.fits:
        raise BadInput(
            f"blocks of {type(layer).__name__}({layer.in_channels}, {layer.out_channels})",
            f"x of sizes {mapped.size}, gy of sizes {mapped.out}",
            "give gy as the layer's output for this x",
        )
    return mapped


def tiles(layer: Convolution, x: Tensor, gy: Tensor) -> Iterator[Tile | Singles]:
    """Blocks of a convolution, exact: from inner products of its taps, or from the definition where that is less.

    In float32, or float64 where the gradient is; a block that float32 cannot vouch for is made in float64.
    """
    mapped = fitted(layer, x, gy)
    kernels = mapped.kernels().to(gy.dtype if gy.dtype == torch.float64 else torch.float32)
    _, q, i = kernels.shape[:3]
    if i == 1 or layer.padding_mode != "zeros" or prod(layer.kernel_size) ** 2 > 2 * MANY:
        yield from _defined(mapped, kernels, *levelled(gy)[:2])
        return
    planned = plan(mapped.axes, lags=not layer.transposed)
    level, scale, _ = levelled(reached(gy, mapped.axes))

    def definition(samples: Tensor, output: int, inputs: Tensor) -> Tensor:
        chosen = kernels[output // q, output % q, inputs]
        made = mapped.local(chosen[None], level[samples, output : output + 1])
        return norms(made[:, 0]) * scale[samples, output, None]

    yield from Form.of(kernels.flatten(3), level, scale, planned, definition).tiles()


def _defined(mapped: ConvolutionMap, kernels: Tensor, gy: Tensor, scale: Tensor) -> Iterator[Tile]:
    """Yield tiles made from the definition."""
    (G, q, i), N = kernels.shape[:3], len(gy)
    size = prod(mapped.size)
    outputs = gy.view(N, G, q, *gy.shape[2:])
    for groups, one in pieces(G, q, WORKING // max(1, size * i)):
        part = kernels[groups, one]
        g, p = part.shape[:2]
        chosen = torch.split(outputs[:, groups, one].flatten(1, 2), max(1, WORKING // max(1, g * p * i * size)))
        made = torch.cat([norms(mapped.local(part.flatten(0, 1), few).flatten(1, 2)) for few in chosen])
        values = made.view(N, g, p, i).permute(1, 2, 0, 3)
        yield Tile(
            groups.start * q + one.start, groups.start * i, values, scale.view(N, G, q)[:, groups, one].flatten(1)
        )


def behind(layer: Convolution, x: Tensor, gy: Tensor) -> Tensor:
    """Return the gradient at the input, `(N, I, *size)`, in float64: where the graph does not show it."""
    return fitted(layer, x, gy).input_gradient(effective(layer), gy, layer.groups)


def overlap(layer: Convolution, x: Tensor, gy: Tensor, gx: Tensor) -> Tensor:
    """Return `sum_n <LG(n, o, i), gx[n, i]>`, `(O, I)`: the kernels times the weight gradient with `gx` as the input.

    Linear in `gx` and `gy`, which should be near 1.
    """
    mapped, weight = fitted(layer, x, gy), effective(layer)
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    slope = mapped.weight_gradient(weight, gx.to(weight.dtype, copy=gx.is_inference()), gy.to(weight.dtype))
    parts = (weight * slope).double().flatten(2).sum(2)
    split = parts.view(layer.groups, parts.shape[0] // layer.groups, parts.shape[1])
    return block_diagonal(split.mT if layer.transposed else split)
