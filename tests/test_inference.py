"""Bounds, intervals, p-values and corrections against definitions, twins, scipy, and by simulation."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

import netassay.inference
from netassay.errors import BadInput
from netassay.inference import (
    benjamini_hochberg,
    binomial_interval,
    binomial_tail,
    binomial_upper,
    bootstrap,
    holm,
    permutation,
    resampling,
)
from tests.reference import inference as twin

SIZES = [1, 2, 3, 7, 16, 50, 1000, 10**4, 10**5, 10**6]
LEVELS = [0.5, 0.95, 0.999, 1 - 2.0**-40]


def counts(n):
    """The ends, the middle and some counts between."""
    random = np.random.default_rng(n).integers(0, n + 1, 25)
    return np.unique(np.clip([0, 1, 2, n // 2, n - 2, n - 1, n, *random], 0, n))


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_intervals_solve_their_equations(n):
    """Each bound is where the exact tail, summed in fractions, is half of what the level leaves."""
    for k in range(n + 1):
        assert binomial_interval(k, n, 0.9) == pytest.approx(twin.interval(k, n, 0.9), rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("n", SIZES)
def test_intervals_agree_with_scipy(n):
    """Up to a million trials and levels near 1, bounds are scipy's inverse beta, to 1e-10 of their value."""
    k = counts(n)
    for level in LEVELS:
        low, high = binomial_interval(k, n, level)
        alpha = (1 - level) / 2
        expected = np.where(k == 0, 0, special.betaincinv(np.maximum(k, 1), n - k + 1, alpha))
        np.testing.assert_allclose(low, expected, rtol=1e-10)
        expected = np.where(k == n, 1, special.betainccinv(k + 1, np.maximum(n - k, 1), alpha))
        np.testing.assert_allclose(high, expected, rtol=1e-10)
        np.testing.assert_array_equal((low[0], high[-1]), (0, 1))


def test_bounds_without_a_case_are_exact():
    """Nothing seen: 1 - (alpha/2)^(1/n), one-sided 1 - alpha^(1/n), about 3/n; nothing tried: anything."""
    n = np.array([1, 10, 3000, 10**9])
    np.testing.assert_allclose(binomial_interval(0, n)[1], -np.expm1(np.log(0.025) / n), rtol=1e-14)
    np.testing.assert_allclose(binomial_interval(n, n)[0], np.exp(np.log(0.025) / n), rtol=1e-14)
    np.testing.assert_allclose(binomial_upper(0, n), -np.expm1(np.log(0.05) / n), rtol=1e-14)
    assert binomial_upper(0, 10**6) == pytest.approx(3e-6, rel=0.002)
    assert binomial_interval(0, 0) == (0.0, 1.0)


@given(n=st.integers(1, 10**6), share=st.floats(0, 1), level=st.floats(0.01, 0.999))
def test_bounds_enclose_the_share_and_mirror_it(n, share, level):
    """The interval holds k/n, mirrors when success and failure trade places, and grows with the level."""
    k = round(share * n)
    low, high = binomial_interval(k, n, level)
    wide = binomial_interval(k, n, (1 + level) / 2)
    assert 0 <= wide[0] <= low <= high <= wide[1] <= 1
    assert level < 0.5 or low <= k / n <= high
    mirrored = binomial_interval(n - k, n, level)
    np.testing.assert_allclose((1 - mirrored[1], 1 - mirrored[0]), (low, high), rtol=0, atol=1e-13)
    assert binomial_upper(k, n, (1 + level) / 2) == pytest.approx(high, rel=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_tails_agree_with_scipy(n):
    """P(X >= k) is scipy's to 1e-10 of its value, from certain to 1e-290."""
    random = np.random.default_rng(n)
    k = counts(n)
    near = np.clip(k / n + random.normal(size=k.size) / np.sqrt(n), 0, 1)
    p = np.concatenate([[0, 1], random.random(20), 10.0 ** -random.uniform(0, 9, 10), near])
    k, p = np.meshgrid([-1, *k, n + 1], p)
    expected = scipy.stats.binom.sf(k - 1, n, p)
    expected[expected < 1e-290] = 0
    tail = binomial_tail(k, n, p)
    np.testing.assert_allclose(np.where(tail < 1e-290, 0, tail), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [1, 3, 15, 17, 40])
def test_tails_are_the_exact_sums(n):
    """P(X >= k) is the sum of the binomial terms, up to the rounding of a logarithm of 140."""
    for p in (0.03, 0.5, 0.97):
        exact = [float(twin.tail(k, n, p)) for k in range(n + 2)]
        np.testing.assert_allclose(binomial_tail(np.arange(n + 2), n, p), exact, rtol=1e-13)


def test_intervals_cover():
    """Over all outcomes, the interval misses the chance on either side no more than the level allows."""
    n = 40
    low, high = binomial_interval(np.arange(n + 1), n)
    for p in np.linspace(0.01, 0.99, 99):
        mass = scipy.stats.binom.pmf(np.arange(n + 1), n, p)
        assert max(mass[low > p].sum(), mass[high < p].sum()) <= 0.025 + 1e-12


@pytest.mark.parametrize(
    ("ask", "found"),
    [
        (lambda: binomial_interval([1, 4], 3), "k = 4 of n = 3"),
        (lambda: binomial_upper(0.5, 3), "k = 0.5 of n = 3"),
        (lambda: binomial_interval(math.nan, 3), "k = nan of n = 3"),
        (lambda: binomial_interval(1, 3, 95), "level = 95"),
        (lambda: binomial_tail(1, 3, 1.5), "a chance outside [0, 1]"),
        (lambda: binomial_tail(0.5, 3, 0.5), "a broken count"),
        (lambda: holm([0.1, 1.2]), "a p-value of 1.2"),
        (lambda: bootstrap([], np.mean), "values of shape (0,)"),
        (lambda: bootstrap(3.0, np.mean), "values of shape ()"),
        (lambda: bootstrap([1, 2], np.mean, level=95), "level = 95"),
        (lambda: bootstrap([1, 2], np.mean, resamples=0), "resamples = 0"),
        (lambda: permutation([], [1.0]), "values of shape (0,)"),
        (lambda: permutation(np.ones((3, 2)), np.ones((3, 4))), "samples of shapes (3, 2) and (3, 4)"),
        (lambda: permutation([1.0], [2.0], resamples=0), "resamples = 0"),
    ],
)
def test_bad_requests_are_refused_with_what_was_found(ask, found):
    """Each refusal says which value was wrong and what would be right."""
    with pytest.raises(BadInput) as caught:
        ask()
    assert found in caught.value.found
    assert caught.value.next.startswith("give ")


def distinct(values, axis):
    """The sum of the values that differ (all above 0): in every resample below the estimate."""
    values = np.sort(values, axis=axis)
    return np.sum(values * (np.diff(values, axis=axis, prepend=0) > 0), axis=axis)


STATISTICS = {
    "distinct": (distinct, lambda values: sum(set(values))),
    "mean": (np.mean, lambda values: sum(values) / len(values)),
    "median": (np.median, lambda values: float(np.median(values))),
    "spread": (
        np.std,
        lambda values: math.sqrt(sum((v - sum(values) / len(values)) ** 2 for v in values) / len(values)),
    ),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_bootstrap_is_bca(name, level):
    """Estimate and bounds are those of the definition, followed one resample at a time."""
    fast, slow = STATISTICS[name]
    values = np.random.default_rng(1).lognormal(size=11)
    expected = twin.bca(list(values), slow, level, 400, seed=5)
    assert bootstrap(values, fast, level=level, resamples=400, seed=5) == pytest.approx(expected, rel=1e-9)


def test_the_bootstrap_agrees_with_scipy():
    """With many resamples, BCa bounds are scipy's up to the noise of drawing (1 % of the interval)."""
    values = np.random.default_rng(2).gamma(2, size=40)
    ours = bootstrap(values, np.mean, resamples=60_000)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=60_000, rng=1).confidence_interval
    np.testing.assert_allclose(ours[1:], theirs, atol=0.01 * (ours[2] - ours[1]))


def test_bootstrap_draws_do_not_depend_on_the_chunks(monkeypatch):
    """Memory is bounded by drawing in chunks, which changes no number; columns are as if each were alone."""
    values = np.random.default_rng(3).normal(size=(30, 4))
    whole = bootstrap(values, np.median, resamples=500)
    monkeypatch.setattr(resampling, "CHUNK", 5000)
    np.testing.assert_array_equal(whole, bootstrap(values, np.median, resamples=500))
    alone = [bootstrap(values[:, i], np.median, resamples=500) for i in range(4)]
    np.testing.assert_allclose(np.transpose(alone), whole, rtol=1e-12)


def test_chunks_stay_within_their_bytes(monkeypatch):
    """No resample handed to the statistic is larger than a chunk, unless one resample is."""
    monkeypatch.setattr(resampling, "CHUNK", 10_000)
    seen = []

    def spy(values, axis):
        seen.append(values.nbytes)
        return values.mean(axis=axis)

    bootstrap(np.ones((20, 3)), spy, resamples=100)
    permutation(np.ones((20, 3)), np.ones((5, 3)), lambda a, b, axis: spy(a, axis) - spy(b, axis), resamples=100)
    assert max(seen) <= 10_000


def test_what_cannot_be_resampled_says_so_in_numbers():
    """One value: no interval. Equal values: the value. NaN or infinity: NaN for that column only."""
    assert bootstrap([2.0], np.mean)[0] == 2.0
    assert np.isnan(bootstrap([2.0], np.mean)[1:]).all()
    assert bootstrap([0.1] * 7, np.mean) == pytest.approx((0.1, 0.1, 0.1), rel=1e-15)
    values = np.array([[1.0, np.nan, np.inf], [2.0, 1.0, 1.0], [4.0, 2.0, 0.0]])
    estimate, low, high = bootstrap(values, np.mean)
    np.testing.assert_array_equal(np.isnan(low), [False, True, True])
    np.testing.assert_array_equal(np.isnan(high), [False, True, True])
    np.testing.assert_array_equal(estimate, [7 / 3, np.nan, np.inf])
    assert bootstrap(values[:, 0], np.mean) == (estimate[0], low[0], high[0])


def test_the_bootstrap_covers():
    """Over 2000 skewed samples, 95 % intervals of the mean cover between 91 % and 95 %, as BCa does."""
    values = np.random.default_rng(4).exponential(size=(40, 2000))
    _, low, high = bootstrap(values, np.mean, resamples=1000)
    assert 0.91 < np.mean((low <= 1) & (high >= 1)) < 0.95
    # the two sides miss about equally, which percentile intervals of skewed means do not: 0.015 and 0.06
    assert np.mean(low > 1) > 0.012
    assert np.mean(high < 1) < 0.055


def test_float32_is_summed_in_float64():
    """A bootstrap of float32 values is that of the same values in float64."""
    values = (1000 + np.random.default_rng(5).normal(size=50)).astype(np.float32)
    assert bootstrap(values, np.mean) == bootstrap(values.astype(np.float64), np.mean)


def test_grouped_and_single_jackknife_agree(monkeypatch):
    """The acceleration of many values comes from random groups: bounds move by under 1 % of the interval.

    Groups in the order of the data would not do where the data are sorted, as here.
    """
    values = np.sort(np.random.default_rng(6).lognormal(size=3000))
    monkeypatch.setattr(resampling, "GROUPS", 300)
    grouped = bootstrap(values, np.mean)
    monkeypatch.setattr(resampling, "GROUPS", 3000)
    single = bootstrap(values, np.mean)
    np.testing.assert_allclose(grouped, single, atol=0.01 * (single[2] - single[1]))
    assert grouped != single


def mean_difference(a, b):
    return sum(a) / len(a) - sum(b) / len(b)


@given(
    a=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    b=st.lists(st.integers(0, 6), min_size=1, max_size=4),
)
def test_small_permutation_tests_are_exact(a, b):
    """With few values, p is the share of all orders that do as well, ties counted, rounding or not."""
    scaled = np.array(a) * 0.1, np.array(b) * 0.1
    assert permutation(*scaled) == pytest.approx(twin.permutation(a, b, mean_difference), abs=1e-12)


def test_exact_permutation_agrees_with_scipy():
    """All 3432 assignments of 7 and 7 values give scipy's exact p-value."""
    random = np.random.default_rng(7)
    a, b = random.normal(size=7), random.normal(0.8, size=7)
    test = scipy.stats.permutation_test((a, b), resampling.difference_of_means, n_resamples=10**5)
    assert permutation(a, b) == pytest.approx(test.pvalue, abs=1e-12)


def test_random_permutations_estimate_the_exact_p():
    """Where not all assignments can be tried, p is near the exact one, never 0, and fixed by the seed."""
    random = np.random.default_rng(8)
    a, b = random.normal(size=8), random.normal(0.3, size=8)
    exact = permutation(a, b, resamples=20_000)
    drawn = permutation(a, b, resamples=9999)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 9999))
    assert drawn == permutation(a, b, resamples=9999) != permutation(a, b, resamples=9999, seed=1)
    assert permutation(a, b + 100, resamples=999) == 1 / 1000


def test_permutation_draws_do_not_depend_on_the_chunks(monkeypatch):
    """Chunks change no p-value, exact or random; columns are tested as if each were alone."""
    random = np.random.default_rng(9)
    a, b = random.normal(size=(6, 3)), random.normal(size=(5, 3))
    whole = permutation(a, b), permutation(a, b, resamples=100)
    monkeypatch.setattr(resampling, "CHUNK", 2000)
    np.testing.assert_array_equal(whole, (permutation(a, b), permutation(a, b, resamples=100)))
    np.testing.assert_array_equal(whole[0], [permutation(a[:, i], b[:, i]) for i in range(3)])


def test_p_values_are_uniform_under_the_null():
    """Over 4000 pairs of samples from one distribution, p is at most alpha in a share of alpha."""
    random = np.random.default_rng(10)
    for resamples, n in ((9999, 5), (999, 12)):
        p = permutation(random.lognormal(size=(n, 4000)), random.lognormal(size=(n, 4000)), resamples=resamples)
        for alpha in (0.01, 0.05, 0.2, 0.5, 0.9):
            noise = math.sqrt(alpha * (1 - alpha) / 4000)
            assert alpha - 1 / 126 - 4 * noise < np.mean(p <= alpha) < alpha + 4 * noise


def test_a_permutation_test_of_nan_is_nan():
    """A value that is not a number makes the p-value of its column NaN."""
    p = permutation(np.array([[1.0, np.nan], [2.0, 1.0]]), np.array([[4.0, 3.0], [3.0, 3.0]]))
    np.testing.assert_array_equal(p, [1 / 3, np.nan])


P = st.lists(st.floats(0, 1), max_size=9)


@given(p=P)
def test_corrections_are_their_definitions(p):
    """Holm and Benjamini-Hochberg follow the step procedures as written."""
    np.testing.assert_allclose(holm(p), twin.holm(p), rtol=1e-14, atol=0)
    np.testing.assert_allclose(benjamini_hochberg(p), twin.benjamini_hochberg(p), rtol=1e-14, atol=0)


@given(p=P)
def test_benjamini_hochberg_agrees_with_scipy(p):
    """The adjusted values are scipy's."""
    np.testing.assert_allclose(benjamini_hochberg(p), scipy.stats.false_discovery_control(p) if p else [], rtol=1e-14)


@given(p=P, nans=st.lists(st.integers(0, 9), max_size=4))
def test_nan_passes_through_and_is_no_test(p, nans):
    """NaN stays where it is and leaves the others as if it had not been there."""
    mixed = list(p)
    for place in nans:
        mixed.insert(place, math.nan)
    for correct in (holm, benjamini_hochberg):
        adjusted = correct(mixed)
        np.testing.assert_array_equal(np.isnan(adjusted), np.isnan(mixed))
        np.testing.assert_array_equal(adjusted[~np.isnan(mixed)], correct(p))


def test_corrections_keep_shape_and_order():
    """A grid of p-values returns as a grid; adjusted values are never smaller, Holm's never below BH's."""
    p = np.random.default_rng(11).random((4, 5)) ** 3
    for correct in (holm, benjamini_hochberg):
        assert correct(p).shape == (4, 5)
        assert np.all(correct(p) >= p)
    assert np.all(holm(p) >= benjamini_hochberg(p))
    np.testing.assert_array_equal(holm(p.T), holm(p).T)


def test_inference_is_light():
    """Inference imports numpy and neither torch nor scipy; of netassay, only errors."""
    code = "import sys, netassay.inference; print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    for path in Path(netassay.inference.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("netassay"):
                assert str(node.module).startswith(("netassay.errors", "netassay.inference")), path
