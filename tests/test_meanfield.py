"""Mean field: Gaussian averages against dense sums, maps against the digits that theory prints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netassay import meanfield as mf
from netassay.errors import BadInput, UnknownName
from tests.reference import signal as twin

OPTIONS = {"celu": {"alpha": 2.0}}
JUMPS = {"relu", "leaky_relu", "selu", "hardtanh", "relu6", "hardsigmoid", "hardswish", "celu"}


def made(name):
    return mf.activation(name, **OPTIONS.get(name, {}))


def test_every_activation_is_held_against_torch():
    """The twin has each name of the table."""
    assert set(twin.FUNCTIONS) == set(mf.ACTIVATIONS)


@pytest.mark.parametrize("name", mf.ACTIVATIONS)
@pytest.mark.parametrize(("variance", "mean"), [(1.7, 0.0), (0.3, -0.8), (40.0, 1.5)])
def test_moments_are_those_of_torchs_function(name, variance, mean):
    """Mean, mean square and mean square slope, by dense sums over torch's function and its autograd slope."""
    ours = mf.moments(made(name), variance, mean)
    np.testing.assert_allclose(ours, twin.moments(twin.FUNCTIONS[name], variance, mean), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", mf.ACTIVATIONS)
@pytest.mark.parametrize(("c", "mean"), [(0.45, 0.0), (-0.6, 0.4)])
def test_pairs_are_those_of_a_double_sum(name, c, mean):
    """Products of two values, and of two slopes, at one correlation, about 0 and beside it."""
    ours = mf.pair(made(name), 1.3, c, mean), mf.slope_pair(made(name), 1.3, c, mean)
    wanted = twin.pairs(twin.FUNCTIONS[name], 1.3, c, mean)
    np.testing.assert_allclose(ours[0], wanted[0], atol=5e-5)
    np.testing.assert_allclose(ours[1], wanted[1], atol=1e-2 if name in JUMPS else 1e-4)


@pytest.mark.parametrize("name", mf.ACTIVATIONS)
def test_ends_of_the_correlation(name):
    """At 1 a pair is one argument; at 0 it is two independent ones."""
    one = mf.moments(made(name), 0.9, 0.2)
    np.testing.assert_allclose(mf.pair(made(name), 0.9, [1.0, 0.0], 0.2), [one.second, one.mean**2], rtol=1e-9)
    np.testing.assert_allclose(mf.slope_pair(made(name), 0.9, 1.0, 0.2), one.slope, rtol=1e-9)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "linear", "erf"])
def test_closed_forms_are_what_quadrature_gives(name):
    """A function that is not known by name comes to the same numbers the long way."""
    known = made(name)
    plain = mf.Activation("plain", known.value, known.slope, known.kinks)
    np.testing.assert_allclose(mf.moments(plain, 2.3), mf.moments(known, 2.3), rtol=1e-13, atol=1e-13)
    c = np.linspace(-1, 0.9, 20)
    np.testing.assert_allclose(mf.pair(plain, 2.3, c), mf.pair(known, 2.3, c), atol=1e-11)
    np.testing.assert_allclose(mf.slope_pair(plain, 2.3, c[1:]), mf.slope_pair(known, 2.3, c[1:]), atol=1e-6)
    np.testing.assert_allclose(mf.pair(plain, 2.3, 0.999), mf.pair(known, 2.3, 0.999), rtol=1e-5)


@given(st.sampled_from(sorted(mf.ACTIVATIONS)), st.floats(-1, 1), st.floats(1e-12, 1e4), st.floats(-3, 3))
def test_a_pair_is_at_most_one(name, c, variance, mean):
    """|E[phi phi]| <= E[phi^2], whatever the scale, and nothing comes out that is not finite."""
    one = mf.moments(made(name), variance, mean)
    both = mf.pair(made(name), variance, c, mean)
    assert math.isfinite(both)
    assert all(math.isfinite(each) for each in one)
    assert abs(both) <= one.second * (1 + 1e-9) + 1e-300


def test_scales_from_nothing_to_saturation():
    """tanh is the identity on what is tiny, and a sign on what is huge: E[phi'^2] goes as its area, 4 / 3."""
    tiny, huge = mf.moments("tanh", 1e-20), mf.moments("tanh", 1e8)
    assert (tiny.second, tiny.slope) == (pytest.approx(1e-20, rel=1e-12), pytest.approx(1))
    assert huge.slope == pytest.approx(4 / 3 / math.sqrt(2 * math.pi * 1e8), rel=1e-6)


def test_relu_and_linear_by_initialisation():
    """Per layer, both ways: 1 for He, 1/6 for torch's own, 1/2 for Xavier; 1 for Xavier without activation."""
    for phi, sigma_w2, factor in (("relu", 2, 1), ("relu", 1 / 3, 1 / 6), ("relu", 1, 1 / 2), ("linear", 1, 1)):
        assert mf.length_map(phi, 0.7, sigma_w2) == pytest.approx(0.7 * factor, rel=1e-12)
        assert mf.gradient_factor(phi, 0.7, sigma_w2) == pytest.approx(factor, rel=1e-12)


def test_tanh_has_a_fixed_point_and_an_edge():
    """sigma_w^2 = 2: q* = 0.618, chi = 1.1055. The edge is at 1 without bias, at 1.7610 with sigma_b^2 = 0.05."""
    q = mf.fixed_point("tanh", 2.0)
    assert round(q, 3) == 0.618
    assert round(mf.gradient_factor("tanh", q, 2.0), 4) == 1.1055
    assert mf.fixed_point("tanh", 0.5) == 0
    assert mf.gradient_factor("tanh", 0.0, 0.5) == 0.5
    assert round(mf.critical("tanh"), 12) == 1
    edge = mf.critical("tanh", 0.05)
    assert round(edge, 4) == 1.7610
    assert mf.gradient_factor("tanh", mf.fixed_point("tanh", edge, 0.05), edge) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("name", "sigma_w2", "sigma_b2"), [("tanh", 2.0, 0.0), ("erf", 1.5, 0.1), ("elu", 0.8, 0.2)])
def test_a_fixed_point_is_where_many_steps_end(name, sigma_w2, sigma_b2):
    """Bisection finds what iteration goes to, from below and from above."""
    wanted = twin.rest(twin.FUNCTIONS[name], sigma_w2, sigma_b2, steps=300)
    for start in (1e-3, 1.0, 50.0):
        assert mf.fixed_point(name, sigma_w2, sigma_b2, start) == pytest.approx(wanted, rel=1e-6)


def test_maps_without_a_place_to_rest():
    """ReLU at 2 stays where it is, above it goes to infinity, below to 0; its edge is 2 with any bias."""
    assert mf.fixed_point("relu", 2.0, start=3.0) == 3.0
    assert mf.fixed_point("relu", 2.0, 0.1) == mf.fixed_point("relu", 2.1) == math.inf
    assert mf.fixed_point("relu", 1.9) == 0
    assert mf.critical("relu") == mf.critical("relu", 0.1) == pytest.approx(2)
    assert mf.fixed_point("relu", 1.0, 0.1) == pytest.approx(0.2)


def test_relu_brings_inputs_together():
    """0.311 -> .489 .602 .679 .735 .776, and whatever sigma_w^2 is."""
    c, found = 0.311, []
    for _ in range(5):
        c = mf.correlation_map("relu", c, q=3.0, sigma_w2=0.7)
        found.append(c)
    np.testing.assert_allclose(found, [0.489, 0.602, 0.679, 0.735, 0.776], atol=7e-4)
    assert mf.correlation_map("relu", 0.0) == pytest.approx(1 / math.pi)
    assert mf.correlation_map("relu", 0.2, 1.0, 1.0, 0.5) == pytest.approx((mf.pair("relu", 1, 0.2) + 0.5) / 1.0)


def test_relu_drives_gradients_apart():
    """c0 = 0.5: .667 .472 .267 .113 of the correlation is left after 1, 2, 4, 8 layers."""
    c, left, found = 0.5, 1.0, []
    for _ in range(8):
        left *= mf.gradient_correlation("relu", c)
        found.append(left)
        c = mf.correlation_map("relu", c)
    np.testing.assert_allclose([found[i] for i in (0, 1, 3, 7)], [0.667, 0.472, 0.267, 0.113], atol=6e-4)
    assert mf.gradient_correlation("relu", 0.3) == pytest.approx(1 - math.acos(0.3) / math.pi)


@pytest.mark.parametrize("name", ["tanh", "gelu", "sigmoid", "erf"])
def test_chi_is_the_slope_of_the_correlation_map_at_one(name):
    """Where q is at rest, d c' / d c at c = 1 is chi."""
    q, step = mf.fixed_point(name, 1.4, 0.3), 1e-5
    slope = (1 - mf.correlation_map(name, 1 - step, q, 1.4, 0.3)) / step
    assert slope == pytest.approx(mf.gradient_factor(name, q, 1.4), rel=1e-3)


def test_depth_scale():
    """1 / |ln chi|: the same for a factor and its inverse, without end at 1."""
    assert mf.depth_scale(math.e) == mf.depth_scale(1 / math.e) == 1
    assert (mf.depth_scale(1.0), mf.depth_scale(0.0)) == (math.inf, 0)


@pytest.mark.parametrize(
    ("name", "gain"), [("relu", 1.712859), ("gelu", 1.700926), ("silu", 1.787187), ("tanh", 1.592537)]
)
def test_gains_that_preserve_variance(name, gain):
    """1 / sqrt(Var phi), to the digits printed; the values drawn by chance agree."""
    assert round(mf.preserving_gain(name), 6) == gain
    torch.manual_seed(0)
    values = twin.FUNCTIONS[name](torch.randn(200_000, dtype=torch.float64))
    assert gain * float(values.std()) == pytest.approx(1, abs=0.01)


def test_refusals_say_what_to_give():
    """Unknown names, parameters that are not taken, negative variances, correlations beyond 1, nothing to map."""
    with pytest.raises(UnknownName, match="closest: 'relu"):
        mf.moments("relo", 1.0)
    with pytest.raises(BadInput, match="use torch's parameter names"):
        mf.activation("relu", slope=2.0)
    with pytest.raises(BadInput, match="variance -1"):
        mf.moments("relu", -1.0)
    with pytest.raises(BadInput, match=r"correlation 1\.5"):
        mf.pair("relu", 1.0, [0.2, 1.5])
    with pytest.raises(BadInput, match="0 everywhere"):
        mf.correlation_map("relu", 0.5, 0.0)
    with pytest.raises(BadInput, match="chi of 0 or more"):
        mf.depth_scale(-1.0)


@pytest.mark.parametrize("sigma_b2", [0.0, 0.05])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_the_edge_of_chaos_has_chi_one_where_the_map_rests(name, sigma_b2):
    """Also where phi(0) is not 0, so that the fixed point lies above 0 without any bias."""
    edge = mf.critical(name, sigma_b2)
    rests = mf.fixed_point(name, edge, sigma_b2)
    at = rests if rests > 0 else 1e-12
    assert mf.gradient_factor(name, at, edge) == pytest.approx(1, abs=1e-6)
