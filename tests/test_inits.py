"""Initialisation: what a reset or a scheme draws, by which law, what it cannot, and what stays."""

from __future__ import annotations

import math
import random
import warnings
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.errors import BadInput, UnknownName
from netassay.inits import INITS, Law, Scheme, fans, identify_init, initialize, reset
from netassay.inits.laws import own_law
from netassay.zoo import build
from tests.reference import inits as twin


class Own(nn.Module):
    """Holds a parameter and has no reset; its buffer is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 7.0))
        self.register_buffer("grid", torch.arange(3.0))


class Half(nn.Linear):
    """Resets its weight only."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)


class Failing(nn.Linear):
    """Cannot be reset after its construction."""

    def reset_parameters(self) -> None:
        if hasattr(self, "made"):
            raise RuntimeError("later")
        super().reset_parameters()
        self.made = True


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_a_reset_is_the_modules_own_scheme():
    """Every layer gets what its own reset_parameters draws on the seed, in the order of the modules."""
    model = build("tiny10", seed=9)
    outcome = reset(model, seed=4)
    twin = build("tiny10", seed=8)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        for module in twin.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    assert all(torch.equal(value, twin.state_dict()[key]) for key, value in model.state_dict().items())
    assert outcome.touched == [f"{kind}{i}" for i in range(1, 9) for kind in ("conv", "bn")] + ["fc"]
    assert outcome.untouched == []


def test_running_statistics_are_reset():
    """Means go to 0, variances to 1 and the counter to 0."""
    model = nn.Sequential(nn.BatchNorm1d(3))
    model(torch.randn(9, 3) + 5)
    assert reset(model, 0).touched == ["0"]
    assert model[0].running_mean.tolist() == [0] * 3
    assert model[0].running_var.tolist() == [1] * 3
    assert model[0].num_batches_tracked == 0


def test_one_seed_gives_the_same_bits_and_leaves_the_global_state():
    """Two resets with one seed are equal, another differs, and the global state, modes and flags stay."""
    model = build("mlp[8]")
    model.fc1.weight.requires_grad_(False)
    model.act1.eval()
    before = torch.get_rng_state()
    reset(model, 1)
    first = state(model)
    reset(model, 2)
    assert not torch.equal(model.fc1.weight, first["fc1.weight"])
    reset(model, 1)
    assert all(torch.equal(value, first[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)
    assert (model.fc1.weight.requires_grad, model.head.weight.requires_grad) == (False, True)
    assert (model.act1.training, model.training) == (False, True)


@pytest.mark.parametrize(
    ("model", "touched", "untouched"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2), Own()), ["0"], ["1"]),
        (lambda: Own(), [], [""]),
        (lambda: nn.Sequential(Half(2, 2)), [], ["0"]),
        (lambda: nn.Sequential(Failing(2, 2)), [], ["0"]),
        (lambda: nn.Sequential(nn.LazyLinear(2)), [], ["0"]),
        (lambda: nn.Sequential(nn.ReLU(), nn.LayerNorm(2, elementwise_affine=False)), [], []),
        (lambda: nn.MultiheadAttention(4, 2), ["", "out_proj"], []),
    ],
)
def test_what_cannot_be_drawn_keeps_what_it_had(model, touched, untouched):
    """Modules with parameters and no reset of them are named, and hold every bit they held."""
    made = model()
    lazy = any(isinstance(module, nn.LazyLinear) for module in made.modules())
    before = {} if lazy else state(made)
    outcome = reset(made, 0)
    assert (outcome.touched, outcome.untouched) == (touched, untouched)
    for name in untouched:
        for key, value in [] if lazy else made.get_submodule(name).named_parameters(recurse=False):
            assert torch.equal(value, before[f"{name}.{key}".removeprefix(".")])


def test_integers_are_no_draws():
    """A parameter of integers stays what it is, and what lies beside it is drawn."""
    made, plain = nn.Linear(2, 2), nn.Linear(2, 2)
    made.taken = nn.Parameter(torch.tensor([1, 0]), requires_grad=False)
    assert reset(made, 0) == reset(plain, 0) == ([""], [])
    assert torch.equal(made.weight, plain.weight)
    assert made.taken.tolist() == [1, 0]


COMPUTED = {
    "weight norm": nn.utils.parametrizations.weight_norm,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("bias", [True, False])
def test_what_a_weight_is_computed_from_is_drawn(kind, bias):
    """By the layer's own law before the computation, whatever was there: NaN too; same seed, same bits."""
    made = [nn.Sequential(COMPUTED[kind](nn.Linear(6, 5, bias=bias))) for _ in range(2)]
    with torch.no_grad():
        for tensor in [*made[1].parameters(), *made[1].buffers()]:
            tensor.fill_(torch.nan)
    for model in made:
        assert reset(model, 0) == (["0"], [])
    assert all(torch.equal(a, b) for a, b in zip(state(made[0]).values(), state(made[1]).values(), strict=True))
    plain = nn.Sequential(nn.Linear(6, 5, bias=bias))
    reset(plain, 0)
    weight, drawn = made[0][0].weight, plain[0].weight
    if kind == "weight norm":
        assert torch.allclose(weight, drawn, atol=1e-6)
    elif kind == "spectral norm":
        assert torch.linalg.matrix_norm(weight.detach(), 2) == pytest.approx(1, abs=0.02)
        assert torch.allclose(weight / weight.norm(), drawn / drawn.norm(), atol=1e-5)
    assert all(one.training for one in made[0].modules())


def test_parametrized_weights_of_old_are_named_not_claimed():
    """An old weight norm's own parameters are out of its layer's reach, so they are untouched, and so what cannot be
    assigned."""
    one_way = nn.Sequential(nn.Linear(2, 2))
    nn.utils.parametrize.register_parametrization(one_way[0], "weight", nn.Softplus())
    before = state(one_way)
    assert reset(one_way, 0) == ([], ["0"])
    assert all(torch.equal(value, before[key]) for key, value in one_way.state_dict().items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2)))
    before = state(old)
    assert reset(old, 0) == ([], ["0"])
    assert all(torch.equal(value, before[key]) for key, value in old.state_dict().items())


KINDS = {
    "linear": lambda: nn.Linear(6, 4),
    "wide": lambda: nn.Linear(4, 6),
    "conv": lambda: nn.Conv2d(3, 4, 3),
    "grouped": lambda: nn.Conv1d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(3, 3, 3, groups=3),
    "transposed": lambda: nn.ConvTranspose2d(3, 5, (3, 2)),
    "transposed grouped": lambda: nn.ConvTranspose1d(4, 2, 3, groups=2),
    "conv3d": lambda: nn.Conv3d(2, 3, 2),
}
SPACE = {nn.Linear: (), nn.Conv1d: (9,), nn.ConvTranspose1d: (9,), nn.Conv3d: (5, 5, 5)}


def inputs(layer, N=1):
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    return torch.randn(N, channels, *SPACE.get(type(layer), (9, 9)))


@pytest.mark.parametrize("kind", KINDS)
def test_fans_are_what_counting_gives(kind):
    """Fan-in counts the inputs of one output, fan-out the outputs of one input, groups and transposes included."""
    layer = KINDS[kind]()
    nn.init.ones_(layer.weight)
    assert fans(layer)[:2] == twin.fans(layer, inputs(layer))


def test_fans_of_parts_and_refusals():
    """A bilinear layer's inputs are products, projections are matrices of their own; others are refused."""
    assert fans(nn.Bilinear(3, 4, 5))[:2] == (12, 5)
    assert fans(nn.MultiheadAttention(6, 2), "in_proj_weight[k]")[:2] == (6, 6)
    assert fans(nn.MultiheadAttention(6, 2, kdim=4), "k_proj_weight")[:2] == (4, 6)
    with pytest.raises(BadInput, match="fans of ReLU"):
        fans(nn.ReLU())
    with pytest.raises(UnknownName, match="weight of MultiheadAttention 'weight'"):
        fans(nn.MultiheadAttention(6, 2))


def opened(layer):
    """The weight as `(groups, out, in * taps)`, by hand."""
    weight, g = layer.weight.detach().double(), getattr(layer, "groups", 1)
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        weight = torch.cat([block.transpose(0, 1) for block in weight.chunk(g)])
    return weight.reshape(g, weight.shape[0] // g, *weight.shape[1:])


def predicted(name, layer):
    """The first four moments of an entry, by the scheme's published formula; None where there is none."""
    fan_in, fan_out = twin.fans(layer, inputs(layer))
    torch_fan = layer.weight[0].numel()
    variance = {
        "kaiming": 2 / fan_in,
        "xavier": 4 / (fan_in + fan_out),
        "lecun": 1 / fan_in,
        "default": 1 / (3 * torch_fan),
    }.get(name.split("_")[0])
    if variance is not None:
        return twin.moments("normal" if "normal" in name else "uniform", variance)
    if name == "truncated_normal":
        return twin.moments("truncated", 0.02)
    _, out, into, *kernel = opened(layer).shape
    taps = math.prod(kernel)
    if name == "orthogonal":
        return twin.haar_moments(out, into * taps, 2**0.5)
    if name == "delta_orthogonal":
        return [m / taps for m in twin.haar_moments(out, into, 1.0)]
    return {"ones": [1.0] * 4, "zeros": [0.0] * 4}.get(name)


@pytest.mark.parametrize("kind", ["linear", "conv", "grouped", "transposed"])
@pytest.mark.parametrize("name", [name for name in INITS if name != "lsuv"])
def test_moments_are_the_formulas(name, kind):
    """Over 200 seeds the first four moments lie within 4 standard errors of what was published."""
    layer = KINDS[kind]()
    nn.init.ones_(layer.weight)
    expected, seen = predicted(name, layer), []
    for seed in range(200):
        initialize(layer, name, seed)
        seen.append([float((layer.weight.detach().double() ** k).mean()) for k in (1, 2, 3, 4)])
    seen = torch.tensor(seen, dtype=torch.float64)
    error = seen.std(0) / 200**0.5
    assert ((seen.mean(0) - torch.tensor(expected)).abs() <= 4 * error + 1e-7).all()
    variance = INITS[name].variance(fans(layer))
    if variance is not None:
        assert variance == pytest.approx(expected[1] - expected[0] ** 2, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "gain"), [("orthogonal", 2**0.5), ("delta_orthogonal", 1.0)])
def test_matrices_are_orthogonal(name, gain, kind):
    """The shorter side of each group's matrix is orthonormal times the gain to 1e-6; a delta has one tap only."""
    layer = KINDS[kind]()
    initialize(layer, name, seed=3)
    blocks = opened(layer)
    if name == "delta_orthogonal" and blocks.dim() > 3:
        centre = (..., *(size // 2 for size in blocks.shape[3:]))
        rest = blocks.clone()
        rest[centre] = 0
        assert not rest.any()
        blocks = blocks[centre]
    for block in blocks.flatten(2):
        short = block if block.shape[0] <= block.shape[1] else block.T
        assert torch.allclose(short @ short.T / gain**2, torch.eye(len(short), dtype=torch.float64), atol=1e-6)


def test_delta_orthogonal_convolutions_keep_the_norm():
    """At stride 1 and with no fewer outputs than inputs, to float64 precision and for every input."""
    layer = nn.Conv2d(5, 8, 3, padding=1, bias=False).double()
    initialize(layer, "delta_orthogonal")
    x = torch.randn(4, 5, 7, 7, dtype=torch.float64)
    kept = layer(x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    assert torch.allclose(kept, torch.ones_like(kept), rtol=0, atol=1e-14)


def outputs(model, x):
    """The variance of every weight layer's output."""
    found = {}
    with torch.no_grad(), na.visit(model, on_forward=lambda r: found.setdefault(r.layer.name, float(r.y.var()))):
        model.eval()(x)
    return found


@pytest.mark.parametrize("spec", ["tiny10", f"mlp[{','.join(['16'] * 12)}]", "resnet[1,1]:width=4"])
def test_lsuv_gives_every_layer_unit_variance(spec):
    """On the batch it was scaled by, every convolution's and linear layer's output has variance 1 within 1 %."""
    model = build(spec)
    x = 100 * torch.rand(16, *model.input_shape)
    outcome = initialize(model, "lsuv", data=SimpleNamespace(x=x))
    found = outputs(model, x)
    scaled = [row.layer for row in outcome.rows if row.how == "scheme"]
    assert len(scaled) >= 4
    for name in scaled:
        assert found[name] == pytest.approx(1, abs=0.01)


def test_lsuv_on_noise_and_what_it_cannot_scale():
    """Without data it takes noise of the model's shape; what was not seen, or puts out nothing, is noted and left."""
    model = nn.Sequential(OrderedDict(a=nn.Linear(4, 4), cut=nn.Threshold(1e9, 0.0), b=nn.Linear(4, 4)))
    model.spare = nn.Linear(2, 2)
    model.forward = lambda x: model.b(model.cut(model.a(x)))
    model.input_shape = (4,)
    notes = {row.name: row.note for row in initialize(model, "lsuv").rows}
    assert "standard deviation 0" in notes["b.weight"]
    assert "not seen" in notes["spare.weight"]
    assert notes["a.weight"] == ""
    assert torch.allclose(model.b.weight @ model.b.weight.T, torch.eye(4), atol=1e-6)
    del model.input_shape
    with pytest.raises(BadInput, match=r"no data.*\n.*data=x"):
        initialize(model, "lsuv")
    before = state(model)
    for wrong in ("digits", torch.zeros(0, 4), torch.zeros(2, 5)):
        with pytest.raises(BadInput, match="lsuv"):
            initialize(model, "lsuv", data=wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Whole(nn.Module):
    """One of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.full((3, 3), 7.0))
        self.embed = nn.Embedding(11, 8)
        self.attend = nn.MultiheadAttention(8, 2, add_bias_kv=True)
        self.conv = nn.Conv1d(8, 8, 3)
        self.norm = nn.BatchNorm1d(8)
        self.lstm = nn.LSTM(8, 4)
        self.prelu = nn.PReLU()
        self.head = nn.Linear(8, 11)
        self.head.weight = self.embed.weight
        self.smooth = nn.utils.parametrizations.weight_norm(nn.Linear(8, 5))
        self.bounded = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 5))


def test_the_rule():
    """Matrices by the scheme, biases zero, norms one and zero, all else by its own reset, the rest named."""
    model = Whole()
    model.norm.running_mean.fill_(3)
    before = state(model)
    outcome = initialize(model, "orthogonal", seed=1)
    how = {row.name: row.how for row in outcome.rows}
    by = {kind: {name for name, one in how.items() if one == kind} for kind in set(how.values())}
    assert by["scheme"] == {"attend.in_proj_weight", "attend.out_proj.weight", "conv.weight", "smooth.weight"}
    biases = {"attend.in_proj_bias", "attend.bias_k", "attend.bias_v", "attend.out_proj.bias", "conv.bias", "norm.bias"}
    assert by["zero"] == biases | {"head.bias", "smooth.bias", "bounded.bias"}
    assert by["one"] == {"norm.weight"}
    assert by["shared"] == {"head.weight"}
    assert by["kept"] == {"own", "bounded.weight"} == set(outcome.untouched)
    assert by["own reset"] == {
        "embed.weight",
        "norm.buffers",
        "prelu.weight",
        *(f"lstm.{n}" for n in model.lstm._flat_weights_names),
    }
    after = model.state_dict()
    assert not any(after[name].any() for name in by["zero"])
    assert after["norm.weight"].tolist() == [1] * 8
    assert not after["norm.running_mean"].any()
    for key, value in before.items():
        if key.startswith(("own", "bounded.parametrizations")):
            assert torch.equal(after[key], value)
    for matrix in (*model.attend.in_proj_weight.chunk(3), model.smooth.weight):
        assert torch.allclose(matrix @ matrix.T, 2 * torch.eye(len(matrix)), atol=1e-5)
    assert model.head.weight is model.embed.weight
    tied = nn.Sequential(nn.LayerNorm(3), nn.LayerNorm(3))
    tied[1].bias = tied[0].weight
    assert [row.how for row in initialize(tied, "ones").rows] == ["one", "zero", "one", "shared"]
    assert tied[1].bias.tolist() == [1] * 3
    assert "head.weight" not in outcome.touched
    assert "conv.weight             scheme     std " in repr(outcome)
    assert repr(outcome).startswith("Initialized(scheme='orthogonal', seed=1: 21 touched, 2 untouched)")


def test_default_is_every_modules_own_reset():
    """Biases too; attention as its constructor has it, its output bias zero; a computed weight is kept."""
    model = Whole()
    outcome = initialize(model, "default", seed=1)
    assert outcome.untouched == ["own", "smooth.weight", "bounded.weight"]
    assert model.conv.bias.any()
    assert not model.attend.out_proj.bias.any()
    assert float(model.attend.in_proj_weight.detach().abs().max()) <= (6 / 32) ** 0.5


def test_a_draw_hangs_on_seed_and_name_only():
    """A layer beside others gets what it gets alone; another seed or name gives other numbers, one seed the same."""
    alone, beside = nn.Sequential(nn.Linear(5, 5)), nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    for name in ("kaiming_normal", "orthogonal", "default"):
        initialize(alone, name, 3)
        initialize(beside, name, 3)
        assert torch.equal(alone[0].weight, beside[0].weight)
        assert not torch.equal(beside[0].weight, beside[1].weight)
        first = state(alone)
        initialize(alone, name, 4)
        assert not torch.equal(alone[0].weight, first["0.weight"])


def test_initialize_writes_parameters_and_nothing_else():
    """Modes, gradients, frozen flags, hooks and every generator stay; bfloat16 gets what float32 gets, rounded."""
    model = build("tiny10")
    model.conv1.weight.requires_grad_(False)
    model.bn2.eval()
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    model.fc.register_forward_hook(lambda *_: None)
    flags = [module.training for module in model.modules()]
    chance, python, arrays = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    for name in INITS:
        old = model.conv1.weight.clone()
        initialize(model, name, 5)
        assert not torch.equal(model.conv1.weight, old)
    assert [module.training for module in model.modules()] == flags
    assert not model.conv1.weight.requires_grad
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight))
    assert len(model.fc._forward_hooks) == 1
    assert torch.equal(torch.get_rng_state(), chance)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == (python, arrays.tolist())
    wide, half = nn.Linear(9, 9), nn.Linear(9, 9).bfloat16()
    initialize(wide, "kaiming_uniform")
    initialize(half, "kaiming_uniform")
    assert torch.equal(wide.weight.bfloat16(), half.weight)


def test_a_scheme_of_ones_own():
    """A law of the user's is drawn like any other; a matrix without entries is left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Linear(50, 40), nn.Linear(0, 3))
    mine = Scheme("mine", "here", lambda fans: Law("uniform", 3.0 * fans.fan_out))
    outcome = initialize(model, mine, 2)
    assert (outcome.scheme, outcome.untouched, mine.family) == ("mine", ["1.weight"], "uniform")
    assert float(model[0].weight.detach().abs().max()) == pytest.approx((9 * 40) ** 0.5, rel=0.01)


def test_refusals_lose_nothing():
    """An unknown scheme is answered with all there are; lazy and meta models and bad seeds by what to do."""
    model = nn.Linear(3, 3)
    before = state(model)
    with pytest.raises(UnknownName, match=r"use one of kaiming_normal, .*, lsuv"):
        initialize(model, "he")
    with pytest.raises(BadInput, match="a seed is a whole number"):
        initialize(model, "ones", -1)
    assert all(torch.equal(value, before[key]) for key, value in state(model).items())
    with pytest.raises(BadInput, match="no shape yet"):
        initialize(nn.LazyLinear(3), "ones")
    with pytest.raises(BadInput, match="meta device"):
        initialize(nn.Linear(3, 3, device="meta"), "ones")
    with pytest.raises(UnknownName, match="scheme with a law 'default'"):
        INITS["default"].draw((1, 2, 2), torch.Generator())


def test_facts_about_defaults():
    """`calculate_gain`'s numbers, and the laws of torch's own resets, measured on what its constructors draw."""
    assert (30 * own_law(nn.Linear(30, 7), "weight").scale) == pytest.approx(
        nn.init.calculate_gain("leaky_relu", 5**0.5) ** 2
    )
    assert INITS["orthogonal"].law(fans(nn.Linear(3, 3))).scale == nn.init.calculate_gain("relu")
    for model, name, columns in [
        (nn.Embedding(300, 40), "weight", 1),
        (nn.MultiheadAttention(80, 2), "in_proj_weight", 80),
        (nn.LSTM(70, 50), "weight_ih_l0", 50),
        (nn.ConvTranspose2d(40, 20, 4), "weight", 20 * 16),
        (nn.Bilinear(30, 20, 30), "weight", 30),
    ]:
        variance = float(getattr(model, name).detach().double().var())
        assert variance == pytest.approx(own_law(model, name).scale, rel=0.03)
        scaled = {nn.Embedding: 1, nn.MultiheadAttention: 0.5}.get(type(model), 1 / 3)
        assert own_law(model, name).scale * columns == pytest.approx(scaled)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: initialize("mlp[8]", "ones"), "str, which is no torch.nn.Module"),
        (lambda: identify_init(None), "NoneType, which is no torch.nn.Module"),
        (lambda: initialize(nn.Linear(2, 2), None), "scheme None"),
        (lambda: initialize(nn.Linear(2, 2), ["ones"]), r"scheme \['ones'\]"),
        (lambda: initialize(nn.Linear(2, 2), "ones", 1.5), "seed=1.5"),
        (lambda: initialize(nn.Linear(2, 2), "ones", True), "seed=True"),
    ],
)
def test_what_is_no_model_no_scheme_and_no_seed_is_refused(call, sentence):
    """Each with a sentence, and nothing is drawn."""
    with pytest.raises(BadInput, match=sentence):
        call()
