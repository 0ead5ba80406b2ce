"""Similarity: a value with its null, p and interval, of arrays and tensors, and the intervals by themselves."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch

from netassay.errors import BadInput, UnknownName
from netassay.inference import jackknife
from netassay.measures import (
    Score,
    calibrate,
    named,
    orders,
    similarity,
    without_each,
    without_groups,
)


def pair(n=40, d=6, share=1.0, seed=0):
    """Two sets of features that have something in common."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, share * x[:, : d // 2] + rng.normal(size=(n, d // 2))


def test_a_score_is_a_float_with_its_evidence():
    """It counts, compares and rounds as a float, and survives copies and pickles."""
    x, y = pair()
    score = similarity(x, y, "rsa:comparator=pearson", permutations=60, level=0.9)
    measure = named("rsa:comparator=pearson")
    a, b = measure.prepare(torch.from_numpy(x)), measure.prepare(torch.from_numpy(y))
    assert score == measure.compare(a, b, None)
    assert type(score + 1) is float
    assert (score.measure, score.direction, score.n, score.level) == ("rsa:comparator=pearson", "similarity", 40, 0.9)
    np.testing.assert_allclose(score.null, [measure.compare(a, b, order) for order in orders(40, 60)], atol=1e-12)
    judged = calibrate([[float(score)]], score.null.reshape(-1, 1, 1), "similarity", 1.0, 0.1)
    assert (score.p, score.threshold) == (judged.p[0, 0], judged.threshold[0, 0])
    assert score.calibrated == judged.calibrated[0, 0] > 0
    assert score.interval[0] < score < score.interval[1]
    for other in (pickle.loads(pickle.dumps(score)), copy.deepcopy(score)):
        assert (other, other.p, other.how) == (score, score.p, score.how)
        assert (other.null == score.null).all()


def test_what_a_score_says():
    """Measure, samples, interval, p, what chance gives; and how all of it was made."""
    x, y = pair()
    score = similarity(torch.from_numpy(x).float(), y)
    low, high = score.interval
    assert repr(score).startswith(f"{float(score):.4g} (cka of 40 samples; interval {low:.4g} to {high:.4g} at 95%")
    assert f"p = {score.p:.3g}; by chance {score.null.mean():.4g})" in repr(score)
    for part in ("CKA, debiased", "6 features as they are", "200 orders", "jackknife over 40 samples"):
        assert part in score.how
    assert "no null" in repr(similarity(x, y, permutations=0))


def test_calling_again_gives_the_same_bits_and_leaves_generators_alone():
    """The seed decides; the caller's random state is as it was."""
    x, y = pair()
    state = torch.get_rng_state()
    first, again, other = (similarity(x, y, "rsa", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert (first.null == again.null).all()
    assert first.interval == again.interval
    assert not (first.null == other.null).all()


def test_nothing_in_common_is_told_so_and_something_is():
    """Biased CKA of 500 features is 0.9 by chance; its p says what it is worth."""
    rng = np.random.default_rng(5)
    noise = similarity(rng.normal(size=(50, 500)), rng.normal(size=(50, 500)), "cka_biased")
    assert noise > 0.85
    assert noise.p > 0.05
    assert noise.calibrated == 0
    x, y = pair()
    assert similarity(x, y).p == pytest.approx(1 / 201)
    assert similarity(x, x).calibrated == pytest.approx(1.0)


def test_positions_taken_as_samples_move_together():
    """The null and the interval move whole images; the sample is not a position."""
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(12, 3, 2, 2)), rng.normal(size=(12, 5, 2, 2))
    score = similarity(x, y, positions="samples", permutations=20)
    assert score.n == 12
    measure = named("cka")
    fx, fy = (torch.from_numpy(side).flatten(2).transpose(1, 2).flatten(0, 1) for side in (x, y))
    prepared = measure.prepare(fx)
    expected = [
        measure.compare(prepared, measure.prepare(fy.unflatten(0, (12, 4))[o].flatten(0, 1)), None)
        for o in orders(12, 20)
    ]
    np.testing.assert_allclose(score.null, expected, atol=1e-12)
    assert "jackknife over 12 groups" in score.how
    with pytest.raises(BadInput, match=r"(?s)4 and 1 positions a sample.*positions='flatten'"):
        similarity(x, y[:, :, :1, :1], positions="samples")


def test_images_and_tokens_become_features_as_asked():
    """The policies are those of `features`, and are told."""
    x, y = torch.randn(9, 3, 4, 4), torch.randn(9, 5, 7)
    score = similarity(x, y, positions="pool", tokens="cls", permutations=0)
    assert float(score) == similarity(x.double().mean((2, 3)), y[:, 0], permutations=0)
    assert "mean over 4 x 4 positions of 3 channels" in score.how
    assert "the first of 5 tokens" in score.how


def test_what_is_not_defined_names_its_side():
    """A dead layer: NaN in every number, and the reason."""
    x, _ = pair()
    score = similarity(x, np.ones((40, 3)), permutations=5)
    assert all(map(math.isnan, (score, score.p, score.threshold, score.calibrated, *score.interval)))
    assert score.how.endswith(
        "y has no value with itself: too many samples do not differ, too few for it, or NaN or Inf"
    )


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.ones((5, 2)), np.ones((6, 2)), r"shapes \(5, 2\) and \(6, 2\)"),
        (np.ones((5, 0)), np.ones((5, 2)), r"shapes \(5, 0\)"),
        (
            np.ones((3, 2)),
            np.ones((3, 2)),
            "(?s)3 samples; it tells nothing with fewer than 4.*next:  give at least 4 samples$",
        ),
    ],
)
def test_what_does_not_pair_is_refused(x, y, said):
    """Shapes and counts are in the sentence."""
    with pytest.raises(BadInput, match=said):
        similarity(x, y)


def test_options_out_of_range_are_refused():
    """A level of 95 is not 0.95."""
    with pytest.raises(BadInput, match=r"found: level=95"):
        similarity(*pair(), level=95)
    for odd in ({"permutations": 2.5}, {"permutations": -1}, {"seed": -1}, {"level": 0}):
        with pytest.raises(BadInput, match="whole numbers"):
            similarity(*pair(), **odd)
    with pytest.raises(BadInput, match="str of entries <U1"):
        similarity("a", pair()[1])
    sparse = torch.eye(9).to_sparse()
    assert similarity(sparse, torch.eye(9), permutations=0, measure="nbs") == pytest.approx(1)
    with pytest.raises(UnknownName, match="'cka_rbf'"):
        similarity(*pair(), "cka_rfb")


@pytest.mark.parametrize("spec", ["cka", "cka_biased"])
def test_leaving_out_each_sample_is_computing_anew_without_it(spec):
    """The closed form against deleting; far means and a sample far out as well."""
    x, y = pair(12)
    x[3] *= 30
    measure = named(spec)
    x, y = torch.from_numpy(x + 1e3), torch.from_numpy(y)
    got = without_each(measure, measure.prepare(x), measure.prepare(y))
    keeps = [[j for j in range(12) if j != i] for i in range(12)]
    slow = [
        measure.compare(measure.prepare(x[keep]), measure.prepare(y[keep]), None) for keep in [list(range(12)), *keeps]
    ]
    np.testing.assert_allclose(got, slow, atol=1e-10)


def test_leaving_out_groups_covers_all_samples_once():
    """As many groups as samples is each sample once; the rest of a group stays in its place."""
    x, y = (torch.from_numpy(side) for side in pair(12))
    measure = named("cka")
    groups = without_groups(measure, x, y)
    np.testing.assert_allclose(
        np.sort(groups[1:]), np.sort(without_each(measure, measure.prepare(x), measure.prepare(y))[1:])
    )
    assert groups[0] == measure.compare(measure.prepare(x), measure.prepare(y), None)
    assert without_each(named("rsa"), measure.prepare(x), measure.prepare(y)) is None
    assert len(groups) == 13
    assert np.isnan(without_groups(named("mutual_knn:k=10"), x, y)[1:]).all()


def test_of_four_samples_none_can_be_spared():
    """What is left could not be debiased: no interval."""
    x, y = pair(4)
    assert without_each(named("cka"), *(named("cka").prepare(torch.from_numpy(side)) for side in (x, y))) is None
    assert np.isnan(similarity(x, y, permutations=0).interval).all()


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "share", "least"), [("cka", 1.0, 0.9), ("cka", 0.3, 0.9), ("mutual_knn", 1.0, 0.85)])
def test_the_interval_holds_the_value_of_many_samples(spec, share, least):
    """95 % intervals of 100 samples, 400 times: how many hold the value of 4,000."""
    if spec == "mutual_knn":
        truth = np.mean([similarity(*pair(100, share=share, seed=9000 + i), spec, permutations=0) for i in range(400)])
    else:
        truth = float(similarity(*pair(4000, share=share, seed=999), spec, permutations=0))
    held = 0
    for i in range(400):
        low, high = similarity(*pair(100, share=share, seed=i), spec, permutations=0).interval
        held += low <= truth <= high
    assert held / 400 >= least, held


def test_an_interval_without_width():
    """Equal features leave nothing to doubt."""
    x, _ = pair()
    low, high = similarity(x, x, permutations=0).interval
    assert (low, high) == pytest.approx((1.0, 1.0), abs=1e-9)
    assert Score(1.0) == 1.0
    assert math.isnan(jackknife([1.0])[1])
