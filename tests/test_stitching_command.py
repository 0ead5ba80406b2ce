"""`netassay stitch`: its numbers are the library's, and what it refuses it refuses with a sentence."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from safetensors.torch import save_file

import netassay as na
from netassay import training
from netassay.cli import main
from netassay.commands import stitchings
from netassay.errors import BadInput

NET, DATA = "mlp[8,8]", "digits"
FEW = ["--fit", "60", "--samples", "50", "--ranks", "2"]
SMALL = ["stitch", NET, "--data", DATA, "--train", "1", *FEW]


def shown(capsys, *words):
    assert main([*SMALL, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def learned(seed):
    """Train a network as the command says it does."""
    made = na.build(f"{NET}:input=64,classes=10", seed=seed)
    training.train(made, na.load_data("digits:split=train"), epochs=1, seed=seed)
    return made


def test_without_b_a_goes_into_a_second_seed_that_was_trained_alike(capsys):
    """The numbers are the library's for the two trained networks, and the second says which seed it is."""
    made = shown(capsys, "--seed", "3")
    wanted = na.stitch_grid({"a": learned(3)}, {"b": learned(4)}, DATA, fit=60, samples=50, ranks=[2], seed=3)
    for name in ("accuracy", "mse", "accuracy/random_sender", "accuracy/noise", "self"):
        np.testing.assert_array_equal(made["arrays"][name]["values"], wanted.array(name))
    assert [row["net"] for row in made["tables"]["nets"]] == [NET, f"{NET}, seed 4"]


def test_a_network_that_has_weights_goes_into_itself_and_is_not_trained(capsys, tmp_path):
    """There is no second seed of it: identity keeps its accuracy, and that is of the weights in the file."""
    net = learned(5)
    save_file({name: value.clone() for name, value in net.state_dict().items()}, tmp_path / "w.safetensors")
    made = shown(capsys, "--weights", str(tmp_path / "w.safetensors"))
    first = list(na.load_data("digits:split=test").first(50))
    (row,) = made["tables"]["nets"]
    assert (row["sends"], row["receives"]) == (True, True)
    assert row["accuracy"] == pytest.approx(training.evaluate(net, first).accuracy)
    assert main([*SMALL, "--weights", str(tmp_path / "w.safetensors"), "--both"]) == 2
    assert "name the other: netassay stitch A B" in capsys.readouterr().err


def test_both_ways_are_those_of_each_alone(capsys):
    """The first into the second is as without the option; the second into the first stands beside it."""
    one, both = shown(capsys), shown(capsys, "--both")
    cells = {(row["sender"], row["receiver"]) for row in both["tables"]["cells"] if row["control"] == "none"}
    second = f"{NET}, seed 1"
    assert cells == {(a, b) for a in (NET, second) for b in (NET, second)}
    narrow, wide = (np.array(each["arrays"]["accuracy"]["values"]) for each in (one, both))
    half = len(narrow)
    np.testing.assert_array_equal(wide[:half, half:], narrow)


def test_a_terminal_names_both_networks_of_every_stitch_where_there_are_several(capsys):
    """Both ways there are four pairs, whose names and numbers stay whole; each network is once in its table."""
    few = ["--layers", "act1", "--receiver-layers", "act2", "--matching", "closed_form"]
    second, names = f"{NET}, seed 1", {}
    for words in ((), ("--both",)):
        assert main([*SMALL, *few, *words]) == 0
        cells, nets = re.sub(" {2,}", "|", capsys.readouterr().out).split("\nnets")
        numbers = r"(?:0\.\d+|[01])\|-?0(?:\.\d+)?\|"
        names[words] = re.findall(rf"^(?:(.*)\|(.*)\|)?act1\|act2\|{numbers}", cells, flags=re.MULTILINE)
        assert [line.split("|")[0] for line in nets.splitlines()[2:] if "note:" not in line] == [NET, second]
    assert names == {(): [("", "")], ("--both",): [(a, b) for b in (NET, second) for a in (NET, second)]}


def test_options_reach_the_study(capsys):
    """Layers of both sides, adapter, controls that are left out, and networks that are left as they are drawn."""
    words = ["stitch", NET, "mlp[9]", "--data", DATA, "--train", "0", *FEW, "--adapter", "low_rank:rank=2"]
    assert main([*words, "--layers", "act1", "--receiver-layers", "fc1", "act1", "--no-controls", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["arrays"]["accuracy"]["axes"] == {"sender layer": ["act1"], "receiver layer": ["fc1", "act1"]}
    assert {(row["control"], row["adapter"]) for row in made["tables"]["cells"]} == {("none", "low_rank:rank=2")}
    nets = {row["net"]: row["hash"] for row in made["tables"]["nets"]}
    wanted = na.stitch_grid(na.build(f"{NET}:input=64,classes=10"), data=DATA, fit=20, samples=20, controls=False)
    assert nets[NET] == wanted.table("nets")[0]["hash"]


def test_a_grid_of_processes_has_the_same_numbers_and_a_page(capsys, tmp_path):
    """Trained networks go to workers as files; the run keeps its ledger and says compatible on its page."""
    alone = shown(capsys)
    assert main([*SMALL, "--workers", "2", "--csv", "--out", str(tmp_path / "run")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["accuracy"]) for row in rows] == [row["accuracy"] for row in alone["tables"]["cells"]]
    assert (tmp_path / "run" / "grid.db").exists()
    page = (tmp_path / "run" / "index.html").read_text()
    assert "Which layers are compatible" in page
    assert "/netassay-" not in json.dumps(na.open_run(tmp_path / "run").result("stitch_grid").table("cells"))


def test_a_terminal_shows_stitches_with_their_controls_in_words(capsys):
    """Claims first; of the cells the stitches, each with what its controls reach; the rest is in --csv."""
    assert main(SMALL) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{NET} into {NET}, seed 1: some layers are compatible (")
    lines = [line for line in out.splitlines() if line.lstrip().startswith("act")]
    assert len(lines) == 4
    assert all("random_sender 0." in line for line in lines)
    assert "more rows; --csv prints all of them" in out
    assert "similar" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stitch"], "no network"),
        ([*SMALL, "--adapter", "afine"], "'affine'"),
        ([*SMALL, "--adapter", "bn_conv_bn", "--matching", "closed_form"], "matching='task'"),
        ([*SMALL, "--matching", "closed"], "'closed_form'"),
        ([*SMALL, "--layers", "conv*"], "conv*"),
        (
            ["stitch", NET, "mlp[9,9,9]", "--data", DATA, "--train", "0", "--both", "--receiver-layers", "act3"],
            f"layer 'act3' of Chain, the network '{NET}'",
        ),
        (["stitch", "resnet[1]:width=8", "--data", DATA, "--train", "0", "--layers", "*.bn1"], "the skip of"),
        (["stitch", "mlp[8]:input=65", "--data", DATA], "65"),
        (["stitch", NET, "--data", "digit"], "'digits'"),
        (["stitch", "--trend", NET, "--both"], "both beside it"),
        (["stitch", NET, "--data", DATA, "--train", "0", "--fit", "0"], "fit=0"),
        (["stitch", NET, "--data", DATA, "--train", "0", "--ranks", "0"], "ranks=0"),
    ],
)
def test_what_does_not_fit_is_a_sentence(words, said, capsys):
    """Exit code 2, one line that names what was found and what to type next."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_networks_for_workers_are_found_again_beside_the_ledger(tmp_path, monkeypatch):
    """Begun anew, a grid names the same files, so that its cells are those of the ledger."""
    seen = []

    def noted(senders, receivers, data, **how):
        seen.append([*senders.values(), *receivers.values()])
        raise BadInput("a grid", "it was killed", "begin anew")

    monkeypatch.setattr(stitchings, "stitch_grid", noted)
    for _ in range(2):
        with pytest.raises(BadInput, match="killed"):
            stitchings.stitch("mlp[4]", data="digits:size=8", train=0, workers=1, ledger=tmp_path / "grid.db")
    assert seen[0] == seen[1]
    assert len(list((tmp_path / "grid.db.nets").iterdir())) == 2
    assert all(str(tmp_path) in spec for spec in seen[0])


def test_the_input_has_a_name_and_a_run_its_time(capsys, tmp_path, monkeypatch):
    """A terminal says input where a layer has no name; a run was started when the command was, not when it was kept."""
    kept = []

    def late(*given, **how):
        kept.append(datetime.now(UTC).isoformat())
        return original(*given, **how)

    original = stitchings.stitch_grid
    monkeypatch.setattr(stitchings, "stitch_grid", late)
    assert main([*SMALL, "--layers", "", "--no-controls", "--out", str(tmp_path)]) == 0
    assert re.search(r"^input +input ", capsys.readouterr().out, flags=re.MULTILINE)
    assert na.open_run(tmp_path).meta["started"] < kept[0]
