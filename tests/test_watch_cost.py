"""What a watch asks of the device, and what it holds: nothing at steps that are not read, and each number once."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from netassay.watching import Monitor
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
