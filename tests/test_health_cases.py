"""Small trainings, healthy and sick, that other tools judge wrongly: each is judged rightly here."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from netassay.watching import Monitor


def watched(model, x, y, steps=40, optimizer=None, factor=1.0):
    """Train on batches of 64, one after the other, under watch; return the watch and the loss of each step."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    with Monitor(model, [optimizer], every=1) as monitor:
        for step in range(steps):
            rows = torch.arange(64 * step, 64 * step + 64) % len(x)
            loss = factor * cross_entropy(model(x[rows]).flatten(1), y[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss)
            losses.append(loss.item())
    assert not monitor.result().provenance["told"]["faults"]
    return monitor, losses


def alarms(monitor):
    return [f"{one.rule}: {one}" for one in monitor.verdicts() if one.severity != "note"]


def rules(monitor):
    return {one.rule for one in monitor.verdicts()}


def dead(monitor):
    """Return what is said of dead channels: the layer, and how many of how many."""
    found = [one for one in monitor.verdicts() if one.rule == "dead channels"]
    return {one.layer: (one.numbers["dead"], one.numbers["channels"]) for one in found}


def clouds(*shape, classes=4, n=512):
    """Draw samples around one centre for each class."""
    y = torch.arange(n) % classes
    return torch.randn(classes, *shape)[y] + torch.randn(n, *shape), y


def he(model):
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def perceptron(inplace=False):
    hidden = [one for width in (32, 64, 64, 64) for one in (nn.Linear(width, 64), nn.ReLU(inplace=inplace))]
    return he(nn.Sequential(*hidden, nn.Linear(64, 4)))


def convolutional(inplace=False):
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    parts = (first, nn.BatchNorm2d(16), nn.ReLU(inplace), second, nn.BatchNorm2d(16), nn.ReLU(inplace))
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_healthy_perceptron_has_no_alarm(inplace):
    """Four He-initialised ReLU layers: half of their entries are zero, and nothing is dead or saturated."""
    monitor, losses = watched(perceptron(inplace), *clouds(32))
    assert losses[-1] < 0.5 * losses[0]
    assert alarms(monitor) == []


@pytest.mark.parametrize("inplace", [False, True])
def test_a_healthy_convolutional_net_has_no_alarm(inplace):
    """Convolution, batch norm, ReLU, twice: half zero, and weights whose norm hardly changes."""
    monitor, losses = watched(convolutional(inplace), *clouds(1, 8, 8))
    assert losses[-1] < 0.4 * losses[0]
    assert alarms(monitor) == []


def test_activations_in_place_read_the_same():
    """In-place ReLU overwrites what its layer put out; what is read and made of it is bit for bit the same."""
    results = []
    for inplace in (False, True):
        torch.manual_seed(3)
        results.append(watched(perceptron(inplace), *clouds(32), steps=10)[0].result())
    for table in ("layers", "parameters", "law", "channels"):
        # Which module takes a tensor next is another matter where it is the same tensor.
        apart, within = ([{**row, "into": ""} for row in result.table(table)] for result in results)
        assert str(apart) == str(within)


def test_gradients_that_are_nan_are_named():
    """They are the first finding, with layer and step, and nothing is said of vanishing."""
    model = perceptron()
    model[4].weight.register_hook(lambda gradient: gradient * math.nan)
    monitor, _ = watched(model, *clouds(32), steps=5)
    first = monitor.verdicts()[0]
    assert (first.rule, first.severity, first.layer) == ("not finite", "finding", "4")
    assert "gradient of 4.weight" in first.cause
    assert "step 0" in first.cause
    assert not {"vanishing gradient", "zero gradient"} & rules(monitor)


@pytest.mark.parametrize("count", [5, 12])
def test_dead_channels_of_a_convolution_are_counted_as_channels(count):
    """So many of 16, neither a share of zero entries nor one of columns of the image."""
    model = convolutional()
    with torch.no_grad():
        model[4].bias[:count] = -20.0
    monitor, _ = watched(model, *clouds(1, 8, 8), steps=20)
    assert (float(count), 16.0) in dead(monitor).values()
    told = next(one for one in monitor.verdicts() if one.rule == "dead channels")
    assert f"{count} of 16 channels" in told.cause
    assert f"0-{count - 1}" in told.cause
    assert told.layer in ("3", "4", "5")


def test_dead_units_behind_tokens_are_counted_as_units():
    """Half of 32 units, of an input (batch, time, features): the last axis, not time."""
    model = he(nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4), nn.Flatten(), nn.Linear(20, 4)))
    with torch.no_grad():
        model[0].bias[::2] = -40.0
    monitor, _ = watched(model, *clouds(5, 12), steps=20)
    assert dead(monitor) == {"0": (16, 32)}


def test_half_of_a_layer_dead_is_found():
    """Half of a layer is a finding, though fewer than nine of ten entries are zero."""
    model = he(nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)))
    with torch.no_grad():
        model[0].bias[:8] = -40.0
    monitor, _ = watched(model, *clouds(12), steps=20)
    assert dead(monitor) == {"0": (8, 16)}
    assert [one.severity for one in monitor.verdicts() if one.rule == "dead channels"] == ["finding"]


def test_gradients_of_a_tiny_size_are_not_called_zero():
    """At 1e-24 they are there: nothing is dead or zero; what is wrong is that no step moves a weight."""
    monitor, _ = watched(perceptron(), *clouds(32), factor=1e-24, steps=20)
    rows = [row for row in monitor.result().table("parameters") if row["role"] == "matrix"]
    assert all(1e-27 < row["gradient"] < 1e-22 for row in rows)
    assert not {"zero gradient", "dead channels", "vanishing gradient"} & rules(monitor)
    assert {"update ratio", "lost update"} & rules(monitor)


class Turn(torch.optim.Optimizer):
    """Turns each weight towards a direction at right angles to it, by a tenth, and leaves its norm."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                norm = weight.norm()
                away = torch.randn_like(weight)
                away -= (away * weight).sum() / norm**2 * weight
                turned = weight + group["lr"] * norm * away / away.norm()
                weight.copy_(turned * norm / turned.norm())


def test_a_weight_that_turns_has_moved():
    """Turned by a tenth at the same norm it moved by 0.0996 of its size; a difference of norms would say 0."""
    model = nn.Sequential(nn.Linear(12, 16, bias=False), nn.ReLU(), nn.Linear(16, 4, bias=False))
    monitor, _ = watched(model, *clouds(12), steps=5, optimizer=Turn(model.parameters()))
    expected = 2 * math.sin(math.atan(0.1) / 2)
    assert expected == pytest.approx(0.0996, abs=5e-5)
    for row in monitor.result().table("parameters"):
        assert row["ratio"] == pytest.approx(expected, rel=1e-5)


def test_gradient_that_explodes_is_found():
    """Ten layers with weights four times too large: found, at the input end, whatever layer is the busiest."""
    hidden = [one for i in range(10) for one in (nn.Linear(32, 32), nn.ReLU())]
    model = he(nn.Sequential(*hidden, nn.Linear(32, 4)))
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight.mul_(4)
    adam = torch.optim.Adam(model.parameters(), 1e-4)
    monitor, _ = watched(model, *clouds(32), steps=20, optimizer=adam)
    told = next(one for one in monitor.verdicts() if one.rule == "exploding gradient")
    assert told.severity == "finding"
    assert told.numbers["chi"] == pytest.approx(16, rel=0.4)
