"""The door to a watch: the run it keeps, the page it writes, also when the training raises, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netassay as na
from netassay.errors import BadInput
from netassay.studies.flow_training import flow_training
from netassay.watching import parameters


def trained(seen, model, optimizer, steps=4, poison=None):
    """Take some steps under a watch that is open; `poison` is the step at which the user's code fails."""
    x, y = next(iter(na.load_data("digits")))[:2]
    for step in range(steps):
        if step == poison:
            raise RuntimeError("user code broke")
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.step(loss)


def pair():
    model = na.build("mlp[16,16]")
    return model, torch.optim.Adam(model.parameters())


def test_a_watch_leaves_a_run_with_its_page(tmp_path):
    """The result, the series of each step and the page are there when the context closes."""
    model, optimizer = pair()
    with na.watch(model, optimizer, every=1, out=tmp_path / "run") as seen:
        trained(seen, model, optimizer)
    run = na.open_run(tmp_path / "run")
    assert (run.status, run.labels) == ("finished", ("flow",))
    assert run.result("flow").array("gradient").shape == seen.result().array("gradient").shape == (4, 6)
    assert "Gradient flow" in run.page.read_text()
    assert {one.name for one in run.series_names} == {"gradient", "loss", "update ratio"}


def test_the_page_is_there_when_the_training_raised(tmp_path):
    """The user's error goes on its way; the run says that it failed, and holds what was seen before."""
    model, optimizer = pair()
    with (
        pytest.raises(RuntimeError, match="user code broke"),
        na.watch(model, optimizer, every=1, out=tmp_path / "run") as seen,
    ):
        trained(seen, model, optimizer, poison=2)
    run = na.open_run(tmp_path / "run")
    assert (run.status, run.meta["error"]) == ("failed", "RuntimeError: user code broke")
    assert len(run.result("flow").table("steps")) == 2
    assert run.page.exists()


def test_what_cannot_be_kept_does_not_reach_the_training(tmp_path):
    """A folder that vanishes under the watch is a fault of the watch, and no error of the training."""
    model, optimizer = pair()
    with na.watch(model, optimizer, every=1, out=tmp_path / "run") as seen:
        trained(seen, model, optimizer)
        (tmp_path / "run" / "index.html").mkdir()
    assert any(fault.startswith("on_exit") for fault in seen.faults)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    """`out=False` writes nothing; by default a fresh folder under runs/ is made."""
    monkeypatch.chdir(tmp_path)
    model, optimizer = pair()
    with na.watch(model, optimizer, out=False) as seen:
        trained(seen, model, optimizer, 1)
    assert not list(tmp_path.iterdir())
    with na.watch(model, optimizer) as seen:
        trained(seen, model, optimizer, 1)
    assert (tmp_path / "runs" / "watch-001" / "index.html").exists()


def test_what_cannot_be_watched_leaves_no_folder(tmp_path):
    """Refused before a run is begun."""
    model, optimizer = pair()
    with pytest.raises(BadInput, match="every=0"):
        na.watch(model, optimizer, every=0, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_example_brings_theory():
    """The law's row holds what mean-field theory expects of the start."""
    model, optimizer = pair()
    batch = next(iter(na.load_data("digits")))
    with na.watch(model, optimizer, every=1, out=False, example=(batch.x, batch.y)) as seen:
        trained(seen, model, optimizer)
    assert seen.result().table("law")[0]["chi_predicted"] == pytest.approx(1.0, abs=0.3)


def test_a_training_that_diverges_is_told():
    """The first thing that is not finite is named, and the study ends with what was seen."""
    found = flow_training("mlp[16,16]", "digits", epochs=1, optimizer="sgd", lr=1e30)
    assert found.findings[0].rule == "not finite"
    assert any("ended early" in note for note in found.notes)


def test_a_module_is_copied_and_not_trained():
    """What was given keeps its weights; its copy learns."""
    model = na.build("mlp[8]:input=64")
    before = model.fc1.weight.clone()
    found = flow_training(model, "digits", epochs=1)
    assert torch.equal(model.fc1.weight, before)
    assert found.table("parameters")[0]["update"] > 0


def test_copies_among_channels_are_counted_once(monkeypatch):
    """At the first step, before it changes the weights; making a watch and refusing one cost nothing."""
    counted, original = [], parameters.distinct_channels
    monkeypatch.setattr(parameters, "distinct_channels", lambda *a: counted.append(1) or original(*a))
    model, optimizer = pair()
    with torch.no_grad():
        model.fc1.weight.fill_(1.0)
    seen = na.watch(model, optimizer, every=1, out=False)
    assert not counted
    with seen:
        trained(seen, model, optimizer)
    seen.readings()
    facts = seen.readings().parameters
    assert len(counted) == (facts["role"] == "matrix").sum()
    assert facts["symmetric"][facts["parameter"].tolist().index("fc1.weight")] > 0


def test_a_watch_that_keeps_a_run_is_opened_once(tmp_path):
    """The run has ended; it stays as it is. A watch that keeps nothing goes on."""
    model, optimizer = pair()
    with na.watch(model, optimizer, every=1, out=tmp_path / "run") as seen:
        trained(seen, model, optimizer)
    with pytest.raises(BadInput, match=r"(?s)open a watch again.*has ended.*load_state_dict"), seen:
        raise AssertionError("opened")
    assert na.open_run(tmp_path / "run").status == "finished"
    assert not model._forward_pre_hooks
    with na.watch(model, optimizer, every=1, out=False) as free:
        trained(free, model, optimizer)
    with free:
        trained(free, model, optimizer)
    assert len(free.readings()) == 8
