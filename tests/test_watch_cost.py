"""What a watch asks of the device, and what it holds: nothing at steps that are not read, and each number once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from netassay.watching import Monitor
from netassay.watching import plan as plans
from netassay.watching.guard import Guard
from netassay.watching.plan import Plan
from netassay.watching.recomputed import Waiting
from netassay.watching.series import Row, settle
from netassay.watching.updates import Updates
from tests.watched import Net, images, seeded, sgd


class Counted(torch.amp.GradScaler):
    """A gradient scaler that counts how often its scale is fetched."""

    fetched = 0

    def get_scale(self):
        self.fetched += 1
        return super().get_scale()


def scaled(model, optimizer, scaler, *, steps, bad, every, parts=1, device="cpu"):
    """Train under a gradient scaler; the losses of the steps in `bad` overflow."""
    x, y = (one.to(device) for one in images())
    with Monitor(model, optimizer, every=every, scaler=scaler) as monitor:
        for step in range(steps):
            optimizer.zero_grad()
            for _ in range(parts):
                loss = cross_entropy(model(x), y) / parts
                scaler.scale(loss * torch.inf if step in bad else loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert monitor.faults == []
    return monitor


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_scale_is_fetched_once_for_each_step_that_is_read(fused, parts):
    """Steps left out are counted all the same: also between reads, at the end, and beside accumulation."""
    model = seeded(Net)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=fused)
    scaler = Counted("cpu", init_scale=2.0**10)
    monitor = scaled(model, optimizer, scaler, steps=16, bad=(3, 4, 15), every=6, parts=parts)
    r = monitor.readings()
    assert (r.told["skipped"], r.told["steps"], r.steps.tolist()) == (3, 13, [0, 6, 12])
    assert scaler.fetched == 3


def test_other_scalers_are_asked_for_their_scale():
    """One that is no torch's, and lowers its scale instead of a step."""

    class Own:
        value = 8.0

        def get_scale(self):
            return self.value

    model, (x, y), own = seeded(Net), images(), Own()
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1, scaler=own) as monitor:
        for step in range(4):
            (cross_entropy(model(x), y) * own.value).backward()
            if step == 1:
                own.value /= 2
            else:
                optimizer.step()
    assert monitor.readings().told["skipped"] == 1
    assert monitor.readings().steps.tolist() == [0, 1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_are_not_read_wait_for_no_gpu(fused):
    """The only fetches are the scaler's own; steps that a fused optimizer left out are counted at the next read."""
    model = seeded(Net).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=fused)
    scaler = Counted("cuda", init_scale=2.0**10)
    monitor = scaled(model, optimizer, scaler, steps=16, bad=(3, 4, 15), every=6, device="cuda")
    r = monitor.readings()
    assert (r.told["skipped"], r.told["steps"]) == (3, 13)
    assert scaler.fetched == len(r.steps) == 3


def test_losses_that_are_tensors_are_fetched_once_and_together(monkeypatch):
    """After the first look they are numbers, and no tensor is held."""
    rows = [Row(i, 0, torch.tensor([1.0, float(i)]), 1, np.zeros((1, 1)), np.zeros((1, 1))) for i in range(5)]
    rows += [
        Row(5, 0, None, 1, np.zeros((1, 1)), np.zeros((1, 1))),
        Row(6, 0, 2, 1, np.zeros((1, 1)), np.zeros((1, 1))),
    ]
    stack, stacked = torch.stack, []
    monkeypatch.setattr(torch, "stack", lambda many: stacked.append(len(many)) or stack(many))
    settle(rows)
    settle(rows)
    assert [row.loss for row in rows] == [0.5, 1.0, 1.5, 2.0, 2.5, None, 2.0]
    assert all(type(row.loss) is float for row in rows if row.loss is not None)
    assert stacked == [5]


def test_a_watch_holds_no_copy_of_the_weights_between_reads():
    """What was there before a step goes once the step is read; losses are numbers once judged."""
    model, (x, y) = seeded(Net), images()
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=2) as monitor:
        for _ in range(2):
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            monitor.step(loss)
        sizes = {p.shape for p in model.parameters()}
        held = [one for one in vars(monitor.updates).values() if isinstance(one, dict)]
        assert not [one for some in held for one in some.values() if getattr(one, "shape", None) in sizes]
        assert [type(row.loss) for row in monitor.series.rows] == [float]


class Groups(list):
    """Groups of an optimizer that count how often they are gone through."""

    gone = 0

    def __iter__(self):
        self.gone += 1
        return super().__iter__()


def test_groups_are_gone_through_once_a_step():
    """However many parameters there are; each has the rate of its own."""
    model = nn.ModuleList(nn.Linear(2, 2) for _ in range(20))
    optimizer = torch.optim.SGD([{"params": one.parameters(), "lr": 0.1 * i} for i, one in enumerate(model)], lr=1.0)
    read = Updates(model, [optimizer], Guard())
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    read.before(0)
    optimizer.param_groups = Groups(optimizer.param_groups)
    read.after(0)
    assert optimizer.param_groups.gone == 1
    assert read.take()["rate"] == pytest.approx([0.1 * i for i in range(20) for _ in range(2)])


class Named:
    """A call that waits, and counts how often its name is asked for."""

    asked = 0

    def __init__(self, name, start):
        self._name, self.start, self.hooked = name, start, False

    @property
    def name(self):
        Named.asked += 1
        return self._name


def test_calls_that_run_again_are_found_without_a_search():
    """A shared layer and its neighbour in segments that run again from the last: each is found, in linear time."""
    waiting, inputs = Waiting(), [torch.ones(1) for _ in range(50)]
    cells = [Named(name, x.data_ptr() if name == "a" else 0) for x in inputs for name in ("a", "b")]
    for cell in cells:
        waiting.add(cell)
    for i in reversed(range(50)):
        assert waiting.next("a", inputs[i]) is cells[2 * i]
        if i % 2:
            assert waiting.next("b", None) is cells[2 * i + 1]
    assert waiting.next("a", inputs[0]) is None
    assert Named.asked == len(cells)
    waiting.settle()
    assert waiting.cells == cells[1::4]
    assert waiting.next("b", None) is cells[-3]


def test_calls_get_their_columns_at_once(monkeypatch):
    """Sorted once, in order of execution; what was known stays in its place."""
    plan, times = Plan(), []
    monkeypatch.setattr(plans, "sorted", lambda *a, **k: times.append(1) or sorted(*a, **k), raising=False)
    plan._order = [(name, 0) for name in "abcdef"]
    plan.add({("e", 0): None, ("b", 0): None})
    plan.add([("f", 0), ("a", 0), ("e", 0)])
    plan.add([("a", 0)])
    assert [name for name, _ in plan.keys] == ["a", "b", "e", "f"]
    assert len(times) == 2
