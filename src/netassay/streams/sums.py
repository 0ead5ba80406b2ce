"""Sums: one pass over a tensor, in blocks that fit the cache, for all that the streams are read from.

Inside, a tensor is `(N, C, P)`: samples, channels, positions (space or tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor

from netassay.streams.bins import bins_for
from netassay.streams.blocks import Block, Workspace, blocks, validity
from netassay.streams.steps import MASKED, NARROW, STEPS, WIDE

CALM = 4.0
"""Power sums are taken about 0 where every mean is within this many deviations: that costs 3 digits of 16."""


def gather(x: Tensor, keep: Tensor | None, wants: frozenset[str], shift: Tensor, memory: Tensor) -> Sums:
    """Sum what `wants` names (see `STEPS`) over `x` `(N, C, P)`; where `keep` `(N, P)` is False, nothing is.

    `shift` `(C,)` is a guess at the means, or 0. On a CPU a first pass takes every entry as finite and the guess
    as good, and is thrown away if either was not so; elsewhere a look at the outcome would stall the device, so
    entries are masked and sums taken about the mean from the start. `memory` is what `scratch` made.
    """
    wants = wants | {"first"}
    if x.device.type == "cpu" and keep is None and x.dtype != torch.float64:
        sums = Sums(x, None, wants, memory, shift, None)
        if sums.trusted():
            return sums
    return Sums(x, keep, wants | {"valid"}, memory, *_survey(x, keep))


class Sums:
    """What one tensor adds to its streams; `sums[name]` is a sum over samples and positions, `(C,)`, float64.

    Power sums are about `shift` `(C,)`, in units of `2**exponent` `(C,)` (0 unless the input is float64, whose
    fourth powers a double may not hold). `rows[name]` is the sum by sample, `(N, C)`.
    """

    def __init__(
        self,
        x: Tensor,
        keep: Tensor | None,
        wants: frozenset[str],
        memory: Tensor,
        shift: Tensor,
        exponent: Tensor | None,
    ) -> None:
        self.x, self.keep, self.shift, self.shape = x, keep, shift, x.shape
        self.other: Tensor | None = None
        self.every = exponent is None
        self.about_zero = self.every and not shift.any()
        self.exponent = torch.zeros_like(shift, dtype=torch.int64) if exponent is None else exponent
        self.place = shift.new_zeros(x.shape[1] * x.shape[2] if "place" in wants else 0)
        self.bins = shift.new_zeros(bins_for(x.dtype) if "bins" in wants else 0, dtype=torch.int64)
        self.plain = "second" if self.about_zero and "second" in wants else "norm"
        skipped = (MASKED if self.every else set()) | ({"norm"} if self.plain == "second" else set())
        self.rows: dict[str, Tensor] = {}
        self.sums: dict[str, Tensor] = {}
        parts: dict[str, list[Tensor]] = {name: [] for name in STEPS if name in wants - skipped}
        work, places = Workspace(x, memory), list(blocks(x))
        for at in places:
            block = Block(self, work, at)
            for name, part in parts.items():
                part.append(STEPS[name](block))
        across = sum(n.start == 0 for n, _ in places)
        for names in (NARROW, WIDE):
            self._keep([name for name in parts if name in names], parts, across)
        self.low, self.high = (_joined(parts.get(name, []), across, self.shift) for name in ("low", "high"))

    def _keep(self, names: list[str], parts: dict[str, list[Tensor]], across: int) -> None:
        """Put the blocks' sums `(n, c)` together again, all names at once; `across` blocks share their samples."""
        if not names:
            return
        stacked = [torch.stack(block, 1) for block in zip(*(parts[name] for name in names), strict=True)]
        rows = _joined(stacked, across, self.shift.expand(len(names), -1)).transpose(0, 1)
        self.rows |= dict(zip(names, rows, strict=True))
        self.sums |= dict(zip(names, rows.sum(1, dtype=torch.float64), strict=True))

    def __getitem__(self, name: str) -> Tensor:
        return self.sums[name] if name in self.sums else torch.zeros_like(self.shift)

    @property
    def norms(self) -> Tensor:
        """Each sample's norm, `(N, C)`, in units of `2**exponent`."""
        return self.rows["second"].sqrt() if self.plain == "second" else self.rows["norm"]

    @property
    def square(self) -> Tensor:
        """Plain squares, `(C,)`; 0 for float64 input, whose squares a double may not hold (see the scaled rows)."""
        if self.x.dtype == torch.float64:
            return torch.zeros_like(self.shift)
        if self.plain == "second":
            return self["second"]
        return self.rows["norm"].square().sum(0) if "norm" in self.rows else torch.zeros_like(self.shift)

    @property
    def active(self) -> Tensor:
        """Samples with an entry that is not zero, `(C,)`."""
        return (self.rows["nonzero"] > 0).sum(0) if "nonzero" in self.rows else torch.zeros_like(self.shift)

    @property
    def n(self) -> Tensor:
        """Entries that were summed, `(C,)`."""
        return torch.full_like(self.shift, self.shape[0] * self.shape[2]) if self.every else self["valid"]

    @property
    def left_out(self) -> Tensor:
        """Entries that were not summed, `(C,)`."""
        return self.shape[0] * self.shape[2] - self.n

    def trusted(self) -> bool:
        """Tell whether everything was finite, and no mean so far from the shift that the powers cancel."""
        first = self["first"]
        fine = torch.isfinite(first)
        if "second" in self.sums:
            n = self.shape[0] * self.shape[2]
            fine &= first.square() * (1 + CALM**2) <= n * CALM**2 * self["second"]
        return bool(fine.all())


def _survey(x: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return each channel's mean over valid entries, in units of 2**exponent, and the exponent."""
    top = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    total, n = torch.zeros_like(top), torch.zeros_like(top)
    for at in blocks(x):
        size = x[at].masked_fill(~validity(x, keep, at)[1], 0).abs().amax((0, 2))
        top[at[1]] = torch.maximum(top[at[1]], size.double())
    # A power of two beyond 2**1000 would not be a double itself.
    exponent = torch.frexp(top)[1].long().clamp_(-1000, 1000) * (x.dtype == torch.float64)
    unit = torch.ldexp(torch.ones_like(top), -exponent)
    for at in blocks(x):
        valid = validity(x, keep, at)[1]
        total[at[1]] += (x[at].masked_fill(~valid, 0).double() * unit[at[1], None]).sum((0, 2))
        n[at[1]] += valid.sum((0, 2))
    return total / n.clamp(min=1), exponent


def _joined(parts: list[Tensor], across: int, empty: Tensor) -> Tensor:
    """Put parts `(n, ..., c)` together, where `across` of them share their samples; nothing is like `empty`."""
    if across > 1:
        parts = [torch.cat(parts[i : i + across], -1) for i in range(0, len(parts), across)]
    return torch.cat(parts) if parts else empty.new_zeros(0, *empty.shape)
