"""Looks at a network's parameters and features: against every number kept, in memory that does not grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.data import load_data
from netassay.errors import BadInput
from netassay.studies.init_looks import features, noise, parameters
from netassay.studies.init_symmetry import distinct, gradient_zeros, unmoved
from tests.reference import looks as twin

NUMBERS = ("n", "mean", "std", "skewness", "kurtosis", "minimum", "maximum")


def told(one):
    return {name: getattr(one, name) for name in NUMBERS}


def test_features_are_those_of_a_plain_pass():
    """Every place of a chain has the numbers of all its features, gathered over batches of different size."""
    net, x = na.build("cnn:input=8", seed=1), torch.randn(50, 3, 8, 8)
    found = features(net, load_data(x, batch_size=16))
    kept = twin.chain_features(net, x)
    assert list(found) == list(kept)
    for name, one in found.items():
        assert told(one) == pytest.approx(twin.shape(kept[name]), rel=1e-5, abs=1e-6), name


def test_a_place_is_read_before_what_works_in_place():
    """An in-place ReLU does not reach into the features before it."""
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2))
    found = features(net, load_data(torch.randn(20, 4)))
    assert list(found) == ["0 before", "1 after", "2 penultimate", "2 logits"]
    assert found["0 before"].minimum < 0 == found["1 after"].minimum
    assert told(found["1 after"]) == told(found["2 penultimate"])


class Reversed(nn.Module):
    """Runs its layers against the order in which they were made; one runs twice."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(4, 2), nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.body(self.body(x)))


def test_the_last_layer_is_the_one_that_runs_last():
    """Not the one that was made last; calls of one layer are places of their own."""
    found = features(Reversed(), load_data(torch.randn(9, 4)))
    assert list(found) == ["body#0 before", "body#1 before", "head penultimate", "head logits"]


def test_a_network_without_weights_is_refused():
    """There are no features to speak of."""
    with pytest.raises(BadInput, match="no layer with a weight runs"):
        features(nn.Sequential(nn.ReLU()), load_data(torch.randn(9, 4)))


def test_parameters_are_looked_at_whole():
    """Each parameter's distribution is that of all its numbers."""
    net = na.build("mlp[200]", seed=2)
    for name, one in parameters(net).items():
        kept = dict(net.named_parameters())[name].detach().numpy()
        assert told(one) == pytest.approx(twin.shape(kept), rel=1e-6, nan_ok=True), name


def test_the_first_are_the_first():
    """The first samples, in the data's own order, and no more; all where there are fewer."""
    data = load_data((torch.arange(10.0)[:, None], torch.arange(10)), batch_size=4)
    assert torch.cat([batch.x for batch in data.first(6)]).flatten().tolist() == list(range(6))
    assert [len(batch.y) for batch in data.first(6)] == [4, 2]
    assert (len(data.first(6)), data.first(6).n, data.first(99).n) == (2, 6, 10)


def test_noise_is_gaussian_and_repeats():
    """N(0, 1) in every number, the same for the same seed."""
    draws = [torch.cat([batch.x for batch in noise((2, 3), 1000, 64, seed)]) for seed in (0, 0, 1)]
    assert draws[0].shape == (1000, 2, 3)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    shape = twin.shape(draws[0])
    assert abs(shape["mean"]) < 4 / 6000**0.5
    assert abs(shape["kurtosis"] - 3) < 4 * (24 / 6000) ** 0.5


def test_channels_that_are_copies_count_once():
    """Against the slow count; a transposed convolution's channels are on its second axis, group by group."""
    net = nn.Sequential(nn.Linear(5, 8), nn.ConvTranspose2d(4, 6, 3, groups=2))
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = net[0].weight[5], net[0].bias[5]
        net[0].weight[6] = net[0].weight[5]
        net[1].weight[:2, 1], net[1].bias[1] = net[1].weight[:2, 2], net[1].bias[2]
    found = distinct(net, "start")
    assert found["distinct/channels"].tolist() == [8, 6]
    assert found["distinct/start"].tolist() == [7, 5]
    assert twin.distinct_rows(net[0].weight.detach(), net[0].bias.detach()) == 7


def test_zeros_get_no_gradient_but_the_last_bias():
    """All weights and biases zero: nothing but the last bias has a gradient; `.grad` stays as it was."""
    net = na.build("mlp[8]")
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    batch = next(iter(load_data("digits", batch_size=30)))
    found = dict(zip(*gradient_zeros(net, batch).values(), strict=True))
    assert found == {"fc1.weight": 1.0, "fc1.bias": 1.0, "head.weight": 1.0, "head.bias": 0.0}
    assert all(parameter.grad is None for parameter in net.parameters())


def test_what_never_moved_is_told_bit_by_bit():
    """Shares of numbers that are equal before and after."""
    before, after = na.build("mlp[8]"), na.build("mlp[8]")
    with torch.no_grad():
        after.fc1.weight[:2] += 1
    shares = dict(zip(*unmoved(before, after).values(), strict=True))
    assert shares == {"fc1.weight": 0.75, "fc1.bias": 1.0, "head.weight": 1.0, "head.bias": 1.0}


def test_looking_leaves_the_network_as_it_was():
    """Features, parameters and gradients are read without a trace."""
    from netassay.testing import check_quiet

    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(108, 3))
    x, y = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    data = load_data((x, y))
    for look in (parameters, lambda one: features(one, data), lambda one: gradient_zeros(one, next(iter(data)))):
        with check_quiet(net):
            look(net)
    assert np.isfinite([one.std for one in features(net, data).values()]).all()
