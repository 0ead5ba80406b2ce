"""What a watch refuses, when it reads, and how much it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from netassay.errors import BadInput
from netassay.flow import SIGNALS, UPDATES
from netassay.watching import Monitor
from netassay.watching.sampling import Sampler, share
from netassay.watching.series import Row, Series
from tests.watched import Net, images, seeded, sgd, train

MODEL = nn.Linear(2, 2)
OTHER = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"reduction": "avg"}, "reduction='avg'.*neither"),
        ({"every": 0}, "every=0.*no whole number"),
        ({"every": 2.5}, "every=2.5.*no whole number"),
        ({"budget": "x"}, "budget='x'.*no share of time"),
        ({"budget": 0}, "budget=0.*no share of time"),
        ({"budget": "200%"}, "no share of time"),
        ({"optimizers": sgd(OTHER)}, "none of them this model's"),
        ({"optimizers": []}, "no optimizer"),
        ({"optimizers": OTHER}, "Linear, which is none of torch.optim"),
        ({"optimizers": [sgd(MODEL), 3]}, "int, which is none of torch.optim"),
        ({"model": "resnet18"}, "str, which is no torch.nn.Module"),
        ({"model": nn.LazyLinear(3)}, "no shape yet"),
        ({"scaler": 1024}, "int, which has no get_scale"),
        ({"on_verdict": "mail"}, "str, which cannot be called"),
        ({"layers": "conv*"}, "none matches"),
    ],
)
def test_bad_arguments_are_refused_when_made(options, sentence):
    """Each in a sentence, before any hook is set."""
    options = {"model": MODEL, "optimizers": sgd(MODEL), **options}
    with pytest.raises(BadInput, match=f"(?s){sentence}"):
        Monitor(**options)
    assert not MODEL._forward_hooks


def test_a_compiled_model_is_refused():
    """Hooks that are set after torch.compile never run: the sentence says what to pass."""
    compiled = torch.compile(MODEL, backend="eager")
    with pytest.raises(BadInput, match=r"(?s)after torch.compile.*_orig_mod"):
        Monitor(compiled, sgd(MODEL))


def test_steps_are_read_as_often_as_asked():
    """Each third, the first included, whatever comes in between."""
    model, (x, y) = seeded(Net), images()
    r = train(model, sgd(model), x, y, steps=8, every=3).readings()
    assert r.steps.tolist() == [0, 3, 6]
    assert r.told["steps"] == 8


def test_a_budget_is_kept_after_its_first_read():
    """A clock that ticks 10 ms a step, and reads that take 5: one in fifty at 1 %."""
    now = [0.0]
    sampler, spent, read = Sampler(budget="1%", clock=lambda: now[0]), 0.0, []
    for step in range(501):
        cost = 0.0
        if sampler.wants(step, spent):
            read.append(step)
            cost = 0.005
        spent, now[0] = spent + cost, now[0] + 0.01
    assert read[0] == 0
    assert spent <= 0.01 * now[0]
    assert spent >= 0.008 * now[0]
    assert np.diff(read).min() >= 45


def test_a_budget_begins_anew_when_a_watch_is_opened_again():
    """What went into watching before does not count against the time since."""
    now = [0.0]
    sampler = Sampler(budget="1%", clock=lambda: now[0])
    sampler.start()
    spent, reads = 0.0, [0, 0]
    for part in (0, 1):
        sampler.start(spent)
        for step in range(part, 1001):
            read = sampler.wants(step, spent)
            reads[part] += read
            spent, now[0] = spent + 0.005 * read, now[0] + 0.01
    assert reads[1] == pytest.approx(reads[0], abs=2)
    assert reads[0] > 15


def test_shares_are_read_in_both_forms():
    assert [share(one) for one in ("1%", "0.5 %", 0.01, 1)] == [0.01, 0.005, 0.01, 1.0]


def row(step):
    return Row(step, 0, float(step), 1, np.full((len(SIGNALS), 2), step), np.full((len(UPDATES), 1), step))


@pytest.mark.parametrize("most", [4, 5, 64])
def test_memory_is_constant_and_keeps_the_first_and_the_last(most):
    """Of 1,000 steps at most so many stay, the first and the last among them, the latest densest."""
    series = Series(most)
    for step in range(1000):
        series.append([("a", 0), ("b", 0)], row(step))
        steps = [one.step for one in series.rows]
        assert len(steps) <= most
        assert (steps[0], steps[-1]) == (0, step)
    assert sorted(steps) == steps
    assert steps[-1] - steps[-2] <= steps[1] - steps[0]


def test_a_call_that_comes_later_is_nan_before():
    """A layer that first runs at the second step has no numbers at the first."""
    series = Series()
    series.append([("a", 0)], Row(0, 0, None, 1, np.ones((len(SIGNALS), 1)), np.ones((len(UPDATES), 1))))
    series.append([("b", 0), ("a", 0)], row(1))
    values = series.arrays()["signals"]["variance"]
    np.testing.assert_array_equal(values, [[np.nan, 1.0], [1.0, 1.0]])


class Kept:
    def __init__(self):
        self.logged = []

    def log(self, step, values, *, unit=""):
        self.logged.append((step, values))

    def add(self, label, result):
        raise AssertionError("the watch adds no results")

    note = add


def test_read_steps_go_to_the_writer_with_their_loss():
    """Gradient of each layer, update ratio of each parameter, and the loss that was told after the step."""
    model, (x, y) = seeded(Net), images()
    kept = Kept()
    monitor = train(model, sgd(model), x, y, steps=5, every=2, keep=kept)
    assert [step for step, _ in kept.logged] == [0, 2, 4]
    r = monitor.readings()
    values = kept.logged[-1][1]
    assert values["loss", ""] == r.loss[-1]
    assert values["gradient", "stem"] == r.signals["gradient"][-1, r.calls["layer"].tolist().index("stem")]
    assert values["update ratio", "stem.weight"] == r.updates["update"][-1, 0] / r.updates["weight"][-1, 0]


def test_layers_that_never_ran_are_named():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model.forward = lambda x: model["a"](x)
    monitor = train(model, sgd(model), torch.ones(3, 2), torch.tensor([0, 1, 0]))
    assert monitor.readings().told["never_ran"] == ["b"]


def test_on_exit_is_called_with_no_hook_left_also_when_the_training_raised():
    """What it raises is noted."""
    model, seen = nn.Linear(2, 2), []

    def on_exit(monitor, error):
        seen.append((len(model._forward_hooks) + len(model._forward_pre_hooks), type(error)))
        raise RuntimeError("disk full")

    monitor = Monitor(model, sgd(model), on_exit=on_exit)
    with pytest.raises(ZeroDivisionError), monitor:
        raise ZeroDivisionError
    assert seen == [(0, ZeroDivisionError)]
    assert monitor.faults == ["on_exit: RuntimeError: disk full"]


def test_the_loss_may_be_told_before_or_after_the_step():
    """Either way it belongs to that step; a tensor will do."""
    model, (x, y) = seeded(Net), images()
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        for step in range(4):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            if step % 2:
                monitor.step(torch.tensor(float(step)), epoch=step)
            optimizer.step()
            if not step % 2:
                monitor.step(float(step), epoch=step)
    r = monitor.readings()
    assert r.loss.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert r.epochs.tolist() == [0, 1, 2, 3]
