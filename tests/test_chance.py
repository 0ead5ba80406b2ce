"""Chance in closed form: moments of CKA over all orders, and the law they are put into."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from netassay.measures import named, null_moments, null_quantile, null_skewness, null_tail, orders, under_orders


def all_orders(spec, x, y):
    """The value under every order of the samples."""
    measure = named(spec)
    every = [torch.tensor(order) for order in itertools.permutations(range(len(x)))]
    return under_orders(measure, measure.prepare(x), measure.prepare(y), every)


@pytest.mark.parametrize("n", [5, 6])
@pytest.mark.parametrize("d", [1, 3, 9])
def test_moments_over_all_orders(n, d):
    """Of debiased CKA from n alone; features skewed and dependent."""
    x = torch.randn(n, d).double() ** 3 + 100
    y = torch.rand(n, 2).double() + x[:, :1]
    values = all_orders("cka", x, y)
    assert (values.mean(), values.std()) == pytest.approx(null_moments(n), abs=1e-10)


def test_moments_of_neighbours_over_all_orders():
    """k / (n - 1), exactly."""
    assert all_orders("mutual_knn:k=2", torch.randn(6, 2), torch.randn(6, 3)).mean() == pytest.approx(2 / 5, abs=1e-12)


@pytest.mark.parametrize(("d", "e"), [(1, 1), (2, 3), (40, 30)])
def test_the_law_from_its_moments(d, e):
    """At 200 samples the 95th and 99th percentile of 4,000 orders have about the tails they should."""
    x, y = torch.randn(200, d).double(), torch.randn(200, e).double()
    measure = named("cka")
    values = under_orders(measure, measure.prepare(x), measure.prepare(y), orders(200, 4000))
    spectra = [np.linalg.eigvalsh(np.cov(side.numpy().T).reshape(side.shape[1], -1)) for side in (x, y)]
    skewness = null_skewness(*spectra)
    for tail in (0.05, 0.01):
        at = np.quantile(values, 1 - tail)
        assert float(null_tail(at, *null_moments(200), skewness)) == pytest.approx(tail, rel=0.25)
    if d == 1:
        assert float(null_tail(np.quantile(values, 0.99), *null_moments(200))) < 1e-3


@pytest.mark.parametrize("skewness", [0.0, 1e-4, 0.01, 0.7, math.sqrt(8)])
def test_tail_is_pearsons_third_type(skewness):
    """Against scipy; and the quantile gives the tail back."""
    z = np.array([-0.3, 0.0, 1.6, 5.0])
    expected = scipy.stats.pearson3.sf(z, skewness, loc=0.0, scale=1.0)
    np.testing.assert_allclose(null_tail(2 + 3 * z, 2.0, 3.0, skewness), expected, rtol=1e-3)
    for chance in (0.05, 1e-6):
        at = null_quantile(chance, 2.0, 3.0, skewness)
        assert float(null_tail(at, 2.0, 3.0, skewness)) == pytest.approx(chance, rel=1e-6)
