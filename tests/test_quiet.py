"""Quiet and its proof: what is restored, and that the proof can fail."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from netassay.quiet import quiet
from netassay.testing import check_quiet, check_stream


class Counting(nn.Module):
    """A model that draws, counts in a buffer even in eval mode, and replaces another buffer."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.full((1,), torch.nan))

    def forward(self, x):
        self.calls += 1
        self.last = torch.ones(1)
        random.random(), np.random.rand()
        return self.drop(self.norm(x)) + torch.rand(())


@pytest.mark.parametrize("training", [False, True, None])
@pytest.mark.parametrize("fails", [False, True])
def test_quiet_restores_whatever_running_changes(training, fails):
    """Flags of a mixed model, buffers (also NaN and replaced ones) and all generators come back, also on error."""
    model = Counting()
    model.norm.eval()
    with check_quiet(model):
        try:
            with quiet(model, training=training):
                assert training is None or model.norm.training is training
                model(torch.randn(4, 3))
                if fails:
                    raise KeyError
        except KeyError:
            assert fails


def test_a_graph_from_before_the_look_still_works():
    """Restoring buffers does not make autograd think that they were changed under it."""
    model = nn.BatchNorm1d(3).eval()
    out = model(torch.randn(4, 3))
    with quiet(model, training=True):
        model(torch.randn(4, 3))
    out.sum().backward()


CHANGES = {
    "the state: weight": lambda m: m.weight.data.add_(1),
    "the training flags": lambda m: m.eval(),
    "the gradients: weight": lambda m: m(torch.ones(1, 2)).sum().backward(),
    "the gradients: bias": lambda m: m.bias.requires_grad_(False),
    "the hooks: ._forward_hooks": lambda m: m.register_forward_hook(lambda *_: None),
    "the attributes: modules": lambda m: setattr(m, "extra", 1),
    "the attributes: parameters": lambda m: setattr(m.weight, "extra", 1),
    "torch's random generator": lambda m: torch.rand(1),
    "numpy's random generator": lambda m: np.random.rand(),
    "Python's random generator": lambda m: random.random(),
    "the switches of torch: grad mode": lambda m: torch.set_grad_enabled(False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_proof_can_fail(what):
    """check_quiet notices every kind of change, and names it."""
    model = nn.Linear(2, 2)
    try:
        with pytest.raises(AssertionError, match=f"looking touched {what}"), check_quiet(model):
            CHANGES[what](model)
    finally:
        torch.set_grad_enabled(True)


def test_check_stream_can_fail():
    """A stream that drops one-sample parts, or whose empty value is not neutral, is caught."""
    from netassay.streams import Moments

    class Forgetful(Moments):
        def merge(self, other):
            return self if other.n.max() <= 1 else Forgetful(*vars(Moments.merge(self, other)).values())

    values = np.random.default_rng(0).normal(size=(6, 2))
    check_stream(Moments, values, [1, 3])
    with pytest.raises(AssertionError):
        check_stream(Forgetful, values, [1, 3])


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_with_a_largest_norm_stay_as_they_were(kind):
    """Their forward pass scales the rows it reads; a look puts them back."""
    model = nn.Sequential(kind(9, 4, max_norm=0.1), nn.Flatten(), nn.Linear(4, 2))
    x = torch.arange(6)[:, None]
    with check_quiet(model), quiet(model):
        model(x)
