"""Filling: what each row of the device form holds, and how the sums of one tensor are folded into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.streams.bins import bins_for
from netassay.streams.moments import centre, pool
from netassay.streams.norms import NOTHING
from netassay.streams.sums import CALM, Sums
from netassay.streams.window import WINDOW, fill_window


def guess(x: Tensor, rows: Mapping[str, Tensor]) -> Tensor | None:
    """Guess each channel's mean from what its moments have pooled; None, for 0, where nothing is or that is as good."""
    if "pooled" not in rows or (x.device.type == "cpu" and not rows["pooled"][0, 0].item()):
        return None
    n, mean, m2, _, _ = rows["pooled"]
    means = torch.where(n * mean.square() > m2 * CALM, mean, 0.0)
    return means if x.device.type != "cpu" or means.any() else None


def _power(name: str) -> Callable[[Sums], Tensor]:
    """Add a power sum where it is about 0; else it is pooled."""
    return lambda sums: sums[name] if sums.about_zero else torch.zeros_like(sums.shift)


ADDED: dict[str, Callable[[Sums], Tensor]] = {
    "entries": lambda sums: sums.n,
    "samples": lambda sums: torch.full_like(sums.shift, sums.shape[0]),
    "active": lambda sums: sums.active,
    "nonzero": lambda sums: sums["nonzero"],
    "signs": lambda sums: sums["signs"],
    # Entries that were left out stand as zeros in this step.
    "faint": lambda sums: sums["faint"] - (sums.entries - sums.n),
    "nan": lambda sums: sums["nan"],
    "inf": lambda sums: sums["inf"],
    # Where power sums are about 0, "second" holds them.
    "square": lambda sums: sums.square,
    "size": lambda sums: torch.ldexp(sums["size"], sums.exponent),
    "count": lambda sums: sums.n if sums.about_zero else torch.zeros_like(sums.n),
    "first": _power("first"),
    "second": _power("second"),
    "third": _power("third"),
    "fourth": _power("fourth"),
}
"""What is only ever added up: rows of one tensor, so that most streams cost one addition together."""
PLACES = {name: place for place, name in enumerate(ADDED)}


def _fill_sums(row: Tensor, sums: Sums) -> None:
    """Add sums to their rows: most at once, where nothing was masked or pooled; each on its own otherwise."""
    if not sums.about_zero:
        row += torch.stack([value(sums) for value in ADDED.values()])
        return
    row += _told(sums.entries, sums.shape[0], row.device)
    for names, totals in sums.totals.items():
        at = [name in ADDED for name in names]
        row.index_add_(0, _places(names, row.device), totals if all(at) else totals[torch.tensor(at)])
    for name in ("active", "square"):
        row[PLACES[name]] += ADDED[name](sums)


@lru_cache
def _told(entries: int, samples: int, device: torch.device) -> Tensor:
    """Return what a tensor's shape adds, as a column."""
    told = {"entries": entries, "count": entries, "samples": samples}
    return torch.tensor([[told.get(name, 0.0)] for name in ADDED], dtype=torch.float64, device=device)


@lru_cache
def _places(names: tuple[str, ...], device: torch.device) -> Tensor:
    return torch.tensor([PLACES[name] for name in names if name in PLACES], device=device)


def _fill_pooled(row: Tensor, sums: Sums) -> None:
    """Pool power sums about a mean, which would cancel about 0: (n, mean, m2, m3, m4)."""
    if not sums.about_zero:
        powers = (sums[name] for name in ("first", "second", "third", "fourth"))
        centred = centre(sums.shift, sums.n, *powers)
        scaled = tuple(torch.ldexp(value, power * sums.exponent) for power, value in enumerate(centred, 1))
        row.copy_(torch.stack([row[0] + sums.n, *pool(row[0], tuple(row[1:]), sums.n, scaled)]))


def _fill_scaled(row: Tensor, sums: Sums) -> None:
    """Add squares in units of 4**exponent; only double input needs that, the square of any other is a double."""
    if sums.x.dtype == torch.float64:
        square = sums.norms.square().sum(0)
        exponent = torch.where(square > 0, sums.exponent, NOTHING).double()
        top = torch.maximum(row[2], exponent)
        old, new = torch.exp2(2 * (row[2] - top)), torch.exp2(2 * (exponent - top))
        row.copy_(torch.stack([row[0] + sums.n, row[1] * old + square * new, top]))


def _fill_ends(row: Tensor, sums: Sums) -> None:
    if sums.shape[0]:
        row[0] = torch.minimum(row[0], sums.low.amin(0).double())
        row[1] = torch.maximum(row[1], sums.high.amax(0).double())


def _fill_place(row: Tensor, sums: Sums) -> None:
    """Add sums about the shift of the first batch, `(C, 3 + P)`: samples, shift, squares, one sum a position.

    NaN where an entry is missing or the number of positions has changed.
    """
    N, C, P = sums.shape
    if not N:
        return
    if row.shape[1] != P + 3:
        row[:, 2] = torch.nan
        return
    shift, second, place = sums.shift, sums["second"], sums.place.view(C, P)
    if not sums.every:
        shift, place = torch.ldexp(shift, sums.exponent), torch.ldexp(place, sums.exponent[:, None])
        second = torch.where(sums.n == N * P, torch.ldexp(second, 2 * sums.exponent), torch.nan)
    row[:, 1] = torch.where(row[:, 0] == 0, shift, row[:, 1])
    gap = shift - row[:, 1]
    row[:, 0] += N
    if not sums.about_zero or gap.any():
        second = second + 2 * gap * place.sum(1) + gap.square() * (N * P)
        place = place + N * gap[:, None]
    row[:, 2] += second
    row[:, 3:] += place


def _fill_bins(row: Tensor, sums: Sums) -> None:
    if len(row) != len(sums.bins):
        raise BadInput(
            "fold a tensor into its histogram",
            f"dtype {sums.x.dtype}, where the first batch had another width",
            "profile the model in one dtype",
        )
    row += sums.bins


def _fill_window(row: Tensor, sums: Sums) -> None:
    norms = sums.norms
    fill_window(row, norms if sums.every else torch.ldexp(norms, sums.exponent))


def _fill_cross(row: Tensor, sums: Sums) -> None:
    """Fold in cross-moments, row `(1 + A, 1 + B)`: count, means of y above, means of x beside, products."""
    pair = (sums.x, sums.x if sums.other is None else sums.other)
    x, y = (part.double().movedim(1, -1).flatten(0, 1) for part in pair)
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


@dataclass(frozen=True)
class Row:
    """A row: `make(x, other)` from tensors like those to come, `fill(row, sums)` from one tensor's sums."""

    make: Callable[[Tensor, Tensor | None], Tensor]
    fill: Callable[[Tensor, Sums], None]


def _zeros(*height: int, dtype: torch.dtype = torch.float64) -> Callable[[Tensor, Tensor | None], Tensor]:
    return lambda x, other: torch.zeros(*height, x.shape[1], dtype=dtype)


def _make_ends(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.tensor([[torch.inf], [-torch.inf]], dtype=torch.float64).repeat(1, x.shape[1])


def _make_scaled(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.tensor([[0], [0], [NOTHING]], dtype=torch.float64).repeat(1, x.shape[1])


def _make_place(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[1], x.shape[2] + 3, dtype=torch.float64)


def _make_bins(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(bins_for(x.dtype), dtype=torch.int64)


def _make_window(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[1], WINDOW + 4, dtype=torch.int32)


def _make_cross(x: Tensor, other: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[1] + 1, (x if other is None else other).shape[1] + 1, dtype=torch.float64)


ROWS: dict[str, Row] = {
    "sums": Row(_zeros(len(ADDED)), _fill_sums),
    "pooled": Row(_zeros(5), _fill_pooled),
    "scaled": Row(_make_scaled, _fill_scaled),
    "ends": Row(_make_ends, _fill_ends),
    "place": Row(_make_place, _fill_place),
    "bins": Row(_make_bins, _fill_bins),
    "window": Row(_make_window, _fill_window),
    "cross": Row(_make_cross, _fill_cross),
}
