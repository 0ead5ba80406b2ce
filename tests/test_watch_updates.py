"""Updates: what optimizers do to parameters, against the definition, in every form that torch has."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

from netassay.watching import Monitor, steps
from netassay.watching import updates as room
from netassay.watching.guard import Guard
from tests.reference import watch as twin
from tests.watched import Net, images, own, seeded, sgd, train, updates

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "adam fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}


@pytest.fixture(params=["together", "alone", "blocks"], autouse=True)
def size(request, monkeypatch):
    """Parameters are read many at a time where they are small, and by blocks where not; the same must come out."""
    if request.param != "together":
        monkeypatch.setattr(steps, "FEW", 0)
    if request.param == "blocks":
        monkeypatch.setattr(steps, "BLOCK", 24)
        monkeypatch.setattr(steps, "_ROOMS", threading.local())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_equal_the_definition(name):
    """Norms, shares and cosines of every parameter, from copies taken around the third step."""
    model, (x, y) = seeded(Net), images()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, x, y, steps=2)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    monitor = train(model, optimizer, x, y)
    read = updates(monitor)
    for key, p in model.named_parameters():
        for number, value in twin.update(before[key], p.detach(), p.grad).items():
            near = 1e-7 if number == "radial" else 1e-9
            assert read[key][number] == pytest.approx(value, rel=2e-6, abs=near), (key, number)
        assert read[key]["rate"] == optimizer.param_groups[0]["lr"]
        state = optimizer.state[p]
        second = state.get("max_exp_avg_sq", state.get("exp_avg_sq"))
        if second is None or name == "radam":
            assert np.isnan(read[key]["adam"])
        else:
            root = (second.double() / (1 - 0.999**3)).sqrt()
            assert read[key]["adam"] == pytest.approx((root / (root + 1e-8)).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("size", "factor"), [(1e-7, 0.9091), (1e-8, 0.5), (1e-9, 0.0909), (1e-10, 0.0099)])
def test_adams_first_step_shrinks_with_its_epsilon(size, factor):
    """The first step over the rate is |g| / (|g| + eps), and that is what is read."""
    model = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-8)
    with Monitor(model, optimizer, every=1) as monitor:
        (model(torch.ones(1, 4)) * size).sum().backward()
        optimizer.step()
    read = updates(monitor)["weight"]
    assert read["adam"] == pytest.approx(factor, rel=2e-3)
    assert read["gradient"] == pytest.approx(2 * size, rel=1e-6)


def test_none_zero_and_tiny_gradients_are_three_things():
    """No gradient is NaN, a gradient of zeros is 0, and 1e-24 is 1e-24."""

    class Three(nn.Module):
        def __init__(self):
            super().__init__()
            self.none, self.zero, self.tiny = (nn.Parameter(torch.ones(4)) for _ in range(3))
            self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)

        def forward(self, x):
            return (self.zero * 0 * x + self.tiny * x * 1e-24).sum()

    model = Three()
    optimizer = torch.optim.SGD([model.none, model.zero, model.tiny], lr=0.1)
    with Monitor(model, optimizer, every=1, layers="model") as monitor:
        model(torch.ones(4)).backward()
        optimizer.step()
    read = updates(monitor)
    assert np.isnan(read["none"]["gradient"])
    assert (read["zero"]["gradient"], read["zero"]["gradient_zero"], read["zero"]["lost"]) == (0, 4, 0)
    assert read["tiny"]["gradient"] == pytest.approx(2e-24, rel=1e-6)
    assert (read["tiny"]["unchanged"], read["tiny"]["lost"]) == (1, 1)
    with Monitor(model, optimizer, every=1, layers="model") as monitor:
        (model(torch.ones(4)) + (model.zero * torch.tensor([1.0, 2.0, 1e-40, 0.0])).sum()).backward()
        optimizer.step()
    again = updates(monitor)["zero"]
    assert (again["gradient_zero"], again["gradient_subnormal"], again["lost"]) == (1, 1, 0.25)
    facts = monitor.readings().parameters
    assert facts["optimizer"].tolist() == [0, 0, 0, -1]
    assert facts["trained"].tolist() == [True, True, True, False]


def test_a_step_below_what_bfloat16_resolves_is_lost():
    """1e-3 of 1.0 is lost in bfloat16, 4e-3 is not."""
    for size, lost in ((1e-3, 1.0), (4e-3, 0.0)):
        model = nn.Linear(8, 1, bias=False, dtype=torch.bfloat16)
        nn.init.ones_(model.weight)
        with Monitor(model, torch.optim.SGD(model.parameters(), lr=size), every=1) as monitor:
            model(torch.ones(1, 8, dtype=torch.bfloat16)).sum().backward()
            monitor.updates.optimizers[0].step()
        assert updates(monitor)["weight"]["lost"] == lost
        assert monitor.readings().parameters["dtype"].tolist() == ["bfloat16"]


def test_gradients_are_as_the_optimizer_meets_them():
    """Clipped, and accumulated over micro-batches."""
    model, (x, y) = seeded(Net), images(8)
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        for part in range(4):
            torch.nn.functional.cross_entropy(model(x[2 * part : 2 * part + 2]), y[2 * part : 2 * part + 2]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizer.step()
    total = sum(one["gradient"] ** 2 for one in updates(monitor).values()) ** 0.5
    assert total == pytest.approx(0.01, rel=1e-3)


def test_several_optimizers_and_groups():
    """Each parameter has its optimizer's number and its group's rate; a window holds a step of each."""
    model, (x, y) = seeded(Net), images()
    head = torch.optim.Adam(model.head.parameters(), lr=0.5)
    groups = [{"params": model.stem.parameters(), "lr": 0.25}, {"params": model.blocks.parameters()}]
    rest = torch.optim.SGD(groups, lr=0.125)
    with Monitor(model, [head, rest], every=1) as monitor:
        for _ in range(2):
            torch.nn.functional.cross_entropy(model(x), y).backward()
            head.step()
            rest.step()
            monitor.step(1.0)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        rest.step()
    r = monitor.readings()
    owner = dict(zip(r.parameters["parameter"].tolist(), r.parameters["optimizer"].tolist(), strict=True))
    assert (owner["head.weight"], owner["stem.weight"]) == (0, 1)
    assert r.steps.tolist() == [0, 1, 2]
    read = updates(monitor, 1)
    assert [read[f"{one}.weight"]["rate"] for one in ("head", "stem", "blocks.0.conv1")] == [0.5, 0.25, 0.125]
    assert np.isnan(updates(monitor, 2)["head.weight"]["update"])
    assert updates(monitor, 2)["stem.weight"]["update"] > 0


def test_sparse_complex_and_closures_never_raise():
    """Embeddings with sparse gradients, complex parameters, and LBFGS, whose step runs the model several times."""
    embed = nn.Embedding(10, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(embed.parameters())
    with Monitor(embed, optimizer, every=1, layers="model") as monitor:
        embed(torch.tensor([1, 1, 2])).sum().backward()
        optimizer.step()
    assert monitor.faults == []
    assert updates(monitor)["weight"]["gradient_zero"] == 24
    assert updates(monitor)["weight"]["gradient"] == pytest.approx((3 * (4 + 1)) ** 0.5)

    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3, dtype=torch.complex64))

        def forward(self, x):
            return (self.w * x).abs().sum()

    model = Complex()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    with Monitor(model, optimizer, every=1) as monitor:
        model(torch.ones(2, 3)).backward()
        optimizer.step()
    assert own(monitor) == []
    assert updates(monitor)["w"]["gradient"] == pytest.approx(12**0.5, rel=1e-6)

    model, (x, y) = seeded(Net), images()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with Monitor(model, optimizer, every=1) as monitor:
        for _ in range(2):
            monitor.step(optimizer.step(closure).item())
    assert monitor.faults == []
    assert monitor.readings().steps.tolist() == [0, 1]


def test_symmetry_at_the_start_is_counted():
    """Eight equal rows are seven too many; a transposed convolution has its channels on the second axis."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ConvTranspose2d(3, 5, 2), nn.BatchNorm2d(5), nn.Embedding(3, 4))
    for layer in model[:2]:
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    facts = Monitor(model, sgd(model)).readings().parameters
    names, roles, copies = (facts[one].tolist() for one in ("parameter", "role", "symmetric"))
    rows = {name: (role, number) for name, role, number in zip(names, roles, copies, strict=True)}
    assert rows == {
        "0.weight": ("matrix", 7),
        "0.bias": ("bias", -1),
        "1.weight": ("matrix", 4),
        "1.bias": ("bias", -1),
        "2.weight": ("gain", -1),
        "2.bias": ("bias", -1),
        "3.weight": ("embedding", -1),
    }


def test_what_is_not_finite_after_a_step_is_counted():
    """NaN in a gradient reaches the weight and the optimizer's state."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    with Monitor(model, optimizer, every=1) as monitor:
        model(torch.ones(1, 3)).sum().backward()
        model.weight.grad[0, 0] = torch.nan
        optimizer.step()
    read = updates(monitor)["weight"]
    assert (read["gradient_nan"], read["weight_nan"], read["state_nan"]) == (1, 1, 2)
    assert read["gradient"] == pytest.approx(5**0.5)


def test_a_moment_that_overflows_is_counted_and_a_weight_that_is_infinite_has_not_stayed():
    """The square of 1e25 is infinite in float32: that entry never moves again. Less itself, infinity is no number."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[1].weight[1, 1] = torch.inf
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Monitor(model, optimizer, every=1) as monitor:
        model(torch.ones(1, 3)).sum().backward()
        for one in model:
            one.weight.grad.fill_(1)
        model[0].weight.grad[0, 0], model[1].weight.grad[1, 1] = 1e25, 0
        optimizer.step()
    first, second = (updates(monitor)[f"{i}.weight"] for i in range(2))
    assert (first["state_nan"], first["unchanged"], first["lost"]) == (1, pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert (second["state_nan"], second["weight_inf"], second["unchanged"]) == (0, 1, 0)
    assert monitor.faults == []


def test_a_parameter_without_entries_is_read_and_says_nothing():
    """No entry is lost, zero or infinite, and nothing is told of it."""
    model = nn.Linear(2, 2)
    model.nothing = nn.Parameter(torch.zeros(0))
    optimizer = torch.optim.Adam(model.parameters())
    with Monitor(model, optimizer, every=1) as monitor:
        (model(torch.ones(1, 2)).sum() + model.nothing.sum()).backward()
        optimizer.step()
    read = updates(monitor)["nothing"]
    assert (read["weight"], read["gradient"], read["gradient_zero"], read["weight_inf"]) == (0, 0, 0, 0)
    assert monitor.faults == []
    assert not [one for one in monitor.verdicts() if "nothing" in repr(one)]


def test_scale_invariant_weights_are_orthogonal_to_their_gradient():
    """Before a BatchNorm the cosine is about 0, and the gradient falls as the weight grows (fact 15)."""
    x, y = images(16)
    read = []
    for factor in (1.0, 10.0):
        model = seeded(Net, norm=True)
        with torch.no_grad():
            model.blocks[0].conv1.weight.mul_(factor)
            model.blocks[0].conv1.bias.mul_(factor)
        read.append(updates(train(model, sgd(model), x, y))["blocks.0.conv1.weight"])
    assert abs(read[0]["radial"]) < 1e-3
    assert read[1]["gradient"] == pytest.approx(read[0]["gradient"] / 10, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_adams_factor_in_half_precision_is_a_share(dtype, size):
    """Neither the sum over many entries nor the correction of the first step leaves the range of the dtype."""
    model = nn.Linear(400, 400, bias=False, dtype=dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Monitor(model, optimizer, every=1) as monitor:
        (model(torch.ones(1, 400, dtype=dtype)) * size).sum().backward()
        optimizer.step()
    assert updates(monitor)["weight"]["adam"] == pytest.approx(1, rel=1e-5)


def test_each_group_has_its_own_epsilon():
    """A first step of gradient 1 under epsilon 1 is halved, under 3 quartered."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(1, 3, bias=False))
    groups = [{"params": one.parameters(), "eps": eps} for one, eps in zip(model, (1.0, 3.0), strict=True)]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    with Monitor(model, optimizer, every=1) as monitor:
        sum(one(torch.ones(1, 1)).sum() for one in model).backward()
        optimizer.step()
    assert [one["adam"] for one in updates(monitor).values()] == pytest.approx([0.5, 0.25], rel=1e-6)


class GroupAdam(torch.optim.Optimizer):
    """An Adam that counts its steps in the group, or not at all."""

    def __init__(self, params, counted):
        super().__init__(params, {"betas": (0.9, 0.999), "eps": 1e-8, "lr": 0.1, **({"step": 0} if counted else {})})
        self.counted = counted

    def step(self, closure=None):
        for group in self.param_groups:
            if self.counted:
                group["step"] += 1
            for p in group["params"]:
                self.state[p]["exp_avg_sq"] = torch.full_like(p, 1e-3 * 1e-16)


@pytest.mark.parametrize(("counted", "factor"), [(True, 0.5), (False, np.nan)])
def test_an_adam_that_counts_elsewhere_is_read(counted, factor):
    """The count is taken from the group; without one the factor is not known."""
    model = nn.Linear(2, 2)
    optimizer = GroupAdam(model.parameters(), counted)
    with Monitor(model, optimizer, every=1) as monitor:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert own(monitor) == []
    assert updates(monitor)["weight"]["adam"] == pytest.approx(factor, nan_ok=True)


def test_shares_of_complex_parameters_are_shares():
    """Real and imaginary parts are entries of their own, and the size counts both."""
    model = nn.Linear(3, 2, bias=False, dtype=torch.complex64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    with Monitor(model, optimizer, every=1) as monitor:
        model(torch.ones(1, 3, dtype=torch.complex64)).abs().sum().backward()
        optimizer.step()
    read = updates(monitor)["weight"]
    assert (read["unchanged"], read["lost"]) == (1, 1)
    assert read["adam"] == pytest.approx(1, rel=1e-3)
    assert monitor.readings().parameters["size"].tolist() == [12]


def test_of_two_steps_the_last_is_read(monkeypatch):
    """Nothing of the first is left, of a small parameter or a large one."""
    monkeypatch.setattr(steps, "FEW", 4)
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    reader = room.Updates(model, [optimizer], Guard())
    reader.open()
    for gradient in (1.0, 4.0):
        for p in model.parameters():
            p.grad = torch.full_like(p, gradient)
        optimizer.step()
    assert reader.take()["update"] == pytest.approx([8.0, 8**0.5])
    reader.close()


def test_small_parameters_that_cannot_be_read_together_are_read_alone(monkeypatch):
    """What fails for all is noted, and costs no number."""
    monkeypatch.setattr(room, "together", lambda steps: torch.stack([torch.ones(2), torch.ones(3)]))
    model, (x, y) = seeded(Net), images()
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert all(one["update"] > 0 for one in updates(monitor).values())
    assert [one.split(":")[0] for one in monitor.faults] == ["small parameters"] * (steps.FEW > 0)
