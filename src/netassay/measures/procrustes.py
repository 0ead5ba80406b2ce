"""Procrustes: how far two sets of features are apart after the best rotation, as a length, an angle, a cosine."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor

from netassay.measures.centring import unit
from netassay.measures.measure import ROTATIONS, Measure
from netassay.measures.reducing import cosines, reduced, taken

WILLIAMS = "Williams et al. 2021, arXiv 2110.14739"
# Two centred samples lie on a line, and every line is a rotation of every other.
_SHAPE = partial(Measure, lowest=0.0, invariances=ROTATIONS, smallest=lambda d, e: 3, biased=True)


def procrustes(*, normalised: bool = False) -> Measure:
    """Distance of centred features after the best rotation or reflection: `min_Q ||X - Y Q||`, Frobenius norm.

    `sqrt(||X||^2 + ||Y||^2 - 2 ||X'Y||_*)`, the Bures distance of the two Gram matrices; fewer features are filled up
    with zeros. In the features' units times `sqrt(n)`; `normalised` divides each side by its norm first, which gives 0
    to `sqrt(2)`. A metric. Equal features are told apart by rounding: 0 up to 1e-7 of their norm. Williams et al. 2021,
    arXiv 2110.14739, (6); Schoenemann 1966.

    >>> from torch import tensor
    >>> x = tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -2.0]])
    >>> measure = procrustes()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(3 * x), None), 4)  # 2 ||X||
    6.3246
    """
    return _SHAPE(
        name="procrustes",
        title="Procrustes distance",
        direction="distance",
        highest=math.sqrt(2) if normalised else math.inf,
        invariances=ROTATIONS if normalised else ROTATIONS - {"scale"},
        metric=True,
        arranged=_unit if normalised else reduced,
        compare=_apart,
        source=WILLIAMS + ", (6)",
    )


def angular_procrustes() -> Measure:
    """Angle between centred features after the best rotation, in radians: 0 to pi/2; its cosine is `nbs`. A metric.

    Williams et al. 2021, arXiv 2110.14739, (7): the Riemannian shape distance.
    """

    def angle(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
        # Of the chord, not by arccos: a cosine that rounding has put above 1 has no angle.
        return 2 * math.asin(_apart(a, b, order) / 2)

    return _SHAPE(
        name="angular_procrustes",
        title="Angular Procrustes distance",
        direction="distance",
        highest=math.pi / 2,
        metric=True,
        arranged=_unit,
        compare=angle,
        source=WILLIAMS + ", (7)",
    )


def nbs() -> Measure:
    """Normalised Bures similarity, the cosine of the Procrustes angle: `||X'Y||_* / (||X|| ||Y||)`, 0 to 1.

    Tang et al. 2020, arXiv 2007.11203; the identity: Harvey et al. 2023, arXiv 2311.11436.
    """

    def cosine(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
        return float(cosines(a.T @ taken(b, order)).sum())

    source = "Tang et al. 2020, arXiv 2007.11203; Harvey et al. 2023, arXiv 2311.11436"
    return _SHAPE(
        name="nbs",
        title="Normalised Bures similarity",
        direction="similarity",
        highest=1.0,
        arranged=_unit,
        compare=cosine,
        source=source,
    )


def _unit(x: Tensor) -> Tensor:
    """Return reduced features over their norm; NaN where no feature changes."""
    return unit(reduced(x))


def _apart(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
    shared = float(cosines(a.T @ taken(b, order)).sum())
    rest = float(a.square().sum() + b.square().sum()) - 2 * shared
    # Rounding can leave the distance of equal features just below 0; NaN stays.
    return math.sqrt(0.0 if rest < 0 else rest)
