"""Measure: what a measure of similarity declares, and the two steps it is computed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from netassay.errors import BadInput

Invariance = Literal["offset", "scale", "permutation", "orthogonal", "affine"]
"""Changes of one side's features that leave a value as it is: a constant added to each feature, a common factor, an
order of the features, a rotation or reflection, any invertible affine map."""
ROTATIONS: frozenset[Invariance] = frozenset({"offset", "scale", "permutation", "orthogonal"})
"""What leaves the shape of a cloud of samples as it is."""


@dataclass(frozen=True)
class Measure:
    """A measure of how alike features `x` `(n, d)` and `y` `(n, e)` of the same n samples are.

    `arranged(x)` is done once for each set of features, in float64, and centres first; `compare(a, b, order)` once for
    each pair, where `order` `(n,)` takes the samples of the second in another order. A measure that is `pairwise`
    prepares an `(n, n)` matrix and compares by the inner product of two, so that a map of many layers is one matrix
    product. `lowest` and `highest` bound its values, `best` is what equal features get; neither is enforced.
    `smallest(d, e)` is the least n for which it tells anything. Undefined values are NaN. One that is `biased` gives
    independent features other values the more of them there are for the samples.

    `without`, where given, makes of sums over rows of products of two prepared matrices `(n, ...)`, and of the
    products on the diagonal, the sums over all samples and over all but each, `(1 + n, ...)`, up to a common factor.
    `between`, where given, makes of features a matrix `(n, n)` that tells of each two samples; `arranged` then takes
    it, or its part for some samples, instead of features.
    """

    name: str
    title: str
    direction: Literal["similarity", "distance"]
    lowest: float
    highest: float
    invariances: frozenset[Invariance]
    arranged: Callable[[Tensor], Any]
    compare: Callable[[Any, Any, Tensor | None], float]
    smallest: Callable[[int, int], int]
    source: str
    metric: bool = False
    symmetric: bool = True
    on: Literal["features", "outputs"] = "features"
    pairwise: bool = False
    biased: bool = False
    without: Callable[[Tensor, Tensor], Tensor] | None = None
    between: Callable[[Tensor], Tensor] | None = None

    @property
    def best(self) -> float:
        """The value of features compared with themselves."""
        return self.highest if self.direction == "similarity" else self.lowest

    def spread(self, x: Tensor) -> Tensor:
        """Return what samples can be taken of: the matrix between them, or their features."""
        return x if self.between is None else self.between(x.double())

    def some(self, spread: Tensor, keep: Tensor | slice = slice(None)) -> Any:
        """Prepare some samples, or all."""
        return self.arranged(spread[keep].double() if self.between is None else spread[keep][:, keep])

    def prepare(self, x: Tensor) -> Any:
        """Prepare features."""
        return self.some(self.spread(x))

    def check(self, n: int, d: int, e: int) -> None:
        """Refuse too few samples with a sentence."""
        least = self.smallest(d, e)
        if n < least:
            asked = f"{self.name} of {d} and {e} features"
            found = f"{n} samples; it tells nothing with fewer than {least}"
            instead = ", or take measure='cka'" if least > 4 else ""
            raise BadInput(asked, found, f"give at least {least} samples{instead}")


def inner(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
    """Compare two prepared `(n, n)` matrices: the sum of products of their entries.

    >>> inner(torch.eye(2), torch.eye(2))
    2.0
    """
    if order is not None:
        b = b[order][:, order]
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))
