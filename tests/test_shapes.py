"""Measures that are not inner products: against their definitions, published numbers, identities and known mistakes."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from netassay.errors import BadInput
from netassay.measures import cca, matching, outputs, procrustes, regression
from netassay.measures.features import features
from netassay.measures.reducing import about_mean, decomposed
from tests.reference import alignment

FACTORIES = {
    "cca": cca.cca,
    "cca_squared": cca.cca_squared,
    "svcca": cca.svcca,
    "pwcca": cca.pwcca,
    "procrustes": procrustes.procrustes,
    "angular_procrustes": procrustes.angular_procrustes,
    "nbs": procrustes.nbs,
    "permutation": matching.permutation,
    "soft_matching": matching.soft_matching,
    "regression": regression.regression,
    "mse": regression.mse,
    "correlation": regression.correlation,
}
ROOTS = ("procrustes", "angular_procrustes", "nbs")
RATIOS = sorted(set(FACTORIES) - {"procrustes"})
OUTPUTS = {"disagreement": outputs.disagreement, "jsd": outputs.jsd}


def value(measure, x, y, order=None):
    return measure.compare(measure.prepare(torch.as_tensor(x)), measure.prepare(torch.as_tensor(y)), order)


def pair(n=24, d=4, e=3, seed=0):
    """Features that share a part, of unequal scales and far from zero."""
    drawn = np.random.RandomState(seed)
    x = drawn.randn(n, d) * np.arange(1, d + 1) + 5
    return x, x[:, :2] @ drawn.randn(min(d, 2), e) + drawn.randn(n, e) - 3


def golden():
    np.random.seed(0)
    return np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))


GOLDEN = [
    (cca.cca(), 0.8901049738157814, "google/svcca, netrep, sim_metric, repsim, contrasim; pyrcca is regularised"),
    (cca.cca_squared(), 0.8583001426315535, "google/svcca, representation_similarity, drfrankenstein, sim_metric"),
    (cca.svcca(components=10), 0.5379744610, "google/svcca, netrep, sim_metric, repsim, contrasim"),
    (cca.svcca(variance=0.95), 0.7281605587, "google/svcca, sim_metric, contrasim; 0.7064, 0.6862: other truncations"),
    (cca.svcca(), 0.7831814123, "google/svcca, netrep, sim_metric, repsim, contrasim; ReSi 0.1132"),
    (procrustes.procrustes(), 5.851126055977314, "nn_similarity_index, as the Bures distance; 6 more"),
    (procrustes.procrustes(normalised=True), 0.744609, "ReSi"),
    (procrustes.angular_procrustes(), 0.7629815799340968, "netrep and 6 more"),
    (procrustes.nbs(), 0.7227787175993364, "netrep and 6 more"),
    (matching.permutation(), 0.334399, "netrep; ReSi 9.346932 is a distance of features not centred"),
    (matching.soft_matching(), 0.336391, "ReSi, hard correlation match, which it equals for equal numbers"),
]


@pytest.mark.parametrize(("measure", "known", "who"), GOLDEN, ids=[f"{m.name}-{known:.3f}" for m, known, _ in GOLDEN])
def test_two_noise_matrices_get_the_published_number(measure, known, who):
    """Values of independent repositories on the same 30 x 25 uniform numbers; six digits are printed of some."""
    assert value(measure, *golden()) == pytest.approx(known, rel=2e-6)


def test_regression_in_sample_gets_the_published_number():
    """ReSi foretells X from Y; netassay always the second from the first."""
    x, y = golden()
    assert value(regression.regression(folds=0), y, x) == pytest.approx(0.863424815867745, rel=1e-12)


def test_pwcca_of_the_two_noise_matrices_is_not_one_number():
    """25 + 25 directions in 29 dimensions share 21 with correlation 1, and any rotation of their variates is as good.

    The published 0.893341, and 0.894412 computed from the same definition, both lie among the values; 0.958854, of code
    that leaves the whitening out, does not.
    """
    x, y = golden()
    with pytest.raises(BadInput, match="fewer than 51"):
        cca.pwcca().check(30, 25, 25)
    a, b = (decomposed(about_mean(torch.from_numpy(one)))[0] for one in (x, y))
    u, rho, _ = torch.linalg.svd(a.T @ b)
    assert int((rho > 1 - 1e-9).sum()) == 21
    values = []
    for _ in range(300):
        turned = torch.block_diag(torch.linalg.qr(torch.randn(21, 21, dtype=torch.float64))[0], torch.eye(4).double())
        weights = (turned.T @ u.T @ a.T @ about_mean(torch.from_numpy(x))).abs().sum(1)
        values.append(float((weights * rho).sum() / weights.sum()))
    assert min(values) < 0.893341
    assert 0.894411 < max(values) < 0.91
    assert min(values) < value(cca.pwcca(), x, y) < max(values)


def parts(n, folds=5):
    """The folds: the order is drawn once, by seed 0."""
    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
    return [sorted(drawn[part::folds]) for part in range(folds)]


def slow(name, x, y):
    if name == "mse":
        return 1 - slow("regression", x, y)
    more = (parts(len(x)), regression.RIDGES) if name in ("regression", "correlation") else ()
    return getattr(alignment, name)(x, y, *more)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", FACTORIES)
def test_a_measure_equals_its_definition(name, seed):
    """Eigenproblems, every permutation, explicit hat matrices; either side may have more features."""
    x, y = pair(d=3, e=2, seed=seed) if name == "soft_matching" else pair(seed=seed)
    x, y = (x, y) if seed % 2 else (y, x)
    # The twins of the Procrustes family take roots of eigenvalues that are 0 but for rounding.
    assert value(FACTORIES[name](), x, y) == pytest.approx(slow(name, x, y), rel=1e-6 if name in ROOTS else 1e-9)


@pytest.mark.parametrize("name", [*ROOTS, "regression", "mse", "correlation"])
def test_a_measure_of_more_features_than_samples_equals_its_definition(name):
    """What is rotated to n columns stays the same."""
    x, y = pair(n=10, d=30, e=14)
    assert value(FACTORIES[name](), x, y) == pytest.approx(slow(name, x, y), rel=1e-8)


@pytest.mark.parametrize("name", [*FACTORIES, *OUTPUTS])
def test_an_order_takes_the_samples_of_the_second(name):
    """As if its features had come in that order."""
    measure, (x, y), order = ({**FACTORIES, **OUTPUTS})[name](), pair(e=4), torch.randperm(24)
    assert value(measure, x, y, order) == pytest.approx(value(measure, x, y[order.numpy()]), rel=1e-10)
    if name != "disagreement":
        assert value(measure, x, y, order) != pytest.approx(value(measure, x, y), rel=1e-3)


def change(kind, x, seed=3):
    drawn = np.random.RandomState(seed)
    d = x.shape[1]
    return {
        "offset": lambda: x + drawn.randn(d) * 1e4 * x.std(0),
        "scale": lambda: x * 1e-7,
        "permutation": lambda: x[:, drawn.permutation(d)],
        "orthogonal": lambda: x @ np.linalg.qr(drawn.randn(d, d))[0],
        "affine": lambda: x @ drawn.randn(d, d) + drawn.randn(d),
    }[kind]()


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", ["offset", "scale", "permutation", "orthogonal", "affine"])
@pytest.mark.parametrize("name", FACTORIES)
def test_declared_invariances_are_those_there_are(name, kind, side):
    """Offsets of 10 000 deviations and factors of 1e-7 among them; what is not declared moves the value on one side."""
    measure, sides = FACTORIES[name](), pair()
    changed = [change(kind, one) if i == side else one for i, one in enumerate(sides)]
    before, after = value(measure, *sides), value(measure, *changed)
    if kind in measure.invariances:
        assert after == pytest.approx(before, rel=1e-7, abs=1e-9)
    else:
        both = [value(measure, change(kind, sides[0]), sides[1]), value(measure, sides[0], change(kind, sides[1]))]
        assert max(abs(one - before) for one in both) > 1e-4


@pytest.mark.parametrize("name", FACTORIES)
def test_symmetric_is_what_is_declared(name):
    """And nothing else."""
    x, y = pair()
    measure = FACTORIES[name]()
    assert (value(measure, x, y) == pytest.approx(value(measure, y, x), rel=1e-9)) is measure.symmetric


@pytest.mark.parametrize("name", [*FACTORIES, *OUTPUTS])
def test_equal_features_get_the_best_value(name):
    """With a copied, a constant and a doubled feature among them."""
    x, _ = pair()
    x = np.concatenate([x, x[:, :1], np.full((24, 1), 0.1), 2 * x[:, 1:2]], 1)
    measure = ({**FACTORIES, **OUTPUTS})[name]()
    assert value(measure, x, x) == pytest.approx(measure.best, abs=2e-6)


@pytest.mark.parametrize("name", FACTORIES)
def test_values_that_are_not_defined_are_nan(name):
    """Not 0, not 1, no error: a NaN among the features, of either side, with few features and with many."""
    for d in (4, 40):
        x, y = pair(d=d)
        x[3, 1] = np.nan
        assert math.isnan(value(FACTORIES[name](), x, y))
        assert math.isnan(value(FACTORIES[name](), y, x))


@pytest.mark.parametrize("name", [one for one in RATIOS if one not in ("regression", "mse")])
def test_features_that_never_change_have_no_similarity(name):
    """0/0; a map from them foretells the mean, which is no better than nothing."""
    x, y = pair()
    assert math.isnan(value(FACTORIES[name](), y, np.full_like(x, 0.1)))
    foretold = value(regression.regression(), np.full_like(x, 0.1), y)
    assert foretold == pytest.approx(1 - value(regression.mse(), np.full_like(x, 0.1), y))
    assert foretold < 0


@pytest.mark.parametrize("seed", range(5))
def test_the_cosine_of_the_procrustes_angle_is_nbs(seed):
    """The duality of Bures similarity and shape distance, whatever the numbers of features."""
    x, y = pair(d=7 * seed + 1, e=11, seed=seed)
    angle = value(procrustes.angular_procrustes(), x, y)
    assert math.cos(angle) == pytest.approx(value(procrustes.nbs(), x, y), abs=1e-14)
    chord = value(procrustes.procrustes(normalised=True), x, y)
    assert chord == pytest.approx(2 * math.sin(angle / 2), abs=1e-14)


def test_a_rotated_copy_has_an_angle():
    """Where rounding puts the cosine above 1, arccos would have none."""
    for seed in range(20):
        x, _ = pair(d=9, seed=seed)
        angle = value(procrustes.angular_procrustes(), x, change("orthogonal", x, seed))
        assert angle == pytest.approx(0, abs=1e-6)


def test_one_distant_sample_leaves_exact_arithmetic_as_it_is():
    """One of 24 samples at ten thousand deviations: still what the definitions say."""
    x, y = pair(d=3, e=2)
    x[5] *= 1e4
    for name in FACTORIES:
        assert value(FACTORIES[name](), x, y) == pytest.approx(slow(name, x, y), rel=1e-5), name


def test_metrics_keep_the_triangle():
    """Of any three, no way round is shorter; asked of what calls itself a metric."""
    metrics = [procrustes.procrustes(), procrustes.procrustes(normalised=True), procrustes.angular_procrustes()]
    for measure in [*metrics, outputs.disagreement(), outputs.jsd(root=True)]:
        assert measure.metric
        for seed in range(30):
            drawn = np.random.RandomState(seed)
            x, y = drawn.randn(2, 6, 3) * drawn.choice([0.1, 1, 10])
            z = x + (y - x) * drawn.uniform() if seed % 2 else drawn.randn(6, 3)
            assert value(measure, x, y) <= value(measure, x, z) + value(measure, z, y) + 1e-9


def test_modified_pwcca_is_regression():
    """Weights and correlations squared give the in-sample R2 of the first from the second (Kornblith 2019, C.3)."""
    x, y = pair()
    rho, variates = alignment.canonical(x, y)
    weights = ((variates.T @ alignment.centred(x)) ** 2).sum(1)
    expected = (weights * rho**2).sum() / (alignment.centred(x) ** 2).sum()
    assert value(regression.regression(folds=0), y, x) == pytest.approx(expected, rel=1e-9)


def test_regression_of_independent_noise_is_below_zero():
    """With as many features as samples a fit to the same samples is perfect; on others it is worth nothing."""
    x, y = torch.randn(200, 198), torch.randn(200, 3)
    assert value(regression.regression(folds=0), x, y) > 0.98
    assert -0.2 < value(regression.regression(), x, y) < 0.02
    assert abs(value(regression.correlation(), x, y)) < 0.2


@pytest.mark.parametrize(
    ("name", "n", "d", "e"),
    [("cca", 26, 25, 3), ("cca_squared", 26, 3, 25), ("pwcca", 28, 25, 3), ("nbs", 2, 9, 9), ("regression", 9, 3, 3)],
)
def test_a_measure_that_would_tell_nothing_is_refused(name, n, d, e):
    """With one sample more it is not."""
    FACTORIES[name]().check(n + 1, d, e)
    with pytest.raises(BadInput, match=rf"(?s){name} of .* fewer than {n + 1}"):
        FACTORIES[name]().check(n, d, e)


def test_cca_of_as_many_features_as_dimensions_is_one():
    """Why it is refused: any features span the 25 dimensions of 26 centred samples."""
    assert value(cca.cca(), torch.randn(26, 25), torch.randn(26, 3)) == pytest.approx(1)
    assert value(cca.cca(), torch.randn(27, 25), torch.randn(27, 3)) < 0.9999


def test_shuffled_channels_of_a_convolution_are_the_same_features():
    """Channels taken for samples would make them different: a distance of 0.68 was printed where it is 0."""
    y = torch.randn(40, 6, 3, 3)
    a, b = features(y), features(y[:, torch.randperm(6)])
    assert value(procrustes.angular_procrustes(), a, b) == pytest.approx(0, abs=1e-6)
    assert value(procrustes.nbs(), a, b) == pytest.approx(1)


def test_pwcca_orthonormalises_variates_and_not_coefficients():
    """They differ where features have unlike variances."""
    x, y = pair(n=200)
    x = x * 10.0 ** np.arange(4)
    assert value(cca.pwcca(), x, y) == pytest.approx(alignment.pwcca(x, y), rel=1e-9)


def test_pwcca_takes_sides_of_unlike_widths():
    """The weights are the first's either way."""
    for d, e in ((7, 2), (2, 7)):
        x, y = pair(n=60, d=d, e=e)
        assert value(cca.pwcca(), x, y) == pytest.approx(alignment.pwcca(x, y), rel=1e-9)


def test_options_cannot_be_mixed_up_by_their_place():
    """A threshold handed on in another option's place went unseen elsewhere."""
    with pytest.raises(TypeError):
        cca.svcca(0.9)


def test_svcca_leaves_small_directions_out():
    """A shared direction with a thousandth of the variance counts for CCA and not for SVCCA."""
    x, y = torch.randn(500, 3), torch.randn(500, 3)
    x[:, 2] = y[:, 2] = x[:, 2] * 0.01
    assert value(cca.cca(), x, y) > 0.33
    assert value(cca.svcca(), x, y) < 0.2


@pytest.mark.parametrize("name", FACTORIES)
def test_the_same_features_give_the_same_bits(name):
    """Nothing is drawn on the way, whatever the state of torch's generator."""
    x, y = pair()
    first = value(FACTORIES[name](), x, y)
    torch.manual_seed(17)
    assert value(FACTORIES[name](), x, y) == first


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: cca.svcca(variance=0), r"svcca:variance=0\.99"),
        (lambda: regression.mse(folds=1), "mse with folds=1.*mse:folds=5"),
        (lambda: matching.permutation().prepare(torch.zeros(3, 4097)), "4097 features.*positions='pool'"),
        (lambda: matching._program(np.zeros((1000, 999))), "1000 and 999 neurons"),
        (lambda: value(outputs.jsd(), torch.zeros(4, 3), torch.zeros(4, 2)), r"\(4, 3\) and \(4, 2\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(ask, sentence):
    """With what to type instead."""
    with pytest.raises(BadInput, match=f"(?s){sentence}"):
        ask()


def test_matching_without_scipy_says_what_to_install(monkeypatch):
    """The other measures need none."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(BadInput, match=r"netassay\[stats\]"):
        matching.soft_matching().prepare(torch.zeros(3, 3))


def test_a_linear_program_finds_what_pairing_copies_finds(monkeypatch):
    """Two ways to one optimum."""
    x, y = pair(d=6, e=4)
    by_copies = value(matching.soft_matching(), x, y)
    monkeypatch.setattr(matching, "MOST_COPIES", 1)
    assert value(matching.soft_matching(), x, y) == pytest.approx(by_copies, abs=1e-9)


@pytest.mark.parametrize("n", [1, 50])
def test_outputs_are_compared_by_their_definitions(n):
    """Of logits; confident ones among them."""
    x, y = torch.randn(2, n, 5, dtype=torch.float64) * torch.tensor([1.0, 40.0])[:, None, None]
    for measure, known in (
        (outputs.disagreement(), alignment.disagreement(x.tolist(), y.tolist())),
        (outputs.jsd(), alignment.jsd(x.tolist(), y.tolist())),
        (outputs.jsd(root=True), alignment.jsd(x.tolist(), y.tolist(), 0.5)),
    ):
        assert value(measure, x, y) == pytest.approx(known, abs=1e-12)
    assert value(outputs.jsd(), x.softmax(1), y) == pytest.approx(value(outputs.jsd(), x, y))


def test_outputs_at_their_ends():
    """Certain and opposite is one bit; a single logit is that of yes; NaN has no class."""
    sure = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert value(outputs.jsd(), sure, sure.flip(0)) == 1.0
    assert value(outputs.disagreement(), torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [1.0]])) == 0.5
    for factory in OUTPUTS.values():
        assert math.isnan(value(factory(), sure, sure * torch.nan))
