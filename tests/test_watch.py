"""Watching: what is read of a training against the definition, and what must not change it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from netassay.watching import Monitor, Reader
from netassay.watching import reader as module
from tests.reference import watch as twin
from tests.watched import Net, Tokens, images, seeded, sgd, signals, train, words

NAMES = ("gradient", "second_moment", "variance", "entries", "zero", "subnormal", "nan", "inf")
IMAGES = ("stem", "act", "blocks.0.conv1", "blocks.0.relu", "blocks.1.conv2", "blocks.1", "head")
WORDS = ("embed", "norm", "up", "act", "down", "head")


def close(read, wanted, rel=1e-6):
    for layer, numbers in wanted.items():
        for name in NAMES:
            assert read[layer][name] == pytest.approx(numbers[name], rel=rel, abs=0), (layer, name)


@pytest.mark.parametrize(("make", "data", "names"), [(Net, images, IMAGES), (Tokens, words, WORDS)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_signals_equal_the_definition(make, data, names, reduction):
    """Each sample's own gradient, one sample at a time; the loss may be a mean or a sum."""
    model, (x, y) = seeded(make), data()
    wanted = twin.layers(model, x, y, lambda out, y: cross_entropy(out, y, reduction="none"), names)
    close(signals(train(model, sgd(model), x, y, reduction=reduction)), wanted)


def test_gradients_of_1e_24_are_read():
    """A chain that loses a factor of 1e5 a layer ends where squares of float32 are all 0."""
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(6)))
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.eye(4) * 1e-5)
    x, y = torch.randn(3, 4) * 1e25, torch.tensor([0, 1, 2])
    wanted = twin.layers(model, x, y, lambda out, y: cross_entropy(out, y, reduction="none"), ["0", "5"])
    assert wanted["0"]["gradient"] < 1e-24
    close(signals(train(model, sgd(model), x, y)), wanted)


def test_batch_norm_gradients_are_those_of_the_whole_batch():
    """With batch statistics no sample is alone: what is read is the batch's gradient times the root of N."""
    model, (x, y) = seeded(Net, norm=True), images()
    monitor = train(model, sgd(model, lr=0.0), x, y)
    outputs = twin.Outputs(model, ["blocks.0.conv1"])
    loss = cross_entropy(model(x), y)
    outputs.close()
    (gradient,) = torch.autograd.grad(loss, outputs.kept["blocks.0.conv1"][0])
    read = signals(monitor)["blocks.0.conv1"]
    assert read["gradient"] == pytest.approx(gradient.double().norm().item() * len(x) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("k", [-60, -3, 20])
def test_the_loss_times_a_power_of_two_scales_gradients_and_nothing_else(k):
    """Bit by bit but for the scale."""
    (x, y), read = images(), []
    for factor in (1.0, 2.0**k):
        model = seeded(Net)
        read.append(signals(train(model, sgd(model, lr=0.0), x, y, factor=factor)))
    for layer, numbers in read[0].items():
        scaled = {**numbers, "gradient": numbers["gradient"] * 2.0**k}
        faint = {"gradient_subnormal", "gradient_zero"}
        same = {name: pytest.approx(value, rel=1e-6, abs=0, nan_ok=True) for name, value in scaled.items()}
        assert {n: v for n, v in read[1][layer].items() if n not in faint} == {
            n: v for n, v in same.items() if n not in faint
        }


def test_the_batch_repeated_reads_the_same():
    """Twice the same samples: the same means."""
    x, y = images()
    one, two = (
        signals(train(model, sgd(model, lr=0.0), x.repeat(n, 1, 1, 1), y.repeat(n)))
        for n, model in ((1, seeded(Net)), (2, seeded(Net)))
    )
    for layer, numbers in one.items():
        for name in ("gradient", "second_moment", "variance"):
            assert two[layer][name] == pytest.approx(numbers[name], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_eight_micro_batches_read_as_one_batch(reduction):
    """Accumulation gives the same absolute numbers, variance across all samples included."""
    x, y = images(8)
    whole, parts = (
        signals(train(model, sgd(model, lr=0.0), x, y, parts=parts, reduction=reduction))
        for parts, model in ((1, seeded(Net)), (8, seeded(Net)))
    )
    for layer, numbers in whole.items():
        for name, value in numbers.items():
            assert parts[layer][name] == pytest.approx(value, rel=2e-6, nan_ok=True), (layer, name)


@pytest.mark.parametrize("check", ["plain", "reentrant"])
@pytest.mark.parametrize("inplace", [False, True])
def test_checkpointing_and_in_place_relu_read_the_same(check, inplace):
    """Recomputation is not read twice, and gradients are found where the first run had no graph."""
    x, y = images()
    x.requires_grad_()
    plain, other = (
        train(model, sgd(model, lr=0.0), x, y, steps=2)
        for model in (seeded(Net), seeded(Net, inplace=inplace, check=check))
    )
    assert plain.readings().calls["layer"].tolist() == other.readings().calls["layer"].tolist()
    for layer, numbers in signals(plain).items():
        assert signals(other)[layer] == pytest.approx(numbers, rel=1e-6, nan_ok=True), layer


def test_a_module_called_twice_has_two_calls():
    """Shared weights: each call has its own numbers, in order of execution."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.relu = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x):
            return self.relu(self.one(self.relu(self.one(x))))

    model = seeded(Twice)
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    monitor = train(model, sgd(model), x, y, steps=2)
    calls = monitor.readings().calls
    assert calls["layer"].tolist() == ["input", "one#0", "relu#0", "one#1", "relu#1"]
    assert calls["depth"].tolist() == [0, 1, 1, 2, 2]
    assert calls["into"].tolist() == ["Linear", "ReLU", "Linear", "ReLU", ""]
    read = signals(monitor)
    assert read["one#0"]["gradient"] != read["one#1"]["gradient"]


def test_calls_tell_role_depth_and_path():
    """What the law and the verdicts need to know of each call."""
    model, (x, y) = seeded(Net, norm=True), images()
    facts = train(model, sgd(model), x, y).readings().calls
    columns = [facts[name].tolist() for name in ("layer", "role", "depth", "path", "into")]
    rows = {row[0]: row[1:] for row in zip(*columns, strict=True)}
    assert rows["input"] == ("input", 0, "trunk", "Conv2d")
    assert rows["stem"] == ("weight", 1, "trunk", "ReLU")
    assert rows["blocks.0.conv1"] == ("weight", 2, "branch", "BatchNorm2d")
    assert rows["blocks.0.norm"] == ("norm", 2, "branch", "ReLU")
    assert rows["blocks.1.out"][:3] == ("activation", 5, "trunk")
    assert rows["blocks.1"][:3] == ("block", 5, "trunk")
    assert rows["head"] == ("weight", 6, "trunk", "")


def test_a_tensor_handed_on_is_read_once(monkeypatch):
    """A block's output is its last activation's: the same numbers, and one reduction."""
    seen, original = [], module.pulse
    monkeypatch.setattr(module, "pulse", lambda *args, **options: seen.append(1) or original(*args, **options))
    model, (x, y) = seeded(Net), images()
    read = signals(train(model, sgd(model), x, y))
    # The input has no gradient; of the layers, each of two blocks, and its Identity, hand on what was made inside.
    assert len(seen) == 1 + 2 * (len(read) - 1 - 2)
    assert read["blocks.0"] == pytest.approx(read["blocks.0.out"], nan_ok=True)
    assert read["blocks.0"]["gradient_entries"] == 6 * 4 * 36


def test_bfloat16_autocast_reads_nearly_the_same():
    """Autocast on the CPU: close in absolute numbers."""
    x, y = images(16)
    read = []
    for on in (False, True):
        model = seeded(Net)
        reader = Reader(model)
        reader.open()
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            loss = cross_entropy(model(x), y)
        loss.backward()
        read.append(reader.take(len(x)))
        assert reader.guard.faults == []
        reader.close()
    for name in ("gradient", "second_moment", "variance"):
        assert read[1][name][1:] == pytest.approx(read[0][name][1:], rel=0.1)


def test_passes_without_gradient_leave_no_trace():
    """Validation in eval mode, under no_grad or with a graph that nobody differentiates."""
    x, y = images()
    plain, mixed = seeded(Net), seeded(Net)
    optimizer = sgd(mixed)
    alone = train(plain, sgd(plain), x, y, steps=3)
    with Monitor(mixed, optimizer, every=1) as monitor:
        for _ in range(3):
            mixed.eval()
            with torch.no_grad():
                mixed(x[:2] * 100)
            mixed(x[:3] * 100)
            mixed.train()
            loss = cross_entropy(mixed(x), y)
            optimizer.zero_grad()
            with torch.inference_mode():
                mixed(x[:1])
            loss.backward()
            mixed(x[:4])
            optimizer.step()
            monitor.step(loss.item())
    assert monitor.faults == []
    for step in range(3):
        assert signals(monitor, step) == {
            layer: pytest.approx(one, nan_ok=True) for layer, one in signals(alone, step).items()
        }


def test_nan_is_counted_and_the_rest_is_over_what_is_finite():
    """One sample of NaN: counted in forward and backward, and every number is of the others."""
    model, (x, y) = seeded(Net), images()
    x[0, 0, 0, 0] = torch.nan
    read = signals(train(model, sgd(model), x, y))
    assert read["input"]["nan"] == 1
    assert read["stem"]["nan"] == 4 * 4
    assert 0 < read["stem"]["second_moment"] < 10
    assert read["head"]["gradient_nan"] > 0


def test_layers_called_without_their_model_are_read():
    """Somebody trains `model.features` and `model.head` themselves."""

    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            raise AssertionError("nobody calls this")

    model = seeded(Parts)
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model.head(model.features(torch.ones(5, 4)).relu()).sum()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    r = monitor.readings()
    assert monitor.faults == []
    assert r.steps.tolist() == [0, 1, 2]
    assert r.calls["layer"].tolist() == ["input", "features", "head"]
    assert r.samples.tolist() == [5, 5, 5]
    assert (r.signals["gradient"][:, 1:] > 0).all()
