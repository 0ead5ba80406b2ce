"""Calibration: a value, or a whole map of values, against those of samples in a random order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.measure import Measure
from netassay.seeds import generator

Floats = npt.NDArray[np.float64]

TIES = {"float32": 1e-5, "float64": 1e-12}
"""Values that differ by less than this share of the largest are equal, as sums in another order are: by the precision
that the null was summed in."""


class Calibrated(NamedTuple):
    """A map `(La, Lb)` against its null: p of each entry, the threshold, and the score above it.

    `p_row_max` `(La,)` are the chances of so good a best match of each row, `p_col_max` `(Lb,)` of each column,
    `p_max` of the whole map.
    """

    p: Floats
    threshold: Floats
    calibrated: Floats
    p_row_max: Floats
    p_col_max: Floats
    p_max: float


def check_chance(asked: str, level: float, **counts: int) -> None:
    """Refuse counts, and a seed, that are no whole numbers of 0 or more, and a level that is no share."""
    odd = [f"{name}={value!r}" for name, value in counts.items() if not isinstance(value, Integral) or value < 0]
    odd += [] if 0 < level < 1 else [f"level={level!r}"]
    if odd:
        raise BadInput(
            asked, ", ".join(odd), "give whole numbers of 0 or more, and a level between 0 and 1: level=0.95"
        )


def orders(n: int, count: int, seed: int = 0) -> list[Tensor]:
    """Return random orders of n samples, each `(n,)`."""
    source = generator(seed)
    return [torch.randperm(n, generator=source) for _ in range(count)]


def under_orders(measure: Measure, a: Any, b: Any, chosen: Iterable[Tensor]) -> Floats:
    """Return the values of two prepared sides with the samples of the second in each of some orders, `(K,)`."""
    if not measure.pairwise:
        return np.array([measure.compare(a, b, order) for order in chosen])
    # Rows are taken twice, with a transposition between: columns in another order are slow, and so is new memory.
    first, half, turned, out = a.T.reshape(-1), *(torch.empty_like(b) for _ in range(3))
    values = []
    for order in chosen:
        torch.index_select(b, 0, order, out=half)
        torch.index_select(turned.copy_(half.T), 0, order, out=out)
        values.append(torch.dot(first, out.view(-1)))
    return torch.stack(values).cpu().numpy() if values else np.empty(0)


def calibrate(
    observed: npt.ArrayLike,
    permuted: npt.ArrayLike,
    direction: Literal["similarity", "distance"],
    best: float,
    level: float = 0.05,
) -> Calibrated:
    """Judge a map `observed` `(La, Lb)` by `permuted` `(K, La, Lb)`, its values under K orders of the samples.

    All layers share an order, so that maxima keep their law however the layers depend on each other. p is
    (hits + 1)/(K + 1) (Phipson & Smyth 2010, Statist. Appl. Genet. Mol. Biol. 9:39); the threshold the quantile
    1 - `level` of the null with the observed value among it; the calibrated score max((s - t)/(best - t), 0) (Gröger,
    Wen & Brbić 2026, arXiv 2602.14486), above 0 where p <= `level`. Distances are judged by their negatives. An entry
    that is NaN, or is so under an order, is NaN and no best match. With fewer than 1/`level` - 1 orders no p gets
    down to `level`; with none all are NaN.

    >>> calibrate([[0.9]], np.linspace(-0.1, 0.1, 199).reshape(-1, 1, 1), "similarity", 1.0).p
    array([[0.005]])
    """
    sign = 1.0 if direction == "similarity" else -1.0
    share = TIES.get(str(np.asarray(permuted).dtype), TIES["float64"])
    seen, null = sign * np.asarray(observed, dtype=np.float64), sign * np.asarray(permuted, dtype=np.float64)
    if null.shape[1:] != seen.shape or not 0 < level < 1:
        found = f"a map of shape {seen.shape}, permuted ones of {null.shape}, level {level:g}"
        raise BadInput("calibrate", found, "give (La, Lb), (K, La, Lb) and a level between 0 and 1")
    bad = ~np.isfinite(seen) | ~np.isfinite(null).all(0) | (len(null) == 0)
    seen, null = np.where(bad, -np.inf, seen), np.where(bad, -np.inf, null)
    at = math.ceil((1 - level) * (len(null) + 1) - 1e-9) - 1
    threshold = np.where(bad, np.nan, np.partition(np.concatenate([null, seen[None]]), at, axis=0)[at])
    margin = np.where(bad, np.nan, seen) - threshold
    # Where the threshold is the best value itself nothing lies above it.
    room = np.where(sign * best > threshold, sign * best - threshold, np.inf)
    above = np.where(margin > _ties(seen, null, share), margin / room, margin * 0.0)
    rows, columns, whole = (_p(seen.max(axis, initial=-np.inf), _maxima(null, axis), share) for axis in (1, 0, (0, 1)))
    return Calibrated(_p(seen, null, share), sign * threshold, above, rows, columns, float(whole))


def _maxima(null: Floats, axis: int | tuple[int, ...]) -> Floats:
    later = tuple(a + 1 for a in axis) if isinstance(axis, tuple) else axis + 1
    return np.asarray(null.max(later, initial=-np.inf))


def _p(seen: Floats, null: Floats, share: float) -> Floats:
    hits = (null >= seen - _ties(seen, null, share)).sum(0)
    return np.where(np.isfinite(seen), (hits + 1) / (len(null) + 1), np.nan)


def _ties(seen: Floats, null: Floats, share: float) -> Floats:
    sizes = np.maximum(np.abs(seen), np.abs(null).max(0, initial=0.0))
    return np.where(np.isfinite(sizes), share * sizes, 0.0)
