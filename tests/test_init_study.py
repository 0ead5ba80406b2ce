"""The study of initialisations: against a plain loop, bit for bit again, over any executor, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.data import splits
from netassay.errors import BadInput, UnknownName
from netassay.studies.init_cell import POINTS, cell, drawn
from netassay.studies.init_payload import Outcome
from tests.reference import looks as twin

DATA = "digits:normalize=half,n=300"
WHEN = ("start", "end")
SMALL = {"model": "mlp[8,8]", "data": DATA, "epochs": 2, "samples": 70, "lr": 1e-3}
ASKED = {
    "model": "cnn",
    "data": DATA,
    "epochs": 2,
    "inputs": ["train", "valid", "noise"],
    "at": [1],
    "samples": 100,
    "batch_size": 64,
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "constant",
    "device": None,
    "scheme": "xavier_uniform",
    "seed": 3,
}


def loop(asked):
    """Train as a script would; return the network, what was left after an epoch, and every step's loss."""
    learn, _ = splits(asked["data"], batch_size=asked["batch_size"])
    net, _ = drawn(asked, learn)
    optimizer = torch.optim.Adam(net.parameters(), asked["lr"])
    losses, between = [], {}
    for epoch in range(asked["epochs"]):
        for batch in learn.shuffled(asked["seed"], epoch):
            loss = nn.functional.cross_entropy(net(batch.x), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        between[epoch + 1] = {name: one.detach().numpy().copy() for name, one in net.named_parameters()}
    return net, between, losses


def test_a_cell_is_what_a_plain_loop_finds():
    """Weights whole, features of the first 100 train images, the loss of each step: as kept by a plain script."""
    outcome = Outcome("xavier_uniform", 3, cell(ASKED))
    net, between, losses = loop(ASKED)
    assert len(losses) < POINTS
    np.testing.assert_allclose(outcome.named("curve")["loss"], losses, rtol=1e-6)
    for when, weights in (("epoch 1", between[1]), ("end", between[2])):
        for name, values in weights.items():
            told = twin.shape(values)
            found = outcome.distributions[when, name, ""]
            assert {key: getattr(found, key) for key in told} == pytest.approx(told, rel=1e-5, abs=1e-7), name
    learn, test = splits(DATA)
    x = torch.cat([batch.x for batch in learn])[:100]
    for name, values in twin.chain_features(net.eval(), x).items():
        told = twin.shape(values)
        found = outcome.distributions["end", name, "train"]
        assert {key: getattr(found, key) for key in told} == pytest.approx(told, rel=1e-4, abs=1e-6), name
    hits = sum(int((net(batch.x).argmax(1) == batch.y).sum()) for batch in test)
    assert outcome.named("score")["accuracy"][-1] == pytest.approx(hits / test.n)


def test_a_long_curve_is_told_in_means():
    """More steps than points: each point is the mean over its steps, and says where it ends."""
    asked = {**ASKED, "model": "mlp[4]", "batch_size": 2, "at": [], "inputs": ["noise"], "epochs": 2}
    outcome = Outcome("xavier_uniform", 3, cell(asked))
    _, _, losses = loop(asked)
    curve = outcome.named("curve")
    every = int(curve["step"][0])
    assert (len(losses), every) == (300, 2)
    np.testing.assert_allclose(curve["loss"], np.reshape(losses, (-1, 2)).mean(1), rtol=1e-4)
    assert curve["step"].tolist() == list(range(2, 301, 2))


def dropping():
    """A network that draws from the global generator at every step."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(), nn.ReLU(), nn.Linear(16, 10))


def test_threads_do_not_mix_their_chance():
    """Two cells on two threads of one process give what they give one after the other, dropout and all."""
    asked = {**SMALL, "model": "tests.test_init_study:dropping", "schemes": ["orthogonal", "lsuv"], "seeds": 2}
    with ThreadPoolExecutor(2) as executor:
        same(na.init_study(**asked, workers=0), na.init_study(**asked, executor=executor))


@pytest.fixture(scope="module")
def studied():
    return na.init_study(schemes=["orthogonal", "ones", "zeros"], seeds=2, workers=0, **SMALL)


def same(one, other):
    for name, table in one.tables.items():
        for column, values in table.columns.items():
            np.testing.assert_array_equal(values, other.tables[name].columns[column], err_msg=f"{name} {column}")
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)
    assert one.claims == other.claims


def test_the_same_again_on_another_executor(studied):
    """Equal tables, bit for bit, from threads as from this process."""
    with ThreadPoolExecutor(2) as executor:
        same(studied, na.init_study(schemes=["orthogonal", "ones", "zeros"], seeds=[0, 1], executor=executor, **SMALL))


def test_the_same_again_on_dask(studied):
    """Equal tables, bit for bit, from a Dask client's executor."""
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "dashboard_address": None, "n_workers": 1, "threads_per_worker": 2}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        executor = client.get_executor()
        same(studied, na.init_study(schemes=["orthogonal", "ones", "zeros"], seeds=2, executor=executor, **SMALL))


def test_a_ledger_keeps_what_is_done(studied, tmp_path):
    """More seeds later: the first are not trained again, and the tables are those of one call."""
    file = tmp_path / "grid.db"
    first = na.init_study(schemes=["orthogonal"], seeds=1, workers=0, ledger=file, **SMALL)
    again = na.init_study(schemes=["orthogonal", "ones", "zeros"], seeds=2, workers=0, ledger=file, **SMALL)
    same(studied, again)
    assert first.provenance["seconds"] < again.provenance["seconds"]


def test_symmetry_is_seen(studied):
    """Ones stays one channel in hidden layers, zeros moves only the last bias."""
    hidden = [row for row in studied.table("symmetry") if row["layer"] != "head"]
    assert {row["distinct_end"] for row in hidden if row["scheme"] != "orthogonal"} == {1}
    assert {row["distinct_end"] for row in hidden if row["scheme"] == "orthogonal"} == {8}
    zeros = [row for row in studied.table("movement") if row["scheme"] == "zeros"]
    assert {row["parameter"] for row in zeros if row["unmoved"] < 1} == {"head.bias"}
    assert {row["parameter"] for row in zeros if row["zero_gradient"] < 1} == {"head.bias"}


def test_axes_and_rows_have_their_names(studied):
    """Densities integrate to nearly all numbers, start and end each to its own; rows have their owners' names."""
    density, edges = studied.array("features/density"), studied.array("features/edges")
    assert density.axes["scheme"] == ("orthogonal", "ones", "zeros")
    assert density.axes["when"] == ("start", "end")
    whole = (np.asarray(density) * np.diff(np.asarray(edges))[:, :, :, None]).sum(-1)
    assert ((whole > 0.99) & (whole < 1 + 1e-9)).all()
    drawn = twin.drawn_stds(density[0, -1, 0], edges[0, -1, 0])
    told = [row for row in studied.table("features") if (row["scheme"], row["input"]) == ("orthogonal", "train")]
    told = [[row["std"] for row in told if (row["place"], row["when"]) == ("logits", when)] for when in WHEN]
    np.testing.assert_allclose(drawn, np.sqrt(np.square(told).mean(1)), rtol=0.1)
    assert len(studied.table("weights")) == 3 * 2 * 6 * 2
    assert len(studied.table("features")) == 3 * 2 * (2 + 2 + 2) * 3 * 2
    signals = {(row["scheme"], row["layer"]): row for row in studied.table("signal")}
    assert signals["zeros", "head"]["measured"] == 0


def test_shifts_are_means_over_seeds(studied):
    """Wasserstein distance and variance ratio, from start to end, of each seed, then their mean."""
    weights = [row for row in studied.table("weights") if row["scheme"] == "orthogonal"]
    std = {(row["seed"], row["when"]): row["std"] for row in weights if row["parameter"] == "fc2.weight"}
    ratios = [2 * np.log(std[seed, "end"] / std[seed, "start"]) for seed in (0, 1)]
    shift = next(
        row for row in studied.table("shift") if (row["scheme"], row["parameter"]) == ("orthogonal", "fc2.weight")
    )
    assert shift["log_variance_ratio"] == pytest.approx(np.mean(ratios), rel=1e-9)
    assert shift["n"] == 2


def test_a_training_that_diverges_is_told():
    """Its end is the state before the loss was lost; the others go on."""
    result = na.init_study(
        "mlp[8]", ["kaiming_normal"], DATA, 3, 1, ["noise"], samples=20, optimizer="sgd", lr=1e20, workers=0
    )
    row = result.table("schemes")[0]
    assert row["diverged"] == 1
    assert result.table("scores")[-1]["when"] == "end"
    assert "the loss was not finite at step" in result.notes[-1]


def test_one_that_dies_at_once_leaves_the_others(tmp_path):
    """Thirty layers of ones overflow before the first step: the study ends with what it has."""
    deep = "mlp[" + ",".join(["64"] * 30) + "]"
    data = "digits:normalize=none,n=300"
    result = na.init_study(deep, ["kaiming_normal", "ones"], data, 1, 1, ["train"], samples=20, workers=0)
    rows = {row["scheme"]: row for row in result.table("schemes")}
    assert np.isnan(rows["ones"]["training_loss"])
    assert np.isfinite(rows["kaiming_normal"]["training_loss"])


class Bare(nn.Module):
    """Has a parameter that no scheme reaches."""

    def __init__(self):
        super().__init__()
        self.shift, self.head = nn.Parameter(torch.ones(64)), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(1) + self.shift)


def test_what_a_scheme_did_not_reach_is_told():
    """A parameter of a module's own is compared as it was built, and the notes name it; so is data without a split."""
    asked = {"data": "digits:split=train,n=60", "epochs": 1, "samples": 20}
    result = na.init_study("tests.test_init_study:Bare", "ones", **asked, seeds=1, inputs="train", workers=0)
    assert result.notes == (
        "fewer than 3 seeds: no claim can hold",
        "the data has no split: valid and accuracy are of what the networks learned from",
        "ones: kept as built: shift",
    )


def test_another_network_under_the_same_name_is_another_question(monkeypatch, tmp_path):
    """A ledger refuses cells of a factory that was changed."""
    asked = {"model": "tests.test_init_study:dropping", "data": DATA, "epochs": 1, "samples": 20, "inputs": "train"}
    na.init_study(**asked, schemes="ones", seeds=1, workers=0, ledger=tmp_path / "grid.db")
    monkeypatch.setattr("tests.test_init_study.dropping", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(BadInput, match="model_hash"):
        na.init_study(**asked, schemes="ones", seeds=2, workers=0, ledger=tmp_path / "grid.db")


REFUSED = {
    "scheme 'kaiming'": (UnknownName, {"schemes": ["kaiming"]}),
    "scheme 'one'": (UnknownName, {"schemes": "one"}),
    "3 is no name": (BadInput, {"schemes": [3]}),
    "schemes=\\[\\]": (BadInput, {"schemes": []}),
    "'ones' is there twice": (BadInput, {"schemes": ["ones", "ones"]}),
    "0 is there twice": (BadInput, {"seeds": [0, 0]}),
    "seeds=1.5": (BadInput, {"seeds": 1.5}),
    "seeds=-1": (BadInput, {"seeds": [0, -1]}),
    "a seed is a whole number": (BadInput, {"seeds": [2**70]}),
    "at=1.5": (BadInput, {"at": [1.5]}),
    "at=True": (BadInput, {"at": [True]}),
    "epochs=1.0": (BadInput, {"epochs": 1.0}),
    "inputs=\\[\\]": (BadInput, {"inputs": []}),
    "input 'trian'": (UnknownName, {"inputs": "trian"}),
    "device 'tpu9'": (BadInput, {"device": "tpu9"}),
    "lr='x'": (BadInput, {"lr": "x"}),
    "weight_decay=-1": (BadInput, {"weight_decay": -1}),
    "e.g. 'digits'": (BadInput, {"data": (1, 2)}),
    "which another process cannot build": (BadInput, {"model": nn.Linear(2, 2)}),
    "data set 'digitz'": (UnknownName, {"data": "digitz"}),
    "seeds=0": (BadInput, {"seeds": 0}),
    "epochs=0": (BadInput, {"epochs": 0}),
    "look after epoch 2": (BadInput, {"at": [2]}),
    "samples=0": (BadInput, {"samples": 0}),
    "optimizer 'adamw'": (UnknownName, {"optimizer": "adamw"}),
    "schedule 'linear'": (UnknownName, {"schedule": "linear"}),
    "labels for 3 outputs": (BadInput, {"model": "mlp[8]:classes=3"}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_trained(sentence, monkeypatch):
    """Each with a sentence that names it; no cell runs."""
    kind, changed = REFUSED[sentence]
    monkeypatch.setattr("netassay.studies.init_study.grid", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(kind, match=sentence):
        na.init_study(**{**SMALL, "schemes": ["orthogonal"], "seeds": 1, **changed})
