"""The table of measures: each keeps what it declares, and breaks what it does not."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netassay.errors import BadInput, UnknownName
from netassay.measures import MEASURES, named

NAMES = (
    *("cka", "cka_biased", "cka_rbf", "cca", "cca_squared", "svcca", "pwcca", "procrustes", "angular_procrustes"),
    *("nbs", "permutation", "soft_matching", "rsa", "mutual_knn", "regression", "mse", "correlation"),
    *("disagreement", "jsd"),
)
FAR = ("euclidean", "squared_euclidean", "correlation", "cosine")
WAYS = ("spearman", "pearson", "cosine", "kendall", "rho_a")
OPTIONS = [
    *("cka_rbf:sigma=3.0", "cka_rbf:debiased=false", "mutual_knn:k=3,dissimilarity=cosine"),
    *(f"rsa:dissimilarity={far},comparator={way}" for far, way in itertools.product(FAR, WAYS)),
]
EVERY = [name for name in NAMES if name in MEASURES] + OPTIONS
BETWEEN = [spec for spec in EVERY if named(spec).between is not None]
N, D = 60, 5
CLOSE = 1e-8


def drawn(seed, n=N, d=D):
    """Features that are not Gaussian, of unlike scales, about means that are not 0."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.gamma(2.0, size=(n, d)) * np.linspace(0.5, 2, d) + np.linspace(-1, 2, d))


def related(seed):
    """Two sets of features of which the second holds something of the first."""
    x, rng = drawn(seed), np.random.default_rng(seed + 1)
    return x, x @ torch.from_numpy(rng.normal(size=(D, D))) + drawn(seed + 2)


def value(measure, x, y):
    """The value of raw features."""
    return measure.compare(measure.prepare(x), measure.prepare(y), None)


def changes(seed):
    """One example of each invariance."""
    rng = np.random.default_rng(seed)
    turn, mixed = np.linalg.qr(rng.normal(size=(D, D)))[0], rng.normal(size=(D, D)) + 2 * np.eye(D)
    return {
        "offset": lambda x: x + torch.from_numpy(rng.normal(size=D)) * 5,
        "scale": lambda x: x * 3.7,
        "permutation": lambda x: x[:, torch.from_numpy(rng.permutation(D))],
        "orthogonal": lambda x: x @ torch.from_numpy(turn),
        "affine": lambda x: x @ torch.from_numpy(mixed) + 3,
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    """Each of them, by itself, with a title and a source."""
    measure = named(name)
    assert measure.name == name
    assert measure.title
    assert re.search(r"(19|20)\d\d", measure.source), measure.source
    assert measure.lowest < measure.highest
    assert measure.smallest(3, 3) >= 1


@pytest.mark.parametrize("spec", EVERY)
def test_equal_features_get_the_best_value(spec):
    """1 or 0, as the direction says, for features with themselves."""
    measure = named(spec)
    x = drawn(0)
    assert value(measure, x, x) == pytest.approx(measure.best, abs=1e-6)


@pytest.mark.parametrize("spec", EVERY)
@settings(max_examples=5)
@given(st.integers(0, 10**6))
def test_what_is_declared_holds(spec, seed):
    """Range, symmetry, and each invariance on either side."""
    measure, (x, y) = named(spec), related(seed)
    whole = value(measure, x, y)
    assert measure.lowest - CLOSE <= whole <= measure.highest + CLOSE
    assert measure.lowest - CLOSE <= value(measure, x, drawn(seed + 9)) <= measure.highest + CLOSE
    if measure.symmetric:
        assert value(measure, y, x) == pytest.approx(whole, abs=CLOSE)
    for name, change in changes(seed).items():
        if name in measure.invariances:
            assert value(measure, change(x), y) == pytest.approx(whole, abs=1e-7), name
            assert value(measure, x, change(y)) == pytest.approx(whole, abs=1e-7), name


@pytest.mark.parametrize(("spec", "outlier"), [(spec, far) for spec in BETWEEN for far in (1.0, 1e9)])
def test_some_samples_are_prepared_as_if_there_were_no_others(spec, outlier):
    """From the matrix between all of them, if the measure has one: also without the sample that is far from all."""
    measure, (x, y) = named(spec), related(7)
    x[3] *= outlier  # one sample far away costs the others no digits
    keep = torch.arange(N) % 7 != 3
    some = [measure.some(measure.spread(one), keep) for one in (x, y)]
    assert measure.compare(*some, None) == pytest.approx(value(measure, x[keep], y[keep]), abs=1e-8)
    whole = [measure.some(measure.spread(one)) for one in (x, y)]
    assert measure.compare(*whole, None) == value(measure, x, y)


@pytest.mark.parametrize("spec", EVERY)
def test_what_is_not_declared_is_broken(spec):
    """By one of some examples: an invariance that a measure has is not left out of its list."""
    measure = named(spec)
    for name in {"offset", "scale", "permutation", "orthogonal", "affine"} - measure.invariances:
        moved = []
        for seed in (1, 20, 40):
            x, y = related(seed)
            change = changes(seed)[name]
            moved += [abs(value(measure, change(x), y) - value(measure, x, y))]
            moved += [abs(value(measure, x, change(y)) - value(measure, x, y))]
        assert max(moved) > 1e-4, name
    if not measure.symmetric:
        gaps = [abs(value(measure, *related(seed)) - value(measure, *related(seed)[::-1])) for seed in (1, 20, 40)]
        assert max(gaps) > 1e-6


@pytest.mark.parametrize("spec", EVERY)
def test_a_metric_has_no_short_cut(spec):
    """d(x, z) <= d(x, y) + d(y, z) over all triples of some features, near and far."""
    measure = named(spec)
    if not measure.metric:
        return
    assert measure.direction == "distance"
    points = [drawn(0), drawn(0) + 0.1 * drawn(1), drawn(2), *related(3), torch.ones(N, D) + 1e-3 * drawn(4)]
    prepared = [measure.prepare(point) for point in points]
    far = {pair: measure.compare(*(prepared[i] for i in pair), None) for pair in itertools.product(range(6), repeat=2)}
    for a, b, c in itertools.permutations(range(6), 3):
        assert far[a, c] <= far[a, b] + far[b, c] + CLOSE


@pytest.mark.parametrize("spec", EVERY)
def test_an_order_takes_the_second(spec):
    """Comparing in another order is preparing in it, and the first stays."""
    measure, (x, y) = named(spec), related(5)
    order = torch.randperm(N)
    expected = value(measure, x, y[order])
    assert measure.compare(measure.prepare(x), measure.prepare(y), order) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("spec", EVERY)
def test_a_constant_side_is_nan(spec):
    """No value is made up for features that never change; a distance in their own units is one."""
    measure, x = named(spec), drawn(6)
    if measure.on == "features" and spec != "procrustes":
        assert math.isnan(value(measure, x, torch.full((N, D), 0.1)))


@pytest.mark.parametrize("spec", EVERY)
def test_the_smallest_n_is_enough(spec):
    """With the least number of samples values differ from draw to draw; with fewer there is a sentence."""
    measure = named(spec)
    n = measure.smallest(D, D)
    measure.check(n, D, D)
    scale = torch.tensor([1e3, *[1.0] * (D - 1)]) if spec == "svcca" else 1.0  # keeps one direction, not all n - 1
    values = [value(measure, scale * drawn(seed, n), scale * drawn(seed + 1, n)) for seed in range(7, 15)]
    assert np.isfinite(values).all()
    # How many directions svcca keeps is known only when it has seen them; of all n - 1 any two sets share them all.
    assert np.ptp(values) > 1e-6 or spec == "svcca"
    with pytest.raises(BadInput, match=f"{n - 1} samples; it tells nothing with fewer than {n}"):
        measure.check(n - 1, D, D)


def test_options_are_those_of_the_measure():
    """A canonical name, the nearest of what there is, and the words an option takes."""
    assert named("rsa: comparator=rho_a,  dissimilarity=cosine").name == "rsa:comparator=rho_a,dissimilarity=cosine"
    assert named("cka_rbf:bandwidth=0.2").title == "CKA, RBF kernel, debiased"
    with pytest.raises(UnknownName, match=r"(?s)measure 'cka_rfb'.*'cka_rbf'"):
        named("cka_rfb")
    with pytest.raises(UnknownName, match=r"(?s)option of 'cka_rbf' 'bandwith'.*'bandwidth'"):
        named("cka_rbf:bandwith=0.2")
    with pytest.raises(UnknownName, match=r"comparator=spearman\|pearson\|cosine\|kendall\|rho_a"):
        named("rsa:comparator=rank")


@pytest.mark.parametrize("spec", [*EVERY, "regression:folds=0"])
def test_independent_features_are_biased_where_that_is_declared(spec):
    """The mean value of independent features is the same for few and for many of them, or the measure says so."""
    measure = named(spec)
    if measure.on == "outputs":
        return
    few, many = (
        np.mean([value(measure, drawn(seed, 60, d), drawn(seed + 99, 60, d)) for seed in range(20)]) for d in (2, 28)
    )
    assert (abs(many - few) / min(1, measure.highest) > 0.08) == measure.biased, (few, many)


def test_svcca_that_keeps_every_direction_tells_nothing():
    """All n - 1 directions of one side: NaN, not 1; one fewer has a value."""
    x, y = drawn(1, 20, 40), drawn(2, 20, 40)
    assert math.isnan(value(named("svcca:variance=1"), x, y))
    assert math.isnan(value(named("svcca:components=19"), x, y))
    assert value(named("svcca:components=18"), x, y) < 1 - 1e-3


def test_the_bandwidth_is_of_the_median_between_two_middle_distances():
    """Four samples have six distances."""
    x = drawn(3, 4, 2)
    far = np.linalg.norm((x[:, None] - x).numpy(), axis=2)[np.triu_indices(4, 1)]
    given = named(f"cka_rbf:debiased=false,sigma={0.4 * np.median(far)!r}".replace("np.float64(", "").replace(")", ""))
    mine, theirs = named("cka_rbf:debiased=false").prepare(x), given.prepare(x)
    assert torch.allclose(mine, theirs, rtol=1e-9)
