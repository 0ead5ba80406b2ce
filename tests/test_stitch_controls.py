"""Stitch controls: random networks are random all through, noise knows the label only, and what is refused says why."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.cutting import cut
from netassay.errors import BadInput, InternalError, LayerNotFound, NetassayError, UnknownName
from netassay.quiet import state_hash
from netassay.studies import stitch_cell, stitch_controls
from netassay.studies.stitch_controls import noise, redrawn, shuffled
from netassay.studies.stitch_grid import stitch_grid
from netassay.testing import check_quiet

HOW = {"fit": 40, "samples": 30, "batch_size": 16}
DATA = (torch.randn(70, 1, 6, 6), torch.arange(70) % 3)


def net(seed=0, learned=True):
    """A network with batch norm, not of the zoo, whose statistics are no longer those it began with."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    if learned:
        with torch.no_grad():
            for tensor in [*made.parameters(), *made.buffers()]:
                if tensor.is_floating_point():
                    tensor.add_(torch.rand_like(tensor))
        made[1].num_batches_tracked += 3
    return made


@pytest.mark.parametrize("make", [net, lambda: na.build("resnet[1]:width=4,input=8,channels=1,classes=3")])
def test_every_tensor_of_a_random_twin_is_drawn_anew(make):
    """Nothing of the model is in the twin, statistics of batch norms included; the model is as it was."""
    model = make()
    with check_quiet(model):
        twin = redrawn(model, 0)
    mine, theirs = dict(model.state_dict()), twin.state_dict()
    for name, tensor in theirs.items():
        constant = name.endswith(("running_mean", "running_var", "num_batches_tracked")) or tensor.unique().numel() == 1
        assert constant or not torch.equal(tensor, mine[name]), name
    assert all(torch.equal(a, b) for a, b in zip(theirs.values(), redrawn(model, 0).state_dict().values(), strict=True))


def test_networks_of_one_spec_have_twins_of_their_own():
    """Draws are those of a network's weights: others for another, the same for its copy, whatever was drawn between."""
    nets = [na.build("mlp[8,8]:input=36,classes=3", seed=seed) for seed in (0, 1)]
    drawn = [[state_hash(redrawn(model, 0, draw)) for draw in range(2)] for model in (*nets, copy.deepcopy(nets[0]))]
    assert len(set(drawn[0] + drawn[1])) == 4
    assert drawn[2] == drawn[0]
    assert state_hash(redrawn(nets[0], 1)) not in drawn[0]


def test_a_network_meets_the_same_twins_in_every_grid():
    """Beside others, before or behind them: the cells of its random twins are the same, and not those of another's."""
    nets = {name: na.build("mlp[8,8]:input=36,classes=3", seed=i) for i, name in enumerate("ab")}
    how = {"controls": ["random_receiver", "random_sender"], "layers": "act1", **HOW}

    def cells(names):
        found = stitch_grid({name: nets[name] for name in names}, data=DATA, **how).table("cells")
        words = ("sender", "receiver", "control", "draw", "r2", "mse", "accuracy")
        return {tuple(row[word] for word in words) for row in found if row["control"] != "none"}

    alone, both = cells("a"), cells("ab")
    assert alone < both
    assert both == cells("ba")
    received = {row[3:] for row in both if (row[0], row[2]) == ("a", "random_receiver")}
    sent = {row[3:] for row in both if (row[1], row[2]) == ("a", "random_sender")}
    assert (len(received), len(sent)) == (2, 2 * stitch_controls.DRAWS)


class Attends(nn.Module):
    """A network with attention, and weights that are computed."""

    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True, add_bias_kv=True)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(36, 8))
        self.bounded = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 3, bias=False))

    def forward(self, x):
        x = x.flatten(1, 2)
        return self.bounded(self.normed(self.attend(x, x, x)[0].flatten(1)).relu())


def test_attention_and_computed_weights_are_drawn_anew():
    """Controls run by default; every tensor is another, and the model is as it was."""
    torch.manual_seed(0)
    model = Attends()
    with check_quiet(model):
        found = stitch_grid(model, data=DATA, layers=["normed"], matching="closed_form", **HOW)
    assert np.isfinite(found.array("accuracy/random_sender")).all()
    constant = {"attend.in_proj_bias", "attend.out_proj.bias"}
    for name, tensor in redrawn(model, 0).state_dict().items():
        assert name in constant or not torch.equal(tensor, model.state_dict()[name]), name


def test_a_twin_that_keeps_statistics_is_refused(monkeypatch):
    """A twin with the batch norm statistics of the trained network is no control, and is named."""

    def keeping(model, seed, known=()):
        twin, told = original(model, seed, known)
        twin[1].running_mean.copy_(model[1].running_mean)
        return twin, told

    original = stitch_controls.untrained
    monkeypatch.setattr(stitch_controls, "untrained", keeping)
    kept = r"(?s)these keep what they held: '1.running_mean'.*next: +controls=\['noise', 'shuffled', 'self'\]"
    with pytest.raises(BadInput, match=kept):
        redrawn(net(), 0)


class Held(nn.Module):
    """A layer whose parameter and buffer nobody can draw."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.register_buffer("shift", torch.full((4, 1, 1), 2.0))

    def forward(self, x):
        return self.scale * x + self.shift


def test_what_cannot_be_drawn_is_named_before_anything_is_stitched():
    """A parameter or buffer without a reset is refused by name; without random controls the grid is made."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), Held(), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(BadInput, match=r"these keep what they held: '1.scale', '1.shift'"):
        stitch_grid(model, data=DATA, **HOW)
    found = stitch_grid(model, data=DATA, controls=["noise", "identity"], **HOW)
    assert "accuracy/noise" in found.arrays
    assert "accuracy/random_sender" not in found.arrays


def test_noise_knows_the_label_and_nothing_else():
    """Less its class's centre it is N(0, 1); centres are one for a channel, the same for both parts."""
    at = cut(net(), "2", DATA[0][:2])
    y = torch.arange(300) % 3
    drawn = [torch.cat(list(noise(at, y, 3, 0, part, 64))) for part in (0, 1)]
    assert drawn[0].shape == (300, 4, 4, 4)
    assert not torch.equal(*drawn)
    centres = [torch.stack([one[y == c].mean((0, 2, 3)) for c in range(3)]) for one in drawn]
    assert torch.allclose(*centres, atol=0.15)
    assert (centres[0][0] - centres[0][1]).abs().max() > 0.3
    spread = drawn[0] - centres[0][y][:, :, None, None]
    assert spread.std() == pytest.approx(1, abs=0.02)
    again = torch.cat(list(noise(at, y, 3, 0, 0, 64)))
    assert torch.equal(again, drawn[0])


def test_shuffled_samples_are_the_same_in_another_order():
    """Every sample once, hardly one at its place."""
    x = torch.arange(100)
    mixed = shuffled(x, 0)
    assert torch.equal(mixed.sort().values, x)
    assert (mixed == x).sum() < 10


def test_a_control_sends_and_receives_what_it_says(monkeypatch):
    """Who is at either end, control by control, as the bench is asked."""
    seen = {}
    original = stitch_cell._stitched

    def noted(bench, asked, sender, receiver):
        seen.setdefault(asked["control"], []).append((sender, receiver))
        return original(bench, asked, sender, receiver)

    monkeypatch.setattr(stitch_cell, "_stitched", noted)
    model = net()
    stitch_grid(model, data=DATA, layers=["2"], **HOW)
    for control, sides in seen.items():
        for sender, receiver in sides:
            assert (sender.model is model) == (control != "random_sender")
            assert (receiver.model is model) == (control != "random_receiver")
    assert set(seen) == set(stitch_controls.CONTROLS)


def test_halves_stay_bit_by_bit_as_they_were(monkeypatch):
    """A batch norm that drifts while stitches are judged is an error, not a number."""
    model, original = net(), stitch_cell.judge

    def drifting(*given, **how):
        model[1].running_mean.add_(1e-3)
        return original(*given, **how)

    monkeypatch.setattr(stitch_cell, "judge", drifting)
    with pytest.raises(InternalError, match="its weights or buffers changed"):
        stitch_grid(model, data=DATA, controls=False, **HOW)


@pytest.mark.parametrize("matching", ["closed_form", "task", "latents"])
def test_stitching_leaves_models_alone(matching):
    """Modes, gradients, buffers, hooks and random generators are as before, of senders and receivers."""
    a, b = net(0), net(1)
    a.train()
    b[1].eval()
    with check_quiet(a), check_quiet(b):
        stitch_grid([a], [b], DATA, layers=["2"], matching=matching, epochs=1, **HOW)
    assert not stitch_cell._benches
    assert stitch_cell.BUDGET not in os.environ


BAD = {
    "no data": (lambda: stitch_grid(net()), BadInput, "stitch_grid(senders, receivers, data)"),
    "no network": (lambda: stitch_grid([], data=DATA), BadInput, "give a model or a spec"),
    "twice": (lambda: stitch_grid(["mlp[8]", "mlp[8]"], data="digits"), BadInput, "'mlp[8]' is there twice"),
    "adapter": (lambda: stitch_grid(net(), data=DATA, adapter="afine"), UnknownName, "use 'affine'"),
    "no closed form": (
        lambda: stitch_grid(net(), data=DATA, adapter="bn_conv_bn", matching="closed_form"), BadInput,
        "matching='task'",
    ),
    "not trained": (
        lambda: stitch_grid(net(), data=DATA, adapter="orthogonal", matching="task"), BadInput, "it is not trained",
    ),
    "matching": (lambda: stitch_grid(net(), data=DATA, matching="tusk"), UnknownName, "use 'task'"),
    "control": (lambda: stitch_grid(net(), data=DATA, controls="random_sander"), UnknownName, "use 'random_sender'"),
    "ridge": (lambda: stitch_grid(net(), data=DATA, ridge=-1), BadInput, "ridge=0, or None"),
    "level": (lambda: stitch_grid(net(), data=DATA, level=95), BadInput, "level=0.95"),
    "seed": (lambda: stitch_grid(net(), data=DATA, seed=2**70), BadInput, "seed=0"),
    "no seed": (lambda: stitch_grid(net(), data=DATA, seed=None), BadInput, "seed=0"),
    "lr": (lambda: stitch_grid(net(), data=DATA, lr=float("nan")), BadInput, "a step is above 0, and finite"),
    "no lr": (lambda: stitch_grid(net(), data=DATA, lr=0), BadInput, "a step is above 0, and finite"),
    "ridge's type": (lambda: stitch_grid(net(), data=DATA, ridge="a"), BadInput, "ridge=0, or None"),
    "level's type": (lambda: stitch_grid(net(), data=DATA, level="high"), BadInput, "level=0.95"),
    "adapter's type": (lambda: stitch_grid(net(), data=DATA, adapter=3), BadInput, "no name of an adapter"),
    "controls' type": (lambda: stitch_grid(net(), data=DATA, controls=3), BadInput, "controls=True, or names"),
    "ranks' type": (lambda: stitch_grid(net(), data=DATA, ranks=3), BadInput, "ranks=[1, 2, 4]"),
    "layers' type": (lambda: stitch_grid(net(), data=DATA, layers=3), BadInput, "layers='act*'"),
    "ledger's type": (lambda: stitch_grid(net(), data=DATA, ledger=3), BadInput, "ledger='grid.db'"),
    "executor's type": (lambda: stitch_grid(net(), data=DATA, executor=3), BadInput, "of concurrent.futures"),
    "device": (lambda: stitch_grid("mlp[8]", data="digits", device="gpuu"), BadInput, "to run on the CPU"),
    "device of": (lambda: stitch_grid(net(), data=DATA, device="meta"), BadInput, "a model on cpu"),
    "lazy": (
        lambda: stitch_grid(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), data=DATA), BadInput, "run one batch",
    ),
    "option": (lambda: stitch_grid(net(), data=DATA, adapter="affine:rank=2"), UnknownName, "leave it out"),
    "fit": (lambda: stitch_grid(net(), data=DATA, fit=0), BadInput, "no whole number from 1 on"),
    "ranks": (lambda: stitch_grid(net(), data=DATA, ranks=[0]), BadInput, "no whole number from 1 on"),
    "memory": (lambda: stitch_grid(net(), data=DATA, memory=-1), BadInput, "no whole number from 0 on"),
    "labels": (lambda: stitch_grid(net(), data=DATA[0]), BadInput, "y of integers (N,)"),
    "layer": (lambda: stitch_grid(net(), data=DATA, layers="lyaer"), LayerNotFound, "none matches"),
    "layers of": (lambda: stitch_grid({"a": net()}, data=DATA, layers={"b": "2"}), UnknownName, "use one of 'a'"),
    "skips": (
        lambda: stitch_grid(net(), data=DATA, allow_skips=True, matching="task"), BadInput, "training shuffles samples",
    ),
    "workers": (lambda: stitch_grid(net(), data="digits", workers=2), BadInput, "give specs, or workers=0"),
    "answers": (
        lambda: stitch_grid(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), data=DATA), BadInput, "gives logits",
    ),
    "clean": (
        lambda: stitch_grid("resnet[1]:width=4", data="digits", layers="*.conv1"), BadInput, "or allow_skips=True",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_in_a_sentence(what):
    """What was asked, what was found, what to type next."""
    call, kind, part = BAD[what]
    with pytest.raises(NetassayError) as caught:
        call()
    assert type(caught.value) is kind
    assert part in str(caught.value)
    assert not stitch_cell._benches
