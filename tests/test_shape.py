"""Shape: distributions against all their numbers, distances against sorting and scipy, algebra bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from netassay.errors import BadInput
from netassay.shape import (
    Distribution,
    common_edges,
    density,
    gathering,
    gaussian_distance,
    log_variance_ratio,
    resolution,
    shift,
    wasserstein,
)
from netassay.shape import distribution as room
from tests.reference import shape as twin

EMPTY = Distribution.empty()
KINDS = ("normal", "uniform", "relu", "offset", "cauchy", "rounded", "saturated", "equal")


def numbers(kind, n, seed, scale=0.0):
    """Numbers such as layers hold them, at some scale."""
    g = np.random.default_rng(seed)
    x = g.standard_normal(n)
    made = {
        "normal": x,
        "uniform": g.uniform(-1, 1, n),
        "relu": np.maximum(x, 0),
        "offset": 3 + x / 4,
        "cauchy": g.standard_cauchy(n),
        "rounded": np.round(x, 1),
        "saturated": np.clip(2 * x, -1.01, 1.01),
        "equal": np.full(n, 1.01),
    }
    return made[kind] * 2.0**scale


def binned(values):
    """The distribution as it is where there are too many numbers to keep them."""
    d = Distribution.of(values)
    return Distribution(d.moments, d.histogram, d.extremes, d.zero, d.nan, d.inf, None if d.n else d.few)


populations = st.tuples(st.sampled_from(KINDS), st.integers(1, 200), st.integers(0, 10**6), st.floats(-8, 8))
floats = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(floats, max_size=40))
def test_a_distribution_is_what_its_numbers_are(values):
    """Every property from its definition; NaN and Inf are counted and left out; what has no value is NaN."""
    d, ordinary = Distribution.of(values), twin.finite(values)
    assert (d.nan, d.inf) == (sum(v != v for v in values), sum(abs(v) == math.inf for v in values))
    assert d.n == len(ordinary)
    if not ordinary:
        shown = (d.mean, d.std, d.skewness, d.kurtosis, d.minimum, d.maximum, d.zero_share, d.quantile(0.5))
        assert np.isnan(shown).all()
        return
    assert (d.minimum, d.maximum) == (min(ordinary), max(ordinary))
    assert d.zero_share == ordinary.count(0) / len(ordinary)
    assert [d.quantile(q) for q in (0, 0.5, 1)] == [sorted(ordinary)[i] for i in (0, (d.n - 1) // 2, -1)]
    if d.constant:
        assert (d.mean, d.std) == (ordinary[0], 0.0)
        assert np.isnan((d.skewness, d.kurtosis)).all()


@given(populations)
def test_moments_are_those_of_their_definition(population):
    """Mean, deviation, skewness and kurtosis of all numbers."""
    values = numbers(*population)
    d = Distribution.of(values)
    if not d.constant:
        mean, std, skewness, kurtosis = twin.moments(values)
        assert d.mean == pytest.approx(mean, rel=1e-12, abs=1e-14 * std)
        assert (d.std, d.kurtosis) == pytest.approx((std, kurtosis), rel=1e-11)
        assert d.skewness == pytest.approx(skewness, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("value", [0.1, 0.0, -1e-30, 3e30])
def test_equal_numbers_have_no_variance(value):
    """Rounding leaves no trace in 10,000 equal numbers, value form and device form alike."""
    for d in (Distribution.of(np.full(10_000, value)), gathering.measure(torch.full((10_000,), value).double())):
        assert (d.mean, d.std, d.quantile(0.5)) == (d.minimum, 0.0, d.minimum)
        assert np.isnan((d.kurtosis, gaussian_distance(d))).all()


def same_but_moments(a, b):
    """All that is counted or compared is equal, bit for bit."""
    for name, value in a.arrays().items():
        if name != "moments":
            np.testing.assert_array_equal(value, b.arrays()[name])
    assert a.arrays().keys() == b.arrays().keys()


@given(st.lists(populations, min_size=3, max_size=3), st.integers(1, 400))
def test_parts_merge_in_any_order(parts, few):
    """Histograms, ends, counts and kept values bit for bit, moments to rounding; the empty one changes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "FEW", few)
        values = [numbers(*part) for part in parts]
        a, b, c = map(Distribution.of, values)
        left, right, whole = a.merge(b).merge(c), a.merge(b.merge(c)), Distribution.of(np.concatenate(values))
        for other in (right, c.merge(a).merge(b), whole):
            same_but_moments(left, other)
            size = max(abs(whole.minimum), abs(whole.maximum))
            assert (left.mean, left.std) == pytest.approx((other.mean, other.std), rel=1e-9, abs=1e-9 * size)
        for joined in (a.merge(EMPTY), EMPTY.merge(a)):
            for name, value in joined.arrays().items():
                np.testing.assert_array_equal(value, a.arrays()[name])


def test_a_distribution_comes_back_from_its_arrays():
    """What is stored gives the same numbers, whether values were kept, were not, or there were none."""
    for d in (Distribution.of([0.0, 1.5, np.nan]), binned(numbers("normal", 50, 0)), EMPTY):
        back = Distribution.from_arrays(d.arrays())
        for name, value in back.arrays().items():
            np.testing.assert_array_equal(value, d.arrays()[name])
        assert (back.few is None) == (d.few is None)
        assert back.merge(EMPTY).n == d.n


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("specials", [False, True])
def test_the_device_form_is_the_value_form(dtype, specials):
    """Batches of any shape and memory order, with NaN, Inf and zeros, give what all their numbers give."""
    g = torch.Generator().manual_seed(0)
    parts = [torch.randn(shape, generator=g) + 0.5 for shape in [(3, 4, 5, 6), (7, 9), (70_000,), (0, 4), ()]]
    parts[0] = parts[0].to(memory_format=torch.channels_last)
    parts[1] = parts[1].T.relu()
    if specials:
        parts[2][:6] = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1e-7])
    parts = [part.to(dtype) for part in parts]
    rows = gathering.begin(parts[0])
    for part in parts:
        gathering.add(rows, part)
    got, want = gathering.end(rows), Distribution.of(torch.cat([part.flatten() for part in parts]).double().numpy())
    assert got.few is want.few is None
    same_but_moments(got, want)
    for name in ("mean", "std", "skewness", "kurtosis"):
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=1e-10)


def test_a_channels_last_batch_is_not_copied(monkeypatch):
    """What is folded in shares the batch's memory, whatever the order of its axes."""
    x, seen = torch.randn(4, 8, 32, 32).to(memory_format=torch.channels_last), []
    monkeypatch.setattr(gathering, "observe", lambda rows, part: seen.append(part))
    gathering.add(gathering.begin(x), x)
    assert [part.data_ptr() for part in seen] == [x.data_ptr()]


def test_small_tensors_keep_their_values():
    """A bias is measured by its values, a feature map by its bins; rows that saw nothing are the identity."""
    bias = torch.nn.Parameter(torch.randn(64))
    np.testing.assert_array_equal(gathering.measure(bias).few, np.sort(bias.detach().double().numpy()))
    assert gathering.measure(torch.randn(room.FEW + 1)).few is None
    full = gathering.measure(torch.ones(room.FEW))
    assert len(full.few) == room.FEW
    assert full.merge(Distribution.of([1.0])).few is None
    rows = gathering.begin(bias)
    assert gathering.end(rows).merge(Distribution.of([1.0])).few.tolist() == [1.0]
    gathering.add(rows, bias)
    assert gathering.end(rows).few is None


def test_tensors_that_cannot_be_folded_leave_the_rows_as_they_were():
    """Whole numbers are refused, and so is another width; nothing of either is counted."""
    rows = gathering.begin(torch.ones(3))
    gathering.add(rows, torch.ones(3))
    with pytest.raises(BadInput, match=r"(?s)distribution of a tensor.*torch.int64.*x.float()"):
        gathering.add(rows, torch.ones(3, dtype=torch.int64))
    with pytest.raises(BadInput, match=r"(?s)histogram.*torch.float64"):
        gathering.add(rows, torch.ones(3, dtype=torch.float64))
    d = gathering.end(rows)
    assert (d.n, int(d.histogram.n[0]), d.mean) == (3, 3, 1.0)


@given(populations, populations)
def test_distances_of_kept_values_are_exact(first, second):
    """W1 and the largest gap, by their definitions and by scipy."""
    x, y = numbers(*first), numbers(*second)
    a, b = Distribution.of(x), Distribution.of(y)
    assert wasserstein(a, b) == pytest.approx(twin.wasserstein(x, y), rel=1e-9, abs=1e-300)
    assert wasserstein(a, b) == pytest.approx(scipy.stats.wasserstein_distance(x, y), rel=1e-9, abs=1e-300)


@given(populations, populations)
def test_binned_distances_err_by_no_more_than_the_resolution(first, second):
    """Half a bin on average, at most 0.78 % of the mean sizes, whatever lies in the bins."""
    x, y = numbers(*first), numbers(*second)
    a, b = binned(x), binned(y)
    bound = resolution(a) + resolution(b)
    truth = scipy.stats.wasserstein_distance(x, y)
    assert abs(wasserstein(a, b) - truth) <= bound + 1e-9 * truth
    assert abs(wasserstein(a, Distribution.of(y)) - truth) <= bound + 1e-9 * truth
    assert bound <= (np.abs(x).mean() + np.abs(y).mean()) / 128 * (1 + 1e-12)


def test_distribution_functions_may_cross_inside_a_bin():
    """Evenly filled intervals with one middle, of widths u and v, are |u - v| / 4 apart."""
    wide, narrow = binned([1.0, 1.015]), binned([1.00375, 1.01125])
    assert wasserstein(wide, narrow) == pytest.approx(0.0075 / 4, rel=1e-9)


def test_evenly_filled_bins_err_far_less():
    """Of 100,000 Gaussian or uniform numbers W1 is right to 0.2 %."""
    kinds = [
        numbers(kind, 100_000, seed) * scale
        for kind, seed, scale in [
            ("normal", 0, 1),
            ("normal", 1, 1.1),
            ("uniform", 2, 1),
            ("uniform", 3, 0.9),
            ("relu", 4, 1),
        ]
    ]
    for i, x in enumerate(kinds):
        for y in kinds[:i]:
            assert wasserstein(Distribution.of(x), Distribution.of(y)) == pytest.approx(
                np.abs(np.sort(x) - np.sort(y)).mean(), rel=2e-3
            )


def test_means_bound_the_distance_where_bins_are_too_coarse():
    """100 and 100.1 share a bin, and their distance is still seen."""
    x = 100 + np.random.default_rng(0).standard_normal(5000) / 1000
    assert wasserstein(binned(x), binned(x + 0.1)) == pytest.approx(0.1, rel=1e-9)


@given(st.lists(populations, min_size=3, max_size=3), st.sampled_from([Distribution.of, binned]), st.integers(-40, 40))
def test_distance_is_a_metric_and_scales(parts, form, octave):
    """Symmetric, 0 to itself, triangle inequality; scaled by a power of two bit for bit, by -1 too."""
    values = [numbers(*part) for part in parts]
    a, b, c = map(form, values)
    ab = wasserstein(a, b)
    assert ab == wasserstein(b, a)
    assert wasserstein(a, a) == 0
    assert ab <= (wasserstein(a, c) + wasserstein(c, b)) * (1 + 1e-9)
    assert ab >= abs(a.mean - b.mean)
    scaled = [form(np.ldexp(x, octave)) for x in values[:2]]
    assert wasserstein(*scaled) == math.ldexp(ab, octave)
    turned = [form(-x) for x in values[:2]]
    assert wasserstein(*turned) == pytest.approx(ab, rel=1e-9)


@given(populations, st.floats(-10, 10), st.sampled_from([Distribution.of, binned]))
def test_a_shift_moves_by_itself(population, by, form):
    """W1 to the shifted numbers is the shift, within the bins' error."""
    x = numbers(*population)
    a, b = form(x), form(x + by)
    assert wasserstein(a, b) == pytest.approx(
        abs(by), rel=1e-9, abs=resolution(a) + resolution(b) + 1e-9 * abs(x).max()
    )


@pytest.mark.parametrize(
    ("law", "value"),
    [
        (scipy.stats.uniform, 0.1543),
        (scipy.stats.laplace, 0.1454),
        (scipy.stats.expon, 0.3144),
        (scipy.stats.norm, 0.0),
    ],
)
@pytest.mark.parametrize(("n", "tolerance"), [(4000, 2e-3), (200_000, 5e-4)])
def test_gaussian_distance_has_the_values_of_its_table(law, value, n, tolerance):
    """Numbers at even quantiles of a law, kept and binned; scale does not matter, bit for bit."""
    x = law.ppf((np.arange(n) + 0.5) / n)
    assert gaussian_distance(Distribution.of(x)) == pytest.approx(value, abs=tolerance)
    assert gaussian_distance(Distribution.of(x / 1024)) == gaussian_distance(Distribution.of(x))


def test_gaussian_distance_of_a_coin_has_a_closed_form():
    """E||Z| - 1|, and the gap Phi(1) - 1/2."""
    coin = Distribution.of([-1.0, 1.0])
    phi, Phi = scipy.stats.norm.pdf, scipy.stats.norm.cdf
    distance = 4 * (phi(1) + Phi(1)) - 2 * phi(0) - 3
    assert gaussian_distance(coin) == pytest.approx(distance, abs=2e-6)


@pytest.mark.parametrize("kind", ["normal", "uniform", "relu", "offset"])
def test_gaussian_distances_are_those_of_their_definition(kind):
    """The area by the midpoint rule, the gap by scipy's one-sample test."""
    x = numbers(kind, 60, 1)
    d = Distribution.of(x)
    assert gaussian_distance(d) == pytest.approx(twin.gaussian_distance(x), rel=1e-4)
    assert abs(gaussian_distance(binned(x)) - gaussian_distance(d)) <= resolution(binned(x)) / d.std


def test_a_spread_that_bins_swallow_has_no_shape():
    """10 +- 0.1 by bins 1/8 wide says nothing about a Gaussian; its values would."""
    x = 10 + numbers("normal", 4000, 0) / 10
    assert np.isnan(gaussian_distance(binned(x)))
    assert gaussian_distance(Distribution.of(x)) < 0.05


def test_variance_ratios_and_their_ends():
    """ln of the ratio; signed infinity where one side is constant, NaN where both are."""
    one, two, none = Distribution.of([-1.0, 1.0]), Distribution.of([-3.0, 3.0]), Distribution.of([5.0, 5.0])
    assert log_variance_ratio(one, two) == pytest.approx(math.log(9), rel=1e-14)
    assert log_variance_ratio(two, two) == 0
    assert (log_variance_ratio(none, one), log_variance_ratio(one, none)) == (math.inf, -math.inf)
    assert np.isnan([log_variance_ratio(none, none), log_variance_ratio(one, EMPTY)]).all()


def test_a_shift_is_named_numbers():
    """From 0 +- 2 to 3 +- 2; from a constant; from nothing."""
    start, end = Distribution.of([-2.0, 2.0]), Distribution.of([1.0, 5.0])
    names = ("wasserstein", "wasserstein_error", "relative_wasserstein", "log_variance_ratio", "mean_difference")
    assert shift(start, end) == dict(zip(names, (3.0, 0.0, 1.5, 0.0, 3.0), strict=True))
    zeros = Distribution.of([0.0, 0.0])
    assert shift(zeros, end)["relative_wasserstein"] == math.inf
    assert np.isnan(shift(zeros, zeros)["relative_wasserstein"])
    assert np.isnan(list(shift(EMPTY, end).values())).all()
    assert np.isnan(gaussian_distance(EMPTY))


@given(populations, st.integers(1, 30), st.floats(-3, 3), st.floats(0.01, 5))
def test_density_counts_what_lies_in_each_bin(population, bins, low, width):
    """Of kept values, numpy's own; of bins, it integrates to what it covers, and to 1 over everything."""
    x = numbers(*population)
    edges = np.linspace(low, low + width, bins + 1)
    np.testing.assert_allclose(density(Distribution.of(x), edges), twin.density(x, edges), rtol=1e-9, atol=1e-12)
    d = binned(x)
    everything = np.concatenate([[d.minimum - 1], np.linspace(d.minimum, d.maximum + 1, bins + 1)])
    assert float(density(d, everything) @ np.diff(everything)) == pytest.approx(1, rel=1e-12)
    shares = density(d, edges) * np.diff(edges)
    assert (shares > -1e-15).all()
    lowest, highest = edges[0] / (1 + np.sign(edges[0]) / 64), edges[-1] * (1 + np.sign(edges[-1]) / 64)
    assert shares.sum() <= np.mean((x >= lowest - 1e-12) & (x <= highest + 1e-12)) + 1e-12


def test_bins_hold_their_left_edge_and_the_last_its_right():
    """As numpy's histogram counts."""
    assert density(Distribution.of([0.0, 1.0, 1.0, 2.0]), [0.0, 1.0, 2.0]).tolist() == [0.25, 0.75]


def test_density_follows_the_law():
    """A million Gaussian numbers in bins of 0.1 are within 4 standard errors of the Gaussian's own share."""
    n, edges = 1 << 20, np.linspace(-3, 3, 61)
    got = density(gathering.measure(torch.randn(n, dtype=torch.float64)), edges) * np.diff(edges)
    share = np.diff(scipy.stats.norm.cdf(edges))
    assert (np.abs(got - share) < 4 * np.sqrt(share / n) + 2e-5).all()


@given(st.lists(populations, min_size=1, max_size=4), st.sampled_from([Distribution.of, binned]))
def test_common_edges_cover_each(parts, form):
    """At least the asked share of each distribution lies inside, on evenly spaced edges."""
    ds = [form(numbers(*part)) for part in parts]
    edges = common_edges([*ds, EMPTY], bins=20, cover=0.9)
    assert len(edges) == 21
    assert (np.diff(edges) > 0).all()
    for part, d in zip(parts, ds, strict=True):
        x, room_for = numbers(*part), 0.0 if d.few is not None else 0.0079
        inside = (x >= edges[0] - room_for * abs(edges[0])) & (x <= edges[-1] + room_for * abs(edges[-1]))
        assert inside.mean() >= 0.9 - 1e-12 - 2 / len(x)


@pytest.mark.parametrize(("value", "window"), [(0.0, (-0.05, 0.05)), (2.0, (1.9, 2.1)), (-1e-8, (-1.05e-8, -0.95e-8))])
def test_equal_numbers_get_a_narrow_window(value, window):
    """Around the value, 5 % to both sides; around 0 where there is nothing at all."""
    edges = common_edges([Distribution.of([value, value])], bins=10)
    assert (edges[0], edges[-1]) == pytest.approx(window)
    assert float(density(Distribution.of([value]), edges).sum() * np.diff(edges)[0]) == pytest.approx(1)
    assert common_edges([EMPTY, Distribution.of([np.nan])])[[0, -1]].tolist() == [-0.05, 0.05]


def test_density_of_nothing_and_of_no_bins():
    """NaN where there is no number; edges that do not ascend are refused in a sentence."""
    assert np.isnan(density(EMPTY, [0.0, 1.0])).all()
    for edges in ([1.0], [0.0, 0.0], [0.0, np.nan]):
        with pytest.raises(BadInput, match=r"(?s)a density.*do not ascend.*two edges or more"):
            density(EMPTY, edges)


def test_bins_of_a_law_hold_their_numbers():
    """Every number lies in its bin's ends, at both signs and over 500 octaves."""
    g = np.random.default_rng(0)
    x = np.concatenate([g.choice([-1, 1], 3000) * np.exp2(g.uniform(-250, 250, 3000)), [0.0]])
    d = binned(x)
    for q in (0.001, 0.2, 0.5, 0.7, 0.999):
        exact = Distribution.of(x).quantile(q)
        assert d.quantile(q) == pytest.approx(exact, rel=0.0079)
        assert share_up_to(d, exact * (1 - np.sign(exact) / 63)) <= q
        assert share_up_to(d, exact * (1 + np.sign(exact) / 63)) >= q - 1e-12


def share_up_to(d, at):
    """P(X <= at), by a density with one bin below it."""
    edges = np.array([2 * min(d.minimum, at) - 1, at])
    return float(density(d, edges)[0] * np.diff(edges)[0])
