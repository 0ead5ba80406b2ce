"""`netassay flow`: its files, and what it refuses before it trains."""

from __future__ import annotations

import json

import pytest

from netassay.cli import main

SMALL = ["flow", "mlp[8,8]", "--data", "digits:n=100", "--epochs", "1"]


def test_a_training_writes_its_files_and_its_run(tmp_path, capsys):
    """Run, series and animation; the law is on standard output."""
    files = ["--series", str(tmp_path / "s.json"), "--gif", str(tmp_path / "s.gif"), "--batch-size", "8"]
    assert main([*SMALL, *files, "--out", str(tmp_path / "run")]) == 0
    assert "chi" in capsys.readouterr().out
    assert "head" in json.loads((tmp_path / "s.json").read_text())
    assert (tmp_path / "s.gif").read_bytes()[:3] == b"GIF"
    assert "Gradient flow" in (tmp_path / "run" / "index.html").read_text()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--gif", "/no/such/folder/x.gif"], "its folder does not exist"),
        (["--series", "/no/such/folder/x.json"], "its folder does not exist"),
        (["--gif", "x.png"], "does not end in .gif"),
        (["--prescribe", "--gif", "x.gif"], "has no single course"),
        (["--switch", "norm=batch,none", "--series", "x.json"], "has no single course"),
        (["--switch", "norm=batch,none", "--prescribe"], "two studies at once"),
        (["--switch", "norm"], "no factor with levels"),
    ],
)
def test_what_could_not_be_written_is_refused_first(words, found, capsys, monkeypatch):
    """Before anything is trained: nothing here takes the time of a training."""
    monkeypatch.setattr("netassay.commands.flows.flow_training", None)
    assert main([*SMALL, *words]) == 2
    assert found in capsys.readouterr().err


def test_no_epochs_look_at_the_network_as_it_stands(capsys):
    """Nothing is trained; the law is that of the start."""
    assert main(["flow", "mlp[8,8]:input=64,init=default", "--data", "digits:n=100", "--epochs", "0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["study"] == "flow"
    assert not document["tables"]["parameters"]
