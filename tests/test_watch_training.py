"""Watching leaves a training as it is: the same bits, no trace, and nothing that fails inside reaches it."""

from __future__ import annotations

import copy
import io
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from netassay.testing import check_quiet
from netassay.watching import Monitor
from tests.watched import Net, images, own, seeded, sgd, signals, train, updates


class Dropped(Net):
    """With random numbers and buffers in its forward pass."""

    def __init__(self):
        super().__init__(norm=True, inplace=True)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        return self.drop(super().forward(x))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_training_is_bit_for_bit_the_same(optimizer):
    """Weights, buffers, optimizer state and random numbers, with the watch and without."""
    ends = []
    for watch in (False, True):
        model, (x, y) = seeded(Dropped), images(8)
        one = optimizer(model.parameters(), lr=0.1)
        train(model, one, x, y, steps=4, watch=watch)
        state = [value for p in model.parameters() for value in one.state[p].values()]
        ends.append([*model.state_dict().values(), *state, torch.get_rng_state()])
    assert all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) if a is not None else b is None
        for a, b in zip(*ends, strict=True)
    )


def test_detaching_leaves_no_trace():
    """Also when the training raises, and between a forward and its backward pass."""
    model, (x, y) = seeded(Net), images()
    optimizer = sgd(model, lr=0.0)
    hooks = dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)
    losses = []

    def trained():
        with Monitor(model, optimizer, every=1):
            cross_entropy(model(x), y).backward()
            optimizer.step()
            losses.append(cross_entropy(model(x), y))
            raise ZeroDivisionError

    with check_quiet(model, gradients=False), pytest.raises(ZeroDivisionError):
        trained()
    losses[0].backward()
    assert (dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)) == hooks


def test_a_watched_model_is_saved_and_copied(tmp_path):
    """`torch.save(model)` and deepcopy while attached; what is loaded needs no netassay, the copy is not watched."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        out = model(torch.ones(4, 2))
        torch.save(model, tmp_path / "model.pt")
        torch.save(out.detach(), tmp_path / "out.pt")
        twin = copy.deepcopy(model)
        other = copy.deepcopy(optimizer)
        twin(torch.ones(9, 2)).sum().backward()
        other.step()
        out.sum().backward()
        optimizer.step()
    assert monitor.faults == []
    assert monitor.readings().samples.tolist() == [4]
    program = f"""
import sys, torch
sys.modules["netassay"] = None
print(torch.load({str(tmp_path / "model.pt")!r}, weights_only=False)(torch.ones(4, 2)).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "torch.Size([4, 3])\n", done.stderr


class Odd(nn.Module):
    """Returns what is no tensor, and whose pieces are strange."""

    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(2, 2))

        def forward(self, x):
            return {"none": None, "text": "odd", "number": 3, "list": [(x @ self.w, None)]}

    def __init__(self):
        super().__init__()
        self.strange, self.last = self.Strange(), nn.Linear(2, 2)

    def forward(self, x):
        return self.last(self.strange(x)["list"][0][0])


def test_odd_layers_and_empty_batches_never_raise():
    """Dicts with None and text, a scalar output, a batch of nothing."""
    model = seeded(Odd)
    monitor = train(model, sgd(model), torch.ones(3, 2), torch.tensor([0, 1, 0]))
    assert signals(monitor)["strange"]["gradient"] > 0
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        model(torch.ones(0, 2)).sum().backward()
        optimizer.step()
    assert monitor.readings().samples.tolist() == [0]
    assert [one[:41] for one in own(monitor)] == ["gradient: no gradient was read in 1 step:"]


def test_what_fails_inside_is_noted_once_and_switched_off(monkeypatch):
    """A read that raises costs that layer, not the training; KeyboardInterrupt passes."""
    from netassay.watching import reader as module

    model, (x, y) = seeded(Net), images()
    original, raised = module.pulse, []

    def broken(seen, *args, **options):
        if seen.shape[2] == 5:
            raised.append(1)
            raise RuntimeError("no such luck")
        return original(seen, *args, **options)

    monkeypatch.setattr(module, "pulse", broken)
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        for _ in range(5):
            cross_entropy(model(x), y).backward()
            optimizer.step()
    assert own(monitor) == ["head: RuntimeError: no such luck"]
    assert len(raised) == 3  # and no more: it is off
    assert monitor.readings().told["faults"] == monitor.faults
    assert signals(monitor)["stem"]["gradient"] > 0

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "pulse", stopped)
    with pytest.raises(KeyboardInterrupt), Monitor(model, optimizer, every=1):
        model(x)


def test_an_alarm_is_told_at_once_and_once(caplog):
    """NaN in a weight: `on_verdict` hears of it during the training, the log too, and a callback may raise."""
    model, (x, y) = seeded(Net), images()
    heard, optimizer = [], sgd(model)

    def on_verdict(verdict):
        heard.append((step, verdict))
        raise RuntimeError("the callback's own trouble")

    with (
        caplog.at_level(logging.WARNING, "netassay"),
        Monitor(model, optimizer, every=1, on_verdict=on_verdict) as monitor,
    ):
        for step in range(17):
            if step == 5:
                with torch.no_grad():
                    model.blocks[0].conv2.weight[0, 0, 0, 0] = torch.nan
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            monitor.step(loss.item())
    first = next(one for one in heard if "finite" in one[1].rule)
    assert first[0] == 5
    logged = [record.message for record in caplog.records if record.name == "netassay"]
    assert any("finite" in message for message in logged)
    assert len(logged) == len(set(logged))
    assert sum("callback's own trouble" in one for one in monitor.faults) == 1


def test_a_loss_that_is_not_finite_is_told_on_steps_that_are_not_read(caplog):
    """The loss as a Python float costs nothing to look at."""
    model, (x, y) = seeded(Net), images()
    heard, optimizer = [], sgd(model)
    with Monitor(model, optimizer, every=100, on_verdict=heard.append) as monitor:
        for step in range(4):
            cross_entropy(model(x), y).backward()
            optimizer.step()
            monitor.step(float("nan") if step == 3 else 1.0, epoch=0)
    assert [(one.rule, one.numbers["step"]) for one in heard if one.rule == "loss not finite"] == [
        ("loss not finite", 3)
    ]


def test_skipped_steps_of_a_gradient_scaler_are_dropped_and_counted():
    """What an overflow left is not read as a step; gradients are without the scale."""
    x, y = images()
    reference = seeded(Net)
    plain = signals(train(reference, sgd(reference, lr=0.0), x, y))
    model = seeded(Net)
    optimizer, scaler = sgd(model, lr=0.0), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with Monitor(model, optimizer, every=1, scaler=scaler) as monitor:
        for step in range(5):
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            scaler.scale(loss * torch.inf if step in (1, 4) else loss).backward()
            scaler.step(optimizer)
            scaler.update()
            monitor.step(loss.item())
    assert monitor.faults == []
    r = monitor.readings()
    assert r.told["skipped"] == 2
    assert r.steps.tolist() == [0, 1, 2]
    assert r.assumed["scaler"] == "GradScaler"
    for step in range(3):
        for layer, one in signals(monitor, step).items():
            assert one == pytest.approx(plain[layer], rel=1e-6, nan_ok=True)
        assert updates(monitor, step)["head.weight"]["gradient"] < 10


def test_fused_optimizers_under_a_scaler_are_read_unscaled():
    """They unscale inside their own step, and take an overflow for a step that does nothing."""
    x, y = images()
    read = []
    for scaled in (False, True):
        model = seeded(Net)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)
        with Monitor(model, optimizer, every=1, scaler=scaler) as monitor:
            for step in range(3):
                optimizer.zero_grad()
                loss = cross_entropy(model(x), y)
                if step == 1:
                    if not scaled:
                        continue
                    loss = loss * torch.inf
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        assert monitor.faults == []
        read.append(monitor)
    assert read[1].readings().told["skipped"] == 1
    for name, one in updates(read[0]).items():
        for number in ("gradient", "update", "weight"):
            assert updates(read[1])[name][number] == pytest.approx(one[number], rel=1e-3)


def test_a_resumed_run_goes_on_with_its_series():
    """Through torch.save and a load of weights only: the same numbers as without the break."""
    x, y = images()
    whole = seeded(Net)
    optimizer = sgd(whole, lr=0.1)
    straight = train(whole, optimizer, x, y, steps=6, every=2)
    model = seeded(Net)
    optimizer = sgd(model, lr=0.1)
    first = train(model, optimizer, x, y, steps=3, every=2)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = Monitor(model, optimizer, every=2)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    kept = second.readings()
    assert kept.calls["role"].tolist() == straight.readings().calls["role"].tolist()
    with second:
        for _ in range(3):
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            second.step(loss.item())
    a, b = straight.readings(), second.readings()
    assert b.steps.tolist() == [0, 2, 4]
    assert b.loss == pytest.approx(a.loss)
    for name, values in a.signals.items():
        np.testing.assert_array_equal(values, b.signals[name])
    for layer, numbers in a.latest.items():
        for name, values in numbers.items():
            np.testing.assert_allclose(values, b.latest[layer][name], rtol=1e-12)
    assert (a.calls["into"] == b.calls["into"]).all()


def test_channels_are_counted_over_the_first_and_the_latest_samples():
    """A channel that dies halfway is alive in the first stretch, dead in the latest; counts are of samples."""
    model, (x, y) = (
        nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)),
        (torch.rand(64, 6), torch.arange(64) % 3),
    )
    with torch.no_grad():
        model[0].weight.copy_(0.25 * torch.arange(1, 5)[:, None].expand(4, 6))
    optimizer = sgd(model, lr=0.0)
    with Monitor(model, optimizer, every=1) as monitor:
        for step in range(20):
            if step == 8:
                with torch.no_grad():
                    model[0].bias[2] = -100.0
            cross_entropy(model(x), y).backward()
            optimizer.step()
    r = monitor.readings()
    first, latest = r.first["1"], r.latest["1"]
    assert first["samples"].tolist() == [256] * 4
    assert first["firing"].tolist() == [256] * 4
    assert latest["samples"][0] >= 256
    assert latest["firing"][2] == 0 < latest["firing"][1] == latest["samples"][1]
    assert latest["open"].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert latest["size"][2] == 0
    sizes = model[1](model[0](x)).detach().abs().mean(0)
    assert latest["size"] == pytest.approx((sizes / sizes.mean()).numpy(), rel=1e-6)
    assert np.isnan(latest["flat"]).all()
    assert r.latest["0"]["firing"][2] == 0 < r.latest["0"]["firing"][1]
    spread = model[1](model[0](x)).detach().double()
    wanted = spread.var(0, correction=0) / spread.square().mean(0)
    assert latest["spread"][:2] == pytest.approx(wanted[:2].numpy(), rel=1e-5)


def test_bounded_activations_tell_where_they_are_flat():
    """The share of entries whose slope is below 0.05, by autograd."""
    for kind in (nn.Tanh(), nn.Sigmoid(), nn.Hardtanh(-1, 2), nn.Hardsigmoid(), nn.Softsign()):
        model = nn.Sequential(nn.Identity(), nn.Linear(3, 8), kind)
        with torch.no_grad():
            model[1].weight.mul_(10)
        optimizer, x = sgd(model), torch.randn(40, 3)
        leaf = model[1](x).detach().requires_grad_()
        (slope,) = torch.autograd.grad(kind(leaf).sum(), leaf)
        with Monitor(model, optimizer, every=1) as monitor:
            model(x).sum().backward()
            optimizer.step()
        assert signals(monitor)["2"]["flat"] == pytest.approx((slope.abs() < 0.05).float().mean().item()), kind
        flat = (slope.abs() < 0.05).float().mean(0).numpy()
        assert monitor.readings().first["2"]["flat"] == pytest.approx(flat)


def test_a_monitor_gives_a_result_with_its_verdicts():
    """Tables, series and provenance of what was read, judged."""
    model, (x, y) = seeded(Net), images()
    monitor = train(model, sgd(model), x, y, steps=2)
    result = monitor.result()
    assert result.study == "flow"
    assert result.array("gradient").shape == (2, len(signals(monitor)))
    assert [one.rule for one in result.verdicts] == [one.rule for one in monitor.verdicts()]
    assert result.provenance["assumed"]["reduction"] == "mean"
