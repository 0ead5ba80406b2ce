"""Rows: the device form of the streams, made once, filled by one custom op, read once at the end.

`make` allocates, `observe` fills on the tensor's own device without a transfer, `read` is the only bridge to
the value forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput, UnknownName
from netassay.streams.bins import bins_for, read_bins
from netassay.streams.counts import Counts
from netassay.streams.cross import Cross
from netassay.streams.extremes import Extremes
from netassay.streams.magnitude import Magnitude
from netassay.streams.moments import Moments, pool
from netassay.streams.norms import NOTHING, canonical
from netassay.streams.spread import Spread
from netassay.streams.sums import CALM, Sums, gather
from netassay.streams.window import WINDOW, fill_window, read_window


@dataclass(frozen=True)
class Kind:
    """How one stream lives on a device: the sums it wants, its rows, how they are filled and read.

    `make(x, other)` takes tensors like those to come; `fill(row, sums)` adds one tensor; `read(array)` makes the
    value form.
    """

    wants: frozenset[str]
    make: Callable[[Tensor, Tensor | None], Tensor]
    fill: Callable[[Tensor, Sums], None]
    read: Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Rows:
    """Preallocated rows of one layer: stream name -> tensor."""

    tensors: dict[str, Tensor]


def make(streams: Sequence[str], x: Tensor, other: Tensor | None = None) -> Rows:
    """Allocate rows for tensors like `x` `(N, C, P)`, on its device; `streams` are names from `KINDS`.

    `other` `(N, B, P)` is the second set of channels of "cross"; without it, `x` is crossed with itself.
    """
    for name in streams:
        if name not in KINDS:
            raise UnknownName("stream", name, KINDS)
    return Rows({name: KINDS[name].make(x, other).to(x.device) for name in streams})


def observe(rows: Rows, x: Tensor, keep: Tensor | None = None, other: Tensor | None = None) -> None:
    """Fold `x` `(N, C, P)` into its rows; where `keep` `(N, P)` is False the entry does not exist."""
    _observe(x.detach(), keep, other, ",".join(rows.tensors), list(rows.tensors.values()))


def read(rows: Rows) -> dict[str, Any]:
    """Bring every stream to its value form: one transfer a row, float64, mergeable."""
    return {name: KINDS[name].read(row.cpu().numpy().copy()) for name, row in rows.tensors.items()}


@torch.library.custom_op("netassay::observe", mutates_args={"rows"})
def _observe(x: Tensor, keep: Tensor | None, other: Tensor | None, streams: str, rows: list[Tensor]) -> None:
    """Fold one tensor into its rows; opaque to compilers, which see only that `rows` change."""
    kinds = [KINDS[name] for name in streams.split(",")]
    wants = frozenset[str]().union(*(kind.wants for kind in kinds))
    sums = gather(x, keep, wants, _guess(x, kinds, rows))
    sums.other = other
    for kind, row in zip(kinds, rows, strict=True):
        kind.fill(row, sums)


@_observe.register_fake
def _(x: Tensor, keep: Tensor | None, other: Tensor | None, streams: str, rows: list[Tensor]) -> None:
    return None


def _guess(x: Tensor, kinds: list[Kind], rows: list[Tensor]) -> Tensor:
    """Guess each channel's mean from what its moments have seen; 0 where that is as good."""
    if KINDS["moments"] not in kinds:
        return torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    n, mean, m2, _, _ = rows[kinds.index(KINDS["moments"])]
    return torch.where(n * mean.square() > m2 * CALM, mean, 0.0)


def _fill_moments(row: Tensor, sums: Sums) -> None:
    n, d = sums.n, sums["first"] / sums.n.clamp(min=1)
    s1, s2, s3, s4 = sums["first"], sums["second"], sums["third"], sums["fourth"]
    centred: tuple[Tensor, ...] = (
        sums.shift + d,
        s2 - d * s1,
        s3 - 3 * d * s2 + 2 * d * d * s1,
        s4 - 4 * d * s3 + 6 * d * d * s2 - 3 * d**3 * s1,
    )
    if not sums.every:
        centred = tuple(torch.ldexp(value, power * sums.exponent) for power, value in enumerate(centred, 1))
    row.copy_(torch.stack([row[0] + n, *pool(row[0], tuple(row[1:]), n, centred)]))


def _fill_extremes(row: Tensor, sums: Sums) -> None:
    if sums.shape[0]:
        row[0] = torch.minimum(row[0], sums.rows["low"].amin(0).double())
        row[1] = torch.maximum(row[1], sums.rows["high"].amax(0).double())


def _fill_counts(row: Tensor, sums: Sums) -> None:
    samples, positions = sums.shape[0], sums.shape[2]
    n, nan, inf = sums.n, sums["nan"], sums["inf"]
    zero = n - sums["nonzero"]
    # Entries that were left out stand as zeros in the steps.
    subnormal = sums["faint"] - (samples * positions - n) - zero
    active = (sums.rows["nonzero"] > 0).sum(0)
    counts = [n + nan + inf, zero, subnormal, sums["positive"], nan, inf, torch.full_like(n, samples), active]
    row += torch.stack(counts).to(row.dtype)


def _fill_norms(row: Tensor, sums: Sums) -> None:
    square = sums.rows["norm"].square().sum(0)
    exponent = torch.where(square > 0, sums.exponent, NOTHING).double()
    top = torch.maximum(row[2], exponent)
    old, new = torch.exp2(2 * (row[2] - top)), torch.exp2(2 * (exponent - top))
    row.copy_(torch.stack([row[0] + sums.n, row[1] * old + square * new, top]))


def _fill_magnitude(row: Tensor, sums: Sums) -> None:
    row += torch.stack([sums.n, torch.ldexp(sums["size"], sums.exponent)])


def _fill_spread(row: Tensor, sums: Sums) -> None:
    """Fold in the spread about each position's mean; NaN where an entry is missing or the size has changed."""
    N, _, P = sums.shape
    if row.shape[1] != P + 2:
        row[:, 1] = torch.nan
        return
    mean = sums.place / max(N, 1)
    m2 = (sums["second"] - N * mean.square().sum(1)).clamp(min=0)
    mean += sums.shift[:, None]
    if not sums.every:
        m2 = torch.where(sums.n == N * P, torch.ldexp(m2, 2 * sums.exponent), torch.nan)
        mean = torch.ldexp(mean, sums.exponent[:, None])
    before = row[:, :1].clone()
    gap, weight = mean - row[:, 2:], N / (before + N).clamp(min=1)
    row[:, 1] += m2 + (gap.square() * before * weight).sum(1)
    row[:, 2:] += gap * weight
    row[:, 0] += N


def _fill_quantiles(row: Tensor, sums: Sums) -> None:
    if len(row) != len(sums.bins):
        raise BadInput(
            "fold a tensor into its histogram",
            f"dtype {sums.x.dtype}, where the first batch had another width",
            "profile the model in one dtype",
        )
    row += sums.bins


def _fill_sample_norms(row: Tensor, sums: Sums) -> None:
    norms = sums.rows["norm"]
    fill_window(row, norms if sums.every else torch.ldexp(norms, sums.exponent))


def _fill_cross(row: Tensor, sums: Sums) -> None:
    """Fold in cross-moments, row `(1 + A, 1 + B)`: count, means of y above, means of x beside, products."""
    x, y = (
        part.double().movedim(1, -1).flatten(0, 1) for part in (sums.x, sums.x if sums.other is None else sums.other)
    )
    keep = torch.isfinite(x).all(1) & torch.isfinite(y).all(1)
    if sums.keep is not None:
        keep &= sums.keep.flatten()
    n = keep.sum()
    x, y = (part.masked_fill(~keep[:, None], 0) for part in (x, y))
    mean_x, mean_y = x.sum(0) / n.clamp(min=1), y.sum(0) / n.clamp(min=1)
    x, y = ((part - mean) * keep[:, None] for part, mean in ((x, mean_x), (y, mean_y)))
    weight = n / (row[0, 0] + n).clamp(min=1)
    gap_x, gap_y = mean_x - row[1:, 0], mean_y - row[0, 1:]
    row[1:, 1:] += x.T @ y + torch.outer(gap_x, gap_y) * (row[0, 0] * weight)
    row[1:, 0] += gap_x * weight
    row[0, 1:] += gap_y * weight
    row[0, 0] += n


def _zeros(height: int, dtype: torch.dtype = torch.float64) -> Callable[[Tensor, Tensor | None], Tensor]:
    return lambda x, other: torch.zeros(height, x.shape[1], dtype=dtype)


def _make_extremes(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.tensor([[torch.inf], [-torch.inf]], dtype=torch.float64).repeat(1, x.shape[1])


def _make_norms(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.tensor([[0], [0], [NOTHING]], dtype=torch.float64).repeat(1, x.shape[1])


def _make_spread(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[1], x.shape[2] + 2, dtype=torch.float64)


def _make_quantiles(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(bins_for(x.dtype), dtype=torch.int64)


def _make_window(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[1], WINDOW + 4, dtype=torch.int32)


def _make_cross(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[1] + 1, (x if other is None else other).shape[1] + 1, dtype=torch.float64)


def _kind(wants: str, make: Any, fill: Any, read: Any) -> Kind:
    return Kind(frozenset(wants.split()), make, fill, read)


KINDS: dict[str, Kind] = {
    "moments": _kind("first second third fourth", _zeros(5), _fill_moments, lambda row: Moments(*row)),
    "extremes": _kind("low high", _make_extremes, _fill_extremes, lambda row: Extremes(*row)),
    "counts": _kind("positive nonzero faint nan inf", _zeros(8, torch.int64), _fill_counts, lambda row: Counts(*row)),
    "norms": _kind("norm", _make_norms, _fill_norms, lambda row: canonical(row[0], row[1], row[2].astype(int))),
    "magnitude": _kind("size", _zeros(2), _fill_magnitude, lambda row: Magnitude(*row)),
    "spread": _kind("second place", _make_spread, _fill_spread, lambda row: Spread(row[:1, 0], row[:, 2:], row[:, 1])),
    "quantiles": _kind("bins", _make_quantiles, _fill_quantiles, read_bins),
    "sample_norms": _kind("norm", _make_window, _fill_sample_norms, read_window),
    "cross": _kind("", _make_cross, _fill_cross, lambda row: Cross(row[:1, 0], row[1:, 0], row[0, 1:], row[1:, 1:])),
}
