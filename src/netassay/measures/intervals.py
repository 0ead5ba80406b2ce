"""Intervals: a value without each sample, or each group of samples, for the jackknife."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netassay.measures.measure import Measure
from netassay.seeds import generator

Floats = npt.NDArray[np.float64]

GROUPS, NOTHING = 20, 1e-12
"""Groups of samples, and the share of a square norm that is rounding of what the one sample left out had."""


def without_each(measure: Measure, a: Tensor, b: Tensor) -> Floats | None:
    """Return a value from all n samples and from all but each, `(1 + n,)`, or None where there is no closed form.

    `a` and `b` are prepared, `(n, n)`, or several of each `(A, n, n)` and `(B, n, n)`, with maps `(1 + n, A, B)`. What
    a sample takes along from a sum of products of two centred matrices is a multiple of its own row of products: the
    whole costs n^2. NaN where what is left does not vary. Feed it to `inference.jackknife`.
    """
    if measure.without is None or a.shape[-1] <= measure.smallest(1, 1):
        return None
    if a.dim() == 2:
        several = without_each(measure, a[None], b[None])
        return None if several is None else several[:, 0, 0]
    sides = [side.transpose(0, 1) for side in (a, b)]  # (n, A, n)
    diagonals = [side.diagonal(0, 1, 2).T for side in (a, b)]
    xy = measure.without(sides[0] @ sides[1].mT, diagonals[0][:, :, None] * diagonals[1][:, None])
    own = [
        measure.without(side.square().sum(2), diagonal.square())
        for side, diagonal in zip(sides, diagonals, strict=True)
    ]
    xx, yy = (torch.where(one > NOTHING, one, torch.nan) for one in own)
    return np.asarray((xy / torch.sqrt(xx[:, :, None] * yy[:, None])).cpu())


def without_groups(measure: Measure, x: Tensor, y: Tensor, *, seed: int = 0, per: int = 1) -> Floats:
    """Return a value from all n samples and from all but each of some random groups, `(1 + GROUPS,)`.

    `x` `(n * per, d)` and `y` are raw features, the `per` rows of a sample next to each other. There are never more
    groups than samples, and never fewer samples left than the measure needs: NaN where a group cannot be spared.
    """
    width = (x.shape[1], y.shape[1])
    x, y = measure.spread(x), measure.spread(y)
    out = [measure.compare(measure.some(x), measure.some(y), None)]
    for rows in groups_left(len(x), seed, per):
        enough = int(rows.sum()) >= measure.smallest(*width)
        out.append(measure.compare(measure.some(x, rows), measure.some(y, rows), None) if enough else np.nan)
    return np.array(out)


def groups_left(n: int, seed: int = 0, per: int = 1) -> Iterator[Tensor]:
    """Pass over the rows, of n, that are left without each random group of samples; `per` rows are a sample."""
    samples = n // per
    for group in torch.randperm(samples, generator=generator(seed)).tensor_split(min(GROUPS, samples)):
        keep = torch.ones(samples, dtype=torch.bool)
        keep[group] = False
        yield keep.repeat_interleave(per)
