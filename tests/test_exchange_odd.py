"""Exchange where gx is hard to see, where a rule is a user's, and where hooks, scales and samples are odd."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netassay as na
from netassay.errors import BadInput
from netassay.rules import blocks, rule
from netassay.testing import check_rule
from tests.reference import exchange as twin
from tests.test_exchange_map import column, loss, near

N = 12
Y = torch.arange(N) % 3


class Mean(nn.Module):
    """Over all axes between samples and channels."""

    def forward(self, x):
        return x.flatten(1, -2).mean(1)


def definition(model, layer, x):
    """Local gradients of one layer by plain hooks on its input and output."""
    seen = {}

    def hook(module, args, output):
        seen["x"] = args[0].detach().clone()
        output.register_hook(lambda gradient: seen.__setitem__("gy", gradient.clone()))

    handle = layer.register_forward_hook(hook)
    loss(model(x.clone().requires_grad_() if x.is_floating_point() else x), Y).sum().backward()
    handle.remove()
    model.zero_grad()
    return twin.local(layer, seen["x"], seen["gy"])


TOKENS = torch.randn(N, 5, 4, generator=torch.Generator().manual_seed(1))
IMAGES = torch.randn(N, 4, 7, 7, generator=torch.Generator().manual_seed(2))
HARD = {
    "tokens at the entry": (nn.Sequential(nn.Linear(4, 6), Mean(), nn.Linear(6, 3)), "0", TOKENS),
    "tokens behind an embedding": (
        nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), Mean(), nn.Linear(6, 3)),
        "1",
        torch.arange(N * 5).view(N, 5) % 9,
    ),
    "RMS norm": (nn.Sequential(nn.Linear(4, 6), nn.RMSNorm(6), Mean(), nn.Linear(6, 3)), "1", TOKENS),
    "layer norm at the entry": (nn.Sequential(nn.LayerNorm(4), Mean(), nn.Linear(4, 3)), "0", TOKENS),
    **{
        f"{mode} padding": (
            nn.Sequential(nn.Conv2d(4, 5, 3, padding=1, padding_mode=mode), nn.Flatten(), nn.Linear(245, 3)),
            "0",
            IMAGES,
        )
        for mode in ("circular", "reflect", "replicate")
    },
    "instance norm at the entry": (
        nn.Sequential(nn.InstanceNorm2d(4, affine=True), nn.Flatten(), nn.Linear(196, 3)),
        "0",
        IMAGES,
    ),
    "tanhshrink": (nn.Sequential(nn.Conv2d(4, 5, 3), nn.Tanhshrink(), nn.Flatten(), nn.Linear(125, 3)), "1", IMAGES),
}


@pytest.mark.parametrize("name", HARD)
def test_what_flows_back_is_known_however_the_graph_is_made(name):
    """Coherence, absorption and emission of layers whose graph is no line, or that begin the network."""
    model, label, x = HARD[name]
    model.eval()
    found = na.exchange_map(model, (x, Y), label)
    parts = definition(model, model.get_submodule(label), x)
    near(column(found, "outputs", "emission_mean", label), twin.emission(parts).mean(0).numpy(), 1e-4)
    near(column(found, "inputs", "absorption_mean", label), twin.absorption(parts).mean(0).numpy(), 1e-4)
    near(column(found, "inputs", "coherence_mean", label), twin.coherence(parts).mean(0).numpy(), 1e-4)
    assert "unknown" not in set(column(found, "inputs", "state", label))


class Residual(nn.Module):
    """x + W x, as one layer: behind x lies nothing but the parameters of the layer before."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.inner(x)


def test_a_layers_input_behind_parameters_alone_is_no_weight():
    """gx of a residual module close to the entry is that of both ways."""
    model = nn.Sequential(nn.Linear(5, 4), Residual(), nn.Linear(4, 3))
    with na.capture(model, "1") as records:
        loss(model(torch.randn(N, 5)), Y).sum().backward()
    record = records["1"]
    torch.testing.assert_close(record.gx, record.gy + record.gy @ model[1].inner.weight.detach())


def test_a_hook_that_changes_an_output_changes_no_block():
    """The gradient is taken where the layer made its output, before what others make of it."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), torch.randn(N, 5)
    plain = definition(model, model[0], x)
    model[0].register_forward_hook(lambda layer, args, output: output.roll(1, 1) * 10)
    found = na.exchange_map(model, (x, Y), "0")
    assert (column(found, "inputs", "coherence_high", "0") <= 1.00001).all()
    with pytest.raises(AssertionError):
        near(column(found, "outputs", "emission_mean", "0"), twin.emission(plain).mean(0).numpy())


def test_a_sample_that_is_not_finite_spoils_no_mean_block_and_no_share():
    """Arrays are over the samples that are; tables count the one that is not."""
    torch.manual_seed(0)
    model, x = nn.Linear(5, 3), torch.randn(N, 5)
    bad = lambda output, y: loss(output, y) / (torch.arange(N) != 9)  # noqa: E731
    found = na.exchange_map(model, (x, Y), objective=bad, also=("blocks", "share"))
    keep = torch.arange(N) != 9
    clean = na.exchange_map(model, (x[keep], Y[keep]), also=("blocks", "share"))
    for name in ("blocks/model", "share/model"):
        near(found.array(name), clean.array(name).view(), 1e-4)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_shares_do_not_depend_on_the_size_of_the_loss(size):
    """They are ratios: powers of ten of the objective leave them as they are."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 5), nn.Flatten())
    scaled = lambda output, y: loss(output, y) * size  # noqa: E731
    shares = [
        na.exchange_map(model, (IMAGES, Y), "2", objective=one, also="share").array("share/2") for one in (loss, scaled)
    ]
    near(shares[1].view(), shares[0].view(), 1e-3)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factors = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 0.5]))

    def forward(self, x):
        return x * self.factors


def scale(layer, x, gy):
    assert gy.dim() == x.dim()
    assert gy.dim() == layer.axes
    return torch.diag_embed(gy.reshape(len(gy), -1, 4).norm(dim=1) * layer.factors.detach().abs())


@pytest.mark.parametrize("x", [TOKENS, TOKENS[:, 0]], ids=["tokens", "plain"])
def test_a_users_rule_is_taken_by_the_map_as_by_blocks(x):
    """With tokens or without, and its gx is had by running the layer alone."""
    rule(Scale, layout="last")(scale)
    Scale.axes = x.dim()
    model = nn.Sequential(nn.Linear(4, 4), Scale(), *([Mean()] if x.dim() == 3 else []), nn.Linear(4, 3))
    check_rule(Scale(), x, axis=-1)
    found = na.exchange_map(model, (x, Y), ["0", "1"])
    near(column(found, "inputs", "coherence_mean", "1"), torch.ones(4).numpy())


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda layer, x, gy: gy, r"returns \(12, 4\), not \(N, O, I\) = \(12, 4, 4\)"),
        (lambda layer, x, gy: None, "returns NoneType"),
        (lambda layer, x, gy: gy.nonsense, "AttributeError.*check_rule"),
    ],
)
def test_a_users_rule_that_is_wrong_is_named(broken, words):
    """Its author is told what it returned or raised, in `blocks` and in the map."""
    rule(Scale, layout="last")(broken)
    x = TOKENS[:, 0]
    with pytest.raises(BadInput, match=f"(?s)rule for Scale.*{words}"):
        blocks(Scale(), x, x)
    with pytest.raises(BadInput, match=f"(?s)rule for Scale.*{words}"):
        na.exchange_map(nn.Sequential(Scale(), nn.Linear(4, 3)), (x, Y), "0")
    with pytest.raises(BadInput, match="no class of layers"):
        rule(3)


def test_patterns_pass_over_containers():
    """`*` takes the layers inside a container; the container itself multiplies by nothing."""
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 3))
    found = na.exchange_map(model, (TOKENS[:, 0], Y), "*")
    assert [row["layer"] for row in found.table("layers")] == ["0.0", "0.1", "1"]


def test_large_inner_products_keep_their_digits():
    """Four million positions of a smooth gradient: what float32 would lose in adding up is added up in float64."""
    layer = nn.Conv1d(2, 2, 3, padding=1, bias=False)
    x = torch.empty(1, 2, 1 << 22, device="meta")
    gy = torch.linspace(0, 4, 1 << 22).sin().mul(0.1).add(1.1).expand(1, 2, -1).contiguous()
    layer.weight.data = torch.tensor([[[1.0, -1.5, 1.0], [0.5, 1.0, 0.5]], [[1.0, -2.4, 1.0], [1.0, 0.0, -0.2]]])
    wide = blocks(layer.double(), x, gy.double())
    torch.testing.assert_close(blocks(layer.float(), x, gy), wide, rtol=1e-5, atol=0)
