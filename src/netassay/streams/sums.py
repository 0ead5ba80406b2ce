"""Sums: one pass over a tensor, in blocks that fit the cache, for all that the streams are read from.

Inside, a tensor is `(N, C, P)`: samples, channels, positions (space or tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor

from netassay.streams.bins import bins_for
from netassay.streams.blocks import NOTHING, Block, Workspace, blocks, validity
from netassay.streams.steps import MASKED, NARROW, STEPS, WIDE

CALM = 4.0
"""Power sums are taken about 0 where every mean is within this many deviations: that costs 3 digits of 16."""


def gather(x: Tensor, keep: Tensor | None, wants: frozenset[str], shift: Tensor | None, memory: Tensor) -> Sums:
    """Sum what `wants` names (see `STEPS`) over `x` `(N, C, P)`; where `keep` `(N, P)` is False, nothing is.

    `shift` `(C,)` is a guess at the means, or None for 0. On a CPU a first pass takes every entry as finite and the
    guess as good, and is thrown away if either was not so; elsewhere a look at the outcome would stall the device, so
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
    fourth powers a double may not hold). `totals` holds the sums of several names at once, `(names, C)`.
    """

    def __init__(
        self,
        x: Tensor,
        keep: Tensor | None,
        wants: frozenset[str],
        memory: Tensor,
        shift: Tensor | None,
        exponent: Tensor | None,
    ) -> None:
        self.x, self.keep, self.shape = x, keep, x.shape
        self.other: Tensor | None = None
        self.every, self.about_zero = exponent is None, exponent is None and shift is None
        zero = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
        self.shift = zero if shift is None else shift
        self.exponent = zero.long() if exponent is None else exponent
        self.place = zero.new_zeros(x.shape[1] * x.shape[2]) if "place" in wants else NOTHING
        self.bins = zero.new_zeros(bins_for(x.dtype), dtype=torch.int64) if "bins" in wants else NOTHING
        self.plain = "second" if self.about_zero and "second" in wants else "norm"
        skipped = (MASKED if self.every else set()) | ({"norm"} if self.plain == "second" else set())
        parts: dict[str, list[Tensor]] = {name: [] for name in STEPS if name in wants - skipped}
        work, places = Workspace(x, memory), list(blocks(x))
        for at in places:
            block = Block(self, work, at)
            for name, part in parts.items():
                part.append(STEPS[name](block))
        across = sum(n.start == 0 for n, _ in places)
        kept = [tuple(name for name in parts if name in names) for names in (NARROW, WIDE)]
        self.rows = {names: self._stacked(names, parts, across) for names in kept if names}
        self.totals = {names: rows.sum(0, dtype=torch.float64) for names, rows in self.rows.items()}
        self.low, self.high = (_joined(parts.get(name, []), across, zero) for name in ("low", "high"))

    def _stacked(self, names: tuple[str, ...], parts: dict[str, list[Tensor]], across: int) -> Tensor:
        """Put the blocks' sums `(n, c)` together again, `(N, names, C)`; `across` blocks share their samples."""
        stacked = [torch.stack(block, 1) for block in zip(*(parts[name] for name in names), strict=True)]
        return _joined(stacked, across, self.shift.expand(len(names), -1))

    def row(self, name: str) -> Tensor | None:
        """Return the sums by sample, `(N, C)`, where that step was taken."""
        return next((rows[:, names.index(name)] for names, rows in self.rows.items() if name in names), None)

    def __getitem__(self, name: str) -> Tensor:
        found = (totals[names.index(name)] for names, totals in self.totals.items() if name in names)
        total = next(found, None)
        return torch.zeros_like(self.shift) if total is None else total

    @property
    def norms(self) -> Tensor:
        """Each sample's norm, `(N, C)`, in units of `2**exponent`."""
        norms = self.row(self.plain)
        assert norms is not None, "a stream reads norms without wanting them"
        return norms.sqrt() if self.plain == "second" else norms

    @property
    def square(self) -> Tensor:
        """Plain squares, `(C,)`, where no power sum holds them; 0 for float64 input, which may not (see "scaled")."""
        norms = self.row("norm")
        return torch.zeros_like(self.shift) if norms is None or self.x.dtype == torch.float64 else norms.square().sum(0)

    @property
    def active(self) -> Tensor:
        """Samples with an entry that is not zero, `(C,)`."""
        nonzero = self.row("nonzero")
        return torch.zeros_like(self.shift) if nonzero is None else (nonzero > 0).sum(0)

    @property
    def n(self) -> Tensor:
        """Entries that were summed, `(C,)`."""
        return torch.full_like(self.shift, self.entries) if self.every else self["valid"]

    @property
    def entries(self) -> int:
        """Entries of a channel, summed or not."""
        return self.shape[0] * self.shape[2]

    def trusted(self) -> bool:
        """Tell whether everything was finite, and no mean so far from the shift that the powers cancel."""
        first = self["first"]
        if self.row("second") is None:
            return bool(torch.isfinite(first).all())
        # (n mean)**2 (1 + CALM**2) <= n CALM**2 second; NaN, which infinities make, is not.
        room = torch.addcmul(self["second"] * (self.entries * CALM**2), first, first, value=-(1 + CALM**2))
        return room.numel() == 0 or room.amin().item() >= 0


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
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else empty.new_zeros(0, *empty.shape)
