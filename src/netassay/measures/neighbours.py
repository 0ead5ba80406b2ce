"""Neighbours: how many of a sample's nearest samples are the same in both sets of features."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.centring import directions, scaled, squared_distances
from netassay.measures.measure import ROTATIONS, Measure, inner

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
    return Measure(
        name="mutual_knn",
        title=f"Mutual nearest neighbours, k = {k}, {dissimilarity}",
        direction="similarity",
        lowest=0.0,
        highest=1.0,
        invariances=same,
        pairwise=True,
        prepare=lambda x: _neighbours(_about_median(x) if dissimilarity == "euclidean" else directions(x), k),
        compare=inner,
        smallest=lambda d, e: k + 2,
        source="Huh et al. 2024, arXiv 2405.07987",
    )


def _about_median(x: Tensor) -> Tensor:
    """Return features about what one sample far away does not pull along, so that the others keep their digits."""
    x = x.double()
    return scaled(x - x.median(0).values)


def _neighbours(x: Tensor, k: int) -> Tensor:
    """Return the share each sample has in the k places of each other, over sqrt(k n), `(n, n)`."""
    n = len(x)
    squares = x.square().sum(1)
    shares = torch.empty(n, n, dtype=torch.float64, device=x.device)
    for start in range(0, n, ROWS):
        rows = slice(start, start + ROWS)
        shares[rows] = _shares(squared_distances(x, rows), squares[rows, None] + squares, k, start)
    # Where no sample differs from another there is nothing to be near to; a NaN is no difference either.
    return shares / (math.sqrt(k * n) if bool((x - x[0]).abs().max() > 0) else math.nan)


def _shares(far: Tensor, squares: Tensor, k: int, first: int) -> Tensor:
    tied = TIED * squares
    far.diagonal(first).fill_(torch.inf)
    last = far.kthvalue(k, dim=1, keepdim=True).values
    near = far < last - tied
    at = ~near & (far <= last + tied)
    places = k - near.sum(1, keepdim=True)
    return torch.where(at, places.double() / at.sum(1, keepdim=True), near.double())
