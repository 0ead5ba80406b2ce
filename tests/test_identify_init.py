"""Identification: the scheme is found, alone where laws differ, and trained weights are called trained."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import netassay as na
from netassay.errors import BadInput
from netassay.inits import INITS, fans, identify_init, initialize
from netassay.inits.evidence import EDGE, FAR, SHAPES, Evidence, Spectrum, chance_below
from netassay.inits.identifying import TINY, UNKNOWN
from netassay.inits.laws import Law, own_law
from netassay.seeds import generator
from tests.reference import inits as twin

RANDOM = [name for name in INITS if name not in ("ones", "zeros")]


def large(i):
    """A layer of 10,000 weights or more, of one of four kinds, and of a shape of its own."""
    rng = np.random.default_rng(i)
    a, b = (int(one) for one in rng.integers(16, 80, 2))
    kernel = 9
    if i % 4 == 0:
        return nn.Linear(max(3 * a, 10_000 // (2 * b) + 1), 2 * b)
    if i % 4 == 1:
        return nn.Conv2d(max(a, 10_000 // kernel // b + 1), b, 3)
    if i % 4 == 2:
        return nn.Conv2d(2 * max(a, 10_000 // kernel // b // 2 + 1), 2 * b, 3, groups=2)
    return nn.ConvTranspose2d(max(a, 10_000 // 16 // b + 1), b, 4)


def batch(layer):
    linear = isinstance(layer, nn.Linear)
    return torch.randn(8, layer.in_features) if linear else torch.randn(4, layer.in_channels, 5, 5)


def rivals(layer):
    """Each scheme's family and scale for a layer; LSUV has a gain of its own."""
    laws = {
        name: own_law(layer, "weight") if scheme.law is None else scheme.law(fans(layer))
        for name, scheme in INITS.items()
    }
    return {**laws, "lsuv": Law("orthogonal", 1e9)}


def alike(a, b, within):
    close = a.scale == b.scale or (a.scale * b.scale > 0 and abs(math.log(a.scale / b.scale)) <= within)
    return a.family == b.family and close


def identified(count):
    """Draw `count` layers, identify each, and count what went wrong."""
    wrong = Counter()
    names = list(INITS)
    for i in range(count):
        layer, name = large(i), names[i // 4 % len(names)]
        initialize(layer, name, seed=i, data=batch(layer))
        found = set(identify_init(layer).table("layers")[0]["schemes"].split(","))
        laws = rivals(layer)
        same = {one for one, law in laws.items() if alike(law, laws[name], 1e-9)}
        near = {one for one, law in laws.items() if alike(law, laws[name], math.log(1.1))}
        wrong["missed"] += name not in found
        wrong["larger than need be"] += not same <= found <= near
        wrong["apart in one set"] += found != {UNKNOWN} and any(
            not alike(laws[a], laws[b], math.log(1.1)) for a in found for b in found
        )
    return wrong


def test_the_scheme_is_found():
    """On 200 layers: it is in the set, and the set is what coincides with it; two that differ by 10 % never meet."""
    wrong = identified(200)
    assert wrong["missed"] <= 2
    assert wrong["larger than need be"] <= 2
    assert wrong["apart in one set"] == 0


def test_ten_per_cent_of_variance_are_told_apart():
    """Where Kaiming and Xavier are just 10 % apart, at 11,979 weights, no set holds both."""
    layer = nn.Linear(121, 99)
    for shape in ("normal", "uniform"):
        pair = {f"kaiming_{shape}", f"xavier_{shape}"}
        for seed in range(60):
            initialize(layer, sorted(pair)[seed % 2], seed)
            assert len(pair & set(found(layer)["schemes"].split(","))) <= 1


@pytest.mark.slow
def test_the_scheme_is_found_on_a_thousand_layers():
    """In 99 % the scheme is in the set and the set is the smallest possible."""
    wrong = identified(1000)
    assert wrong["missed"] <= 10
    assert wrong["larger than need be"] <= 10
    assert wrong["apart in one set"] == 0


def rank(W, g, r):
    rows = W.flatten(1)
    return (torch.randn(len(rows), r, generator=g) @ torch.randn(r, rows.shape[1], generator=g)).view_as(W)


def heavy(W, g):
    return torch.randn(W.shape, generator=g) / torch.randn((3, *W.shape), generator=g).square().mean(0).sqrt()


def few(W, g):
    return torch.randn(W.shape, generator=g) * (torch.rand(W.shape, generator=g) < 0.01)


def rows(W, g):
    return W * torch.randn((len(W),) + (1,) * (W.dim() - 1), generator=g)


DELTAS = {
    "normal": lambda W, g: torch.randn(W.shape, generator=g),
    "uniform": lambda W, g: torch.rand(W.shape, generator=g) - 0.5,
    "signs, as of Adam": lambda W, g: torch.randn(W.shape, generator=g).sign(),
    "heavy tails": heavy,
    "few": few,
    "rows grow": rows,
    "shift": lambda W, g: torch.ones_like(W),
    "shrink": lambda W, g: -W,
    "two rows": lambda W, g: (
        torch.randn(W.shape, generator=g) * (torch.arange(len(W)) < 2).view(-1, *[1] * (W.dim() - 1))
    ),
    **{f"rank {r}": lambda W, g, r=r: rank(W, g, r) for r in (1, 2, 4, 8, 16)},
}
KEEPING = ["few", "rows grow", "shift", "two rows", "rank 1", "rank 2", "rank 4"]
"""Structured enough to be seen where the norm is brought back to the start's, as by weight decay."""
SHAPED = [
    lambda: nn.Linear(128, 320),
    lambda: nn.Conv2d(32, 60, 3),
    lambda: nn.Conv2d(64, 128, 3, groups=2),
    lambda: nn.ConvTranspose2d(48, 24, 4),
]
"""Shapes on which no law, its variance grown by 9 %, is another's."""


def moved(layer, kind, keep, seed):
    """Move a layer's weight by 0.32 of its norm; with `keep`, back to its norm after that. Returns how far it is."""
    start, g = layer.weight.detach().clone(), generator(seed)
    delta = DELTAS[kind](start, g)
    weight = start + 0.32 * delta * (start.norm() / delta.norm())
    weight = weight * (start.norm() / weight.norm()) if keep else weight
    layer.weight.data.copy_(weight)
    return float((weight - start).norm() / start.norm())


@pytest.mark.parametrize(("kind", "keep"), [(k, False) for k in DELTAS] + [(k, True) for k in KEEPING])
def test_moved_weights_are_no_initialisation(kind, keep):
    """Whatever the start, what has moved by more than 0.3 of its norm is called trained."""
    called = []
    for i, name in enumerate(RANDOM * 4):
        layer = SHAPED[i % 4]()
        initialize(layer, name, seed=i, data=batch(layer))
        far = moved(layer, kind, keep, i)
        # An orthogonal matrix times a number is what LSUV makes.
        if far > 0.3 and not (kind == "shrink" and "orthogonal" in INITS[name].family):
            called += [(name, layer, one) for one in [found(layer)["schemes"]] if one != UNKNOWN]
    assert called == []


def found(model):
    (row,) = identify_init(model).table("layers")
    return row


def test_training_is_seen():
    """Networks trained on digits until a large layer has moved by 0.3 of its norm: none is an initialisation."""
    loaded = na.load_data("digits", batch_size=256)
    x, y = (torch.cat([getattr(one, part) for one in loaded]) for part in "xy")
    for name in ("kaiming_normal", "xavier_uniform", "orthogonal"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 160), nn.ReLU(), nn.Linear(160, 160))
        initialize(model, name)
        start, optimizer = model[1].weight.detach().clone(), torch.optim.AdamW(model.parameters(), 1e-2)
        for step in range(150):
            part = torch.arange(step * 64, step * 64 + 64) % len(x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[part])[:, :10], y[part]).backward()
            optimizer.step()
        assert (model[1].weight - start).norm() > 0.3 * start.norm(), name
        assert identify_init(model).table("layers")[0]["schemes"] == UNKNOWN


@pytest.mark.parametrize("family", SHAPES)
def test_families_against_scipy(family):
    """Distribution functions, moments 4, 6 and 8 and ends are those of scipy's families, scaled to variance 1."""
    end = {"normal": None, "uniform": 3**0.5, "truncated normal": 2.0}[family]
    law = {
        "normal": stats.norm,
        "uniform": stats.uniform(-(3**0.5), 2 * 3**0.5),
        "truncated normal": stats.truncnorm(-2, 2),
    }[family]
    scale = law.std()
    shape = SHAPES[family]
    assert [shape.fourth, shape.sixth, shape.eighth] == pytest.approx([law.moment(k) / scale**k for k in (4, 6, 8)])
    assert end is None or shape.end == pytest.approx(end / scale)
    x = np.linspace(-4, 4, 41)
    assert np.allclose(chance_below(family, x), law.cdf(x * scale), atol=1e-14)


def test_distance_against_scipy():
    """Kolmogorov's distance has scipy's chance, to Stephens' approximation of it."""
    weight = Law("normal", 1.0).draw((1, 40, 40), generator(1)).numpy()[..., None]
    for variance in (1.0, 1.1):
        exact = stats.kstest(weight.ravel() / variance**0.5, "norm").pvalue
        assert Evidence(weight, 1e-7).distance_chance("normal", variance) == pytest.approx(exact, rel=0.05, abs=1e-3)


def test_spectra_are_those_of_the_twin():
    """John's statistic and the largest singular value, for each way to lay a kernel flat."""
    weight = Law("uniform", 1.0).draw((2, 5, 4, 3, 2), generator(2)).reshape(2, 5, 4, 6).numpy()
    flat = [
        weight.reshape(10, 24),
        np.stack([weight[g, :, i].ravel() for g in range(2) for i in range(4)]),
        np.stack([weight[..., k].ravel() for k in range(6)]),
    ]
    modes = Evidence(weight, 1e-7).modes
    assert [mode.fourth for mode in modes] == pytest.approx([twin.sphericity(one) for one in flat])
    tops = [np.linalg.norm(one / np.sqrt(np.mean(one**2)), 2) ** 2 for one in flat]
    assert [mode.largest for mode in modes] == pytest.approx(tops)


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("size", [(1, 30, 40, 1), (1, 12, 10, 9)])
def test_statistics_are_standard(family, size):
    """Over 300 draws each z has mean 0 and deviation 1, and 95 % quantiles near 1.96, on small layers too."""
    z = []
    for seed in range(300):
        evidence = Evidence(Law(family, 0.5).draw(size, generator(seed)).numpy(), 1e-7)
        john = [mode.john_z(SHAPES[family].fourth) for mode in evidence.modes]
        z.append([evidence.variance_z(family, 0.5), evidence.mean_z(0.5), evidence.kurtosis_z(family), *john])
    z = np.array(z)
    assert (np.abs(z.mean(0)) < 4 / 300**0.5).all()
    assert (np.abs(z.std(0) - 1) < 4 / 600**0.5).all()
    assert (np.mean(np.abs(z) > 1.96, axis=0) < 0.1).all()


def test_the_edge_is_tracy_and_widoms():
    """The largest singular values of 300 normal matrices have that law's mean -1.2065 and deviation 1.268."""
    drawn = (np.random.default_rng(seed).normal(size=(30, 50)) for seed in range(300))
    edges = [Spectrum(30, 50, 0.0, float(np.linalg.norm(one, 2)) ** 2).edge() for one in drawn]
    assert np.mean(edges) == pytest.approx(-1.2065, abs=4 * 1.268 / 300**0.5)
    assert np.std(edges) == pytest.approx(1.268, rel=0.2)


def test_an_outlier_on_a_flat_spectrum_is_seen():
    """An orthogonal matrix and one direction: the fourth moment may be a random one's, the edge is not."""
    matrix = Law("orthogonal", 1.0).draw((1, 100, 128, 1), generator(0)).numpy()[0, ..., 0]
    u, v = (np.where(np.random.default_rng(0).permutation(n) < n / 2, 1, -1) / n**0.5 for n in (100, 128))
    made = [Evidence((matrix + t * np.outer(u, v))[None, ..., None], 1e-7) for t in np.linspace(2, 4, 41)]
    near = min(made, key=lambda one: one.spread_z("normal"))
    assert near.spread_z("normal") < FAR
    assert near.edge() > EDGE
    assert not near.fits("normal", near.second)


def test_moments_are_not_all_of_a_shape():
    """Three values can have a normal distribution's mean, variance and kurtosis; they are not normal."""
    values = np.random.default_rng(0).permutation(np.repeat([-(3**0.5), 0, 3**0.5], [2000, 8000, 2000]))
    evidence = Evidence(values.reshape(1, 100, 120, 1), 1e-7)
    assert (evidence.variance_z("normal", 1), evidence.kurtosis) == (pytest.approx(0, abs=0.1), pytest.approx(3))
    assert max(evidence.spread_z("normal"), evidence.edge()) < FAR
    assert not evidence.fits("normal", 1.0)


def test_laws_of_other_modules():
    """Embeddings, attention and recurrent layers fit torch's own laws; their padding is not counted."""
    for model in (
        nn.Embedding(12, 1000, padding_idx=0),
        nn.LSTM(60, 60),
        nn.GRUCell(60, 70),
        nn.MultiheadAttention(64, 4),
        nn.MultiheadAttention(64, 4, kdim=90, vdim=40),
        nn.Bilinear(20, 20, 30),
        nn.ConvTranspose1d(40, 90, 5),
    ):
        initialize(model, "default", 0)
        result = identify_init(model)
        for row in result.table("layers"):
            # A square matrix of Xavier's with gain 1 is LeCun's.
            square = row["parameter"] == "q_proj_weight"
            assert row["schemes"] == ("default,lecun_uniform" if square else "default")
    names = [row["parameter"] for row in identify_init(nn.MultiheadAttention(8, 2)).table("layers")]
    assert names == ["in_proj_weight[q]", "in_proj_weight[k]", "in_proj_weight[v]", "weight"]


def test_the_model_as_a_whole():
    """The answer is in every layer's set; small layers do not vote, embeddings only need their own reset."""
    sizes = [(60, 60), (60, 200), (200, 2), (2, 2)]
    model = nn.Sequential(nn.Embedding(200, 60), *(nn.Linear(*size) for size in sizes))
    initialize(model, "kaiming_normal", 1)
    result = identify_init(model)
    assert result.table("model") == [{"layers": 5, "told": 4, "schemes": "kaiming_normal"}]
    sets = [row["schemes"] for row in result.table("layers")]
    assert sets[:3] == ["default", "kaiming_normal,xavier_normal", "kaiming_normal"]
    assert sets[-1] == TINY
    assert [row["found"] for row in result.table("biases")] == ["zero"] * 4
    model[2].weight.data.mul_(1.2)
    assert identify_init(model).table("model")[0]["schemes"] == UNKNOWN
    assert identify_init(nn.Linear(3, 3)).table("model")[0]["schemes"] == TINY
    empty = identify_init(nn.ReLU())
    assert (empty.table("layers"), empty.table("model")[0]["schemes"]) == ([], TINY)
    initialize(model, "default", 1)
    assert {row["found"] for row in identify_init(model).table("biases")} == {"default"}


def test_small_layers_get_wider_answers():
    """Of 200 layers of 48 weights the scheme is in the set of nearly all, and sets are larger than one."""
    sizes, hits = [], 0
    for seed in range(200):
        layer = nn.Linear(8, 6)
        initialize(layer, "xavier_normal", seed)
        schemes = found(layer)["schemes"].split(",")
        hits += "xavier_normal" in schemes
        sizes.append(len(schemes))
    assert hits >= 196
    assert np.mean(sizes) > 2


def test_exact_families():
    """Gains, deltas and constants are told; one row is LSUV's only as much as anything's; NaN is no initialisation."""
    layer = nn.Conv2d(6, 8, 3)
    for name, family, gained in [
        ("orthogonal", "orthogonal", 2**0.5),
        ("delta_orthogonal", "delta orthogonal", 1.0),
        ("ones", "constant", math.nan),
        ("zeros", "constant", math.nan),
    ]:
        initialize(layer, name)
        row = found(layer)
        assert (row["family"], row["schemes"]) == (family, name)
        assert row["gain"] == pytest.approx(gained, rel=1e-6, nan_ok=True)
    initialize(layer, "lsuv", data=torch.randn(8, 6, 5, 5))
    row = found(layer)
    assert row["schemes"] == "lsuv"
    assert row["gain"] not in (1.0, 2**0.5)
    layer.weight.data[0] *= 1.001
    assert found(layer)["schemes"] != "lsuv"
    line = nn.Linear(20, 30)
    initialize(line, "delta_orthogonal")
    assert found(line)["schemes"] == "delta_orthogonal"
    single = nn.Linear(400, 1)
    initialize(single, "kaiming_normal", 2)
    assert found(single)["schemes"].split(",")[0] == "kaiming_normal"
    single.weight.data.fill_(0.5)
    assert found(single)["schemes"] == UNKNOWN
    single.weight.data[0, 3] = torch.nan
    assert found(single)["schemes"] == UNKNOWN


def test_half_precision_and_computed_weights():
    """Rounding to bfloat16 does not hide a scheme; a weight norm's product is what counts."""
    layer = nn.Linear(200, 100)
    for name in ("kaiming_uniform", "xavier_normal", "orthogonal"):
        initialize(layer.bfloat16(), name, 1)
        assert found(layer)["schemes"] == name
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(200, 100))
    initialize(normed, "lecun_normal")
    assert found(normed)["schemes"] == "lecun_normal"


def test_what_is_not_read_is_noted_and_lazy_models_are_refused():
    """A matrix of an unknown module is named in the notes."""
    model = nn.Sequential(nn.Linear(3, 3))
    model.position = nn.Parameter(torch.zeros(4, 4))
    assert identify_init(model).notes == ("not read: model.position, a parameter of Sequential",)
    with pytest.raises(BadInput, match="identify the initialisation of LazyLinear"):
        identify_init(nn.LazyLinear(3))
