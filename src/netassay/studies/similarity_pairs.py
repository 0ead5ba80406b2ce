"""Similarity, pair by pair of samples: matrices of many layers flattened, and fetched in another order of samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK, ORDERS = 1 << 11, 8
"""Pairs of samples, and orders, whose entries are fetched and multiplied at once: they fit a cache."""


class Pairs:
    """Pairs of n samples: all of them, or of symmetric matrices those on and below the diagonal."""

    def __init__(self, n: int, *, symmetric: bool, device: torch.device | str = "cpu") -> None:
        self.n, self.symmetric = n, symmetric
        make = torch.tril_indices(n, n, device=device) if symmetric else torch.cartesian_prod(*2 * [torch.arange(n)]).T
        self.i, self.j = make.to(device)

    def packed(self, matrix: Tensor) -> Tensor:
        """Flatten `(..., n, n)` so that inner products stay: entries that stand for two are scaled by sqrt(2)."""
        flat = matrix[..., self.i, self.j]
        return flat * torch.where(self.i == self.j, 1.0, 2.0).to(flat).sqrt() if self.symmetric else flat

    def fetched(self, orders: Tensor, part: slice) -> Tensor:
        """Return where `matrix[order][:, order]` stands in a packed `matrix`, for orders `(n, K)`, `(P, K)`.

        The entries are in the order of `packed`.
        """
        i, j = orders.index_select(0, self.i[part]), orders.index_select(0, self.j[part])
        if not self.symmetric:
            return i * self.n + j
        high = torch.maximum(i, j)
        return high * (high + 1) // 2 + torch.minimum(i, j)


def reordered(first: Tensor, second: Tensor, drawn: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Return inner products `(K, A, B)`, float64, of packed matrices `(A, P)` and `(B, P)`, the second in each order.

    Layers go last, so that an order fetches the entries of all layers at once.
    """
    flat = second.T.contiguous()
    out = torch.zeros(len(drawn), len(first), len(second), dtype=torch.float64, device=first.device)
    for k in range(0, len(drawn), ORDERS):
        orders = torch.stack(list(drawn[k : k + ORDERS]), 1).to(first.device)
        for begin in range(0, first.shape[1], BLOCK):
            part = slice(begin, begin + BLOCK)
            there = flat.index_select(0, pairs.fetched(orders, part).reshape(-1)).view(
                -1, orders.shape[1] * len(second)
            )
            found = (first[:, part] @ there).view(len(first), -1, len(second))
            out[k : k + ORDERS] += found.transpose(0, 1)
    return out
