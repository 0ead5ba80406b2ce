"""Signal: measured sizes against plain hooks, predicted ones against theory and against what random networks do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import netassay as na
from netassay.data import load_data
from netassay.errors import BadInput
from netassay.figures import figure, figures
from netassay.meanfield import correlation_map, gradient_correlation
from netassay.studies.twins import settle
from tests.reference import signal as twin

WIDTH, N = 512, 24
SEEDS = range(4)


class Chain(nn.Module):
    """Linear layers without bias, weights normal with variance `sigma_w2` / fan-in, and one activation between."""

    def __init__(self, layers=20, width=WIDTH, sigma_w2=2.0, act=torch.relu, entry=64):
        super().__init__()
        self.act = act
        self.layers = nn.ModuleList(nn.Linear(entry if i == 0 else width, width, bias=False) for i in range(layers))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=math.sqrt(sigma_w2 / layer.in_features))

    def forward(self, x):
        x = self.layers[0](x)
        for layer in self.layers[1:]:
            x = layer(self.act(x))
        return x


class Residual(nn.Module):
    """Blocks x + f(x) after a first layer: "plain" He, "zero" (last layers at 0), "pre"-activation, "free"."""

    def __init__(self, kind, blocks=10, width=WIDTH, alpha=0.2):
        super().__init__()
        self.kind, self.alpha, self.expected = kind, alpha, [1 + i * alpha**2 for i in range(blocks)]
        self.stem = linear(64, width, 1.0)
        one = 2.0 if kind in ("plain", "zero", "pre") else 1.0
        self.inner = nn.ModuleList(linear(width, width, one, centred=kind == "free") for _ in range(blocks))
        self.last = nn.ModuleList(linear(width, width, 2.0) for _ in range(blocks if kind in ("plain", "zero") else 0))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(blocks if kind == "pre" else 0))
        if kind == "zero":
            for layer in self.last:
                nn.init.zeros_(layer.weight)
        self.head = linear(width, 10, 1.0)

    def branch(self, i, x):
        if self.kind == "pre":
            return self.inner[i](F.relu(self.norms[i](x)))
        if self.kind == "free":
            gain = math.sqrt(2 / (1 - 1 / math.pi))
            return self.alpha * self.inner[i](gain * F.relu(x / math.sqrt(self.expected[i])))
        return self.last[i](F.relu(self.inner[i](F.relu(x))))

    def forward(self, x):
        x = self.stem(x)
        for i in range(len(self.inner)):
            x = x + self.branch(i, x)
        return self.head(x)


def linear(ins, outs, sigma_w2, *, centred=False):
    made = nn.Linear(ins, outs, bias=False)
    nn.init.normal_(made.weight, std=math.sqrt(sigma_w2 / ins))
    if centred:
        with torch.no_grad():
            made.weight -= made.weight.mean(1, keepdim=True)
            made.weight /= made.weight.std(1, keepdim=True) * math.sqrt(ins)
    return made


def data(n=N, features=64, seed=5):
    """Samples of length sqrt(features), so that q is 1 for each; labels in turn."""
    x = torch.randn(n, features, generator=torch.Generator().manual_seed(seed))
    return F.normalize(x) * math.sqrt(features), torch.arange(n) % 10


def columns(model, source=None, **more):
    return na.signal(model, source or data(), **more).tables["layers"].columns


def seeded(make, *args, **more):
    """The columns of one model for each seed."""
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        found.append(columns(make(*args, **more)))
    return found


def per_layer(found, way, side="measured"):
    """The mean factor of a layer, over depth and seeds."""
    steps = [np.log(one[f"{way}_{side}"][1:]) for one in found]
    return float(np.exp(np.mean(steps)))


def tailed(found, way, side):
    return float(np.exp(np.mean([np.log(one[f"{way}_{side}"][-10:]) for one in found])))


@pytest.mark.parametrize(
    ("sigma_w2", "act", "factor", "band"),
    [(2.0, torch.relu, 1.0, 0.02), (1 / 3, torch.relu, 1 / 6, 0.004), (1.0, torch.relu, 0.5, 0.01)],
    ids=["he", "torch's own", "xavier"],
)
def test_factors_of_deep_relu_networks(sigma_w2, act, factor, band):
    """Width 512, 20 layers: 1 for He, 1/6 for torch's own, 1/2 for Xavier, forward and backward, as predicted."""
    found = seeded(Chain, sigma_w2=sigma_w2, act=act)
    for way in ("forward", "backward"):
        assert per_layer(found, way) == pytest.approx(factor, abs=band)
        assert per_layer(found, way, "predicted") == pytest.approx(factor, abs=band / 4)
    np.testing.assert_allclose([one["chi"][1:] for one in found], factor, rtol=0.02)


def test_factors_of_deep_linear_networks():
    """Xavier without activation keeps signal and gradient."""
    found = seeded(Chain, sigma_w2=1.0, act=lambda x: x)
    for way in ("forward", "backward"):
        assert per_layer(found, way) == pytest.approx(1, abs=0.01)
        assert per_layer(found, way, "predicted") == pytest.approx(1, abs=0.003)


def test_torchs_own_scheme_as_it_is_built():
    """Uniform weights of variance 1 / (3 fan-in), as layers draw them: 1/6 a layer."""

    def own():
        made = Chain()
        for layer in made.layers:
            layer.reset_parameters()
        return made

    found = seeded(own)
    assert per_layer(found, "forward") == pytest.approx(1 / 6, abs=0.004)
    assert per_layer(found, "backward") == pytest.approx(1 / 6, abs=0.002)
    for way in ("forward", "backward"):
        assert per_layer(found, way, "predicted") == pytest.approx(1 / 6, abs=0.001)


def test_tanh_below_and_above_the_edge():
    """sigma_w^2 = 0.5 loses half a layer; 2 settles at q* = 0.618 / 2 x 2 with chi = 1.1055, of which 1.087 is seen."""
    below, above = seeded(Chain, sigma_w2=0.5, act=torch.tanh), seeded(Chain, sigma_w2=2.0, act=torch.tanh)
    assert tailed(below, "backward", "measured") == pytest.approx(0.492, abs=0.015)
    assert tailed(below, "backward", "predicted") == pytest.approx(0.5, abs=0.005)
    assert tailed(above, "backward", "measured") == pytest.approx(1.087, abs=0.03)
    assert tailed(above, "backward", "predicted") == pytest.approx(1.1055, abs=0.005)
    np.testing.assert_allclose([one["q_predicted"][-1] for one in above], 0.618, atol=0.01)
    np.testing.assert_allclose(np.mean([one["q_measured"][-1] for one in above]), 0.618, atol=0.03)


def test_relu_correlation_map():
    """Samples that all correlate by 0.311, width 2048: .489 .602 .679 .735 .776, as predicted and as seen."""
    n, found = 12, []
    basis = torch.linalg.qr(torch.randn(64, n + 1, dtype=torch.float64))[0].T
    x = (math.sqrt(0.311) * basis[:1] + math.sqrt(0.689) * basis[1:]).float() * 8
    for seed in range(3):
        torch.manual_seed(seed)
        found.append(columns(Chain(6, width=2048), (x, torch.arange(n))))
    wanted = [0.311, 0.489, 0.602, 0.679, 0.735, 0.776]
    np.testing.assert_allclose(found[0]["c_predicted"], wanted, atol=1e-3)
    np.testing.assert_allclose(np.mean([one["c_measured"] for one in found], 0), wanted, atol=0.035)


def test_gradients_of_two_inputs_grow_apart():
    """c0 = 0.5: random ReLU networks leave of the gradients' correlation what theory says, .667 .472 .267 .113."""
    x = torch.zeros(2, 64)
    x[0, 0], x[1, 0], x[1, 1] = 1, 0.5, math.sqrt(0.75)
    c, wanted = 0.5, 1.0
    for layers in range(1, 9):
        wanted *= gradient_correlation("relu", c)
        c = correlation_map("relu", c)
        if layers not in (1, 2, 4, 8):
            continue
        seen = []
        for seed in range(8):
            torch.manual_seed(seed)
            net = nn.Sequential(Chain(layers, width=1024), nn.ReLU(), linear(1024, 1, 1.0))
            leaf = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(net(leaf).sum(), leaf)
            seen.append(float(F.cosine_similarity(gradient[0], gradient[1], 0)))
        assert np.mean(seen) == pytest.approx(wanted, abs=0.08)


def trunk(found, side="q_measured", name="inner"):
    """Second moments of what goes into each block, by the layer that a block begins with."""
    return [
        [one[side][i] for i, label in enumerate(one["layer"]) if label.startswith(name) or label == "head"]
        for one in found
    ]


def test_residual_blocks_without_norm_double():
    """He in both layers: the second moment doubles with each block; with a last layer of 0 it stays, exactly."""
    found = seeded(Residual, "plain", 8)
    for side in ("q_measured", "q_predicted"):
        inner = np.array([row[:-1] for row in trunk(found, side)])
        steps = np.exp(np.diff(np.log(inner), axis=1).mean())
        assert steps == pytest.approx(2, abs=0.05 if side == "q_measured" else 0.02)
    zero = Residual("zero", 4)
    there = columns(zero)
    x = data()[0]
    stem = float(zero.stem(x).detach().double().square().mean())
    assert there["q_predicted"][0] == pytest.approx(stem, rel=0.05)
    last = [i for i, label in enumerate(there["layer"]) if label.startswith("last")]
    assert there["q_measured"][last].tolist() == there["q_predicted"][last].tolist() == [0.0] * 4
    head = float(zero.head.weight.detach().double().square().mean()) * WIDTH
    assert there["q_predicted"][-1] == pytest.approx(head * there["q_predicted"][0], rel=1e-9)


def test_preactivation_blocks_with_batch_norm_add_one():
    """The branch brings 1 whatever goes in: 1 + l, so 11 after ten blocks."""
    torch.manual_seed(0)
    model, source = Residual("pre", 20), data(256)
    settle(model, load_data(source, batch_size=256))
    there = columns(model, source)
    inner = [i for i, label in enumerate(there["layer"]) if label.startswith("inner")]
    np.testing.assert_allclose(there["q_measured"][inner], 1, rtol=0.1)
    np.testing.assert_allclose(there["q_predicted"][inner], 1, rtol=0.02)
    head = float(model.head.weight.detach().double().square().mean()) * WIDTH
    sizes = there["q_predicted"][-1] / head
    assert sizes == pytest.approx(21, rel=0.02)
    assert there["q_measured"][-1] / head == pytest.approx(21.3, rel=0.15)
    np.testing.assert_allclose(there["g_measured"][inner], there["g_predicted"][inner], rtol=0.25)


def test_normaliser_free_blocks():
    """alpha = 0.2, gamma = sqrt(2 / (1 - 1 / pi)), rows of mean 0: 1 + l alpha^2, 1.8 after 20 blocks."""
    found = seeded(Residual, "free", 20)
    heads = [one["q_predicted"][-1] / one["sigma_w2"][-1] for one in found]
    assert np.mean(heads) == pytest.approx(1.8, rel=0.02)
    inner = np.array([row[:-1] for row in trunk(found, "q_predicted")])
    np.testing.assert_allclose(inner, 1, rtol=0.06)
    np.testing.assert_allclose(np.mean([row[:-1] for row in trunk(found)], 0), 1, rtol=0.06)
    seen = np.mean([one["q_measured"][-1] / one["sigma_w2"][-1] for one in found])
    assert seen == pytest.approx(
        1.8, rel=0.35
    )  # ten outputs make a mean square uncertain by sqrt(2 / 10) / sqrt(seeds)


def model(**more):
    return na.build("mlp[48,40]:act=tanh", **more)


def test_measured_is_what_plain_hooks_see():
    """q, c and g, the last over every pair, though data comes in uneven batches."""
    x, y = data(20)
    found = columns(net := na.build("mlp[24,16]"), (x, y), batch_size=7)
    wanted = np.array(twin.measured(net, x, y, ["fc1", "fc2", "head"]))
    for i, name in enumerate(("q", "c", "g")):
        np.testing.assert_allclose(found[f"{name}_measured"], wanted[:, i], rtol=1e-5)


@pytest.mark.parametrize("act", ["tanh", "relu", "gelu"])
def test_prediction_is_the_recursion_by_dense_sums(act):
    """Forward from the input, backward from the last layer's gradient, with the weights' own mean squares."""
    x, y = data(16)
    net = na.build(f"mlp[64,48,32]:act={act}")
    found = columns(net, (x, y))
    weights = [layer.weight.detach() for layer in net if isinstance(layer, nn.Linear)]
    q = float(x.double().square().mean())
    unit = F.normalize(x.double())
    c = float((unit @ unit.T).sum() - 16) / (16 * 15)
    wanted = twin.perceptron(weights, twin.FUNCTIONS[act], q, c, found["g_measured"][-1])
    for i, name in enumerate(("q", "c", "g")):
        np.testing.assert_allclose(found[f"{name}_predicted"], np.array(wanted)[:, i], rtol=2e-3)


def test_samples_are_the_first_asked_for():
    """The rest of the data is not looked at, whatever the batches."""
    x, y = data(40)
    cut = na.signal(model(), (x, y), samples=10, batch_size=7)
    assert cut.provenance["samples"] == 10
    part = columns(model(), (x[:10], y[:10]), batch_size=7)
    for name, values in cut.tables["layers"].columns.items():
        np.testing.assert_array_equal(values, part[name])


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [(3, 1, 1, 1, 1), (5, 2, 2, 1, 2), (3, 1, 2, 2, 4), (2, 2, 0, 1, 1)],
)
def test_convolutions_count_what_they_meet(kernel, stride, padding, dilation, groups):
    """Fan-in and fan-out in the mean over places, borders, strides and groups included, each step counted."""
    shape = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": False}
    net = nn.Sequential(
        nn.Conv2d(4, 8, 1, bias=False), nn.Tanh(), nn.Conv2d(8, 12, kernel, **shape), nn.Flatten(), nn.LazyLinear(3)
    )
    x = torch.randn(8, 4, 9, 7)
    net(x)
    found = columns(net, (x, torch.arange(8) % 3))
    square = float(net[2].weight.detach().double().square().mean())
    rows, columns_ = (twin.taps(size, kernel, stride, padding, dilation) for size in (9, 7))
    steps, outs = rows[0] * columns_[0], rows[1] * columns_[1]
    assert found["sigma_w2"][1] == pytest.approx(square * 8 / groups * steps / outs)
    _, second, slope = twin.moments(torch.tanh, found["q_predicted"][0])
    assert found["q_predicted"][1] == pytest.approx(found["sigma_w2"][1] * second, rel=1e-3)
    back = square * 12 / groups * steps / (9 * 7) * slope
    assert found["backward_predicted"][1] == pytest.approx(back, rel=1e-3)


def test_transposed_convolutions_count_as_their_transpose_does():
    """Forward and backward change places."""
    x = torch.randn(8, 4, 5, 5)
    net = nn.Sequential(
        nn.Conv2d(4, 6, 1), nn.ConvTranspose2d(6, 4, 3, 2, 1, bias=False), nn.Flatten(), nn.Linear(324, 3)
    )
    found = columns(net, (x, torch.arange(8) % 3))
    square = float(net[1].weight.detach().double().square().mean())
    steps = twin.taps(9, 3, 2, 1, 1)[0] ** 2
    assert found["sigma_w2"][1] == pytest.approx(square * 6 * steps / 81)
    assert found["backward_predicted"][1] == pytest.approx(square * 4 * steps / 25)


def test_borders_of_the_input_count_by_what_is_there():
    """Images that are empty at the border lose nothing to padding."""
    x = torch.zeros(6, 2, 9, 9)
    x[:, :, 3:6, 3:6] = torch.randn(6, 2, 3, 3)
    net = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.Flatten(), nn.LazyLinear(3))
    net(x)
    found = columns(net, (x, torch.arange(6) % 3))
    square = float(net[0].weight.detach().double().square().mean())
    assert found["q_predicted"][0] == pytest.approx(square * 18 * float(x.double().square().mean()))


def ratios(spec, source, seeds, name):
    """Measured over predicted, a row for each seed."""
    found = [columns(na.build(spec, seed=seed), source) for seed in range(seeds)]
    return np.array([one[f"{name}_measured"] / one[f"{name}_predicted"] for one in found]), found


@pytest.mark.parametrize(
    ("spec", "band"),
    [
        ("mlp[256,256,256]:input=768", 0.15),
        ("cnn:input=16", 0.5),
        ("resnet[1,1]:input=16,width=32,norm=none,classes=10", 0.35),
    ],
)
def test_random_networks_do_what_is_predicted(spec, band):
    """Over six seeds, at every layer: the geometric mean of measured over predicted q and g, and c within 0.1."""
    source = na.load_data("noise:normal,size=16,n=16", batch_size=16)
    for name in ("q", "g"):
        found, tables = ratios(spec, source, 6, name)
        np.testing.assert_allclose(np.exp(np.log(found).mean(0)), 1, atol=band)
    gap = np.mean([one["c_measured"] - one["c_predicted"] for one in tables], 0)
    np.testing.assert_allclose(gap, 0, atol=0.1)


class Odd(nn.Module):
    """A model that does one thing to what lies between two layers."""

    def __init__(self, function, width=64):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, width), nn.Linear(width, width), nn.Linear(width, 10)
        self.function = function

    def forward(self, x):
        return self.head(torch.tanh(self.second(self.function(self.first(x)))))


def odd(function, width=64):
    torch.manual_seed(0)
    return na.signal(Odd(function, width), data())


SAME_AS_RELU = {
    "functional": F.relu,
    "method": lambda x: x.relu(),
    "in place": lambda x: F.relu(x, inplace=True),
    "method in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "module": nn.ReLU(inplace=True),
    "reshaped": lambda x: F.relu(x.view(-1, 8, 8).transpose(1, 2)).transpose(1, 2).reshape(-1, 64),
    "split": lambda x: torch.cat([F.relu(part) for part in x.chunk(2, 1)], 1),
    "scaled": lambda x: F.relu(3 * x) / 3,
    "dropout": lambda x: F.dropout(F.relu(x), training=False),
}


@pytest.mark.parametrize("way", SAME_AS_RELU)
def test_one_function_however_it_is_written(way):
    """The same prediction, and nothing measured on the way."""
    ours, plain = odd(SAME_AS_RELU[way]), odd(torch.relu)
    assert not any(note.startswith("anchored") for note in ours.notes)
    for name in ("q_predicted", "c_predicted", "g_predicted"):
        np.testing.assert_allclose(ours.tables["layers"].columns[name], plain.tables["layers"].columns[name], rtol=1e-5)
    assert not ours.tables["layers"].columns["anchored"].any()
    assert ours.tables["layers"].columns["g_anchored"].tolist() == [False, False, True]


def written(x):
    """Change a part, by which the whole changes without a word."""
    x[:, :8].fill_(1.0)
    return x + 0.0


UNKNOWN = {
    "sin": torch.sin,
    "sort": lambda x: x.sort(1)[0],
    "softmax": lambda x: 8 * x.softmax(1),
    "product": lambda x: x * x.sigmoid(),
    "itself": lambda x: x + x.relu(),
    "choice": lambda x: torch.where(x > 0, x, 0.1),
    "written to": lambda x: written(x),
}


@pytest.mark.parametrize("way", UNKNOWN)
def test_what_has_no_rule_is_measured_and_named(way):
    """The prediction goes on from the measurement, the gradient from the next layer back, and the notes say so."""
    result = odd(UNKNOWN[way], width=256)
    there = result.tables["layers"].columns
    assert there["anchored"].tolist() == [False, True, False]
    assert there["g_anchored"].tolist() == [True, False, True]
    assert there["g_predicted"][0] == there["g_measured"][0]
    assert any("goes on from what is measured after" in note for note in result.notes)
    np.testing.assert_allclose(there["q_predicted"][1], there["q_measured"][1], rtol=0.35)


def test_a_name_of_what_was_measured():
    """The function is named, and how often it was called."""
    assert any(note.endswith("after sin (2 calls)") for note in odd(lambda x: torch.sin(torch.sin(x))).notes)


def test_a_layer_that_is_used_twice_has_two_rows():
    """Each call has its own numbers; gradients of both go to what both have used."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x):
            x = F.relu(self.layer(x))
            return self.head(F.relu(self.layer(x)) + x)

    there = columns(Twice())
    assert there["layer"].tolist() == ["layer#0", "layer#1", "head"]
    np.testing.assert_allclose(there["g_measured"], there["g_predicted"], rtol=0.3)
    direct = there["g_predicted"][2] * 10 * float(there["sigma_w2"][2]) / 64 * 0.5
    assert there["g_predicted"][0] > direct


def test_adding_constants_and_itself():
    """A constant is what all samples share; twice the same tensor is four times its square."""
    shift = odd(lambda x: x + torch.ones(64)).tables["layers"].columns
    plain = odd(lambda x: x.view(-1, 64)).tables["layers"].columns
    twice = odd(lambda x: x + x).tables["layers"].columns
    weight = shift["sigma_w2"][1]
    assert shift["q_predicted"][1] - plain["q_predicted"][1] == pytest.approx(weight, rel=0.2)
    assert shift["c_predicted"][1] > plain["c_predicted"][1] + 0.3
    bias = plain["q_predicted"][1] - weight * plain["q_predicted"][0]
    assert twice["q_predicted"][1] - bias == pytest.approx(4 * (plain["q_predicted"][1] - bias))
    assert twice["backward_predicted"][1] == pytest.approx(4 * plain["backward_predicted"][1])


class Tokens(nn.Module):
    """Integers, embedded, through a transformer's block."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.block(self.embedding(x)).mean(1))


def test_a_transformer_is_followed_where_it_can_be():
    """Attention is measured and named; the linear layers behind a layer norm are predicted."""
    result = na.signal(Tokens(), (torch.randint(20, (24, 7)), torch.arange(24) % 5))
    there = result.tables["layers"].columns
    assert there["layer"].tolist() == ["embedding", "block.self_attn", "block.linear1", "block.linear2", "head"]
    assert any("multi_head_attention_forward" in note for note in result.notes)
    np.testing.assert_allclose(there["q_measured"][:4], there["q_predicted"][:4], rtol=0.2)
    assert np.isfinite(there["g_predicted"]).all()


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm(64, elementwise_affine=False), nn.GroupNorm(2, 64), nn.RMSNorm(64), nn.BatchNorm1d(64)]
)
def test_norms_bring_signal_to_their_gain(norm):
    """What comes out has mean square 1, and gradient is divided by the variance that went in."""
    model = Odd(lambda x: x)
    model.function = nn.Sequential(nn.Linear(64, 64), norm)
    source = data(64)
    settle(model, load_data(source, batch_size=64))
    there = columns(model, source)
    bias = float(model.second.bias.detach().double().square().mean())
    assert there["q_predicted"][2] == pytest.approx(there["sigma_w2"][2] + bias, rel=0.01)
    np.testing.assert_allclose(there["q_measured"], there["q_predicted"], rtol=0.45)
    np.testing.assert_allclose(there["g_measured"], there["g_predicted"], rtol=0.45)
    assert there["backward_measured"][2] == pytest.approx(there["backward_predicted"][2], rel=0.2)


def test_fresh_batch_norms_scale_nothing_and_are_named():
    """In eval mode, statistics of 0 and 1 hand the signal on."""
    result = na.signal(na.build("mlp[64,64]:norm=batch"), data())
    there = result.tables["layers"].columns
    assert any("seen no batch" in note and "norm1" in note for note in result.notes)
    np.testing.assert_allclose(there["q_predicted"][1] / there["q_predicted"][0], there["sigma_w2"][1] / 2, rtol=1e-4)


def test_rows_that_no_chance_would_sum_so_are_named():
    """Ones pass the mean on in full; the prediction takes it along, and says that weights are not independent."""
    net = Odd(torch.relu)
    nn.init.ones_(net.second.weight)
    result = na.signal(net, data())
    there = result.tables["layers"].columns
    assert any("not independent" in note and "second" in note for note in result.notes)
    assert there["q_measured"][1] == pytest.approx(there["q_predicted"][1], rel=0.3)
    assert not any("not independent" in note for note in odd(torch.relu).notes)


def test_figures_show_both_lines():
    """Three figures, each with what was measured and what is predicted."""
    result = na.signal(model(), data())
    drawn = figures({"": result})
    assert [one.name for one in drawn] == ["signal", "correlation", "backward"]
    for one, name in zip(drawn, "qcg", strict=True):
        assert list(one.series) == ["measured", "predicted"]
        for side, values in one.series.items():
            np.testing.assert_array_equal(values, result.tables["layers"].columns[f"{name}_{side}"])
    assert [one.log for one in drawn] == [True, False, True]
    assert figure({"": result}, "backward").title.startswith("Gradient")


def test_same_bits_again():
    """Two looks give equal tables, and nothing depends on chance."""
    one, two = (na.signal(model(), data()).tables["layers"].columns for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_refusals_say_what_to_give():
    """A model without weights, and one sample."""
    with pytest.raises(BadInput, match="no layer with a weight"):
        na.signal(nn.Sequential(nn.ReLU(), nn.Flatten()), data())
    with pytest.raises(BadInput, match="correlation needs two samples"):
        na.signal(model(), data(), samples=1)
