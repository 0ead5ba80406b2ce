"""Intervals: a value without each sample, or each group of samples, for the jackknife."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netassay.measures.measure import Measure
from netassay.seeds import generator

Floats = npt.NDArray[np.float64]

GROUPS = 20


def without_each(measure: Measure, a: Tensor, b: Tensor) -> Floats | None:
    """Return a value from all n samples and from all but each, `(1 + n,)`, or None where there is no closed form.

    `a` and `b` are prepared. What a sample takes along from a sum of products of two centred matrices is a multiple of
    its own row of products, so that the whole costs n^2. Feed it to `inference.jackknife`.
    """
    if measure.name not in DELETED or len(a) <= measure.smallest(1, 1):
        return None
    left, own = DELETED[measure.name], (a.diagonal(), b.diagonal())
    xy = left((a * b).sum(1), own[0] * own[1])
    xx, yy = (left(side.square().sum(1), side.diagonal().square()) for side in (a, b))
    return np.asarray((xy / torch.sqrt(xx * yy)).cpu())


def without_groups(
    measure: Measure, x: Tensor, y: Tensor, *, groups: int = GROUPS, seed: int = 0, per: int = 1
) -> Floats:
    """Return a value from all n samples and from all but each of some random groups, `(1 + groups,)`.

    `x` `(n * per, d)` and `y` are raw features, the `per` rows of a sample next to each other. There are never more
    groups than samples, and never fewer samples left than the measure needs: NaN where a group cannot be spared.
    """
    n, width = len(x) // per, (x.shape[1], y.shape[1])
    whole = measure.compare(measure.prepare(x), measure.prepare(y), None)
    out = [whole]
    for group in torch.randperm(n, generator=generator(seed)).tensor_split(min(groups, n)):
        keep = torch.ones(n, dtype=torch.bool)
        keep[group] = False
        rows = keep.repeat_interleave(per)
        enough = int(rows.sum()) >= measure.smallest(*width)
        out.append(measure.compare(measure.prepare(x[rows]), measure.prepare(y[rows]), None) if enough else np.nan)
    return np.array(out)


def _debiased(rows: Tensor, own: Tensor) -> Tensor:
    """Return sums of products of U-centred matrices over all samples and all but each, up to a common factor.

    U-centring again what is left of a U-centred matrix equals U-centring what is left of the Gram matrix; sums of rows
    are 0, so that only r_i = sum_j a_ij b_ij is left: t - 2 r_i - 2 r_i / (n - 3).
    """
    n, total = len(rows), rows.sum(0, keepdim=True)
    return torch.cat([total, total - 2 * rows * (n - 2) / (n - 3)])


def _biased(rows: Tensor, own: Tensor) -> Tensor:
    """Return the same of doubly centred matrices: without sample i the sums of rows are -a_ij, and of all a_ii."""
    n, total = len(rows), rows.sum(0, keepdim=True)
    return torch.cat([total, total - 2 * rows + own - 2 * (rows - own) / (n - 1) + own / (n - 1) ** 2])


DELETED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cka": _debiased, "cka_biased": _biased}
"""Measures that have a closed form: from sums over rows of products `(n, ...)` and the products on the diagonal, those
over all samples and all but each `(1 + n, ...)`."""
