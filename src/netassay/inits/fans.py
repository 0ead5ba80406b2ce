"""Fans: a module's weights seen as matrices, and how many inputs and outputs each connects."""

from __future__ import annotations

from functools import singledispatch
from math import prod
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netassay.errors import BadInput, UnknownName


class Fans(NamedTuple):
    """How many inputs feed one output, how many outputs one input feeds, and over how many taps of a kernel."""

    fan_in: int
    fan_out: int
    taps: int = 1


class Part(NamedTuple):
    """Rows of one parameter that are a weight matrix of their own, and how they lie there.

    `swapped`: input channels come first, as in transposed convolutions; `flat`: all but the rows are inputs.
    """

    name: str
    parameter: str
    rows: slice = slice(None)
    groups: int = 1
    swapped: bool = False
    flat: bool = False

    def open(self, weight: Tensor) -> Tensor:
        """View these rows as `(groups, out, in, *kernel)`, both channel counts per group."""
        block = weight[self.rows]
        block = block.flatten(1) if self.flat else block
        block = block.reshape(self.groups, -1, *block.shape[1:])
        return block.transpose(1, 2) if self.swapped else block

    def close(self, matrices: Tensor, weight: Tensor) -> Tensor:
        """Lay matrices out as these rows of `weight` are."""
        block = matrices.transpose(1, 2) if self.swapped else matrices
        return block.reshape(weight[self.rows].shape)


@singledispatch
def parts(module: nn.Module) -> tuple[Part, ...]:
    """List the weight matrices of a linear, convolutional, transposed, bilinear or attention layer; others have none.

    >>> [part.name for part in parts(nn.MultiheadAttention(4, 2))]
    ['in_proj_weight[q]', 'in_proj_weight[k]', 'in_proj_weight[v]']
    """
    return ()


@parts.register
def _(module: nn.Linear) -> tuple[Part, ...]:
    return (Part("weight", "weight"),)


@parts.register
def _(module: nn.Bilinear) -> tuple[Part, ...]:
    return (Part("weight", "weight", flat=True),)


@parts.register
def _(module: _ConvNd) -> tuple[Part, ...]:
    return (Part("weight", "weight", groups=module.groups),)


@parts.register
def _(module: _ConvTransposeNd) -> tuple[Part, ...]:
    return (Part("weight", "weight", groups=module.groups, swapped=True),)


@parts.register
def _(module: nn.MultiheadAttention) -> tuple[Part, ...]:
    E = module.embed_dim
    if module._qkv_same_embed_dim:
        return tuple(
            Part(f"in_proj_weight[{one}]", "in_proj_weight", slice(i * E, (i + 1) * E)) for i, one in enumerate("qkv")
        )
    return tuple(Part(f"{one}_proj_weight", f"{one}_proj_weight") for one in "qkv")


def counted(shape: tuple[int, ...]) -> Fans:
    """Count the fans of matrices of shape `(groups, out, in, *kernel)`."""
    taps = prod(shape[3:])
    return Fans(shape[2] * taps, shape[1] * taps, taps)


def fans(module: nn.Module, name: str = "weight") -> Fans:
    """Return fan-in and fan-out of a weight matrix by definition, at stride 1 and away from borders.

    Fan-in is the number of inputs that feed one output, `in / groups * taps`; fan-out the number of outputs that one
    input feeds, `out / groups * taps`. That holds for transposed convolutions too, where torch's
    `_calculate_fan_in_and_fan_out` has the two swapped; with groups its fan-out is too large by their number. The
    inputs of a bilinear layer are the products of its two inputs. An attention layer's projections are matrices of
    their own: `name` is then, say, "in_proj_weight[q]".

    Raises `BadInput` for a module without such matrices, `UnknownName` for another name.

    >>> fans(nn.Conv2d(8, 4, 3, groups=2)), fans(nn.ConvTranspose2d(8, 4, 3))
    (Fans(fan_in=36, fan_out=18, taps=9), Fans(fan_in=72, fan_out=36, taps=9))
    """
    known = {part.name: part for part in parts(module)}
    if not known:
        kind = type(module).__name__
        raise BadInput(f"fans of {kind}", "a module without weight matrices", "give a linear or convolutional layer")
    if name not in known:
        raise UnknownName(f"weight of {type(module).__name__}", name, known)
    return counted(tuple(known[name].open(getattr(module, known[name].parameter)).shape))
