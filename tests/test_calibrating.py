"""Calibration: p, thresholds and maxima by counting, on maps, distances and what is not defined."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.calibration import cell, maxima
from netassay.errors import BadInput
from netassay.inference import binomial_tail
from netassay.measures import calibrate, named, orders, under_orders


def map_of(seed, K=39, shape=(3, 4)):
    """A map and its null, of numbers that repeat."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 9, shape) / 10, rng.integers(0, 9, (K, *shape)) / 10


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.1, 0.3]))
def test_each_entry_and_each_maximum_is_counted(seed, level):
    """p counts the null and the observed itself; the threshold leaves a share of at most `level` above it."""
    seen, null = map_of(seed)
    got = calibrate(seen, null, "similarity", 1.0, level)
    for i, j in np.ndindex(seen.shape):
        all = sorted([*null[:, i, j], seen[i, j]])
        p = sum(v >= seen[i, j] for v in all) / 40
        threshold = next(v for v in all if sum(u <= v for u in all) >= (1 - level) * 40 - 1e-9)
        assert got.p[i, j] == pytest.approx(p)
        assert got.threshold[i, j] == threshold
        assert got.calibrated[i, j] == pytest.approx(max((seen[i, j] - threshold) / (1 - threshold), 0))
        assert (got.calibrated[i, j] > 0) <= (p <= level)
    for i in range(3):
        assert got.p_row_max[i] == (1 + sum(k[i].max() >= seen[i].max() for k in null)) / 40
    for j in range(4):
        assert got.p_col_max[j] == (1 + sum(k[:, j].max() >= seen[:, j].max() for k in null)) / 40
    assert got.p_max == (1 + sum(k.max() >= seen.max() for k in null)) / 40


def test_a_distance_is_judged_by_its_negative():
    """1 - s in the place of s: the same p, the same calibrated score, the mirrored threshold."""
    seen, null = map_of(1)
    near, far = calibrate(seen, null, "similarity", 1.0), calibrate(1 - seen, 1 - null, "distance", 0.0)
    np.testing.assert_allclose(far.threshold, 1 - near.threshold)
    for one, other in zip(near[:1] + near[2:], far[:1] + far[2:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_rounding_is_no_difference():
    """Orders that give the observed value back give it in other last digits."""
    seen, null = np.array([[0.3]]), np.full((19, 1, 1), 0.3 - 5e-17)
    got = calibrate(seen, null, "similarity", 1.0)
    assert got.p[0, 0] == 1
    assert got.calibrated[0, 0] == 0


def test_a_null_that_reaches_the_best_value_leaves_no_room():
    """Two of three samples alike, say: every order gives 1, and the calibrated score is 0, not 0 / 0."""
    got = calibrate([[1.0]], np.ones((19, 1, 1)), "similarity", 1.0)
    assert (got.p[0, 0], got.threshold[0, 0], got.calibrated[0, 0]) == (1.0, 1.0, 0.0)


def test_what_is_not_defined_is_no_best_match():
    """A dead layer is NaN in its own column, and its row's maximum is that of the others."""
    seen, null = map_of(2)
    whole = calibrate(seen, null, "similarity", 1.0)
    seen, null = np.insert(seen, 2, np.nan, axis=1), np.insert(null, 2, np.nan, axis=2)
    got = calibrate(seen, null, "similarity", 1.0)
    for part in (got.p[:, 2], got.threshold[:, 2], got.calibrated[:, 2], got.p_col_max[2]):
        assert np.isnan(part).all()
    assert (np.delete(got.p, 2, 1) == whole.p).all()
    assert (got.p_row_max == whole.p_row_max).all()
    assert got.p_max == whole.p_max
    nothing = calibrate(seen * np.nan, null, "similarity", 1.0)
    assert np.isnan(nothing.p_row_max).all()
    assert math.isnan(nothing.p_max)


def test_without_orders_there_is_no_p():
    """No null was drawn: NaN, not 1."""
    got = calibrate([[0.5]], np.empty((0, 1, 1)), "similarity", 1.0)
    assert np.isnan([got.p[0, 0], got.threshold[0, 0], got.calibrated[0, 0], got.p_row_max[0], got.p_max]).all()


def test_maps_that_do_not_fit_are_refused():
    """The sentence says both shapes."""
    with pytest.raises(BadInput, match=r"(?s)shape \(1, 1\), permuted ones of \(3, 2\).*give \(La, Lb\)"):
        calibrate([[0.5]], np.zeros((3, 2)), "similarity", 1.0)


def test_orders_are_of_their_own():
    """The same seed, the same orders; each holds every sample once; torch's generator is not touched."""
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again, other = orders(20, 5, 7), orders(20, 5, 7), orders(20, 5, 8)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(sorted(order.tolist()) == list(range(20)) for order in first)


@pytest.mark.parametrize("spec", ["cka", "mutual_knn:k=3", "rsa", "rsa:comparator=kendall"])
def test_orders_at_once_are_orders_one_by_one(spec):
    """Also of a matrix that is not symmetric, as that of neighbours is not."""
    measure = named(spec)
    a, b = (measure.prepare(torch.randn(15, 3)) for _ in range(2))
    chosen = orders(15, 6)
    one_by_one = [measure.compare(a, b, order) for order in chosen]
    np.testing.assert_allclose(under_orders(measure, a, b, chosen), one_by_one, atol=1e-12)
    assert under_orders(measure, a, b, []).shape == (0,)


@pytest.mark.parametrize(("law", "d"), [("gaussian", 256), ("heavy-tailed", 8)])
def test_chance_passes_as_often_as_it_may(law, d):
    """Independent features are told similar 5 times in 100, no more often and not much less."""
    found = cell(law, 24, d, 120)
    assert float(np.squeeze(binomial_tail(found, 120, 0.05))) >= 0.005
    assert found >= 1


def test_the_calibrated_maximum_does_not_grow_with_the_layers():
    """The raw one does; of 16 layers, in the calibrated one, as few are told similar as of one."""
    one, many = maxima(40, n=32, d=256, layers=(1, 16), measure="cka")
    assert many[0] > one[0] + 0.03
    assert many[1] < 0.005
    assert many[2] <= 0.15


def test_all_layers_share_an_order():
    """With orders of their own the maximum over layers that are copies of one would look like chance of many."""
    measure = named("cka")
    layers = [measure.prepare(torch.randn(6, 2))] * 3
    other = measure.prepare(torch.randn(6, 2))
    all = [torch.tensor(order) for order in itertools.permutations(range(6))]
    null = np.stack([[under_orders(measure, one, other, all)] for one in layers], 0).transpose(2, 0, 1)
    got = calibrate([[measure.compare(one, other, None)] for one in layers], null, "similarity", 1.0)
    assert got.p_max == got.p[0, 0] == got.p_col_max[0]
