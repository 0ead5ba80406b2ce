"""Neighbours: how many of a sample's nearest samples are the same in both sets of features."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.centring import directions, scaled
from netassay.measures.measure import ROTATIONS, Measure, inner
from netassay.measures.reducing import about_median

TIED = 1e-12
"""Squared distances nearer to each other than this share of both samples' squares are tied: so much is rounding."""
ROWS = 1024


def mutual_knn(*, k: int = 10, dissimilarity: Literal["euclidean", "cosine"] = "euclidean") -> Measure:
    """The mean share of a sample's k nearest samples that both sets of features have in common.

    In [0, 1]; k / (n - 1) on average for independent features and under a random order, whatever they are. Samples tied
    for the last places share them, so that the value is the mean over all ways of breaking ties, and stays below 1 for
    equal features that have some. `cosine` is Huh et al. 2024 (arXiv 2405.07987), not centred; `euclidean`, about the
    median, does not depend on an offset.
    """
    if k < 1:
        raise BadInput(f"mutual_knn with k={k}", "no neighbour", "give 1 or more, e.g. k=10")
    same = ROTATIONS if dissimilarity == "euclidean" else ROTATIONS - {"offset"}

    def between(x: Tensor) -> Tensor:
        x = scaled(about_median(x)) if dissimilarity == "euclidean" else directions(x)
        return x @ x.T

    def arranged(products: Tensor) -> Tensor:
        return _neighbours(products, k)

    return Measure(
        name="mutual_knn",
        title=f"Mutual nearest neighbours, k = {k}, {dissimilarity}",
        direction="similarity",
        lowest=0.0,
        highest=1.0,
        invariances=same,
        pairwise=True,
        compare=inner,
        between=between,
        arranged=arranged,
        smallest=lambda d, e: k + 2,
        source="Huh et al. 2024, arXiv 2405.07987",
    )


def _neighbours(products: Tensor, k: int) -> Tensor:
    """Return the share each sample has in the k places of each other, over sqrt(k n), `(n, n)`."""
    n, own, varies = len(products), products.diagonal(), torch.tensor(0.0)
    shares = torch.empty_like(products)
    for start in range(0, n, ROWS):
        squares = own[start : start + ROWS, None] + own
        far, tied = (squares - 2 * products[start : start + ROWS]).clamp_(min=0), TIED * squares
        varies = torch.maximum(varies, (far - tied).max().cpu())
        shares[start : start + ROWS] = _shares(far, tied, k, start)
    # Where no sample differs from another there is nothing to be near to; a NaN is no difference either.
    return shares / (math.sqrt(k * n) if bool(varies > 0) else math.nan)


def _shares(far: Tensor, tied: Tensor, k: int, first: int) -> Tensor:
    far.diagonal(first).fill_(torch.inf)
    last = far.kthvalue(k, dim=1, keepdim=True).values
    near = far < last - tied
    at = ~near & (far <= last + tied)
    places = k - near.sum(1, keepdim=True)
    return torch.where(at, places.double() / at.sum(1, keepdim=True), near.double())
