"""Factorial: the balanced sum of squares, loops over cells, what is missing, and who is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from netassay.errors import BadInput
from netassay.inference import contrast, factorial, single_changes
from tests.reference import factorial as twin

NAMES = ("skip", "norm", "init", "depth")


def made(sizes, seeds, seed, scale=1.0):
    """Return factors, values and the same values as a dict from levels and seed."""
    factors = {name: [f"{name}{i}" for i in range(size)] for name, size in zip(NAMES, sizes, strict=False)}
    values = scale * np.random.default_rng(seed).normal(size=(*sizes, seeds))
    table = dict(zip(twin.cells(factors, seeds), values.ravel().tolist(), strict=True))
    return factors, values, table


@given(st.lists(st.integers(2, 3), min_size=1, max_size=3), st.integers(2, 4), st.integers(0, 10**6))
def test_effects_are_those_of_loops_over_cells(sizes, seeds, seed):
    """Main effects, interactions, simple effects and single changes, each seed's own and their interval."""
    factors, values, table = made(sizes, seeds, seed)
    for one in (*factorial(values, factors, order=3), *single_changes(values, factors, [1] * len(sizes))):
        changed = {name: (level, one.references[name]) for name, level in one.changed.items()}
        expected = [twin.effect(table, factors, seed, changed, one.within) for seed in range(seeds)]
        np.testing.assert_allclose(one.series, expected, rtol=1e-9, atol=1e-12)
        quantile = scipy.stats.t.ppf((1 + one.confidence) / 2, seeds - 1)
        assert (one.effect, one.low, one.high) == pytest.approx(twin.interval(expected, quantile), rel=1e-7, abs=1e-9)
        assert one.n == seeds


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_two_levels_split_the_sum_of_squares_between_cells(k):
    """With all orders up to k, n_all (D / 2^order)^2 sums to what a balanced analysis of variance has between cells."""
    seeds = 5
    factors, values, table = made([2] * k, seeds, k)
    effects = [one for one in factorial(values, factors, order=k) if one.kind != "simple"]
    assert len(effects) == 2**k - 1
    split = sum(values.size * (one.effect / 2 ** len(one.changed)) ** 2 for one in effects)
    assert split == pytest.approx(twin.between(table, factors, seeds), rel=1e-12)


def test_a_cause_alone_and_two_causes_that_need_each_other():
    """An added main effect is found whole; what is there only together is an interaction of its full size."""
    factors = {"skip": ["residual", "none"], "norm": ["batch", "none"], "init": ["he", "default"]}
    values = np.zeros((2, 2, 2, 3)) + np.array([1.0, 5.0, 9.0])  # seeds differ, and that cancels
    values[:, 1] += 2.0
    values[1, :, 1] += 8.0
    found = {tuple(one.changed): one for one in factorial(values, factors, order=3) if one.kind != "simple"}
    effects = {names: (one.effect, one.low, one.high) for names, one in found.items()}
    assert effects == {
        ("skip",): (4.0, 4.0, 4.0),
        ("norm",): (2.0, 2.0, 2.0),
        ("init",): (4.0, 4.0, 4.0),
        ("skip", "norm"): (0.0, 0.0, 0.0),
        ("skip", "init"): (8.0, 8.0, 8.0),
        ("norm", "init"): (0.0, 0.0, 0.0),
        ("skip", "norm", "init"): (0.0, 0.0, 0.0),
    }
    within = {
        one.within["init"]: one.effect
        for one in factorial(values, factors)
        if one.kind == "simple" and "skip" in one.changed and "init" in one.within
    }
    assert within == {"he": 0.0, "default": 8.0}
    alone = {one.changed.popitem()[0]: one.effect for one in single_changes(values, factors, (1, 1, 1))}
    assert alone == {"skip": -8.0, "norm": -2.0, "init": -8.0}


def test_the_interval_is_corrected_for_each_family():
    """Seven effects of three factors share one error, and so do twelve simple effects; three single changes, too."""
    factors, values, _ = made([2, 2, 2], 3, 0)
    tests = {(one.kind == "simple", one.tests, one.confidence) for one in factorial(values, factors, order=3)}
    assert tests == {(False, 7, 1 - (1 - 0.95) / 7), (True, 12, 1 - (1 - 0.95) / 12)}
    assert {one.tests for one in single_changes(values, factors, (0, 1, 0), confidence=0.9)} == {3}


def test_intervals_cover_as_often_as_they_say():
    """Cells of unlike variance: all seven intervals hold their effects together in 95 of 100 studies."""
    factors, noise, _ = made([2, 2, 2], 4 * 2000, 1)
    spread = np.array([0.01, 0.1, 1, 1, 3, 0.3, 10, 0.5]).reshape(2, 2, 2, 1)
    studies = (noise * spread).reshape(2, 2, 2, 2000, 4)
    held = [
        all(one.low <= 0 <= one.high for one in factorial(studies[..., i, :], factors, order=3) if one.kind != "simple")
        for i in range(2000)
    ]
    # Bonferroni may cover more, never less; four standard errors of a share of 2000 are 0.02.
    assert np.mean(held) > 0.95 - 0.02


@pytest.mark.parametrize("gone", [math.nan, math.inf, -math.inf])
def test_a_missing_cell_silences_what_needs_it_in_that_seed_alone(gone):
    """The seed is left out of effects over that cell, and n says so; effects within other levels keep it."""
    factors, values, _ = made([2, 2], 3, 2)
    values[1, 0, 2] = gone
    whole = factorial(values[..., :2], factors)
    for one, other in zip(factorial(values, factors), whole, strict=True):
        needs = one.within.get("skip") != "skip0" and one.within.get("norm") != "norm1"
        assert one.n == (2 if needs else 3)
        assert np.isnan(one.series[2]) == needs
        if needs:
            assert (one.effect, one.low, one.high) == (other.effect, other.low, other.high)
    nothing = factorial(np.full((2, 3), math.nan), {"skip": ["a", "b"]})[0]
    assert nothing.n == 0
    assert math.isnan(nothing.effect)
    assert math.isnan(nothing.low)


def test_values_are_not_changed():
    """What was given is as before, infinite numbers included."""
    values = np.array([[1.0, math.inf], [2.0, 3.0]])
    before = values.copy()
    contrast(values, {0: (1, 0)})
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("values", "factors", "sentence"),
    [
        ([[1.0]], {"skip": ["none"]}, "a factorial over 'skip'"),
        ([[1.0], [2.0]], {}, "give an axis for each factor"),
        ([[1.0], [2.0], [3.0]], {"skip": ["a", "b"]}, r"shape \(3, 1\), where the factors have \(2,\) levels"),
    ],
)
def test_what_is_no_factorial_is_refused(values, factors, sentence):
    """Each with a sentence."""
    with pytest.raises(BadInput, match=sentence):
        factorial(values, factors)
