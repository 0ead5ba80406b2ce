"""Exchange claims: no difference is claimed where there is none, and one that is there is found, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from netassay.inference import jackknife
from netassay.studies.exchange_claims import FEWEST, STATEMENTS, by_layer, claims, variance, variation
from netassay.studies.exchange_streams import Exchange

F, C = 100, 12


def drawn(seed, spread, n=400, channels=C, noise=None):
    """Sums by fold of channels whose true means differ by `spread`, under noise of deviation 1."""
    generator = np.random.default_rng(seed)
    levels = 1 + spread * np.linspace(-1, 1, channels)
    fold = generator.integers(F, size=n)
    generator = generator if noise is None else np.random.default_rng(noise)
    values = generator.normal(levels, 1.0, size=(n, channels))
    # As the study does: beside the sample's mean channel, so that a sample's channels add up to their number.
    values += 1 - values.mean(1, keepdims=True)
    sums = np.zeros((F, channels))
    np.add.at(sums, fold, values)
    return values, sums, np.bincount(fold, minlength=F)


def layer(seed, absorbed, emitted, n=400, apart=False, mixes=True):
    """A layer whose folds are those of the seed; noise of emission is that of absorption, unless it is apart."""
    _, first, counts = drawn(seed, absorbed, n)
    _, second, _ = drawn(seed, emitted, n, noise=seed + 1000 if apart else None)
    sums = {"absorption": first, "emission": second, "samples": counts}
    return Exchange(f"layer{seed}", "Conv2d", 1, "trunk", {"emission": C, "absorption": C}, mixes, {}, sums)


@pytest.mark.parametrize("channels", [2, 12, 256])
def test_variance_takes_its_noise_off(channels):
    """It is 0 on average where channels are alike, however few or many."""
    alike = np.array([variance(*drawn(seed, 0.0, channels=channels)[1:])[0] for seed in range(200)])
    assert abs(alike.mean()) < 3 * alike.std() / np.sqrt(200)


def test_variation_is_the_true_coefficient():
    """Where channels differ, it is by how much; nothing can be said of two folds."""
    apart = [variation(*drawn(seed, 0.5)[1:]) for seed in range(50)]
    assert np.mean(apart) == pytest.approx(np.std(0.5 * np.linspace(-1, 1, C)), rel=0.02)
    _, sums, counts = drawn(0, 0.5)
    assert np.isnan(variation(sums[:2], counts[:2]))


def test_variance_is_that_of_the_means_less_their_error():
    """Against the samples themselves: the variance of the means, less that of a mean, as unbiased as folds allow."""
    values, sums, counts = drawn(3, 0.4, n=5000)
    error = (values.var(0, ddof=1) / len(values)).mean()
    assert variance(sums, counts)[0] == pytest.approx(values.mean(0).var() - error, rel=1e-3)


def test_leaving_a_fold_out_is_as_if_it_had_not_been():
    """Each of the estimates without a fold is that of the other folds alone."""
    _, sums, counts = drawn(4, 0.4)
    wanted = [variance(np.delete(sums, f, 0), np.delete(counts, f))[0] for f in range(F)]
    np.testing.assert_allclose(variance(sums, counts)[1:], wanted, rtol=1e-9)


def test_jackknife_is_the_textbooks():
    """Of a mean of groups its error is the standard error; nothing is said of four groups."""
    values = np.random.default_rng(0).normal(size=40)
    estimate, low, high = jackknife([values.mean(), *((values.sum() - values) / 39)], level=0.9)
    error = 1.6849 * values.std(ddof=1) / np.sqrt(40)  # Student's t at 39 degrees of freedom
    assert (estimate, high - estimate, estimate - low) == pytest.approx((values.mean(), error, error), rel=1e-3)
    assert np.isnan(jackknife([1.0, 2.0, 1.0, 3.0, 2.0])[1:]).all()
    assert np.isfinite(jackknife([1.0, 2.0, 1.0, 3.0, 2.0, 1.0])[1:]).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    """95 % intervals of the variance of 300 layers hold the true one in 90 to 99 of 100."""
    truth = np.var(0.5 * np.linspace(-1, 1, C))
    held = 0
    for seed in range(300):
        _, sums, counts = drawn(seed, 0.5)
        there = counts > 0
        _, low, high = jackknife(variance(sums[there], counts[there]))
        held += low <= truth <= high
    assert 0.90 <= held / 300 <= 0.99


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_where_there_is_no_difference_hardly_any_claim_is_decided(spread):
    """Of 300 networks with alike channels, or that emit as they absorb, few hold: the level is 1 - 0.05 / 3."""
    names = ("both",) if spread else ("absorption", "emission")
    wrong = dict.fromkeys(names, 0)
    for seed in range(300):
        found = {one.statement: one.decision for one in claims([layer(seed, spread, spread, apart=True)])}
        for name in names:
            wrong[name] += found[STATEMENTS[name]] != "undecided"
    assert max(wrong.values()) <= 15, wrong


def test_claims_hold_where_channels_differ_and_only_there():
    """What differs holds, and the larger variation is told from the smaller."""
    found = {claim.statement: claim for claim in claims([layer(1, 0.3, 0.8), layer(2, 0.3, 0.8)])}
    assert [found[STATEMENTS[name]].decision for name in STATEMENTS] == ["holds", "holds", "holds"]
    assert found[STATEMENTS["both"]].effect == pytest.approx(8 / 3, rel=0.1)
    assert found[STATEMENTS["emission"]].effect == pytest.approx(0.8 * np.std(np.linspace(-1, 1, C)), rel=0.1)
    reverse = {claim.statement: claim for claim in claims([layer(1, 0.8, 0.3), layer(2, 0.8, 0.3)])}
    assert reverse[STATEMENTS["both"]].decision == "does not hold"
    assert {(claim.tests, claim.correction, claim.n) for claim in found.values()} == {(3, "Bonferroni", 400)}


def test_one_layer_without_a_difference_does_not_blank_the_rest():
    """Where a layer's channels are alike, its variance may be negative; the claim is over all layers together."""
    (*_, both) = claims([layer(1, 0.3, 0.8), layer(9, 0.0, 0.8)])
    assert np.isfinite(both.interval).all()
    assert both.decision == "holds"


def test_layers_whose_channels_do_not_mix_are_no_evidence():
    """They emit what they absorb: nothing is claimed of them."""
    assert claims([layer(1, 0.3, 0.3, mixes=False)]) == ()
    assert by_layer([layer(1, 0.3, 0.3, mixes=False)]) == []


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
    assert claims([layer(1, 0.8, 0.8, n=2)]) == ()
