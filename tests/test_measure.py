"""Measure: the border between measures and the studies that use them."""

from __future__ import annotations

import pytest
import torch

from netassay.errors import BadInput
from netassay.measures import Measure
from netassay.measures.measure import inner


def measure(direction):
    """A measure that looks at the first feature."""
    return Measure(
        name="first",
        title="First feature",
        direction=direction,
        lowest=0.0,
        highest=1.0,
        invariances=frozenset(),
        metric=False,
        symmetric=True,
        on="features",
        pairwise=False,
        arranged=lambda x: x[:, 0],
        compare=lambda a, b, order: float(a @ (b if order is None else b[order])),
        smallest=lambda d, e: max(d, e) + 1,
        source="none",
    )


@pytest.mark.parametrize(("direction", "best"), [("similarity", 1.0), ("distance", 0.0)])
def test_the_best_value_lies_at_the_end_that_the_direction_names(direction, best):
    """Equal features are most similar, or nearest."""
    assert measure(direction).best == best


def test_too_few_samples_are_refused_with_a_number():
    """The sentence says how many are needed, and what else could be asked."""
    measure("similarity").check(8, 7, 3)
    with pytest.raises(BadInput, match=r"(?s)first of 7 and 3 features.* 7 samples; .* fewer than 8.*measure='cka'"):
        measure("similarity").check(7, 7, 3)


def test_an_order_takes_the_samples_of_the_second():
    """Rows and columns go together: the same pairs of samples, in another order."""
    a, b, order = torch.randn(4, 4), torch.randn(4, 4), torch.tensor([2, 0, 3, 1])
    pairs = sum(float(a[i, j] * b[order[i], order[j]]) for i in range(4) for j in range(4))
    assert inner(a, b, order) == pytest.approx(pairs, rel=1e-5)
    assert inner(a, b, order) != pytest.approx(inner(a, b), rel=1e-3)
