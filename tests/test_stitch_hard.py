"""Stitch grids of networks that are odd: equal weights, dead layers, answers that are no numbers, other dtypes."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from netassay.errors import BadInput, InternalError
from netassay.studies import stitching_change
from netassay.studies.stitch_grid import stitch_grid
from netassay.studies.stitch_kept import Store

HOW = {"fit": 60, "samples": 40, "batch_size": 32, "matching": "closed_form", "adapter": "affine"}
X = torch.randn(120, 1, 5, 5, generator=torch.Generator().manual_seed(0))
DATA = (X, torch.arange(120) % 3)


def net(seed=0, act=nn.ReLU):
    """A perceptron."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 6), act(), nn.Linear(6, 5), act(), nn.Linear(5, 3))


class Sloped(nn.Module):
    """An activation that does not print its slope."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return torch.where(x > 0, x, self.slope * x)


def into(sender, receiver, **how):
    return stitch_grid({"a": sender}, {"b": receiver}, how.pop("data", DATA), **{**HOW, "controls": False, **how})


PAIRS = {
    "modules": (lambda: net(), lambda: net(act=nn.Tanh)),
    "attributes": (lambda: net(act=lambda: Sloped(0.1)), lambda: net(act=lambda: Sloped(-1.0))),
    "specs": (lambda: "mlp[6,5]", lambda: "mlp[6,5]:act=tanh"),
}


@pytest.mark.parametrize("what", PAIRS)
def test_equal_weights_are_not_equal_networks(what, tmp_path):
    """Other activations over the same weights: two networks, each with its own numbers, in a ledger too."""
    one, other = (make() for make in PAIRS[what])
    data = "digits:size=8" if what == "specs" else DATA
    cut = ["act1"] if what == "specs" else ["2"]
    how = {"layers": cut, "data": data}
    crossed, swapped = (into(*pair, ledger=tmp_path / "grid.db", **how) for pair in ((one, other), (other, one)))
    assert [row["net"] for row in crossed.table("nets")] == ["a", "b"]
    assert crossed.array("r2").item() < 0.9999
    assert crossed.array("r2").item() != swapped.array("r2").item()
    assert swapped.array("r2").item() == into(other, one, **how).array("r2").item()


def test_a_full_disk_is_no_result(tmp_path, monkeypatch):
    """What the machine cannot do is refused, and not kept as a stitch that cannot be made; nor is a missing library."""

    def full(self, batch):
        raise BadInput("activations beyond the budget", "no space left", "TMPDIR on a disk")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_write", full)
        with pytest.raises(BadInput, match="no space left"):
            into(net(), net(1), memory=0, ledger=tmp_path / "grid.db")
    assert np.isfinite(into(net(), net(1), ledger=tmp_path / "grid.db").array("r2")).all()
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(BadInput, match="scipy is not installed"):
        into(net(), net(1), adapter="permutation", ledger=tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


class Broken(nn.Module):
    """Turns the first of what it is given into NaN: of samples, or everything."""

    def __init__(self, every):
        super().__init__()
        self.every = every

    def forward(self, x):
        bad = torch.ones(len(x), dtype=torch.bool) if self.every else x[:, 0] > 0
        return x.masked_fill(bad[:, None], torch.nan)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("matching", ["closed_form", "task"])
def test_answers_that_are_no_numbers_are_wrong_and_no_agreement(every, matching):
    """A receiver that answers NaN has no accuracy, or one of the samples it answers; nothing agrees with NaN."""
    receiver = nn.Sequential(net(1), Broken(every))
    rows = into(net(), receiver, controls=["identity"], receiver_layers=["0.2"], layers=["2"], matching=matching)
    same = next(row for row in rows.table("cells") if row["control"] == "identity" and row["receiver"] == "b")
    scores = receiver(X[60:100])
    finite = ~scores.isnan().any(1)
    right = finite & (scores.argmax(1) == DATA[1][60:100])
    if every:
        assert np.isnan([same[name] for name in ("accuracy", "low", "penalty", "agreement")]).all()
        assert same["note"].startswith("the receiver's own answers are not finite")
        assert any("answers are not finite" in note for note in rows.notes)
    else:
        assert 0 < int(finite.sum()) < 40
        assert same["accuracy"] == pytest.approx(float(right.double().mean()))
        assert same["agreement"] == pytest.approx(float(finite.double().mean()))
        assert same["penalty"] == 0


@pytest.mark.parametrize("adapter", ["affine", "conv", "orthogonal", "permutation", "low_rank:rank=2"])
def test_a_dead_layer_sends_the_receivers_mean(adapter):
    """A sender that is constant is mapped to the mean of what is expected, by every adapter; to a dead one, too."""
    dead = net()
    with torch.no_grad():
        dead[1].bias.fill_(-100)
    found = into(dead, net(1), adapter=adapter, layers=["2", "3"], receiver_layers=["2", "4"])
    assert np.asarray(found.array("r2")) == pytest.approx(0, abs=1e-12)
    fitted = net(1)[:3](X[:60]).mean(0)
    answer = net(1)[3:](fitted[None]).argmax()
    assert found.array("accuracy")[0, 0] == pytest.approx(float((DATA[1][60:100] == answer).double().mean()))
    assert np.isfinite(into(net(1), dead, adapter=adapter, layers=["2"]).array("accuracy")).all()


@pytest.mark.parametrize("adapter", ["affine", "orthogonal", "permutation", "identity", "low_rank:rank=2"])
def test_activations_that_are_no_numbers_are_no_match(adapter):
    """A layer that makes NaN is told so in its cells, as sender and as receiver; the others are there."""
    broken = net()
    broken[2] = Broken(False)
    how = {"controls": ["identity"], "adapter": adapter, "layers": ["2", "4"]}
    found = stitch_grid({"a": broken}, data=DATA, **{**HOW, **how})
    rows = [row for row in found.table("cells") if "2" in (row["sender_layer"], row["receiver_layer"])]
    assert rows
    for row in rows:
        if adapter != "identity" or row["sender_layer"] == row["receiver_layer"]:
            assert "activations with NaN or Inf" in row["note"]
    infinite = DATA[0].clone()
    infinite[70] = torch.inf
    found = into(net(), net(1), data=(infinite, DATA[1]), **{**how, "layers": ["2"], "controls": True})
    assert np.isfinite(found.array("accuracy")).all()
    assert found.array("accuracy").item() <= 39 / 40


DTYPES = (torch.float64, torch.float16, torch.bfloat16)


class Cast(nn.Module):
    """A network of another dtype, behind inputs in float32."""

    def __init__(self, dtype, seed):
        super().__init__()
        self.inner, self.dtype = net(seed).to(dtype), dtype

    def forward(self, x):
        return self.inner(x.to(self.dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_stitch_has_the_receivers_dtype(dtype):
    """Networks in float64, or in halves of float32, are stitched with others; numbers are near those of float32."""
    how = {"controls": ["noise", "self"], "layers": ["inner.2"], "receiver_layers": ["inner.2", ""]}
    how |= {"matching": "task", "epochs": 1, "samples": 20}
    plain = into(Cast(torch.float32, 0), Cast(torch.float32, 1), **how)
    for dtypes in ((dtype, torch.float32), (torch.float32, dtype)):
        found = into(Cast(dtypes[0], 0), Cast(dtypes[1], 1), **how)
        assert np.asarray(found.array("accuracy")) == pytest.approx(np.asarray(plain.array("accuracy")), abs=0.2)
        assert np.asarray(found.array("r2")) == pytest.approx(np.asarray(plain.array("r2")), abs=0.02)


def test_data_in_halves_of_float32():
    """Of a dtype that numpy does not have, too: pictures of it are float32."""
    halves = [net(seed).bfloat16() for seed in (0, 1)]
    found = into(*halves, data=(X.bfloat16(), DATA[1]), layers=["2"], receiver_layers=["", "2"], controls=False)
    assert np.isfinite(found.array("accuracy")).all()
    np.testing.assert_array_equal(found.array("samples")[0], X.bfloat16().float()[HOW["fit"]])


def test_grids_in_two_threads_do_not_take_each_others_networks():
    """Each has its own numbers, as if it were alone."""
    nets = [(net(2 * i), net(2 * i + 1)) for i in range(4)]
    alone = [into(*pair).array("r2") for pair in nets]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda pair: into(*pair, controls=["noise"]).array("r2"), nets))
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_array_equal(one, other)


LABELS = {
    "above": (DATA[1] + 50, "labels up to 52, and answers 0 to 2"),
    "far above": (torch.where(DATA[1] == 0, 10**12, DATA[1]), "labels up to 1000000000000"),
    "below": (DATA[1] - 1, "a label -1"),
    "ignored": (torch.where(DATA[1] == 0, -100, DATA[1]), "a label -100"),
}


@pytest.mark.parametrize("what", LABELS)
def test_labels_that_are_no_answers_are_refused(what):
    """By what they are, before anything is stitched."""
    labels, told = LABELS[what]
    with pytest.raises(BadInput, match=told):
        into(net(), net(1), data=(X, labels))


@pytest.mark.parametrize(("fit", "samples", "n"), [(1, 40, 120), (60, 40, 1), (1000, 2000, 3)])
def test_too_few_samples_are_counted(fit, samples, n):
    """One to match on, or none to judge on, is answered with how many there are."""
    with pytest.raises(BadInput, match=r"\d samples to match on and \d+ to judge on"):
        into(net(), net(1), data=(X[:n], DATA[1][:n]), fit=fit, samples=samples)


@pytest.mark.parametrize("matching", ["closed_form", "task"])
def test_two_samples_are_enough_to_match_on(matching):
    """Few samples make a poor stitch, and no error."""
    assert np.isfinite(into(net(), net(1), fit=2, samples=1, matching=matching).array("accuracy")).all()


class Wrapped(nn.Module):
    """Answers in a structure."""

    def __init__(self, wrap):
        super().__init__()
        self.inner, self.wrap = net(1), wrap

    def forward(self, x):
        y = self.inner[:3](x)
        return self.wrap(y, self.inner[3:](y))


WRAPS = {
    "named": lambda y, z: {"features": y, "logits": z},
    "second": lambda y, z: (y[:, :, None], z),
    "object": lambda y, z: SimpleNamespace(hidden=y, logits=z),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_logits_are_found_in_what_a_network_returns(wrap):
    """By their name, or as the only tensor of two axes; of several without a name none is taken."""
    how = {"layers": ["2"], "receiver_layers": ["inner.2"], "controls": ["self"]}
    plain = into(net(), Wrapped(lambda y, z: z), **how)
    found = into(net(), Wrapped(wrap), **how)
    np.testing.assert_array_equal(found.array("accuracy"), plain.array("accuracy"))
    with pytest.raises(BadInput, match=r"answers \(32, 6\), \(32, 3\), not \(N, classes\)"):
        into(net(), Wrapped(lambda y, z: (y, z)), **how)


def test_no_layers_are_refused():
    """An empty list names no layer."""
    with pytest.raises(BadInput, match="no layer asked for"):
        into(net(), net(1), layers=[])


def test_hooks_of_the_caller_do_not_run():
    """What was put on a model notes the caller's own runs alone; what torch puts there itself goes on."""
    noted, model = [], nn.Sequential(*net()[:2], nn.BatchNorm1d(6), *net()[2:])
    for module in model.modules():
        module.register_forward_hook(lambda *_: noted.append("after"))
        module.register_forward_pre_hook(lambda *_: noted.append("before"))
        module.register_full_backward_hook(lambda *_: noted.append("back"))
    stitch_grid(model, data=DATA, **{**HOW, "layers": ["3"], "matching": "task", "epochs": 1})
    assert noted == []
    assert len(model[1]._forward_hooks) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = net(1)
        nn.utils.weight_norm(old[3])
    old[3].weight_g.data.mul_(3)
    same = next(iter(stitch_grid(old, data=DATA, **{**HOW, "layers": ["4"], "controls": "identity"}).table("nets")))
    assert same["accuracy"] == float((old(X[60:100]).argmax(1) == DATA[1][60:100]).double().mean())


def test_a_network_has_one_name():
    """Two names for one are refused; a name that was given is kept where the other side gives none."""
    model = net()
    with pytest.raises(BadInput, match="'a' and 'b' are one network"):
        into(model, model)
    found = stitch_grid([model, net(1)], {"b": model}, DATA, **{**HOW, "controls": False})
    assert [row["net"] for row in found.table("nets")] == ["b", "Sequential"]


def test_what_goes_wrong_in_stitching_is_a_note_of_an_examination(monkeypatch):
    """An error of netassay's own does not take the examination down."""

    def failing(*given, **how):
        raise InternalError("stitch", "it broke", "report this")

    monkeypatch.setattr(stitching_change, "stitch_grid", failing)
    pair = SimpleNamespace(second=lambda: net(1), end=net(), source="digits", layers=None)
    assert stitching_change.stitching(pair)["stitching/seed"].notes == ("no grid: it broke",)
