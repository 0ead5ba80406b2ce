"""Intervals: a value without each sample, each group of samples or each batch, for the jackknife."""

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
    if measure.name not in DELETED:
        return None
    left = [DELETED[measure.name](*pair) for pair in ((a, b), (a, a), (b, b))]
    xy, xx, yy = (each.numpy() for each in left)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(xy / np.sqrt(xx * yy))


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


def without_batches(xy: npt.ArrayLike, xx: npt.ArrayLike, yy: npt.ArrayLike) -> Floats:
    """Return `sum xy / sqrt(sum xx * sum yy)` over all batches and over all but each, `(1 + B, ...)`.

    >>> without_batches([1.0, 3.0], [2.0, 2.0], [2.0, 2.0]).tolist()
    [1.0, 1.5, 0.5]
    """
    sums = []
    for part in (xy, xx, yy):
        part = np.asarray(part, dtype=np.float64)
        # Adding up the rest, not taking off the one: a batch that dominates must not cost the others their digits.
        rest = [np.delete(part, i, axis=0).sum(0) for i in range(len(part))]
        sums.append(np.stack([part.sum(0), *rest]))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[0] / np.sqrt(sums[1] * sums[2]))


def _debiased(a: Tensor, b: Tensor) -> Tensor:
    """Return n (n - 3) times the unbiased HSIC of all samples, and (n - 1)(n - 4) times that of all but each.

    U-centring again what is left of a U-centred matrix equals U-centring what is left of the Gram matrix; sums of rows
    are 0, so that only r_i = sum_j a_ij b_ij is left: t - 2 r_i - 2 r_i / (n - 3).
    """
    n, rows = len(a), (a * b).sum(1)
    total = rows.sum()
    return torch.cat([total[None], total - 2 * rows * (n - 2) / (n - 3)])


def _biased(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of products of doubly centred matrices of all samples, and of all but each.

    Without sample i the sums of the other rows are -a_ij, and of all entries a_ii.
    """
    n, products = len(a), a * b
    rows, own = products.sum(1), products.diagonal()
    total = rows.sum()
    left = total - 2 * rows + own - 2 * (rows - own) / (n - 1) + own / (n - 1) ** 2
    return torch.cat([total[None], left])


DELETED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cka": _debiased, "cka_biased": _biased}
