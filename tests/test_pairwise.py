"""Pairwise measures: definitions, numbers of other libraries, closed forms, and what goes wrong elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netassay.errors import BadInput, NetassayError
from netassay.measures import MEASURES, named
from netassay.measures.hsic import doubly_centred
from netassay.measures.measure import inner
from tests.reference import pairwise as twin

LINEAR = ("cka", "cka_biased")
EVERY = ("cka", "cka_biased", "cka_rbf", "cka_rbf:debiased=false", "rsa", "rsa:comparator=pearson", "mutual_knn:k=3")


def value(spec, x, y, order=None):
    """The value of a measure of two arrays."""
    measure = named(spec)
    a, b = (measure.prepare(torch.as_tensor(side)) for side in (x, y))
    return measure.compare(a, b, order)


def drawn(seed, *shape):
    """Gaussian numbers."""
    return np.random.default_rng(seed).normal(size=shape)


# Two matrices of independent noise, 30 by 25, and what public libraries give for them, collected by
# `similarity-repository` (Cloos et al. 2024). Where they differ: `platonic`, `fsd` and `unsupervised_analysis` are off
# in the fourth digit (an epsilon in the ratio, or float32); we keep the exact ratio.
GOLDEN = {
    "cka": 0.023598698580556892,  # 4 of 5
    "cka_biased": 0.48934273910441534,  # 17 of 20
    "cka_rbf:sigma=1.0,debiased=false": 0.8940267986288912,  # 17 of 20
    "cka_rbf:sigma=1.0": 0.06763941584088756,  # 4 of 5
    "rsa:dissimilarity=correlation": -0.004092795694065198,  # 4 of 4; samples about their own mean, features not
    "rsa:dissimilarity=correlation,comparator=rho_a": -0.004092795694065198,  # rsatoolbox; no ties, so Spearman's
    "rsa:dissimilarity=correlation,comparator=pearson": 0.0035062460192807096,  # 4 of 5; llm_repsim takes other RDMs
    "rsa:dissimilarity=correlation,comparator=kendall": -0.0020022246941045607,  # rsatoolbox, neuroaimetrics
    "rsa:dissimilarity=correlation,comparator=cosine": 0.9587049512055273,  # rsatoolbox
    "rsa:dissimilarity=cosine": 0.059664079937370336,  # thingsvision; not centred
    "rsa:dissimilarity=cosine,comparator=pearson": 0.06489714360283982,  # thingsvision
    "rsa": 0.026652156101799433,  # thingsvision, resi
    "rsa:comparator=pearson": 0.05843572919046084,  # thingsvision
    "rsa:dissimilarity=squared_euclidean,comparator=pearson": 0.048084920240642405,  # rsatoolbox
    "rsa:dissimilarity=squared_euclidean,comparator=cosine": 0.9510853545112662,  # 5 of 5
    "rsa:dissimilarity=squared_euclidean,comparator=kendall": 0.01874039938556068,  # rsatoolbox
    "rsa:dissimilarity=squared_euclidean,comparator=rho_a": 0.02665215610179944,  # rsatoolbox
}


@pytest.mark.parametrize("spec", GOLDEN)
def test_other_libraries_give_the_same_number(spec):
    """The value on the two matrices that twenty libraries were tried on."""
    rng = np.random.RandomState(0)
    x, y = rng.uniform(size=(30, 25)), rng.uniform(size=(30, 25))
    assert value(spec, x, y) == pytest.approx(GOLDEN[spec], abs=1e-12)
    assert value(spec, x, x) == pytest.approx(1.0, abs=1e-12)


@given(st.integers(5, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_cka_is_the_ratio_of_means_over_four_samples(n, d, e, seed):
    """Debiased over four different samples, biased over any four."""
    x, y = drawn(seed, n, d) + 3, drawn(seed + 1, n, e) - 5
    k, m = twin.gram(x), twin.gram(y)
    assert value("cka", x, y) == pytest.approx(twin.cka(k, m, twin.unbiased_hsic), abs=1e-9)
    if n == 5:
        assert value("cka_biased", x, y) == pytest.approx(twin.cka(k, m, twin.biased_hsic), abs=1e-9)


@pytest.mark.parametrize("bandwidth", [0.2, 0.4, 2.0])
def test_rbf_bandwidth_is_a_share_of_the_median_distance(bandwidth):
    """The median over pairs, without the distances of samples to themselves."""
    x, y = drawn(0, 6, 3) * 100, drawn(1, 6, 2)
    k, m = (twin.rbf(side, bandwidth * twin.median_distance(side)) for side in (x, y))
    spec = f"cka_rbf:bandwidth={bandwidth}"
    assert value(spec, x, y) == pytest.approx(twin.cka(k, m, twin.unbiased_hsic), abs=1e-9)
    assert value(spec + ",debiased=false", x, y) == pytest.approx(twin.cka(k, m, twin.biased_hsic), abs=1e-9)


@pytest.mark.parametrize("kind", twin.FAR)
@pytest.mark.parametrize("comparator", ["spearman", "pearson", "cosine", "kendall"])
def test_rsa_compares_pairs_above_the_diagonal(kind, comparator):
    """One dissimilarity for each pair of samples, compared as its name says."""
    x, y = drawn(2, 7, 4) + 1, drawn(3, 7, 3)
    u, v = (twin.dissimilarity(side, kind) for side in (x, y))
    ways = {
        "spearman": lambda: twin.pearson(twin.ranks(u), twin.ranks(v)),
        "pearson": lambda: twin.pearson(u, v),
        "cosine": lambda: twin.cosine(u, v),
        "kendall": lambda: twin.tau_a(u, v),
    }
    spec = f"rsa:dissimilarity={kind},comparator={comparator}"
    assert value(spec, x, y) == pytest.approx(ways[comparator](), abs=1e-10)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=9), st.lists(st.integers(0, 4), min_size=5, max_size=9))
def test_tied_dissimilarities(p, q):
    """Whole numbers on a line have many equal distances: Spearman's, tau_a and rho_a by their definitions."""
    n = min(len(p), len(q), 7)
    x, y = (np.array(side[:n], float)[:, None] for side in (p, q))
    u, v = (twin.dissimilarity(side, "euclidean") for side in (x, y))
    if len(set(u)) == 1 or len(set(v)) == 1:
        assert math.isnan(value("rsa", x, y))
        assert math.isnan(value("rsa:comparator=kendall", x, y))
        return
    assert value("rsa", x, y) == pytest.approx(twin.pearson(twin.ranks(u), twin.ranks(v)), abs=1e-10)
    assert value("rsa:comparator=kendall", x, y) == pytest.approx(twin.tau_a(u, v), abs=1e-10)


def test_rho_a_is_the_mean_over_broken_ties():
    """Schuett et al. 2023: below 1 for equal dissimilarities that have ties."""
    x, y = np.array([[0.0], [1.0], [3.0], [3.5]]), np.array([[0.0], [2.0], [1.0], [4.0]])
    u, v = (twin.dissimilarity(side, "euclidean") for side in (x, y))
    assert len(set(v)) < len(v)
    assert value("rsa:comparator=rho_a", x, y) == pytest.approx(twin.rho_a(u, v), abs=1e-12)
    assert value("rsa:comparator=rho_a", y, y) == pytest.approx(twin.rho_a(v, v), abs=1e-12)
    assert twin.rho_a(v, v) < 0.99


@pytest.mark.parametrize("k", [1, 2, 4])
def test_neighbours_in_common(k):
    """By the definition, and with samples that repeat: the mean over all ways of breaking ties."""
    x, y = drawn(4, 7, 2), drawn(5, 7, 3)
    assert value(f"mutual_knn:k={k}", x, y) == pytest.approx(twin.mutual_knn(x, y, k), abs=1e-12)
    x, y = x.round(), np.array([0.0, 0, 1, 1, 2, 2, 2])[:, None]
    assert value(f"mutual_knn:k={k}", x, y) == pytest.approx(twin.mutual_knn(x, y, k), abs=1e-12)


def test_neighbours_in_chunks_are_the_same(monkeypatch):
    """However many rows are looked at together."""
    x, y = drawn(6, 50, 5), drawn(7, 50, 5)
    for spec in ("mutual_knn", "mutual_knn:dissimilarity=cosine"):
        whole = value(spec, x, y)
        with monkeypatch.context() as patch:
            patch.setattr("netassay.measures.neighbours.ROWS", 7)
            assert value(spec, x, y) == whole


def test_cosine_neighbours_look_at_directions_alone():
    """Samples along one ray are next to each other, however long."""
    angles, lengths = np.linspace(0, 1.7, 12) ** 2, drawn(8, 12) ** 2 + 0.1
    x = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert value("mutual_knn:k=3,dissimilarity=cosine", x, x * lengths[:, None]) == pytest.approx(1.0)
    assert value("mutual_knn:k=3", x, x * lengths[:, None]) < 0.9


@pytest.mark.parametrize("spec", EVERY)
def test_an_order_is_that_of_the_second(spec):
    """Taking the samples of the prepared second in another order is preparing them in it."""
    x, y, order = drawn(9, 12, 4), drawn(10, 12, 6), torch.randperm(12)
    assert value(spec, x, y, order) == pytest.approx(value(spec, x, y[order.numpy()]), abs=1e-12)
    assert value(spec, x, y, order) != pytest.approx(value(spec, x, y), abs=1e-3)


@pytest.mark.parametrize(("n", "d"), [(64, 64), (64, 512), (256, 512)])
def test_biased_cka_of_independent_gaussians_is_d_over_n_plus_d(n, d):
    """What is taken for similarity is the number of features."""
    values = [value("cka_biased", drawn(2 * i, n, d), drawn(2 * i + 1, n, d)) for i in range(10)]
    assert np.mean(values) == pytest.approx(d / (n + d), rel=0.02)


@pytest.mark.parametrize(("n", "d"), [(16, 4), (32, 32), (64, 512)])
def test_debiased_cka_of_independent_features_is_0_on_average_and_often_negative(n, d):
    """Clamped at 0 its mean would be above 0; within three standard errors it is not."""
    values = np.array([value("cka", drawn(2 * i, n, d), drawn(2 * i + 1, n, d)) for i in range(200)])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(200)
    assert 0.3 < (values < 0).mean() < 0.7


@pytest.mark.parametrize("n", [32, 64, 128, 256])
def test_unbiased_is_what_is_called_unbiased(n):
    """Independent features score 0.20 at 32 samples and 0.03 at 256 where the estimator is the biased one."""
    values = [value("cka", drawn(2 * i, n, 8), drawn(2 * i + 1, n, 8)) for i in range(30)]
    assert abs(np.mean(values)) < 4 * math.sqrt(2 / (n * (n - 3)) / 30)


@pytest.mark.parametrize("k", [5, 10])
def test_neighbours_of_independent_features_meet_by_chance(k):
    """k / (n - 1), and exactly so over all orders."""
    values = np.array([value(f"mutual_knn:k={k}", drawn(2 * i, 100, 3), drawn(2 * i + 1, 100, 4)) for i in range(100)])
    assert abs(values.mean() - k / 99) < 3 * values.std() / 10


def test_cross_covariance_of_independent_gaussians():
    """E |C|_F^2 = d e / (n - 1): what the numerator of biased CKA, over (n - 1)^2, holds by chance."""
    n, d, e, values = 40, 12, 25, []
    for i in range(300):
        grams = [doubly_centred(torch.from_numpy(x @ x.T)) for x in (drawn(i, n, d) + 1, drawn(i + 999, n, e) + 1)]
        values.append(inner(*grams) / (n - 1) ** 2)
    assert abs(np.mean(values) - d * e / (n - 1)) < 3 * np.std(values) / math.sqrt(300)


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize("offset", [10.0, 100.0, 1e4])
def test_features_far_from_0_cost_no_digit(spec, offset):
    """Float32 features, means up to 10,000 standard deviations; elsewhere the first digit is gone at 100."""
    x, y = (torch.from_numpy(drawn(11 + i, 256, 64)).float() for i in range(2))
    y = x @ torch.from_numpy(drawn(13, 64, 64)).float() * 0.1 + y
    far, away = x.double() + offset, y.double() - offset
    assert value(spec, far, away) == pytest.approx(value(spec, x, y), abs=1e-9)
    # Stored as float32 the features themselves are rounded, to offset * 6e-8 of a standard deviation.
    assert value(spec, far.float(), away.float()) == pytest.approx(value(spec, x, y), abs=max(1e-5, offset * 2e-7))


@pytest.mark.parametrize("spec", [*EVERY, "rsa:dissimilarity=cosine", "rsa:dissimilarity=correlation"])
@pytest.mark.parametrize("scale", [1e-160, 1e-20, 1e150])
def test_tiny_and_huge_features_are_like_any(spec, scale):
    """No constant is added in a ratio: features of 1e-20 are as similar to themselves as any."""
    x, y = drawn(14, 40, 6), drawn(15, 40, 5)
    assert value(spec, x * scale, x) == pytest.approx(1.0, abs=1e-9)
    assert value(spec, x * scale, y) == pytest.approx(value(spec, x, y), abs=1e-9)


@pytest.mark.parametrize("spec", [*EVERY, "rsa:comparator=kendall", "rsa:comparator=rho_a", "rsa:comparator=cosine"])
def test_what_does_not_vary_has_no_similarity(spec):
    """A dead layer is NaN with anything, itself too; so is one that holds a NaN."""
    x, dead = drawn(16, 20, 4), np.full((20, 3), 0.1, np.float32)
    broken = x.copy()
    broken[3, 1] = np.nan
    for side in (dead, broken):
        assert math.isnan(value(spec, x, side))
        assert math.isnan(value(spec, side, side))


def test_one_sample_apart_from_the_rest_has_no_debiased_value():
    """U-centring leaves nothing of it but rounding, and rounding is not similarity."""
    x = np.zeros((12, 1))
    x[4] = 1.0
    assert math.isnan(value("cka", x, drawn(17, 12, 3)))
    assert math.isfinite(value("cka_biased", x, drawn(17, 12, 3)))


@pytest.mark.parametrize("spec", LINEAR)
def test_a_moved_group_of_samples_takes_the_value_to_its_own(spec):
    """CKA(X, X + t 1_S w') tends to s'Ks / (|K| |s|^2), s the centred indicator of S (biased)."""
    x, w = drawn(18, 60, 10), drawn(19, 10)
    inside = np.arange(60) < 3
    k, s = np.array(twin.gram(x)), inside - inside.mean()
    limit = s @ k @ s / np.linalg.norm(k) / (s @ s)
    moved = value(spec, x, x + 1e6 * np.outer(inside, w))
    assert moved == pytest.approx(limit, abs=1e-4) if spec == "cka_biased" else abs(moved) < 0.5


@pytest.mark.parametrize(("shift", "biased", "debiased"), [(100, 0.693, 0.918), (1000, 0.023, 0.232)])
def test_one_outlier(shift, biased, debiased):
    """1,000 samples, 100 features; one sample moved by so much along a unit vector."""
    got = []
    for spec in LINEAR:
        values = []
        for i in range(3):
            x = drawn(20 + i, 1000, 100)
            moved = x.copy()
            moved[0] += shift * np.ones(100) / 10
            values.append(value(spec, x, moved))
        got.append(np.mean(values))
    assert got[0] == pytest.approx(debiased, abs=0.02)
    assert got[1] == pytest.approx(biased, abs=0.02)


def test_many_batches_do_not_change_the_scale():
    """A set with itself is 1, not 2 and not 0.5, twice over as well."""
    x = drawn(21, 30, 4)
    for spec in LINEAR:
        assert value(spec, np.concatenate([x, x]), np.concatenate([x, x])) == pytest.approx(1.0)


@pytest.mark.parametrize("spec", EVERY)
def test_the_same_call_has_the_same_bits(spec):
    """Nothing is drawn: no noise against NaN, no random projection, and no global generator is touched."""
    x, y = drawn(22, 40, 300), drawn(23, 40, 300)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = value(spec, x, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert value(spec, x, y) == first


def test_a_kernel_of_many_features_still_sees():
    """With a width of 1 in raw units samples of 2,048 features are strangers; with a share of the median not."""
    x = drawn(24, 100, 2048)
    near = x + 0.3 * drawn(25, 100, 2048)
    assert math.isnan(value("cka_rbf:sigma=1.0", x, near))
    assert value("cka_rbf", x, near) > 0.9
    assert value("cka_rbf", 1000 * x, near) == pytest.approx(value("cka_rbf", x, near), abs=1e-12)


def test_a_wide_kernel_is_the_linear_one():
    """As the bandwidth grows RBF CKA tends to linear CKA, without losing digits on the way."""
    x, y = drawn(26, 30, 4), drawn(27, 30, 4) + drawn(26, 30, 4)
    for bandwidth, close in ((1e2, 1e-3), (1e5, 1e-8)):
        assert value(f"cka_rbf:bandwidth={bandwidth}", x, y) == pytest.approx(value("cka", x, y), abs=close)


def test_a_bandwidth_of_0_is_refused():
    """A kernel without width sees nothing."""
    with pytest.raises(BadInput, match=r"(?s)not above 0.*cka_rbf:bandwidth=0.4"):
        named("cka_rbf:bandwidth=0")


@pytest.mark.parametrize("far", [1e4, 1e6, 1e8])
def test_neighbours_of_the_others_do_not_change_with_one_sample_far_away(far):
    """What is near to what is decided by the digits of the samples themselves."""
    source = torch.Generator().manual_seed(3)
    x = torch.randn(40, 6, generator=source, dtype=torch.float64)
    y = x + torch.randn(40, 6, generator=source, dtype=torch.float64)
    others = torch.arange(40) != 3
    shares = {}
    for where in (1e2, far):
        x[3], y[3] = where, where
        a, b = (named("mutual_knn").prepare(one)[others] for one in (x, y))
        shares[where] = float((a * b).sum())
    assert shares[far] == pytest.approx(shares[1e2], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_probabilities_of_any_precision_are_probabilities(dtype):
    """Rounding of half precision, or a single row that is off, does not make them logits; `of` decides."""
    source = torch.Generator().manual_seed(4)
    logits = [3 * torch.randn(200, 10, generator=source, dtype=torch.float64) for _ in range(2)]

    def value(sides, spec="jsd"):
        measure = named(spec)
        return measure.compare(*(measure.prepare(one.double()) for one in sides), None)

    rounded = [one.softmax(1).to(dtype) for one in logits]
    assert value(rounded) == pytest.approx(value(logits), rel=0.02)
    rounded[0][0] *= 1.05
    assert value(rounded) == pytest.approx(value(logits), rel=0.02)
    assert value(rounded, "jsd:of=logits") < value(logits) / 2
    assert value([one.softmax(1) for one in logits], "jsd:of=probabilities") == pytest.approx(value(logits))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("mutual_knn", {"k": 0}, "no neighbour"),
        ("rsa", {"dissimilarity": "foo"}, "foo"),
        ("rsa", {"comparator": "foo"}, "foo"),
        ("jsd", {"of": "foo"}, "foo"),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, told):
    """With a sentence, also where a measure is called by hand."""
    with pytest.raises(NetassayError, match=told):
        MEASURES[name](**options)
