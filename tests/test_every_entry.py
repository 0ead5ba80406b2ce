"""Every entry point that takes a model leaves it, and all chance, bit by bit as it was, however user code fails."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay import training
from netassay.data import load_data
from netassay.quiet import quiet
from netassay.studies.exchange_streams import ALSO
from netassay.studies.init_looks import features
from netassay.studies.init_profile import init_profile
from netassay.studies.one_batch import one_batch
from netassay.studies.twins import untrained
from netassay.testing import check_quiet

N = 12
BESIDE = ("noise", "shuffled", "identity", "self", "capacity")
"""Controls of a stitch grid that draw no network anew, which refuses buffers that nothing resets."""


class Fuse(torch.autograd.Function):
    """Passes everything on, and fails in backward."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("user code broke")


class Touchy(nn.Module):
    """Whatever a run may change: statistics, counters, kept tensors, modes of its own, and every source of chance."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails
        self.conv, self.norm, self.act = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.drop, self.head, self.spare = nn.Dropout(), nn.Linear(64, 3), nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.full((1,), torch.nan))
        self.register_buffer("hidden", torch.zeros(1), persistent=False)

    def forward(self, x):
        self.calls += 1
        self.hidden += 1
        self.last = torch.rand(1)
        random.random(), np.random.rand()
        x = self.act(self.norm(self.conv(x.mul_(2))))
        if self.fails == "forward":
            raise RuntimeError("user code broke")
        if self.fails == "interrupt":
            raise KeyboardInterrupt
        if self.fails == "backward":
            x = Fuse.apply(x)
        return self.head(self.drop(x).flatten(1))


def model(fails=None):
    """A model in the middle of someone's training: gradients, hooks, frozen weights, mixed modes."""
    made = Touchy(fails).train()
    made.conv.bias.data[:2] = -1000
    made.norm.eval()
    made.conv.weight.requires_grad_(False)
    made.head.weight.grad = torch.ones_like(made.head.weight)
    made.conv.register_forward_hook(lambda *_: None)
    made.head.bias.register_hook(lambda gradient: gradient)
    return made


def objective(fails):
    def loss(output, y):
        if fails == "objective":
            raise ValueError("user code broke")
        return nn.functional.cross_entropy(output, y, reduction="none")

    return loss


def data():
    return torch.randn(N, 1, 6, 6), torch.arange(N) % 3


def watched(door):
    """A user's pass under a door that only watches; `quiet` stands for what the user's own run changes."""

    def entry(net, source, loss, folder):
        x = source[0].clone().requires_grad_()
        with quiet(net), door(net):
            torch.autograd.grad(loss(net(x.clone()), source[1]).sum(), x)

    return entry


def opened(net, source, loss, folder):
    """A watch that is opened and closed; what the user's own training changes is not its doing."""
    with na.watch(net, torch.optim.SGD(net.parameters(), lr=0.1), every=1, out=folder / "run"):
        pass


FORWARD, BACKWARD = ("forward", "interrupt"), ("forward", "interrupt", "backward", "objective")
ENTRIES = {
    "select": (lambda net, source, loss, folder: na.select(net, "type:Conv2d"), ()),
    "summary": (lambda net, source, loss, folder: na.summary(net, x=source[0]), FORWARD),
    "blocks": (lambda net, source, loss, folder: na.blocks(net.conv, source[0], torch.ones(N, 4, 4, 4)), ()),
    "exchange_map": (
        lambda net, source, loss, folder: na.exchange_map(net, source, objective=loss, also=ALSO, batch_size=5),
        BACKWARD,
    ),
    "exchange_map in training": (
        lambda net, source, loss, folder: na.exchange_map(net, source, ["conv", "norm"], objective=loss, training=True),
        BACKWARD,
    ),
    "capture": (watched(na.capture), BACKWARD),
    "visit": (watched(lambda net: na.visit(net, on_forward=repr, on_backward=repr, on_total=repr)), BACKWARD),
    "channel_profile": (
        lambda net, source, loss, folder: na.channel_profile(net, source, objective=loss, batch_size=5),
        BACKWARD,
    ),
    "channel_profile in training": (
        lambda net, source, loss, folder: na.channel_profile(net, source, objective=loss, training=True),
        BACKWARD,
    ),
    "examine": (
        lambda net, source, loss, folder: na.examine(net, source, objective=loss, out=folder / "run"),
        BACKWARD,
    ),
    "signal": (
        lambda net, source, loss, folder: na.signal(net, source, objective=loss, batch_size=5),
        BACKWARD,
    ),
    "prescribe": (
        lambda net, source, loss, folder: na.prescribe(
            net, source, objective=loss, steps=2, seeds=1, batch_size=6, remedies=["orthogonal", "lsuv", "lr x 10"]
        ),
        BACKWARD,
    ),
    "flow_profile": (
        lambda net, source, loss, folder: na.flow_profile(net, source, objective=loss, batch_size=5),
        BACKWARD,
    ),
    "similarity_map": (
        lambda net, source, loss, folder: na.similarity_map(net, untrained(net)[0], source, permutations=5),
        FORWARD,
    ),
    "similarity_map of itself": (
        lambda net, source, loss, folder: na.similarity_map(net, data=source, twin=True, permutations=5),
        FORWARD,
    ),
    "stitch_grid": (
        lambda net, source, loss, folder: na.stitch_grid(
            net, untrained(net)[0], source, layers=["conv", "act"], fit=6, samples=6, controls=BESIDE
        ),
        FORWARD,
    ),
    "watch": (opened, ()),
    "one_batch": (lambda net, source, loss, folder: one_batch(net, source, objective=loss), BACKWARD),
    "evaluate": (lambda net, source, loss, folder: training.evaluate(net, [source]), FORWARD),
    "features": (lambda net, source, loss, folder: features(net, load_data(source)), FORWARD),
    "init_profile": (lambda net, source, loss, folder: init_profile(net, net), ()),
    "identify_init": (lambda net, source, loss, folder: na.identify_init(net), ()),
    "untrained": (lambda net, source, loss, folder: untrained(net), ()),
}
"""Each entry, and the failures of user code that reach it."""
WITHOUT_MODEL = {
    "ADAPTERS",
    "flow_study",
    "init_study",
    "Batch",
    "Claim",
    "INITS",
    "MEASURES",
    "absorption",
    "emission",
    "Result",
    "Run",
    "Verdict",
    "build",
    "compare",
    "load_data",
    "open_run",
    "similarity",
    "similarity_trend",
    "stitch_trend",
}
WRITES = {"initialize"}
"""What changes a model on request; its own tests say what it leaves alone."""


@pytest.mark.parametrize("fails", [None, *BACKWARD])
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_leaves_everything_as_it_was(entry, fails, tmp_path):
    """State, flags, gradients, hooks, attributes, chance, switches and the data, after success and every failure."""
    call, reached = ENTRIES[entry]
    net, source = model(fails), data()
    given = [part.clone() for part in source]
    raised = None
    with check_quiet(net):
        try:
            call(net, source, objective(fails), tmp_path)
        except (Exception, KeyboardInterrupt) as error:
            raised = error
    assert (raised is not None) == (fails in reached), raised
    assert all(map(torch.equal, source, given))
    assert fails != "interrupt" or raised is None or isinstance(raised, KeyboardInterrupt)


def test_the_silent_channels_of_the_model_call_for_a_twin():
    """The model above is compared with an untrained copy, so that what makes and runs one is covered too."""
    result = na.channel_profile(model(), data())
    assert any("copied and drawn anew" in note for note in result.notes)


def test_every_public_name_is_covered():
    """A new name takes a model and is tried above, or is listed as taking none, or as writing."""
    assert set(na.PUBLIC) - {entry.split()[0] for entry in ENTRIES} == WITHOUT_MODEL | WRITES
