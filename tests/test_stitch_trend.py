"""Stitch trend: networks of growing size, stitched seed into seed as a grid does, and the pattern of each."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

import netassay as na
from netassay import progress
from netassay.cli import main
from netassay.data import splits
from netassay.errors import BadInput, NetassayError, UnknownName
from netassay.figures import figure
from netassay.patterns import PATTERNS, pattern
from netassay.studies import stitch_cell, trend_cell
from netassay.studies import stitch_trend as study
from netassay.studies.stitch_grid import stitch_grid
from netassay.studies.stitch_halves import HELD
from netassay.studies.stitch_trend import stitch_trend
from netassay.testing import check_quiet
from netassay.training import train
from netassay.zoo import built

SPECS, DATA = ["mlp[12,11,10]", "mlp[12,12,12,12]"], "digits:size=8"
HOW = {"steps": 6, "fit": 80, "samples": 60, "matching": "closed_form", "workers": 0}
GRID = {"fit": 80, "samples": 60, "matching": "closed_form", "batch_size": 64, "controls": "random_receiver"}


@pytest.fixture(scope="module")
def trend(tmp_path_factory):
    """A small study, and where it is kept."""
    ledger = tmp_path_factory.mktemp("trend") / "trend.db"
    return stitch_trend(SPECS[::-1], DATA, ledger=ledger, **HOW), ledger


def trained(spec, seed):
    """Train one network by hand as the study does."""
    learn, _ = splits(DATA, batch_size=64)
    model = built(spec, learn.input_shape, learn.classes, seed=seed)
    train(model, list(learn.shuffled(seed, 0))[:6], epochs=1, optimizer="adam", lr=1e-3, schedule="cosine", seed=seed)
    return model


def test_a_trend_is_the_pattern_of_grids_made_by_hand(trend):
    """Networks trained one by one, each stitched into each that comes later: the same accuracies, bit by bit."""
    result, _ = trend
    nets, pairs = [trained(SPECS[0], seed) for seed in range(3)], [(0, 1), (0, 2), (1, 2)]
    grids = [stitch_grid(nets[a], nets[b], DATA, **GRID) for a, b in pairs]
    maps = [np.asarray(one.array("accuracy")) for one in grids]
    told, row = pattern(maps, pairs=pairs), result.table("sizes")[0]
    assert (row["spec"], row["size"], row["pairs"], row["told"]) == (SPECS[0], 3, 3, told.name)
    for name in PATTERNS:
        expected = [told.row(name)[key] for key in ("index", "low", "high", "p")]
        assert [row[f"{name}{end}"] for end in ("", "_low", "_high", "_p")] == expected
    shown = result.array(f"map/{SPECS[0]}")
    assert shown.axes == {"sender layer": ("act1", "act2", "act3"), "receiver layer": ("act1", "act2", "act3")}
    assert np.array_equal(shown, np.mean(maps, 0))
    assert row["stitched"] == pytest.approx(np.mean(maps))
    random = [np.asarray(one.array("accuracy/random_receiver")) for one in grids]
    assert row["random_receiver"] == pytest.approx(np.mean(random))


def test_rows_send_and_columns_receive():
    """The lower seed sends: a map is not that of the other direction, nor turned over."""
    nets = {str(seed): trained(SPECS[0], seed) for seed in (0, 1)}
    asked = {"adapter": "affine", "layers": None, "data": DATA, "device": None, "seed": 0, "level": 0.95}
    asked |= {name: GRID[name] for name in ("fit", "samples", "matching", "batch_size")}
    made = study.stitched(nets, asked, None)
    here, back = (
        stitch_grid(*pair, DATA, adapter="affine", **GRID) for pair in (nets.values(), [*nets.values()][::-1])
    )
    assert made["pairs"].tolist() == [[0, 1]]
    assert np.array_equal(made["maps"][0], here.array("accuracy"))
    assert not np.array_equal(made["maps"][0], back.array("accuracy"))
    assert not np.array_equal(made["maps"][0], np.transpose(here.array("accuracy")))


def test_layers_that_a_skip_goes_around_stay_out(capsys, monkeypatch):
    """They have no row, no column and no share in the size; a note names them. Nothing is printed of grids inside."""
    monkeypatch.setattr(progress, "QUIET_FOR", -1)
    found = stitch_trend("resnet[1,1]:width=2", DATA, **{**HOW, "seeds": 2, "layers": "type:ReLU", "steps": 1})
    (row,) = found.table("sizes")
    assert found.array("map/resnet[1,1]:width=2").axes["sender layer"] == ("relu", "layer1.0.relu#1", "layer2.0.relu#1")
    assert np.isfinite(found.array("map/resnet[1,1]:width=2")).all()
    assert row["size"] == 3
    refused = "no clean cut at 'layer1.0.relu#0', 'layer2.0.relu#0'; a grid's table of cuts says why"
    assert found.notes.count(f"resnet[1,1]:width=2: {refused}") == 1
    told = capsys.readouterr().err
    assert "trend: 1/1" in told
    assert "stitch:" not in told


def test_what_was_done_is_not_done_again(trend, monkeypatch):
    """Neither a cell that the ledger keeps, nor, where a cell was lost, a network whose weights are there."""
    result, ledger = trend

    def never(*_args, **_how):
        raise AssertionError("trained again")

    monkeypatch.setattr(trend_cell, "trained", never)
    again = stitch_trend(SPECS[::-1], DATA, ledger=ledger, **HOW)
    assert again.table("sizes") == result.table("sizes")
    ledger.rename(ledger.with_name("old.db"))
    assert stitch_trend(SPECS[:1], DATA, ledger=ledger, **HOW).table("sizes") == result.table("sizes")[:1]
    with pytest.raises(NetassayError, match="trained again"):
        stitch_trend(SPECS[:1], DATA, ledger=ledger.with_name("new.db"), **HOW)


def test_a_family_is_claimed_of_and_asked_as_grids_are(trend):
    """One claim over seeds; matching is by default that of a grid, and stands in the provenance."""
    result, _ = trend
    (claim,) = result.claims
    assert (claim.n, claim.counted) == (3, "seeds")
    assert {row["pattern"] for row in result.table("trends")} == set(PATTERNS)
    assert result.provenance["adapter"] == "conv"
    plain = stitch_trend("mlp[4,4,4]", DATA, **{**HOW, "seeds": 2, "steps": 1, "matching": None})
    assert plain.provenance["matching"] == "task"


@pytest.mark.parametrize(
    ("specs", "how", "error", "told"),
    [
        (SPECS, {"level": 1.5}, BadInput, "stitch_trend with level=1.5"),
        (SPECS, {"lr": -1.0}, BadInput, "stitch_trend with lr=-1.0"),
        (SPECS, {"seed": -1}, BadInput, "seed=-1"),
        (SPECS, {"fit": 0}, BadInput, "fit=0"),
        (SPECS, {"samples": 2.5}, BadInput, "samples=2.5"),
        (SPECS, {"seeds": 1}, BadInput, "one network of each"),
        (SPECS, {"adapter": "afine"}, UnknownName, "afine"),
        (SPECS, {"matching": "tsk"}, UnknownName, "tsk"),
        (SPECS, {"adapter": "orthogonal", "matching": "task"}, BadInput, "it is not trained"),
        (SPECS, {"layers": {"vgg": "*"}}, UnknownName, "family of this trend"),
        (SPECS, {"family": ["a"]}, BadInput, "1 families for 2 specs"),
        (["mlp[8,8]"], {}, BadInput, "2 of the layers asked for are clean cuts"),
        (["resnet[1,1]:width=2"], {"layers": "layer1.0.conv1"}, BadInput, "no clean cut"),
        ([na.build("mlp[8]")], {}, BadInput, "is no name"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(specs, how, error, told, monkeypatch):
    """With a sentence."""
    monkeypatch.setattr(trend_cell, "trained", None)
    with pytest.raises(error, match=told):
        stitch_trend(specs, DATA, **{**HOW, **how})


def test_nothing_is_left_behind():
    """Neither networks that grids hold, nor chance, nor the environment."""
    held = dict(HELD)
    with check_quiet(torch.nn.Linear(2, 2)):
        stitch_trend("mlp[4,4,4]", DATA, **{**HOW, "seeds": 2, "steps": 1})
    assert held == HELD
    assert stitch_cell.BUDGET not in os.environ
    assert not stitch_cell._benches


def test_stitches_that_no_adapter_can_make_leave_no_pattern():
    """Layers of unlike width have no pairing: those cells hold no number, and the means are over the others."""
    found = stitch_trend("mlp[4,5,6]", DATA, **{**HOW, "seeds": 2, "steps": 1, "adapter": "identity"})
    (row,) = found.table("sizes")
    assert (row["told"], row["size"]) == ("flat", 3)
    assert np.isfinite(found.array("map/mlp[4,5,6]")).tolist() == np.eye(3, dtype=bool).tolist()
    assert np.isfinite(row["stitched"])
    assert any(note.startswith("mlp[4,5,6]: not stitched: ") for note in found.notes)
    assert any(note.startswith("mlp[4,5,6]: its own accuracy, ") for note in found.notes)


def test_the_command_is_the_study(capsys, tmp_path):
    """A row for each network, a table of trends, and a run with its page and figures."""
    words = ["stitch", "--trend", SPECS[0], "--data", "digits:n=200", "--train", "1", "--seeds", "2", "--fit", "60"]
    words += ["--samples", "40", "--matching", "closed_form"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "random receiver" in told
    assert "changes between" in told
    how = {"fit": 60, "samples": 40, "matching": "closed_form", "batch_size": 128, "workers": 0}
    wanted = stitch_trend(SPECS[:1], "digits:n=200", seeds=2, epochs=1, **how)
    page = (tmp_path / "run" / "index.html").read_text()
    assert "At which size the pattern of stitches changes" in page
    assert "every layer of one seed stitched into every layer of another" in page
    made = na.open_run(tmp_path / "run").result("stitch_trend")
    assert np.array_equal(made.array(f"map/{SPECS[0]}"), wanted.array(f"map/{SPECS[0]}"))
    for name in ("data", "epochs", "fit", "samples", "matching", "adapter", "seeds", "seed", "batch_size"):
        assert made.provenance[name] == wanted.provenance[name]
    assert (figure({"": made}, "maps").x_label, figure({"": made}, "maps").unit) == ("receiver layer", "accuracy")


TREND = ["stitch", "--trend", *SPECS]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stitch", "mlp[8]", "--trend", *SPECS], "A beside it"),
        ([*TREND, "--allow-skips"], "--allow-skips beside it"),
        ([*TREND, "--receiver-layers", "act1"], "--receiver-layers beside it"),
        ([*TREND, "--no-controls"], "--no-controls beside it"),
        ([*TREND, "--ranks", "1"], "--ranks beside it"),
        (["stitch", "mlp[8]", "--seeds", "2"], "--seeds, for a trend only"),
        (["similarity", "mlp[8]", "--seeds", "2"], "--seeds, for a trend only"),
        (["similarity", "mlp[8]", "--epochs", "1", "--workers", "0"], "--epochs and --workers, for a trend only"),
    ],
)
def test_what_a_trend_has_no_use_for_is_refused_and_what_only_it_has(words, said, capsys):
    """Exit code 2, and the option by name."""
    assert main(words) == 2
    assert said in capsys.readouterr().err
