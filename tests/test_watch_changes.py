"""A training that changes under its watch: parameters that join, tensors that are replaced, losses that are odd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from netassay.watching import Monitor


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def steps(monitor, model, optimizer, count, loss=None):
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    for _ in range(count):
        made = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        made.backward()
        optimizer.step()
        monitor.step(made if loss is None else loss)


def test_parameters_that_join_an_optimizer_are_read():
    """Unfreezing step by step is no finding, and what joined is followed."""
    model = net()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    with Monitor(model, optimizer, every=1) as monitor:
        steps(monitor, model, optimizer, 2)
        optimizer.add_param_group({"params": list(model[0].requires_grad_(True).parameters())})
        steps(monitor, model, optimizer, 3)
    read = monitor.readings()
    assert read.parameters["optimizer"].tolist() == [0, 0, 0, 0]
    assert np.isfinite(read.updates["update"][2:]).all()
    assert "forgotten parameters" not in {one.rule for one in monitor.verdicts()}
    assert monitor.faults == []


def test_a_tensor_in_the_place_of_another_is_followed():
    """A weight that was replaced, in model and optimizer, is read from then on."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Monitor(model, optimizer, every=1) as monitor:
        steps(monitor, model, optimizer, 2)
        model[2].weight = nn.Parameter(3 * model[2].weight.detach())
        optimizer.param_groups[0]["params"] = list(model.parameters())
        steps(monitor, model, optimizer, 2)
    read = monitor.readings()
    at = read.parameters["parameter"].tolist().index("2.weight")
    assert read.updates["weight"][2, at] == pytest.approx(3 * read.updates["weight"][1, at], rel=0.2)
    assert monitor.faults == []


@pytest.mark.parametrize("loss", ["x", 10**400, torch.ones(2, dtype=torch.complex64), object()], ids=type)
def test_a_loss_that_is_none_leaves_the_rest_whole(loss):
    """It is a fault, and nobody's loss; verdicts, result and state are there all the same."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Monitor(model, optimizer, every=1) as monitor:
        steps(monitor, model, optimizer, 1, loss)
        steps(monitor, model, optimizer, 1)
    assert any(fault.startswith("loss: ") for fault in monitor.faults)
    told = monitor.result().table("steps")
    assert np.isnan(told[0]["loss"])
    assert np.isfinite(told[1]["loss"])
    monitor.state_dict()


def test_a_loss_is_what_it_was_when_it_was_told():
    """What the training makes of its tensor afterwards changes nothing."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = torch.tensor(1.5)
    with Monitor(model, optimizer, every=1) as monitor:
        steps(monitor, model, optimizer, 1, loss)
        loss.mul_(100)
    assert monitor.readings().loss.tolist() == [1.5]
