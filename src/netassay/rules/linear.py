"""Linear: the rule for linear layers, over tokens or not, and for the last projection of attention."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.rules.levels import norms
from netassay.rules.tiles import Tile, pieces
from netassay.rules.weights import beside_largest, effective

WORKING = 1 << 20
"""Weights that are worked on at a time."""


def tiles(layer: nn.Linear, x: Tensor, gy: Tensor) -> Iterator[Tile]:
    """Blocks of a linear layer: `B[n, o, i] = ||gy[n, :, o]|| |W[o, i]|`, the norm over tokens."""
    weight = effective(layer)
    if gy.dim() < 2 or (*x.shape, len(weight)) != (*gy.shape[:-1], weight.shape[1], gy.shape[-1]):
        raise BadInput(
            f"blocks of {type(layer).__name__}({weight.shape[1]}, {len(weight)})",
            f"x {tuple(x.shape)} and gy {tuple(gy.shape)}",
            f"give x (N, ..., {weight.shape[1]}) and gy (N, ..., {len(weight)}), alike but for the channels",
        )
    scale = norms(by_token(gy).mT)
    for _, outputs in pieces(1, len(weight), WORKING // max(1, weight.shape[1])):
        part, top = beside_largest(weight[outputs])
        yield Tile(outputs.start, 0, part.abs_()[None, :, None], scale[:, outputs] * top)


def overlap(layer: nn.Linear, x: Tensor, gy: Tensor, gx: Tensor) -> Tensor:
    """Return `sum_n <LG(n, o, i), gx[n, i]>`, `(O, I)`, over samples and tokens."""
    into, out = by_token(gx).flatten(0, 1).double(), by_token(gy).flatten(0, 1).double()
    return effective(layer).double() * (out.mT @ into)


def behind(layer: nn.Linear, x: Tensor, gy: Tensor) -> Tensor:
    """Return the gradient at the input, `(N, ..., I)`: where the graph does not show it."""
    weight = effective(layer)
    return gy.to(weight.dtype) @ weight


def attention(layer: nn.MultiheadAttention, x: Tensor, gy: Tensor) -> Iterator[Tile]:
    """Blocks of attention's last projection, from the gradient at the module's output, `(N, T, C)`."""
    return tiles(layer.out_proj, gy, gy)


def behind_attention(layer: nn.MultiheadAttention, x: Tensor, gy: Tensor) -> Tensor:
    """Return the gradient at the input of attention's last projection, which no module hands on: `(N, T, I)`."""
    return behind(layer.out_proj, x, gy)


def overlap_of_attention(layer: nn.MultiheadAttention, x: Tensor, gy: Tensor, gx: Tensor) -> Tensor:
    """Return `sum_n <LG(n, o, i), gx[n, i]>`, `(O, I)`, of attention's last projection."""
    return overlap(layer.out_proj, x, gy, gx)


def samples_first(layer: nn.MultiheadAttention, tensor: Tensor) -> Tensor:
    """Turn what attention gives and takes into `(N, T, C)`."""
    if tensor.dim() != 3:
        raise BadInput(
            "blocks of MultiheadAttention", f"a tensor {tuple(tensor.shape)}", "give x and gy batched, 3 axes"
        )
    return tensor if layer.batch_first else tensor.transpose(0, 1)


def by_token(tensor: Tensor) -> Tensor:
    """View `(N, ..., C)` as `(N, T, C)`."""
    return tensor[:, None] if tensor.dim() == 2 else tensor.flatten(1, -2)
