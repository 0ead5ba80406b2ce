"""CKA: the cosine of two centred Gram matrices, debiased unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.centring import above, scaled, squared_distances, unit
from netassay.measures.hsic import doubly_centred, doubly_without, u_centred, u_without
from netassay.measures.measure import ROTATIONS, Invariance, Measure, inner
from netassay.measures.reducing import about_median

SONG, KORNBLITH = "Song et al. 2012, (5); ", "Kornblith et al. 2019, arXiv 1905.00414"


class Kind(NamedTuple):
    """How a Gram matrix is centred, and how sums of products of two lose a sample (see `Measure.without`)."""

    centre: Callable[[Tensor], Tensor]
    without: Callable[[Tensor, Tensor], Tensor]


DEBIASED, BIASED = Kind(u_centred, u_without), Kind(doubly_centred, doubly_without)


def cka() -> Measure:
    """Linear CKA from the unbiased HSIC: 0 on average for independent features, and negative as often.

    Of n samples and any d: the sum of products of two U-centred Gram matrices over their norms. Under a random order of
    the samples its mean is 0 and its variance 2 / (n (n - 3)), whatever the features. Kornblith et al. 2019 with the
    HSIC of Song et al. 2012, (5).

    >>> x = torch.arange(12.0).reshape(6, 2) ** 2
    >>> measure = cka()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(3 * x + 7), None), 12)
    1.0
    """
    return _cka("cka", "CKA, debiased", -1.0, 4, ROTATIONS, linear, None, DEBIASED, SONG + KORNBLITH)


def cka_biased() -> Measure:
    """Linear CKA as first defined: d / (n + d) for independent Gaussian features, not 0.

    The sum of products of two centred Gram matrices over their norms. Kornblith et al. 2019, (4).
    """
    return _cka("cka_biased", "CKA, biased", 0.0, 3, ROTATIONS, linear, None, BIASED, KORNBLITH + ", (4)")


def cka_rbf(*, bandwidth: float = 0.4, sigma: float | None = None, debiased: bool = True) -> Measure:
    """CKA of the kernel `exp(-r^2 / (2 s^2))`, s = `bandwidth` times the median distance of two samples.

    Kornblith et al. 2019, section 2.3, who took 0.2, 0.4 and 0.8 of the median. `sigma` is s itself, in units of the
    features; nothing then makes the value independent of their scale, and of many features the kernel sees none alike.
    """
    if not (bandwidth if sigma is None else sigma) > 0:
        raise BadInput("cka_rbf", "a bandwidth that is not above 0", "cka_rbf:bandwidth=0.4")
    same = ROTATIONS if sigma is None else ROTATIONS - {"scale"}
    title = f"CKA, RBF kernel{', debiased' if debiased else ', biased'}"
    lowest, least, kind = (-1.0, 4, DEBIASED) if debiased else (0.0, 3, BIASED)

    def far(x: Tensor) -> Tensor:
        about = about_median(x)
        return squared_distances(scaled(about) if sigma is None else about)

    def kernel(far: Tensor) -> Tensor:
        return _rbf(far, bandwidth, sigma)

    return _cka("cka_rbf", title, lowest, least, same, far, kernel, kind, KORNBLITH + ", section 2.3")


def _cka(
    name: str,
    title: str,
    lowest: float,
    least: int,
    invariances: frozenset[Invariance],
    between: Callable[[Tensor], Tensor],
    kernel: Callable[[Tensor], Tensor] | None,
    kind: Kind,
    source: str,
) -> Measure:
    def arranged(pairs: Tensor) -> Tensor:
        gram = pairs if kernel is None else kernel(pairs)
        return unit(kind.centre(gram), gram)

    return Measure(
        name=name,
        title=title,
        direction="similarity",
        lowest=lowest,
        highest=1.0,
        invariances=invariances,
        pairwise=True,
        compare=inner,
        smallest=lambda d, e: least,
        source=source,
        biased=kind is BIASED,
        without=kind.without if kernel is None else None,
        between=between,
        arranged=arranged,
    )


def linear(x: Tensor) -> Tensor:
    """Return the Gram matrix of features about their median, which no sample far away moves, at a scale of its own."""
    x = scaled(about_median(x))
    return x @ x.T


def _rbf(far: Tensor, bandwidth: float, sigma: float | None) -> Tensor:
    """Return the kernel less 1, which centring takes off again: a wide kernel then keeps its digits."""
    width = bandwidth * float(np.median(above(far).sqrt().cpu().numpy())) if sigma is None else sigma
    return torch.expm1(-far / (2 * width**2)) if width > 0 else torch.full_like(far, torch.nan)
