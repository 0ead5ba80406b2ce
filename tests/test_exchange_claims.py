"""Exchange claims: no difference is claimed where there is none, and one that is there is found, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from netassay.inference import jackknife
from netassay.studies.exchange_claims import FEWEST, STATEMENTS, by_layer, claims, variation
from netassay.studies.exchange_streams import Exchange

F, C = 100, 12


def drawn(seed, spread, n=400, channels=C):
    """Sums by fold of channels whose true means differ by `spread`, under noise of deviation 1."""
    generator = np.random.default_rng(seed)
    levels = 1 + spread * np.linspace(-1, 1, channels)
    fold = generator.integers(F, size=n)
    values = generator.normal(levels, 1.0, size=(n, channels))
    sums = np.zeros((F, channels))
    np.add.at(sums, fold, values)
    return values, sums, np.bincount(fold, minlength=F)


def layer(seed, absorbed, emitted, n=400):
    _, first, counts = drawn(seed, absorbed, n)
    generator = np.random.default_rng(seed)
    generator.integers(F, size=n)
    _, second, _ = drawn(seed, emitted, n)
    sums = {"absorption": first, "emission": second, "samples": counts}
    return Exchange(f"layer{seed}", "Conv2d", 1, "trunk", {"emission": C, "absorption": C}, {}, sums)


def test_variation_takes_its_noise_off():
    """It is 0 on average where channels are alike, and the true coefficient where they differ."""
    alike = np.array([variation(*drawn(seed, 0.0)[1:]) for seed in range(200)])
    squares = np.sign(alike) * alike**2
    assert abs(squares.mean()) < 4 * squares.std() / np.sqrt(200)
    apart = [variation(*drawn(seed, 0.5)[1:]) for seed in range(50)]
    assert np.mean(apart) == pytest.approx(np.std(0.5 * np.linspace(-1, 1, C)), rel=0.02)


def test_variation_is_that_of_the_means_less_their_error():
    """Against the samples themselves: the variance of the means, less that of a mean, as unbiased as folds allow."""
    values, sums, counts = drawn(3, 0.4, n=5000)
    error = (values.var(0, ddof=1) / len(values)).mean() * (C - 1) / C
    assert variation(sums, counts) == pytest.approx(np.sqrt(values.mean(0).var() - error), rel=1e-3)
    assert np.isnan(variation(sums[:1], counts[:1]))


def test_jackknife_is_the_textbooks():
    """Of a mean of groups its error is the standard error; it takes parts together, row by row."""
    values = np.random.default_rng(0).normal(size=40)
    estimate, low, high = jackknife([values], np.mean, level=0.9)
    error = values.std(ddof=1) / np.sqrt(40)
    assert (estimate, high - estimate, estimate - low) == pytest.approx(
        (values.mean(), 1.645 * error, 1.645 * error), rel=1e-3
    )
    ratio = jackknife([values + 5, values * 2 + 10], lambda a, b: float(b.sum() / a.sum()))
    assert ratio == pytest.approx((2, 2, 2))
    assert np.isnan(jackknife([values[:1]], np.mean)[1:]).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    """95 % intervals of the variation of 300 layers hold the true one in 90 to 99 of 100."""
    truth = np.std(0.5 * np.linspace(-1, 1, C))
    held = 0
    for seed in range(300):
        _, sums, counts = drawn(seed, 0.5)
        there = counts > 0
        _, low, high = jackknife([sums[there], counts[there]], variation)
        held += low <= truth <= high
    assert 0.90 <= held / 300 <= 0.99


def test_claims_hold_where_channels_differ_and_only_there():
    """What differs holds, what does not is not claimed, and the larger variation is told from the smaller."""
    found = {claim.statement: claim for claim in claims([layer(1, 0.3, 0.8), layer(2, 0.3, 0.8)])}
    assert [found[STATEMENTS[name]].decision for name in STATEMENTS] == ["holds", "holds", "holds"]
    assert found[STATEMENTS["both"]].effect == pytest.approx(8 / 3, rel=0.1)
    alike = {claim.statement: claim for claim in claims([layer(seed, 0.0, 0.8) for seed in range(5, 12)])}
    assert alike[STATEMENTS["absorption"]].decision != "holds"
    reverse = {claim.statement: claim for claim in claims([layer(1, 0.8, 0.3), layer(2, 0.8, 0.3)])}
    assert reverse[STATEMENTS["both"]].decision == "does not hold"
    assert {(claim.tests, claim.correction, claim.n) for claim in found.values()} == {(3, "Bonferroni", 400)}


def test_a_table_has_the_claims_layer_by_layer():
    """Each layer's own, at a level for all of them together."""
    rows = by_layer([layer(1, 0.3, 0.8), layer(2, 0.8, 0.3)])
    assert [(row["layer"], row["decision"]) for row in rows if row["statement"] == STATEMENTS["both"]] == [
        ("layer1", "holds"),
        ("layer2", "does not hold"),
    ]
    assert len(rows) == 6


def test_few_samples_decide_nothing():
    """Below 30 samples a claim is undecided, and says why."""
    (first, *_) = claims([layer(1, 0.8, 0.8, n=FEWEST - 1)])
    assert (first.decision, first.counted) == ("undecided", "samples, too few to decide")
    assert claims([layer(1, 0.8, 0.8, n=1)]) == ()
