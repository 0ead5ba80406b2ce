"""Pulse: the statistics of one tensor, exact from the smallest number to the largest, at the cost of a few passes.

A tensor comes as `(N, A, C, P)`: samples, positions before the channel axis, channels, positions after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

SPREAD, FEW = 0.02, 1 << 16
"""Variance over mean square below which the difference of sums has lost the digits that are promised: ten times that
where so few entries are added that their rounding does not average out."""
SMALLEST, LARGEST = 1e-24, 1e24
"""Mean squares between which float32 squares neither underflow where it matters nor overflow."""
WHOLE = 1 << 24
"""Up to here float32 counts without a gap."""
COUNTS = ("squares", "zero", "subnormal", "nan", "inf", "spread", "places", "flat")
"""What a pulse counts over the whole tensor; `spread` is N times the variances, summed over `places` / N positions."""


Bound = tuple[float, float]
"""Centre and half width: entries at that distance and beyond it are counted as flat."""


@dataclass
class Pulse:
    """What is read of a tensor: `counts` under the names of `COUNTS`, float64, and each `(C,)` by channel.

    `firing`: samples in which any entry is not 0; `open`: entries that are not 0; `size`: sum of magnitudes; `squares`:
    sum of squares; `spread`: as in `COUNTS`; `flat`: entries beyond the bound. `mean` `(A, C, P)` over samples. All but
    the counts are over finite entries. Nothing here waits for a device other than the CPU.
    """

    counts: Tensor
    channels: dict[str, Tensor]
    mean: Tensor | None


class Scratch:
    """Memory that passes share, so that none of them waits for fresh pages."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0)

    def like(self, x: Tensor) -> Tensor:
        """Return room for a tensor of this size, whatever lies there."""
        if self._buffer.numel() < x.numel() or self._buffer.dtype != x.dtype:
            self._buffer = torch.empty(x.numel(), dtype=x.dtype, device="cpu")
        return self._buffer[: x.numel()].view(x.shape)


def pulse(x: Tensor, scratch: Scratch, *, spread: bool = True, size: bool = True, bound: Bound | None = None) -> Pulse:
    """Read a tensor `(N, A, C, P)`; `spread=False` leaves out what is over samples, `size=False` sums of magnitudes.

    `bound` counts what lies on or beyond it. On the CPU the passes are float32, and what they cannot tell (too small,
    too large, not finite, hardly any variance) is read again exactly; elsewhere all is float64 at once, without a
    transfer.

    >>> read = pulse(torch.full((4, 1, 2, 1), 1e-24), Scratch())
    >>> float(read.counts[0])
    8.000...e-48
    """
    tiny = torch.finfo(x.dtype).tiny
    if x.device.type != "cpu":
        return _exact(x, tiny, spread, bound)
    x = x if x.dtype in (torch.float32, torch.float64) else x.float()
    squares = _squares(x, scratch)
    # Squares above the smallest normal number leave no zero: most outputs are spared the passes that count them.
    dense = x.numel() > 0 and not size and float(scratch.like(x).amin()) >= tiny
    total = float(squares.sum())
    mean_square = total / max(x.numel(), 1)
    if not mean_square < float("inf") and not bool(torch.isfinite(x).all()):
        return _exact(x, tiny, spread, bound)
    exponent = 0
    safe = SMALLEST < mean_square < LARGEST or x.dtype == torch.float64
    counted, channels = _counted(x, tiny, scratch, size, bound, dense)
    if not safe:
        exponent, x = _scaled(x)
        squares = _squares(x, scratch)
    by_channel = squares.sum(0)
    mean, m2 = _spread(x, by_channel, scratch) if spread else (None, _same(x.shape[2], 0.0))
    if exponent:
        by_channel, m2 = by_channel * 4.0**exponent, m2 * 4.0**exponent
        mean = None if mean is None else mean.double() * 2.0**exponent
        total = float(by_channel.sum())
    channels |= {"squares": by_channel, "spread": m2}
    apart, beyond = float(m2.sum()) if spread else 0.0, float(channels["flat"].sum()) if bound else 0.0
    told = [total, *counted, apart, float(x.numel()), beyond]
    return Pulse(torch.tensor(told, dtype=torch.float64), channels, mean)


@lru_cache
def _same(C: int, value: float) -> Tensor:
    """Return one number for each channel; shared, so nobody writes there."""
    return torch.full((C,), value, dtype=torch.float64, device="cpu")


def _squares(x: Tensor, scratch: Scratch) -> Tensor:
    """Return sums of squares of each sample and channel, `(N, C)`, float64; leave the squares in `scratch`."""
    return torch.mul(x, x, out=scratch.like(x)).sum((1, 3)).double()


def _scaled(x: Tensor) -> tuple[int, Tensor]:
    """Scale by a power of two, so that the largest magnitude is about 1."""
    largest = float(x.abs().amax()) if x.numel() else 0.0
    if not largest:
        return 0, x
    exponent = int(torch.frexp(torch.tensor(largest, dtype=torch.float64))[1])
    return exponent, (x.double() * 2.0**-exponent).to(x.dtype)


def _counted(
    x: Tensor, tiny: float, scratch: Scratch, size: bool, bound: Bound | None, dense: bool
) -> tuple[list[float], dict[str, Tensor]]:
    """Count zeros and subnormals of a finite tensor, and by channel what fires; `dense` is known to have neither."""
    N, _, C, _ = x.shape
    flat = _same(C, 0.0) if bound is None else _beyond(x, bound)
    channels = {"size": _same(C, torch.nan), "flat": flat}
    normal, buffer = x.numel(), scratch.like(x)
    if not dense:
        # An activation that is never negative, such as ReLU's, is its own magnitude.
        low = float(x.amin()) if size and x.numel() else -1.0
        magnitude = x if low >= 0 else torch.abs(x, out=buffer)
        if size:
            channels["size"] = _add(magnitude).sum(0)
        normal -= 0 if low >= tiny else x.numel() - int(_add(torch.ge(magnitude, tiny, out=buffer)).sum())
    if normal == x.numel():
        return [0.0] * 4, channels | {"firing": _same(C, float(N)), "open": _same(C, x.numel() / max(C, 1))}
    some = _add(torch.ne(x, 0, out=buffer))
    zero = x.numel() - float(some.sum())
    told = [zero, x.numel() - zero - normal, 0.0, 0.0]
    return told, channels | {"firing": (some > 0).sum(0).double(), "open": some.sum(0)}


def _beyond(x: Tensor, bound: Bound) -> Tensor:
    beyond: Tensor = (x - bound[0]).abs() >= bound[1]
    return beyond.sum((0, 1, 3)).double()


def _add(x: Tensor) -> Tensor:
    """Add up by sample and channel, `(N, C)`, in float64 where float32 would leave gaps between counts."""
    each = x.shape[1] * x.shape[3]
    return x.sum((1, 3), dtype=torch.float64) if each >= WHOLE else x.sum((1, 3)).double()


# Note [spread]. The sum of squares less N times the squared mean is free of passes, and loses digits as the mean
# grows beside the spread. Less the first sample, which is a draw from the same spread, nothing is lost: differences of
# numbers that are near are exact.
def _spread(x: Tensor, total: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """Return the mean over samples, and by channel the squared distances from it, summed; `total` of the squares."""
    N = x.shape[0]
    if N == 1:
        return x[0].clone(), _same(x.shape[2], 0.0)
    mean = x.mean(0)
    m2 = total - N * _squares(mean[None], scratch)[0]
    weak = torch.nonzero(m2 < (SPREAD if x.numel() > FEW else 10 * SPREAD) * total)[:, 0]
    if len(weak):
        part = x if len(weak) == len(m2) else x[:, :, weak]
        apart = part - part[:1]
        middle = apart.mean(0)
        mean[:, weak] = part[0] + middle
        again = _squares(apart, scratch).sum(0) - N * _squares(middle[None], scratch)[0]
        m2[weak] = again.clamp_(min=0)
    return mean, m2


def _exact(x: Tensor, tiny: float, spread: bool, bound: Bound | None) -> Pulse:
    """Read a tensor in float64 and over what is finite in it, without a look at any number."""
    finite, nan = x.isfinite(), x.isnan()
    wide = torch.where(finite, x, 0).double()
    size, all_but_samples, all_but_channels = wide.abs(), (1, 3), (0, 1, 3)
    some = (size > 0).sum(all_but_samples)
    channels = {
        "firing": ((some > 0).sum(0)).double(),
        "open": some.sum(0).double(),
        "size": size.sum(all_but_channels),
        "squares": wide.square().sum(all_but_channels),
        "flat": _beyond(x, bound) if bound else size.new_zeros(x.shape[2]),
    }
    mean, places = None, torch.full((), float(x.numel()), dtype=torch.float64, device=x.device)
    channels["spread"] = size.new_zeros(x.shape[2])
    if spread:
        there = finite.sum(0)
        mean = wide.sum(0) / there.clamp(min=1)
        apart = torch.where(finite, wide - mean, 0).square().sum(0)
        channels["spread"] = (apart * (len(x) / there.clamp(min=1))).sum((0, 2))
        places = (there > 0).sum().double() * len(x)
    counts = (x == 0).sum(), (finite & (size > 0) & (size < tiny)).sum(), nan.sum(), x.isinf().sum()
    told = [channels["squares"].sum(), *counts, channels["spread"].sum(), places, channels["flat"].sum()]
    return Pulse(torch.stack([one.double() for one in told]), channels, mean)
