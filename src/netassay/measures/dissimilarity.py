"""RSA: how alike two matrices of dissimilarities between samples are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from netassay.errors import UnknownName
from netassay.measures.centring import above, centred, directions, scaled, squared_distances, unit
from netassay.measures.measure import ROTATIONS, Invariance, Measure, inner
from netassay.measures.ranking import ranks, tau_a
from netassay.measures.reducing import about_median

Dissimilarity = Literal["euclidean", "squared_euclidean", "correlation", "cosine"]
Comparator = Literal["spearman", "pearson", "cosine", "kendall", "rho_a"]


def rsa(*, dissimilarity: Dissimilarity = "euclidean", comparator: Comparator = "spearman") -> Measure:
    """Representational similarity analysis: the dissimilarities of all pairs of samples, compared.

    Dissimilarities of n samples are a symmetric `(n, n)` matrix; the pairs above its diagonal are compared by the
    correlation of their ranks (tied ones share a rank), of their values, by their cosine, by Kendall's tau_a, or by
    rho_a, the mean of Spearman's over all ways of breaking ties: where there are ties the two last stay below 1 for
    equal features. `correlation` and `cosine` look at each sample's own features and are taken before centring.
    Kriegeskorte et al. 2008, Front. Syst. Neurosci. 2:4; Schütt et al. 2023, eLife 12:e82566 (rho_a).
    """
    if dissimilarity not in DISSIMILARITIES:
        raise UnknownName("dissimilarity", dissimilarity, DISSIMILARITIES)
    if comparator not in COMPARATORS:
        raise UnknownName("comparator", comparator, COMPARATORS)
    far, same = DISSIMILARITIES[dissimilarity]
    arranged, compare = COMPARATORS[comparator]
    return Measure(
        name="rsa",
        title=f"RSA, {dissimilarity.replace('_', ' ')} dissimilarity, {comparator}",
        direction="similarity",
        lowest=0.0 if comparator == "cosine" else -1.0,
        highest=1.0,
        invariances=same,
        pairwise=compare is inner,
        compare=compare,
        between=far,
        arranged=arranged,
        smallest=lambda d, e: 4,
        source="Kriegeskorte et al. 2008, Front. Syst. Neurosci. 2:4; rho_a: Schütt et al. 2023, eLife 12:e82566",
        biased=comparator == "cosine",
    )


def cosine(x: Tensor) -> Tensor:
    """Return 1 less the cosine of the features of each two samples, at a scale of its own."""
    # As the squared distance of the directions: equal ones are at exactly 0, near ones keep their digits.
    return squared_euclidean(directions(x))


def correlation(x: Tensor) -> Tensor:
    """Return 1 less the correlation, over features, of each two samples, at a scale of its own."""
    return cosine(centred(x.T).T)


def squared_euclidean(x: Tensor) -> Tensor:
    """Return the squared distance of each two samples, at a scale of its own."""
    return squared_distances(scaled(about_median(x))).fill_diagonal_(0)


def euclidean(x: Tensor) -> Tensor:
    """Return the distance of each two samples."""
    return squared_euclidean(x).sqrt()


DISSIMILARITIES: dict[str, tuple[Callable[[Tensor], Tensor], frozenset[Invariance]]] = {
    "euclidean": (euclidean, ROTATIONS),
    "squared_euclidean": (squared_euclidean, ROTATIONS),
    "correlation": (correlation, frozenset({"scale", "permutation"})),
    "cosine": (cosine, ROTATIONS - {"offset"}),
}


def _centred(far: Tensor) -> Tensor:
    n = len(far)
    return (far - far.sum() / (n * (n - 1))).fill_diagonal_(0)


def _pearson(far: Tensor) -> Tensor:
    return unit(_centred(far), far)


def _ranked(far: Tensor) -> Tensor:
    """Return ranks in the place of dissimilarities, NaN where one is."""
    values = above(far).cpu().numpy()
    out = torch.zeros_like(far)
    places = torch.triu_indices(len(far), len(far), offset=1)
    ranked = ranks(values) if np.isfinite(values).all() else values * math.nan
    out[places[0], places[1]] = torch.from_numpy(ranked).to(far.device)
    return out + out.T


def _spearman(far: Tensor) -> Tensor:
    return unit(_centred(_ranked(far)))


def _rho_a(far: Tensor) -> Tensor:
    pairs = len(far) * (len(far) - 1) / 2
    ranked = _centred(_ranked(far))
    return ranked / (math.sqrt((pairs**3 - pairs) / 6) if bool(ranked.any()) else math.nan)


def _kendall(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
    first, second = (above(far).cpu().numpy() for far in (a, b if order is None else b[order][:, order]))
    return tau_a(first, second) if np.ptp(first) > 0 and np.ptp(second) > 0 else math.nan


COMPARATORS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor, Tensor | None], float]]] = {
    "spearman": (_spearman, inner),
    "pearson": (_pearson, inner),
    "cosine": (unit, inner),
    "kendall": (_ranked, _kendall),
    "rho_a": (_rho_a, inner),
}
