"""Student's t: closed forms, integration and scipy; the interval over seeds, its coverage and its odd ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from netassay.errors import BadInput
from netassay.inference import prediction_tail, seed_interval, student_quantile
from tests.reference import inference as written
from tests.reference import shape as twin


@pytest.mark.parametrize("p", [0.51, 0.75, 0.975, 0.995, 1 - 1e-9])
def test_one_and_two_degrees_of_freedom_have_closed_forms(p):
    """df 1 is Cauchy's tan(pi (p - 1/2)); df 2 is (2p - 1) / sqrt(2 p (1 - p))."""
    assert student_quantile(p, 1) == pytest.approx(1 / math.tan(math.pi * (1 - p)), rel=1e-12)
    assert student_quantile(p, 2) == pytest.approx((2 * p - 1) / math.sqrt(2 * p * (1 - p)), rel=1e-12)


@pytest.mark.parametrize(("df", "value"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (30, 2.04227)])
def test_printed_tables(df, value):
    """The 97.5 % points as they are printed."""
    assert student_quantile(0.975, df) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("df", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("p", [0.6, 0.975, 0.999])
def test_quantile_is_that_of_the_integrated_density(df, p):
    """Integration of the density gives the same."""
    assert student_quantile(p, df) == pytest.approx(twin.student_quantile(p, df), rel=1e-9)


@given(st.integers(1, 1000), st.floats(1e-100, 1 - 1e-9).filter(lambda p: abs(p - 0.5) > 1e-3))
def test_quantile_against_scipy(df, p):
    """Both tails, far out too, judged by the chance that scipy gives the quantile."""
    t = student_quantile(p, df)
    side = scipy.stats.t.cdf(t, df) if p < 0.5 else scipy.stats.t.sf(t, df)
    assert side == pytest.approx(p if p < 0.5 else 1 - p, rel=1e-10)


def test_quantile_is_odd_about_a_half():
    """t(1 - p) = -t(p), and the median is 0; beyond the largest square of a double too."""
    assert student_quantile(0.5, 3) == 0.0
    assert student_quantile(0.25, 3) == -student_quantile(0.75, 3)
    assert student_quantile(1e-300, 1) == pytest.approx(-1 / (math.pi * 1e-300), rel=1e-10)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_scipys(values, level):
    """Mean, low and high of the t interval."""
    mean, low, high = seed_interval(values, level)
    assert mean == pytest.approx(np.mean(values), rel=1e-12, abs=1e-9)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    if error > 1e-6:
        expected = scipy.stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=error)
        assert (low, high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_interval_covers_as_often_as_it_says():
    """Of three Gaussian values 95 % intervals cover in 95 % of 4,000 trials, within 4 standard errors."""
    draws = np.random.default_rng(0).standard_normal((4000, 3)) + 7
    covered = [low <= 7 <= high for _, low, high in map(seed_interval, draws.tolist())]
    assert abs(np.mean(covered) - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_equal_values_have_an_interval_of_no_width(n):
    """Rounding does not carry the mean of equal values away from them."""
    for value in (0.1, 0.3, 1 / 3, -2.7, 1e300):
        assert seed_interval([value] * n) == (value, value, value)


def test_what_has_no_interval_is_nan():
    """One value, none, or one that is not finite: no interval, and the mean as it is."""
    mean, *ends = seed_interval([2.0])
    assert mean == 2.0
    assert np.isnan(ends).all()
    assert np.isnan(seed_interval([])).all()
    mean, *ends = seed_interval([1.0, math.inf, 2.0])
    assert mean == math.inf
    assert np.isnan(ends).all()


def test_refusals_say_what_to_give():
    """A level outside (0, 1) and too few degrees of freedom are answered in a sentence."""
    with pytest.raises(BadInput, match=r"(?s)Student's t.*a chance of 1\.5.*between 0 and 1"):
        seed_interval([1.0, 2.0], level=1.5)
    with pytest.raises(BadInput, match=r"(?s)quantile of Student's t.*0 degrees of freedom.*1 or more"):
        student_quantile(0.9, 0)


@given(st.floats(-9, 9), st.lists(st.floats(-9, 9), min_size=2, max_size=9))
def test_the_chance_of_one_more_is_the_summed_density(value, others):
    """As by the definition, on either side; where nothing varies a higher value has none."""
    if 0 < np.std(others) < 1e-3:
        return
    assert prediction_tail(value, others) == pytest.approx(written.one_more(value, others), rel=1e-6, abs=1e-12)


def test_one_more_of_the_same_is_seldom_called_higher():
    """Told higher at 5 %, one more value of five is in 5 % of the cases, whatever its scale; so is the mean of none."""
    draw = np.random.default_rng(0)
    told = [prediction_tail(row[0], row[1:]) <= 0.05 for row in draw.normal(3, 0.01, (4000, 6))]
    assert np.mean(told) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 4000))
    assert math.isnan(prediction_tail(1.0, [1.0]))
    assert math.isnan(prediction_tail(math.nan, [1.0, 2.0]))
    assert (prediction_tail(2.0, [1.0, 1.0]), prediction_tail(1.0, [1.0, 1.0])) == (0.0, 1.0)
