"""Blocks: a tensor `(N, C, P)` cut into parts that fit the cache, and the memory they are worked on in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from netassay.streams.sums import Sums

CACHED = 1 << 17
"""Entries of a block on a CPU: what the passes over it share stays near two cores."""
AT_ONCE = 1 << 24
"""Entries of a block elsewhere."""
NOTHING = torch.empty(0)

Slices: TypeAlias = tuple[slice, slice]


def blocks(x: Tensor) -> Iterator[Slices]:
    """Cut a tensor into whole samples, or one sample into some of its channels where those lie together."""
    per_n, per_c = cut(x)
    for n in range(0, len(x), per_n):
        for c in range(0, x.shape[1], per_c):
            yield slice(n, n + per_n), slice(c, c + per_c)


def cut(x: Tensor) -> tuple[int, int]:
    """Return how many samples and channels a block has."""
    N, C, P = x.shape
    size = CACHED if x.device.type == "cpu" else AT_ONCE
    n = min(N, size // max(C * P, 1))
    c = C if channels_last(x) else min(C, size // max(P, 1))
    return max(1, n), max(1, c)


def scratch(device: torch.device) -> Tensor:
    """Allocate memory to work on blocks in: on a CPU, fresh memory for each would cost more than the sums."""
    return torch.empty(3 * CACHED if device.type == "cpu" else 0, dtype=torch.float64, device=device)


class Workspace:
    """Buffers for the values of a block (float64), their squares, and truths in the tensor's own precision."""

    def __init__(self, x: Tensor, memory: Tensor) -> None:
        n, c = cut(x)
        size = n * c * x.shape[2]
        if len(memory) < 3 * size:
            memory = torch.empty(3 * size, dtype=torch.float64, device=x.device)
        third = memory[2 * size : 3 * size].view(narrow(x.dtype))
        self.buffers = memory[:size], memory[size : 2 * size], third
        self.views: dict[torch.Size, list[Tensor]] = {}

    def like(self, x: Tensor) -> list[Tensor]:
        """Return the buffers in the shape and memory order of a block."""
        if x.shape not in self.views:
            N, C, P = x.shape
            flat = [buffer[: x.numel()] for buffer in self.buffers]
            last = channels_last(x)
            self.views[x.shape] = [b.view(N, P, C).transpose(1, 2) if last else b.view(N, C, P) for b in flat]
        return self.views[x.shape]


class Block:
    """Some samples and channels of a tensor.

    `x` as it came, halves widened to float32; `low`, `high`, `counted`, `values` (float64) with what does not count
    set to inf, -inf, 0 and 0; `spare` and `truth` to write to.
    """

    def __init__(self, sums: Sums, work: Workspace, at: Slices) -> None:
        self.sums, self.channels, self.x = sums, at[1], sums.x[at].to(narrow(sums.x.dtype))
        self.low: Tensor = self.x
        self.high: Tensor = self.x
        self.counted: Tensor = self.x
        self.kept = self.valid = NOTHING
        self.values: Tensor
        self.spare: Tensor
        self.truth: Tensor
        self.values, self.spare, self.truth = work.like(self.x)
        self.values.copy_(self.x)
        if not sums.every:
            self._mask(at)

    def _mask(self, at: Slices) -> None:
        sums = self.sums
        self.kept, self.valid = validity(sums.x, sums.keep, at)
        out = ~self.valid
        self.low, self.high = self.x.masked_fill(out, torch.inf), self.x.masked_fill(out, -torch.inf)
        self.counted = self.x.masked_fill(out, 0)
        unit = torch.ldexp(torch.ones_like(sums.shift), -sums.exponent)
        self.values.masked_fill_(out, 0.0).mul_(unit[self.channels, None])


def validity(x: Tensor, keep: Tensor | None, at: Slices) -> tuple[Tensor, Tensor]:
    """Return where the block's entries exist, and where they count: exist and are finite."""
    finite = torch.isfinite(x[at])
    kept = torch.ones_like(finite) if keep is None else keep[at[0], None].expand_as(finite)
    return kept, kept & finite


def narrow(dtype: torch.dtype) -> torch.dtype:
    """Return the precision that a tensor is looked at in before it is summed in doubles."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def channels_last(x: Tensor) -> bool:
    """Tell whether the channels of a position lie together in memory."""
    return x.shape[1] > 1 and x.stride(1) < x.stride(2)
