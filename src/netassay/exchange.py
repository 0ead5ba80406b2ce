"""Exchange: how much gradient the channels of a layer emit and absorb, and how much survives: the definitions, once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netassay.rules.tiles import Diagonal, Singles, Tile, Tiles, block_diagonal


def emission(blocks: Tensor) -> Tensor:
    """Return how much gradient leaves through each output channel, `Em[n, o] = sum_i B[n, o, i]`: `(N, O)`.

    >>> emission(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])).tolist()
    [[7.0, 1.0]]
    """
    return blocks.sum(2)


def absorption(blocks: Tensor) -> Tensor:
    """Return how much gradient arrives at each input channel, `Ab[n, i] = sum_o B[n, o, i]`: `(N, I)`.

    >>> absorption(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])).tolist()
    [[3.0, 5.0]]
    """
    return blocks.sum(1)


def coherence(passed: Tensor, absorbed: Tensor) -> Tensor:
    """Return how much of what arrives survives interference, `||gx[n, i]|| / Ab[n, i]`: `(N, I)`; NaN where `Ab` is 0.

    >>> coherence(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]])).tolist()
    [[0.5, nan]]
    """
    return torch.where(absorbed == 0, torch.nan, passed / absorbed)


def share(overlap: Tensor, passed: Tensor) -> Tensor:
    """Return which part of the gradient at input channel i came through output o: `(O, I)`, sums to 1 over o.

    `overlap` `(O, I)` is the sum over samples of `<LG(n, o, i), gx[n, i]>`, `passed` `(I,)` that of `||gx[n, i]||^2`.
    Negative where an output works against what arrives; NaN where nothing does.

    >>> share(torch.tensor([[3.0], [-1.0]]), torch.tensor([2.0])).tolist()
    [[1.5], [-0.5]]
    """
    return torch.where(passed == 0, torch.nan, overlap / passed)


@dataclass
class Sums:
    """What the tiles of one call add up to, without its blocks ever being held whole.

    `emission` `(N, O)`, `absorption` `(N, I)`; `total` `(O, I)`: blocks, summed over samples where they are finite;
    `emission_norm` `(N, O)`: norm over inputs, instead of the sum, or None; `again` of `blocks` were computed a second
    time.
    """

    emission: Tensor
    absorption: Tensor
    total: Tensor | None = None
    emission_norm: Tensor | None = None
    again: int = 0
    blocks: int = 0


def exchanged(tiles: Tiles, shape: tuple[int, int, int], *, total: bool = True, norm: bool = False) -> Sums:
    """Add up the blocks of one call as they come; `shape` is theirs, `(N, O, I)`.

    `total` and `norm`: make the sums of those names, too.
    """
    if isinstance(tiles, Tensor):
        b = tiles.double()
        made = b.square().sum(2).sqrt() if norm else None
        return Sums(emission(b), absorption(b), _sum(b) if total else None, made, 0, b.numel())
    if isinstance(tiles, Diagonal):
        b = tiles.values
        return Sums(b, b.clone(), torch.diag(_sum(b)) if total else None, b.clone() if norm else None, 0, b.numel())
    N, O, I = shape  # noqa: E741
    sums = Sums(torch.zeros(0), torch.zeros(0))
    for tile in tiles:
        if isinstance(tile, Tile):
            if not sums.blocks:
                zeros = tile.scale.new_zeros
                sums = Sums(zeros(N, O), zeros(N, I), zeros(O, I) if total else None, zeros(N, O) if norm else None)
            _add_tile(sums, tile)
        else:
            _add_singles(sums, tile)
    return sums


def _sum(values: Tensor) -> Tensor:
    """Sum over samples what is finite."""
    return torch.where(values.isfinite(), values, 0).sum(0)


def _add_tile(sums: Sums, tile: Tile) -> None:
    if not len(tile.scale):
        return
    g, q, _, i = tile.values.shape
    o, into = slice(tile.output, tile.output + g * q), slice(tile.input, tile.input + g * i)
    sums.emission[:, o] = _by_output(tile.values.sum(3)) * tile.scale
    if sums.emission_norm is not None:
        sums.emission_norm[:, o] = _by_output(torch.linalg.vector_norm(tile.values, dim=3)) * tile.scale
    weights, top = _near_one(tile.scale.view(-1, g, q), 2, tile.values.dtype)
    sums.absorption[:, into] += (_absorbed(tile.values, weights) * top).flatten(1)
    if sums.total is not None:
        values, scale = _finite(tile, sums.emission[:, o].isfinite())
        weights, top = _near_one(scale, 0, values.dtype)
        sums.total[o, into] += block_diagonal(_over_samples(values, weights) * top.view(g, q, 1))
    sums.blocks += len(tile.scale) * g * q * i


def _add_singles(sums: Sums, some: Singles) -> None:
    sums.emission.index_put_((some.sample, some.output), some.values, accumulate=True)
    sums.absorption.index_put_((some.sample, some.input), some.values, accumulate=True)
    if sums.total is not None:
        sums.total.index_put_((some.output, some.input), some.values, accumulate=True)
    if sums.emission_norm is not None:
        squares = sums.emission_norm.square().index_put_(
            (some.sample, some.output), some.values.square(), accumulate=True
        )
        sums.emission_norm = squares.sqrt()
    sums.again += len(some.values)


def _finite(tile: Tile, there: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and scale with nothing where what a sample emits at an output is not finite: `there` `(N, o)`."""
    if there.all():
        return tile.values, tile.scale
    g, q, N, _ = tile.values.shape
    if N == 1 < len(there):
        return tile.values, torch.where(there, tile.scale, 0)
    values = torch.where(there.view(N, g, q).permute(1, 2, 0)[..., None], tile.values, 0)
    return values, torch.where(there, tile.scale, 0)


def _by_output(values: Tensor) -> Tensor:
    """Turn `(g, q, N)` into `(N, g * q)` in float64."""
    return values.permute(2, 0, 1).flatten(1).double()


def _near_one(scale: Tensor, axis: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return scales beside the largest along `axis`, in the precision of the values, and that largest."""
    top = scale.amax(axis, keepdim=True)
    return (scale / torch.where(top > 0, top, 1)).to(dtype), top


def _absorbed(values: Tensor, weights: Tensor) -> Tensor:
    """Sum over outputs: `(N, g, i)` in float64, for weights `(N, g, q)`."""
    g, _, N, _ = values.shape
    if N == 1:
        made = torch.einsum("ngq,gqi->ngi", weights, values[:, :, 0])
    elif g == 1:
        made = torch.bmm(weights, values[0].transpose(0, 1))
    else:
        made = torch.einsum("ngq,gqni->ngi", weights, values)
    return made.double()


def _over_samples(values: Tensor, weights: Tensor) -> Tensor:
    """Sum over samples: `(g, q, i)`."""
    g, q, N, i = values.shape
    if N == 1:
        return weights.sum(0).view(g, q, 1) * values[:, :, 0]
    return torch.bmm(weights.T.contiguous()[:, None], values.flatten(0, 1)).view(g, q, i)
