"""What a watch has told on the way stays told: at the end, on the page, and after a break."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import netassay as na
from netassay.errors import BadInput
from netassay.result import Verdict
from netassay.watching import Monitor
from netassay.watching import monitor as module
from netassay.watching.alarms import Alarms
from tests.watched import Net, images, seeded, sgd, train


def verdict(rule, layer="head", severity="finding", **numbers):
    told = {"threshold": "any", "source": "netassay", "n": 8, "wrong_if": "never", "next": "look"}
    return Verdict(rule=rule, layer=layer, cause=f"{rule} of {layer}", severity=severity, numbers=numbers, **told)


def stepped(monitor, model, losses):
    """Take a step for each loss that is to be told."""
    x, y = images()
    for loss in losses:
        cross_entropy(model(x), y).backward()
        monitor.updates.optimizers[0].step()
        monitor.step(loss)


def test_a_loss_that_is_not_finite_is_kept_from_steps_that_are_not_read(tmp_path):
    """It is among the verdicts, in the result, on the page, and in what a resumed run goes on from."""
    model = seeded(Net)
    optimizer = sgd(model)
    with na.watch(model, optimizer, every=100, out=tmp_path / "run") as seen:
        stepped(seen, model, [1.0, 1.0, math.nan, 1.0])
    resumed = Monitor(model, optimizer)
    resumed.load_state_dict(seen.state_dict())
    run = na.open_run(tmp_path / "run")
    for found in (seen.verdicts(), seen.result().verdicts, run.result("flow").verdicts, resumed.verdicts()):
        (bad,) = [one for one in found if one.rule == "loss not finite"]
        assert (bad.cause, bad.numbers["step"]) == ("the loss is nan at step 2", 2)
    assert "the loss is nan at step 2" in run.page.read_text()


def test_what_was_told_and_no_longer_stands_says_so(monkeypatch):
    """A finding of the first steps that is gone in the end is told with its step, once, also after a break."""
    model = seeded(Net)
    heard, optimizer = [], sgd(model)
    real = module.verdicts.judge

    def judge(readings):
        judged = real(readings)
        early = (verdict("vanishing", ratio=torch.ones(1).numpy()[0]),) if len(readings) < 4 else ()
        return type(judged)(early + judged.verdicts, judged.dismissed)

    monkeypatch.setattr(module.verdicts, "judge", judge)
    with Monitor(model, optimizer, every=2, on_verdict=heard.append) as monitor:
        stepped(monitor, model, [1.0] * 10)
    said = "vanishing of head (told at step 0; no longer so in the latest steps)"
    buffer = io.BytesIO()
    torch.save(monitor.state_dict(), buffer)
    buffer.seek(0)
    resumed = Monitor(model, optimizer, every=2, on_verdict=heard.append)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    for found in (monitor.verdicts(), monitor.result().verdicts, resumed.verdicts()):
        assert [one.cause for one in found if one.rule == "vanishing"] == [said]
    assert [one.rule for one in heard].count("vanishing") == 1


@pytest.mark.parametrize(
    ("rule", "numbers", "first"),
    [
        ("not finite", {}, True),
        ("loss not finite", {}, True),
        ("update ratio", {"update_ratio": 3.0}, True),
        ("update ratio", {"update_ratio": 1e-6}, False),
        ("vanishing", {}, False),
    ],
)
def test_causes_stand_before_what_they_lead_to(rule, numbers, first):
    """Of equal severity: what leaves the range of numbers, then what is found in the end, then what was told."""
    alarms = Alarms(None)
    told, warned = verdict(rule, "stem", **numbers), verdict("not finite", "stem", "warning")
    alarms.fresh([told, verdict("dead", "act", "note")], 3)
    final = (verdict("dead"), verdict("flat", severity="warning"))
    names = [one.rule for one in alarms.joined(final)]
    assert names == ([rule, "dead", "flat"] if first else ["dead", rule, "flat"])
    assert alarms.joined((told,)) == (told,)
    alarms = Alarms(None)
    alarms.fresh([warned], 3)
    assert [one.rule for one in alarms.joined(final)] == ["dead", "not finite", "flat"]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), "'1', '1.bias', '1.weight'"),
        (nn.Sequential(nn.Linear(2, 3, bias=False)), "'0.bias'"),
    ],
)
def test_the_state_of_another_model_is_refused(other, named):
    """By the names of layers and parameters, before anything is taken from it."""
    model = nn.Sequential(nn.Linear(2, 3))
    one, two = (train(m, sgd(m), torch.ones(3, 2), torch.tensor([0, 1, 0])) for m in (other, model))
    fresh = Monitor(model, sgd(model))
    with pytest.raises(BadInput, match=f"(?s)a watch of Sequential.*another model.*{named}.*same model"):
        fresh.load_state_dict(one.state_dict())
    assert (fresh.steps_done, len(fresh.readings())) == (0, 0)
    kept = two.state_dict()
    with pytest.raises(BadInput, match=r"'0\.bias', '0\.weight', 'no parameters'"):
        fresh.load_state_dict({name: value for name, value in kept.items() if name != "parameters"})
    swapped = {**kept, "parameters": kept["parameters"][::-1]}
    with pytest.raises(BadInput, match=r"'0\.bias', '0\.weight'\n"):
        fresh.load_state_dict(swapped)
    fresh.load_state_dict(kept)
    assert len(fresh.readings()) == 1


def test_a_state_tells_its_numbers_by_name():
    """Numbers in another order are put in their places; one that was not read then is NaN."""
    model = nn.Sequential(nn.Linear(2, 3))
    kept = train(model, sgd(model), torch.ones(3, 2), torch.tensor([0, 1, 0]), steps=2).state_dict()
    series, fresh = kept["series"], Monitor(model, sgd(model))
    wanted = Monitor(model, sgd(model))
    wanted.load_state_dict(kept)
    names = {"signals": series["names"]["signals"][::-1][1:], "updates": series["names"]["updates"][::-1]}
    turned = {"signals": series["signals"].flip(1)[:, 1:], "updates": series["updates"].flip(1)}
    fresh.load_state_dict({**kept, "series": {**series, **turned, "names": names}})
    for kind in ("signals", "updates"):
        a, b = getattr(wanted.readings(), kind), getattr(fresh.readings(), kind)
        last = "gradient_inf" if kind == "signals" else ""
        assert all(np.array_equal(a[name], b[name], equal_nan=True) for name in a if name != last)
        assert not last or np.isnan(b[last]).all()
