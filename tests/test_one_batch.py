"""One batch: shapes and norms at every layer, forward and back, against plain autograd."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from netassay.errors import BadInput, LayerNotFound
from netassay.studies.one_batch import one_batch
from netassay.testing import check_quiet

N = 6


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.relu = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.head, self.spare = nn.Linear(48, 4), nn.Linear(2, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.relu(self.conv(x))).flatten(1))


def data():
    return torch.randn(N, 1, 6, 6), torch.arange(N) % 4


def rms(tensor):
    return float(np.sqrt(np.mean([np.sum(sample.numpy().astype(float) ** 2) for sample in tensor.detach()])))


def test_both_tables_equal_plain_autograd():
    """Norms are RMS over samples of a sample's Euclidean norm; gx is what flows back through the layer alone."""
    model, (x, y) = Residual(), data()
    result = one_batch(model, (x, y), batch_size=N)
    leaf = x.clone().requires_grad_()
    stem = model.stem(leaf)
    branch = stem * 1
    conv = F.conv2d(branch, model.conv.weight, model.conv.bias, padding=1)
    relu = conv.relu()
    flat = (stem + relu).flatten(1)
    out = model.head(flat)
    loss = F.cross_entropy(out, y, reduction="sum")
    names = ("x", "stem", "branch", "conv", "relu", "flat", "out")
    found = torch.autograd.grad(loss, [leaf, stem, branch, conv, relu, flat, out])
    grads = dict(zip(names, found, strict=True))
    expected = {"stem": (x, stem), "conv": (stem, conv), "relu": (conv, relu), "head": (flat, out)}
    back = {"stem": ("x", "stem"), "conv": ("branch", "conv"), "relu": ("conv", "relu"), "head": ("flat", "out")}
    forward, backward = result.table("forward"), result.table("backward")
    assert [row["layer"] for row in forward] == ["stem", "conv", "relu", "head"]
    assert [row["layer"] for row in backward] == ["head", "relu", "conv", "stem"]
    for row in forward:
        into, made = expected[row["layer"]]
        assert (row["in"], row["out"]) == (str(list(into.shape[1:])), str(list(made.shape[1:])))
        assert (row["in_norm"], row["out_norm"]) == pytest.approx((rms(into), rms(made)), rel=1e-6)
    for row in backward:
        into, made = (grads[name] for name in back[row["layer"]])
        assert (row["in_norm"], row["out_norm"]) == pytest.approx((rms(into), rms(made)), rel=1e-5)


def test_only_the_first_batch_is_looked_at():
    """One sample by default; the provenance says how many."""
    model, (x, y) = Residual(), data()
    first = one_batch(model, (x, y))
    assert first.provenance["samples"] == 1
    assert first.table("forward") == one_batch(model, (x[:1], y[:1]), batch_size=128).table("forward")
    assert first.table("forward") != one_batch(model, (x, y), batch_size=2).table("forward")


def test_layers_that_never_ran_are_noted_and_patterns_choose():
    model = Residual()
    assert one_batch(model, data()).notes == ("never ran: spare",)
    assert [row["layer"] for row in one_batch(model, data(), "conv").table("backward")] == ["conv"]
    with pytest.raises(LayerNotFound, match="closest: 'conv'"):
        one_batch(model, data(), "convs")


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_norms_neither_vanish_nor_overflow(scale):
    """Squares that no double holds are no matter."""
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 3)).double()
    x = torch.full((2, 4), scale, dtype=torch.float64)
    row = one_batch(model, (x, torch.tensor([0, 1])), "0", batch_size=2).table("forward")[0]
    assert row["in_norm"] == row["out_norm"] == pytest.approx(2 * scale, rel=1e-12, abs=0)


def test_integer_inputs_have_no_norm_but_gradients():
    """Word numbers have a shape and no norm; gradient arrives at the embedding and goes no further."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    result = one_batch(model, (torch.randint(9, (N, 3)), torch.arange(N) % 3), batch_size=N)
    words = result.table("backward")[-1]
    assert words["layer"] == "0"
    assert words["out_norm"] > 0
    assert np.isnan([words["in_norm"], result.table("forward")[0]["in_norm"]]).all()


def test_values_that_are_not_finite_are_shown():
    """A NaN in the middle is a NaN norm, from its layer on."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    with torch.no_grad():
        model[1].weight[0, 0] = torch.nan
    rows = one_batch(model, (torch.randn(2, 4), torch.tensor([0, 1])), batch_size=2).table("forward")
    assert [np.isnan(row["out_norm"]) for row in rows] == [False, True, True]


def test_a_model_in_train_mode_is_looked_at_in_eval_mode_and_put_back():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Dropout(), nn.Linear(36, 4)).train()
    source = data()
    with check_quiet(model):
        rows = one_batch(model, source).table("forward")
    assert rows[1]["out_norm"] == rows[2]["out_norm"]


@pytest.mark.parametrize("source", [[], (torch.full((2, 1, 6, 6), torch.nan), torch.tensor([0, 1]))])
def test_unfit_data_is_refused(source):
    model = Residual()
    with check_quiet(model), pytest.raises(BadInput, match=r"no batch came out|the first with id 0"):
        one_batch(model, source)


def test_a_compiled_model_is_refused():
    """Hooks that would be passed over in silence are refused with what to do."""
    with pytest.raises(BadInput, match=r"model\._orig_mod"):
        one_batch(torch.compile(Residual(), backend="eager"), data())


def test_the_result_goes_into_strict_json():
    """Also where a norm does not exist, as that of word numbers."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    told = one_batch(model, (torch.randint(9, (N, 3)), torch.arange(N) % 3)).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False))["tables"]["forward"][0]["in_norm"] == "NaN"


def test_norms_are_told_channel_by_channel():
    """The study's four lists: RMS over samples of each channel's norm, at a layer's input and output, both ways."""
    torch.manual_seed(0)
    model, (x, y) = Residual(), data()
    columns = one_batch(model, (x, y), ["conv", "head"], batch_size=N).tables["channels"].columns
    x = x.clone().requires_grad_()
    stem = model.stem(x)
    conv = model.conv(stem)
    flat = (stem + conv.relu()).flatten(1)
    out = model.head(flat)
    gy, gflat, gout = torch.autograd.grad(F.cross_entropy(out, y, reduction="sum"), (conv, flat, out))
    gx = torch.nn.grad.conv2d_input(stem.shape, model.conv.weight, gy, padding=1)
    wanted = {
        ("conv", "in"): (stem, gx),
        ("conv", "out"): (conv, gy),
        ("head", "in"): (flat, gflat),
        ("head", "out"): (out, gout),
    }
    for (layer, side), (forward, backward) in wanted.items():
        at = (columns["layer"] == layer) & (columns["side"] == side)
        assert columns["channel"][at].tolist() == list(range(forward.shape[1]))
        for name, tensor in (("forward_norm", forward), ("backward_norm", backward)):
            norms = tensor.detach().flatten(2).norm(dim=2) if tensor.dim() > 2 else tensor.detach().abs()
            np.testing.assert_allclose(columns[name][at], norms.double().square().mean(0).sqrt(), rtol=1e-5)
