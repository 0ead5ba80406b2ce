"""Sums: one pass over a tensor, in blocks that fit the cache, for all that the streams are read from.

Inside, a tensor is `(N, C, P)`: samples, channels, positions (space or tokens).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from netassay.streams.bins import bin_of, bins_for

CACHED = 1 << 17
"""Entries of a block on a CPU: what the passes over it share stays in the second-level caches of two cores."""
AT_ONCE = 1 << 24
"""Entries of a block elsewhere."""
CALM = 4.0
"""Power sums are taken about 0 where every mean is within this many deviations: that costs 3 digits of 16."""

Slices = tuple[slice, slice]


def gather(x: Tensor, keep: Tensor | None, wants: frozenset[str], shift: Tensor) -> Sums:
    """Sum what `wants` names (see `STEPS`) over `x` `(N, C, P)`; where `keep` `(N, P)` is False, nothing is.

    `shift` `(C,)` is a guess at the means, or 0. On a CPU a first pass takes every entry as finite and the guess
    as good, and is thrown away if either was not so; elsewhere a look at the outcome would stall the device, so
    entries are masked and sums taken about the mean from the start.
    """
    wants = wants | {"first"}
    if x.device.type == "cpu" and keep is None and x.dtype != torch.float64:
        sums = Sums(x, None, wants, shift, None)
        if sums.trusted():
            return sums
    return Sums(x, keep, wants | {"valid"}, *_survey(x, keep))


class Sums:
    """What one tensor adds to its streams; `sums[name]` is a sum over samples and positions, `(C,)`, float64.

    Power sums are about `shift` `(C,)`, in units of `2**exponent` `(C,)` (0 unless the input is float64, whose
    fourth powers a double may not hold). `rows` keeps each sum by sample, `(N, C)`: a reduction that writes to a
    place of its own costs half of one that is added to another.
    """

    def __init__(
        self, x: Tensor, keep: Tensor | None, wants: frozenset[str], shift: Tensor, exponent: Tensor | None
    ) -> None:
        self.x, self.keep, self.shift = x, keep, shift
        self.other: Tensor | None = None
        self.every = exponent is None
        self.about_zero = self.every and not shift.any()
        self.exponent = torch.zeros_like(shift, dtype=torch.int64) if exponent is None else exponent
        N, C, P = self.shape = x.shape
        self.place = shift.new_zeros(C, P if "place" in wants else 0)
        self.bins = shift.new_zeros(bins_for(x.dtype) if "bins" in wants else 0, dtype=torch.int64)
        plain = "norm" in wants and not (self.about_zero and "second" in wants)
        steps = [name for name in STEPS if name in wants and (name != "norm" or plain)]
        wide = shift.new_empty(len(steps), N, C)
        narrow = shift.new_empty(len(steps), N, C, dtype=_narrow(x.dtype))
        scratch = Scratch(x)
        for at in blocks(x):
            block = Block(self, scratch, at)
            places = zip(steps, wide[:, *at], narrow[:, *at], strict=True)
            for name, exact, short in places:
                STEPS[name](block, short if name in NARROW else exact)
        self.rows = {name: (narrow if name in NARROW else wide)[i] for i, name in enumerate(steps)}
        sums = zip(steps, wide.sum(1), narrow.sum(1, dtype=torch.float64), strict=True)
        self.sums: dict[str, Tensor] = {name: short if name in NARROW else exact for name, exact, short in sums}
        if "norm" in wants and not plain:
            self.rows["norm"] = self.rows["second"].sqrt()

    def __getitem__(self, name: str) -> Tensor:
        return self.sums[name]

    @property
    def n(self) -> Tensor:
        """Entries that were summed, `(C,)`."""
        N, _, P = self.shape
        return torch.full_like(self.shift, N * P) if self.every else self["valid"]

    def trusted(self) -> bool:
        """Tell whether everything was finite, and no mean so far from the shift that the powers cancel."""
        first = self["first"]
        if not torch.isfinite(first).all():
            return False
        n = max(self.shape[0] * self.shape[2], 1)
        offset = (first / n).square()
        return "second" not in self.sums or bool((offset <= CALM**2 * (self["second"] / n - offset)).all())


class Scratch:
    """Buffers that every block is worked on in; fresh memory for each would cost more than the sums."""

    def __init__(self, x: Tensor) -> None:
        size = max((x[at].numel() for at in blocks(x)), default=0)
        wide = torch.empty(2, size, dtype=torch.float64, device=x.device)
        self.buffers = (*wide, torch.empty(size, dtype=_narrow(x.dtype), device=x.device))

    def like(self, x: Tensor) -> Iterator[Tensor]:
        """Return the buffers in the shape and memory order of a block."""
        N, C, P = x.shape
        for buffer in self.buffers:
            flat = buffer[: x.numel()]
            yield flat.view(N, P, C).transpose(1, 2) if _channels_last(x) else flat.view(N, C, P)


class Block:
    """Some samples and channels of a tensor.

    `x` as it came, halves widened to float32; `low`, `high`, `counted`, `values` (float64) with what does not count
    set to inf, -inf, 0 and 0; `spare` and `truth` to write to.
    """

    def __init__(self, sums: Sums, scratch: Scratch, at: Slices) -> None:
        self.sums, self.channels, self.x = sums, at[1], sums.x[at].to(_narrow(sums.x.dtype))
        self.low = self.high = self.counted = self.x
        self.kept: Tensor | None = None
        self.valid: Tensor | None = None
        self.values, self.spare, self.truth = scratch.like(self.x)
        self.values.copy_(self.x)
        if not sums.every:
            self._mask(at)

    def _mask(self, at: Slices) -> None:
        sums = self.sums
        self.kept, self.valid = _valid(sums.x, sums.keep, at)
        out = ~self.valid
        self.low, self.high = self.x.masked_fill(out, torch.inf), self.x.masked_fill(out, -torch.inf)
        self.counted = self.x.masked_fill(out, 0)
        unit = torch.ldexp(torch.ones_like(sums.shift), -sums.exponent)
        self.values.masked_fill_(out, 0.0).mul_(unit[self.channels, None])


def blocks(x: Tensor) -> Iterator[Slices]:
    """Cut a tensor into whole samples, or one sample into some of its channels where those lie together."""
    N, C, P = x.shape
    size = CACHED if x.device.type == "cpu" else AT_ONCE
    per_n = max(1, size // max(C * P, 1))
    per_c = C if _channels_last(x) else max(1, min(C, size // max(P, 1)))
    for n in range(0, N, per_n):
        for c in range(0, C, per_c):
            yield slice(n, n + per_n), slice(c, c + per_c)


def _survey(x: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return each channel's mean over valid entries, in units of 2**exponent, and the exponent."""
    top = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    total, n = torch.zeros_like(top), torch.zeros_like(top)
    for at in blocks(x):
        size = x[at].masked_fill(~_valid(x, keep, at)[1], 0).abs().amax((0, 2))
        top[at[1]] = torch.maximum(top[at[1]], size.double())
    # A power of two beyond 2**1000 would not be a double itself.
    exponent = torch.frexp(top)[1].long().clamp_(-1000, 1000) * (x.dtype == torch.float64)
    unit = torch.ldexp(torch.ones_like(top), -exponent)
    for at in blocks(x):
        valid = _valid(x, keep, at)[1]
        total[at[1]] += (x[at].masked_fill(~valid, 0).double() * unit[at[1], None]).sum((0, 2))
        n[at[1]] += valid.sum((0, 2))
    return total / n.clamp(min=1), exponent


def _valid(x: Tensor, keep: Tensor | None, at: Slices) -> tuple[Tensor, Tensor]:
    """Return where the block's entries exist, and where they count: exist and are finite."""
    finite = torch.isfinite(x[at])
    kept = torch.ones_like(finite) if keep is None else keep[at[0], None].expand_as(finite)
    return kept, kept & finite


def _add_bins(block: Block, _: Tensor) -> None:
    bins = bin_of(block.x)
    bins = bins if block.kept is None else bins[block.kept]
    block.sums.bins += torch.bincount(bins.flatten(), minlength=len(block.sums.bins))


def _add_kept(what: Callable[[Tensor], Tensor]) -> Callable[[Block, Tensor], object]:
    """Count the entries that exist and of which `what` is true; none is where everything was taken as finite."""

    def add(block: Block, row: Tensor) -> Tensor:
        return row.zero_() if block.kept is None else row.copy_((what(block.x) & block.kept).sum(-1))

    return add


def _add_faint(block: Block, row: Tensor) -> None:
    """Count what is below the smallest normal number of the tensor's dtype, zeros included."""
    size = torch.abs(block.counted, out=block.truth)
    torch.sum(size.lt_(torch.finfo(block.sums.x.dtype).tiny), -1, out=row)


def _add_first(block: Block, row: Tensor) -> None:
    """Centre in place, then sum: what comes after this step sees centred values."""
    if not block.sums.about_zero:
        block.values.sub_(block.sums.shift[block.channels, None])
    if block.valid is not None:
        block.values.mul_(block.valid)
    torch.sum(block.values, -1, out=row)


def _add_place(block: Block, _: Tensor) -> None:
    block.sums.place[block.channels] += block.values.sum(0)


# In this order: "first" centres the values in place, "third" overwrites what the powers are made of. A truth is
# written as a number of the block's own width, because a sum of booleans does not run at memory speed.
STEPS: dict[str, Callable[[Block, Tensor], object]] = {
    "bins": _add_bins,
    "low": lambda block, row: torch.amin(block.low, -1, out=row),
    "high": lambda block, row: torch.amax(block.high, -1, out=row),
    "positive": lambda block, row: torch.sum(torch.gt(block.counted, 0, out=block.truth), -1, out=row),
    "nonzero": lambda block, row: torch.sum(torch.ne(block.counted, 0, out=block.truth), -1, out=row),
    "faint": _add_faint,
    "nan": _add_kept(torch.isnan),
    "inf": _add_kept(torch.isinf),
    "valid": _add_kept(torch.isfinite),
    "size": lambda block, row: torch.sum(torch.abs(block.values, out=block.spare), -1, out=row),
    "norm": lambda block, row: torch.linalg.vector_norm(block.values, dim=-1, out=row),
    "first": _add_first,
    "place": _add_place,
    "second": lambda block, row: torch.sum(torch.mul(block.values, block.values, out=block.spare), -1, out=row),
    "fourth": lambda block, row: torch.linalg.vector_norm(block.spare, dim=-1, out=row).square_(),
    "third": lambda block, row: torch.sum(block.values.mul_(block.spare), -1, out=row),
}
NARROW = {"low", "high", "positive", "nonzero", "faint"}
"""Rows in the tensor's own precision, where they are exact: counts stay below 2**24 a row."""


def _narrow(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _channels_last(x: Tensor) -> bool:
    return x.shape[1] > 1 and x.stride(1) < x.stride(2)
