"""Steps: the sums that one pass over a block can take, and the order they must be taken in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from netassay.streams.bins import bin_of
from netassay.streams.blocks import NOTHING, Block

SHORT = 64
"""Positions below which reductions along them are slow."""

Step: TypeAlias = Callable[[Block], Tensor]


def _bins(block: Block) -> Tensor:
    bins = bin_of(block.x)
    bins = bins if block.sums.every else bins[block.kept]
    block.sums.bins += torch.bincount(bins.flatten(), minlength=len(block.sums.bins))
    return NOTHING


def _place(block: Block) -> Tensor:
    """Add up samples, position by position; as a product with ones, which beats a reduction over few rows."""
    values, C, P = block.values, *block.sums.shape[1:]
    ones = torch.ones(len(values), dtype=values.dtype, device=values.device)
    if values.is_contiguous() and values.shape[1] == C:
        block.sums.place.addmv_(values.view(len(values), -1).T, ones)
    else:
        block.sums.place.view(C, P)[block.channels] += values.sum(0)
    return NOTHING


def _end(x: Tensor, end: Callable[..., Tensor]) -> Tensor:
    """Take the extreme of each channel, along the longer runs of memory first."""
    return end(x, -1) if x.shape[2] >= SHORT else end(end(x, 0, keepdim=True), -1)


def _total(x: Tensor) -> Tensor:
    """Sum over positions; a product with ones where they are few, which reductions are slow at."""
    N, C, P = x.shape
    if P >= SHORT or P == 1 or not x.is_contiguous():
        return x.sum(-1)
    return torch.mv(x.view(N * C, P), torch.ones(P, dtype=x.dtype, device=x.device)).view(N, C)


def _signs(block: Block) -> Tensor:
    """Sum the signs: positive entries less negative ones."""
    return _total(torch.sign(block.counted, out=block.truth))


def _faint(block: Block) -> Tensor:
    """Count what is below the smallest normal number of the tensor's dtype, zeros included."""
    return _total(torch.abs(block.counted, out=block.truth).lt_(torch.finfo(block.sums.x.dtype).tiny))


def _first(block: Block) -> Tensor:
    """Centre in place, then sum: what comes after this step sees centred values."""
    if not block.sums.about_zero:
        block.values.sub_(block.sums.shift[block.channels, None])
    if not block.sums.every:
        block.values.mul_(block.valid)
    return _total(block.values)


def _where(what: Callable[[Tensor], Tensor]) -> Step:
    """Count the entries that exist and of which `what` is true."""
    return lambda block: (what(block.x) & block.kept).sum(-1).double()


# In this order: "nonzero" takes up what "signs" left, "first" centres the values in place, "third" overwrites what
# the powers are made of. A truth is written as a number, because a sum of booleans does not run at memory speed.
STEPS: dict[str, Step] = {
    "bins": _bins,
    "low": lambda block: _end(block.low, torch.amin),
    "high": lambda block: _end(block.high, torch.amax),
    "signs": _signs,
    "nonzero": lambda block: _total(block.truth.abs_()),
    "faint": _faint,
    "nan": _where(torch.isnan),
    "inf": _where(torch.isinf),
    "valid": _where(torch.isfinite),
    "size": lambda block: _total(torch.abs(block.values, out=block.spare)),
    "norm": lambda block: torch.linalg.vector_norm(block.values, dim=-1),
    "first": _first,
    "place": _place,
    "second": lambda block: _total(torch.mul(block.values, block.values, out=block.spare)),
    "fourth": lambda block: torch.linalg.vector_norm(block.spare, dim=-1).square_(),
    "third": lambda block: _total(block.values.mul_(block.spare)),
}
NARROW = ("signs", "nonzero", "faint")
"""Sums in the tensor's own precision, where they are exact: counts stay below 2**24 a row."""
WIDE = ("nan", "inf", "valid", "size", "norm", "first", "second", "fourth", "third")
MASKED = {"nan", "inf", "valid"}
"""Steps that have nothing to say where every entry exists and is finite."""
