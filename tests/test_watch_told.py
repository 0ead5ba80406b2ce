"""What a watch has told on the way stays told: at the end, on the page, and after a break."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

import netassay as na
from netassay.result import Verdict
from netassay.watching import Monitor
from netassay.watching import monitor as module
from netassay.watching.alarms import Alarms
from tests.watched import Net, images, seeded, sgd


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
