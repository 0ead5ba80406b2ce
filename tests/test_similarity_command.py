"""`netassay similarity`: its numbers are the library's, and what it refuses it refuses with a sentence."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import netassay as na
from netassay.cli import main
from netassay.errors import BadInput
from netassay.studies.twins import learned

NET, DATA = "mlp[8]:input=64", "digits:split=test,n=60"
SMALL = ["similarity", NET, "--data", DATA, "--permutations", "40"]


def shown(capsys, *words):
    assert main([*SMALL, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_commands_numbers_are_the_librarys(capsys):
    """Two of one spec are two seeds, and the second says which; options reach the study."""
    words = [NET, "--seed", "3", "--measures", "cka", "mutual_knn:k=5", "--layers", "fc*", "head"]
    made = shown(capsys, *words)
    a, b = (na.build(NET, seed=seed) for seed in (3, 4))
    wanted = na.similarity_map(a, b, DATA, layers=["fc*", "head"], measures=["cka", "mutual_knn:k=5"], permutations=40,
                               seed=3)  # fmt: skip
    for name in ("cka", "cka/p", "mutual_knn:k=5/calibrated"):
        np.testing.assert_allclose(made["arrays"][name]["values"], wanted.array(name), rtol=1e-12)
    assert {row["model"] for row in made["tables"]["layers"]} == {NET, f"{NET}, seed 4"}


def test_a_network_alone_is_held_against_itself_and_a_twin_on_request(capsys):
    """Ones along the diagonal, and the map of an untrained twin beside it."""
    made = shown(capsys, "--twin")
    np.testing.assert_allclose(np.diag(made["arrays"]["cka"]["values"]), 1.0)
    assert np.shape(made["arrays"]["cka/untrained"]["values"]) == (3, 3)


def test_checkpoints_stand_beside_each_other(capsys, tmp_path):
    """Each file is a model of the rows, step2 before step10, labels with the file in front."""
    for step in (10, 2):
        state = na.build(NET, seed=step).state_dict()
        save_file({name: value.clone() for name, value in state.items()}, tmp_path / f"step{step}.safetensors")
    made = shown(capsys, NET, "--checkpoints", str(tmp_path / "*.safetensors"), "--layers", "head")
    files = ["step2", "step10"]
    assert made["arrays"]["cka"]["axes"]["layer of a"] == [f"{file}/head" for file in files]
    assert np.shape(made["arrays"]["cka"]["values"]) == (2, 1)


def test_a_trend_is_trained_and_told(capsys, tmp_path):
    """A row for each network, the pattern it has, and a run with its page."""
    words = ["similarity", "--trend", "mlp[8,8,8]", "mlp[8,8,8,8]", "--data", "digits:n=100", "--epochs", "1"]
    words += ["--seeds", "2", "--workers", "0", "--permutations", "20"]
    assert main([*words, "--csv", "--out", str(tmp_path / "run")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["spec"], row["size"]) for row in rows] == [("mlp[8,8,8]", "3"), ("mlp[8,8,8,8]", "4")]
    assert {row["told"] for row in rows} <= {"diagonal", "triangle", "block", "flat"}
    page = (tmp_path / "run" / "index.html").read_text()
    assert "At which size the pattern changes" in page
    made = na.open_run(tmp_path / "run").result("similarity_trend")
    assert made.plot("trend").axes[0].get_title(loc="left") == "mlp"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["similarity"], "no network"),
        ([*SMALL, "--measures", "ckaa"], "'cka'"),
        ([*SMALL, "--layers", "conv*"], "conv*"),
        ([*SMALL, "--mode", "gram"], "'full Gram'"),
        (["similarity", NET, "--data", "digits:split=test,n=6", "--measures", "cca"], "6 samples"),
        ([*SMALL, "--checkpoints", "none*.safetensors"], "no file of that name"),
        ([*SMALL, "--positions", "flaten"], "'flatten'"),
        (["similarity", "mlp[8]:input=65", "--data", DATA], "65"),
        ([*SMALL, "--trend", "mlp[8]", "mlp[9]"], "its networks are trained here"),
        (["similarity", "--trend", "mlp[8]", "mlp[9]", "--measures", "cka", "nbs"], "2 measures"),
    ],
)
def test_what_does_not_fit_is_a_sentence(words, said, capsys):
    """Exit code 2, one line that names what was found and what to type next."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_networks_of_different_inputs_and_unpaired_data_are_refused():
    """Sides that could not see the same samples, and sides that did not."""
    x = torch.randn(20, 64)
    with pytest.raises(BadInput, match=r"shapes cannot|mat1|64|32"):
        na.similarity_map(nn.Linear(64, 3), nn.Linear(32, 3), x)
    ids = torch.arange(20)
    one, other = ([(x, ids * 0, None, order)] for order in (ids, ids.flip(0)))
    with pytest.raises(BadInput, match="same samples in another order"):
        na.similarity_map(nn.Linear(64, 3), nn.Linear(64, 3), one, data_b=other)
    with pytest.raises(BadInput, match="one row a sample"):
        na.similarity(x, x[:19])


def test_networks_without_weights_are_said_to_have_learned_nothing(capsys, tmp_path):
    """A note where neither has weights; none where one was trained."""
    state = na.build(NET, seed=1).state_dict()
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "w.safetensors")
    assert any("learned nothing" in note for note in shown(capsys, NET)["notes"])
    given = shown(capsys, "--weights", str(tmp_path / "w.safetensors"))
    assert not any("learned nothing" in note for note in given["notes"])
    assert [learned(f"resnet18:{option}") for option in ("pretrained=true", "weights=w.pt", "width=4")] == [1, 1, 0]


def test_rows_of_several_networks_say_which(capsys, tmp_path):
    """In a terminal: columns for the models where there is more than one pair, and not otherwise."""
    for step in (1, 2):
        state = na.build(NET, seed=step).state_dict()
        save_file({name: value.clone() for name, value in state.items()}, tmp_path / f"step{step}.safetensors")
    assert main([*SMALL, "--checkpoints", str(tmp_path / "*.safetensors")]) == 0
    many = capsys.readouterr().out
    assert "model a" in many
    assert "step2" in many
    assert main([*SMALL, NET]) == 0
    assert "model a" not in capsys.readouterr().out.partition("patterns")[0]
