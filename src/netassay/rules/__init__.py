"""Rules: how much gradient goes from each output channel of a layer to each of its input channels. Exact, per sample.

`blocks(layer, x, gy)[n, o, i] = ||LG(n, o, i)||`, the norm over positions of the local gradient: the part of the
gradient at input channel i that comes through output channel o alone. Rooms: `taps`, `gram`, `quadratic` and
`convolution` (convolutions), `linear`, `normalisation`, `pointwise`; `levels` and `weights` bring numbers near 1,
`registry` chooses, `tiles` is what they hand over.
"""

from __future__ import annotations

from torch import Tensor, nn

from netassay.rules.exactly import exactly
from netassay.rules.registry import Rule, find, known, rule
from netassay.rules.tiles import Diagonal, Tile, Tiles, dense

__all__ = ["Diagonal", "Rule", "Tile", "Tiles", "blocks", "find", "known", "rule"]


def blocks(layer: nn.Module, x: Tensor, gy: Tensor) -> Tensor:
    """Return the norm of every local gradient of a layer: `(N, O, I)`, float64, dense, zero between groups.

    `x` is the layer's input, `gy` the gradient at its output, `(N, channels, ...)`; `(N, ..., channels)` for Linear,
    LayerNorm and RMSNorm. Nothing is summed or averaged over samples: blocks scale as `gy` does.

    Raises `BadInput` for a layer without a rule, and for shapes that do not fit.

    >>> import torch
    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -4.0]]))
    >>> blocks(layer, torch.ones(1, 2), torch.full((1, 1), 2.0)).tolist()
    [[[6.0, 8.0]]]
    """
    found = find(layer)
    with exactly():
        x, gy = (one.detach() if found.front is None else found.front(layer, one.detach()) for one in (x, gy))
        return dense(found.tiles(layer, x, gy))
