"""Tiles: blocks as the rules make them, a few outputs at a time, so that no layer's need be held whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netassay.errors import BadInput


@dataclass(frozen=True)
class Tile:
    """Blocks of some output channels: `B[n, o, i] = scale[n, o] * values[g, q, n, i]`.

    Output channels from `output` on, in `g` groups of `q`; each group has input channels of its own, from `input` on.
    `values` `(g, q, N, i)`, or `(g, q, 1, i)` where all samples have the same; `scale` `(N, g * q)`, float64.
    """

    output: int
    input: int
    values: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Singles:
    """Blocks that stand as 0 in the tiles and were made once more, one by one: `B[sample, output, input] = values`."""

    sample: Tensor
    output: Tensor
    input: Tensor
    values: Tensor


@dataclass(frozen=True)
class Diagonal:
    """Blocks of a layer whose channels do not mix: `B[n, c, c] = values[n, c]`, `(N, C)` in float64."""

    values: Tensor


Tiles = Iterable[Tile | Singles] | Diagonal | Tensor
"""What a rule returns; a tensor holds the blocks as they are, `(N, O, I)`."""


def dense(tiles: Tiles) -> Tensor:
    """Put blocks together: `(N, O, I)` in float64, zero outside the groups."""
    if isinstance(tiles, Tensor):
        return tiles.double()
    if isinstance(tiles, Diagonal):
        return torch.diag_embed(tiles.values)
    made: dict[tuple[int, int], Tensor] = {}
    singles: list[Singles] = []
    for one in tiles:
        if isinstance(one, Singles):
            singles.append(one)
        else:
            made[one.output, one.input] = _whole(one)
    outputs = max(output + part.shape[1] for (output, _), part in made.items())
    inputs = max(start + part.shape[2] for (_, start), part in made.items())
    whole = next(iter(made.values())).new_zeros(len(next(iter(made.values()))), outputs, inputs)
    for (output, start), part in made.items():
        whole[:, output : output + part.shape[1], start : start + part.shape[2]] = part
    for one in singles:
        whole[one.sample, one.output, one.input] = one.values
    return whole


def _whole(tile: Tile) -> Tensor:
    g, q, _, i = tile.values.shape
    N = len(tile.scale)
    values = tile.values.permute(2, 0, 1, 3).double().expand(N, g, q, i)
    return block_diagonal(values * tile.scale.view(N, g, q, 1))


def block_diagonal(parts: Tensor) -> Tensor:
    """Return `(..., G * q, G * i)` from the blocks of each group, `(..., G, q, i)`; zero between groups."""
    *before, G, q, i = parts.shape
    if G == 1:
        return parts.squeeze(-3)
    made = parts.new_zeros(*before, G, q, G, i)
    made.diagonal(dim1=-4, dim2=-2).copy_(parts.movedim(-3, -1))
    return made.view(*before, G * q, G * i)


def pieces(groups: int, outputs: int, each: int) -> Iterator[tuple[slice, slice]]:
    """Cut into pieces of about `each` outputs: some groups whole, or some outputs of the only one."""
    if groups > 1:
        step = max(1, each // outputs)
        yield from ((slice(at, min(groups, at + step)), slice(0, outputs)) for at in range(0, groups, step))
    else:
        step = max(1, each)
        yield from ((slice(0, 1), slice(at, min(outputs, at + step))) for at in range(0, outputs, step))


def alike(layer: nn.Module, gy: Tensor, y: Tensor) -> None:
    """Refuse a gradient that is not one at the output `y` of a layer."""
    if gy.shape != y.shape:
        raise BadInput(
            f"blocks of {type(layer).__name__}",
            f"gy {tuple(gy.shape)}, while the layer's output is {tuple(y.shape)}",
            "give gy as the layer's output for this x",
        )
