"""The factorial on gradient flow: planted causes, plain loops, the same bits again, and what it refuses."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.data import load_data, splits
from netassay.errors import BadInput, UnknownName
from netassay.inference import factorial
from netassay.studies.flow_answer import answer
from netassay.studies.flow_asked import SWITCHES, plainly, switched, switches_of
from netassay.studies.flow_cell import Feed, cell, made
from netassay.studies.flow_effects import claims, decision, effects, table
from netassay.studies.flow_tables import OUTCOMES, Trial, tables

ASKED = {
    "model": "mlp[8,8]",
    "data": "digits:normalize=none,n=60",
    "epochs": 1,
    "steps": 5,
    "batch_size": 16,
    "batches": 2,
    "optimizer": "adam",
    "lr": 1e-3,
    "device": None,
}
SMALL = {"model": "mlp[8,8]", "data": "digits:n=60", "steps": 4, "batches": 2, "workers": 0}
LEVELS = {"act": ["relu", "tanh"], "init": ["he", "default"]}
LAYERS = 8


def planted(skip="residual", norm="batch"):
    """A chain in which each layer keeps the norm of what goes back, unless norm is none; skip changes nothing."""
    factor = 1.0 if norm == "batch" else 0.5 + 0.05 * float(torch.rand(()))
    layers = [nn.Linear(64, 64, bias=False) for _ in range(LAYERS)] + [nn.Linear(64, 10, bias=False)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
        layer.weight.data *= factor
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.fixture(scope="module")
def cause():
    switches = {"skip": ["residual", "plain"], "norm": ["batch", "missing"]}
    return na.flow_study("tests.test_flow_study:planted", switches, "digits:n=200", seeds=4, steps=2, workers=0)


def test_a_planted_cause_is_named_and_the_innocent_is_not(cause):
    """Only norm shrinks what goes back: its effect is found, the largest, and told first; skip is told as open."""
    rows = {row["change"]: row for row in cause.table("effects") if row["outcome"] == "decades"}
    expected = -LAYERS * np.log10([0.5, 0.55])
    for one in ("norm=missing", "norm=batch"):
        size = abs(rows[one]["effect"])
        assert expected[1] < size < expected[0]
        assert rows[one]["low"] < rows[one]["effect"] < rows[one]["high"]
    assert (rows["norm=missing"]["decision"], rows["norm=batch"]["decision"]) == ("raises", "lowers")
    assert rows["skip=plain"]["decision"] == "undecided"
    assert abs(rows["skip=plain"]["effect"]) < 1e-5
    decided = {claim.statement: claim.decision for claim in cause.claims}
    lost = "makes gradient lose more on its way to the input"
    assert decided[f"norm=missing instead of norm=batch {lost}"] == "holds"
    assert decided[f"skip=plain instead of skip=residual {lost}"] != "holds"
    assert decided["Of the main effects on the loss of gradient, that of norm=missing is the largest"] == "holds"
    said = cause.provenance["answer"]
    assert cause.notes[0] == said
    assert "at the start, on average over the other switches: norm=missing +2.3 decades (" in said
    assert "; not told from 0: skip=plain" in said


def test_the_law_of_a_planted_chain_is_exact(cause):
    """chi is the squared factor of a layer, and decades what eight layers lose."""
    for row in cause.table("runs"):
        with torch.random.fork_rng():
            torch.manual_seed(row["seed"])
            factor = 1.0 if row["norm"] == "batch" else 0.5 + 0.05 * float(torch.rand(()))
        assert row["chi"] == pytest.approx(factor**2, rel=1e-4)
        assert row["decades"] == pytest.approx(-LAYERS * math.log10(factor), abs=1e-4)
        assert row["ratio_decades"] == pytest.approx(-LAYERS * math.log10(factor), abs=1e-4)


def loop(asked):
    """Train as a script would; return the loss before it in train mode, each step's, the hits, and ln classes."""
    learn, test = splits(asked["data"], batch_size=asked["batch_size"])
    net = made(asked, learn)
    losses, taken, epoch = [], 0, 0
    first = list(learn.shuffled(asked["seed"], 0))[: asked["batches"]]
    x, y = (torch.cat([batch[i] for batch in first]) for i in (0, 1))
    with torch.no_grad():
        start = float(nn.functional.cross_entropy(net(x), y))
    optimizer = torch.optim.Adam(net.parameters(), asked["lr"])
    while taken < asked["steps"]:
        for batch in list(learn.shuffled(asked["seed"], epoch))[: asked["steps"] - taken]:
            loss = nn.functional.cross_entropy(net(batch.x), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            taken += 1
        epoch += 1
    hits = sum(int((net(batch.x).argmax(1) == batch.y).sum()) for batch in test)
    return start, losses, hits / test.n


def test_a_cell_is_what_a_plain_loop_finds():
    """Loss at the start, loss of each step over epochs, hits on test: as found by a plain script."""
    asked = {**ASKED, "steps": 27, "scheme": None, "seed": 3}
    start, losses, accuracy = loop(asked)
    trial = Trial({}, 3, cell(asked))
    np.testing.assert_allclose(trial.arrays["loss"], losses, rtol=1e-6)
    assert trial.number("fall") == pytest.approx(start - np.mean(losses[-3:]), rel=1e-5)
    assert trial.number("learned") == pytest.approx(max(math.log(10) - np.mean(losses[-3:]), 0), abs=1e-6)
    assert trial.number("accuracy") == pytest.approx(accuracy)
    assert trial.diverged == -1


def test_steps_go_on_into_further_epochs_in_another_order():
    """A feed of two epochs gives what two epochs give, batch by batch, and stops at its number of steps."""
    data = load_data("digits:n=40", batch_size=16)
    expected = [batch.ids.tolist() for epoch in (0, 1) for batch in data.shuffled(7, epoch)]
    fed = [batch.ids.tolist() for batch in Feed(data, 5).shuffled(7, 0)]
    assert len(Feed(data, 5)) == len(fed) == 5
    assert fed == expected[:5]
    assert expected[:3] != expected[3:]


@pytest.fixture(scope="module")
def studied():
    return na.flow_study(switches=LEVELS, seeds=2, **SMALL)


def same(one, other):
    for name, found in one.tables.items():
        for column, values in found.columns.items():
            np.testing.assert_array_equal(values, other.tables[name].columns[column], err_msg=f"{name} {column}")
    assert repr(one.claims) == repr(other.claims)
    assert one.notes == other.notes


def test_the_same_again_on_another_executor(studied):
    """Equal tables, bit for bit, from threads as from this process."""
    with ThreadPoolExecutor(2) as executor:
        same(studied, na.flow_study(switches=LEVELS, seeds=[0, 1], **SMALL | {"executor": executor}))


def test_a_ledger_keeps_what_is_done(studied, tmp_path, monkeypatch):
    """More seeds later: the first are not run again; all done, none is; another network under the name is."""
    file, ran = tmp_path / "grid.db", []
    trained = na.studies.flow_cell.trained

    def counted(model, asked, learn):
        ran.append(asked["seed"])
        return trained(model, asked, learn)

    monkeypatch.setattr("netassay.studies.flow_cell.trained", counted)
    na.flow_study(switches=LEVELS, seeds=1, ledger=file, **SMALL)
    same(studied, na.flow_study(switches=LEVELS, seeds=2, ledger=file, **SMALL))
    assert ran == [0] * 4 + [1] * 4
    same(studied, na.flow_study(switches=LEVELS, seeds=2, ledger=file, **SMALL))
    assert len(ran) == 8
    monkeypatch.setitem(
        na.zoo.MODELS, "mlp", lambda *widths, act="relu", init="he", input=64, classes=10: na.zoo.small.mlp(4)
    )
    na.flow_study(switches=LEVELS, seeds=1, ledger=file, **SMALL)
    assert len(ran) == 12


def test_tables_have_a_row_for_each_cell_run_and_effect(studied):
    """Two switches of two levels and two seeds; with fewer than three seeds nothing is decided, and it says so."""
    assert [row["cell"] for row in studied.table("cells")] == [
        "act=relu, init=he",
        "act=relu, init=default",
        "act=tanh, init=he",
        "act=tanh, init=default",
    ]
    assert [row["n"] for row in studied.table("cells")] == [2] * 4
    assert len(studied.table("runs")) == 8
    assert [row["step"] for row in studied.table("curves")] == [1, 2, 3, 4] * 8
    kinds = [row["kind"] for row in studied.table("effects") if row["outcome"] == "accuracy"]
    assert kinds == ["main"] * 2 + ["interaction"] + ["simple"] * 4 + ["single"] * 2
    assert {row["decision"] for row in studied.table("effects")} == {"undecided"}
    assert {claim.decision for claim in studied.claims} == {"undecided"}
    assert studied.notes[1] == "fewer than 3 seeds: nothing is decided"


def test_a_training_that_diverges_has_learned_nothing():
    """Its fall is NaN and not a number among others; the others go on, and effects say how many seeds they rest on."""
    levels = {"optimizer": ["adam", "sgd@1e30"]}
    result = na.flow_study(switches=levels, seeds=3, **SMALL | {"steps": 20})
    good, bad = result.table("cells")
    assert (good["diverged"], bad["diverged"]) == (0, 3)
    assert math.isnan(bad["fall"])
    assert (bad["learned"], bad["learned_high"]) == (0, 0)
    assert 0 <= bad["accuracy"] <= 1
    found = {row["outcome"]: row for row in result.table("effects") if row["kind"] == "main"}
    assert {name: row["n"] for name, row in found.items()} == {"decades": 3, "learned": 3, "fall": 0, "accuracy": 3}
    assert sum("diverged at step" in note for note in result.notes) == 3
    assert not any("no law fits" in note for note in result.notes)


def test_a_network_too_shallow_for_a_law_says_so():
    """Two layers make no slope: chi is NaN, the notes say why, and learning is told all the same."""
    result = na.flow_study("mlp[8]", {"act": ["relu", "tanh"]}, "digits:n=60", seeds=1, steps=2, workers=0)
    assert all(math.isnan(row["chi"]) and math.isfinite(row["learned"]) for row in result.table("runs"))
    assert sum("no law fits" in note for note in result.notes) == 2
    assert all(math.isfinite(row["ratio_decades"]) for row in result.table("runs"))


SWITCHED = {
    ("model", "resnet[1,1]:width=4,norm=none"): {"norm": "none"},
    ("model", "resnet[2,2]:width=4"): {"depth": "[2,2]"},
    ("model", "resnet[2,2,2,2]:width=4,skip=none"): {"skip": "none", "depth": "resnet18"},
    ("model", "resnet[1,1]:width=8"): {"width": "8"},
    ("model", "resnet[1,1]:width=4,init=he"): {"init": "he"},
    ("scheme", "orthogonal"): {"init": "orthogonal"},
    ("data", "digits:n=60,normalize=none"): {"input": "raw"},
    ("data", "digits:n=60,normalize=half"): {"input": "half"},
    ("data", "digits:n=60,normalize=train"): {"input": "standard"},
    ("lr", 1e-3): {"optimizer": "adam"},
    ("lr", 0.05): {"optimizer": "sgd@0.05"},
    ("lr", None): {"optimizer": "sgd"},
    ("optimizer", "sgd"): {"optimizer": "sgd@0.05"},
}


@pytest.mark.parametrize(("name", "value"), SWITCHED)
def test_a_switch_changes_what_it_names(name, value):
    """Each level becomes an option of the model or the data, a scheme, or an optimizer with its rate."""
    asked = plainly({**ASKED, "model": "resnet[1,1]:width=4", "data": "digits:n=60"})
    found = switched(asked, SWITCHED[name, value])
    assert found[name] == value
    kept = {"model", "data", "scheme", "optimizer", "lr"} - {name, "lr", "optimizer"}
    assert all(found[one] == asked[one] for one in kept)


def test_raw_inputs_of_an_imagelike_spec_are_standardised_by_name():
    """Data without constants of its own takes those of CIFAR-10."""
    asked = plainly({**ASKED, "data": "parquet:x.parquet,normalize=none"})
    assert switched(asked, {"input": "standard"})["data"] == "parquet:x.parquet,normalize=cifar10"
    assert switches_of(None) == {name: list(levels) for name, levels in SWITCHES.items()}


def trials(decades, learned):
    """Return made-up trials of skip, norm and init with four seeds, from functions of (skip, norm, init)."""
    noise, found = np.random.default_rng(0), []
    for place in np.ndindex(2, 2, 2):
        levels = {name: SWITCHES[name][level] for name, level in zip(SWITCHES, place, strict=True)}
        for seed in range(4):
            end = math.log(10) - learned(*place) + 0.01 * noise.normal()
            numbers = {"chi": 1.0, "ratio_decades": 0.0, "start_loss": 3.0, "chance": math.log(10), "accuracy": 0.5}
            numbers |= {"decades": decades(*place) + 0.01 * noise.normal(), "test_loss": 2.0}
            arrays = {name: np.array(value) for name, value in numbers.items()}
            found.append(Trial(levels, seed, arrays | {"loss": np.array([3.0, end]), "diverged": np.array(-1)}))
    return found


def test_the_answer_ranks_and_says_what_happens_only_together():
    """Gradient is lost where all three are missing, learning by norm alone: both are said with their numbers."""
    made_up = trials(lambda s, n, i: 16.0 * s * n * i + 1.0 * n, lambda s, n, i: 1.5 - 1.0 * n)
    found = effects(made_up, SWITCHES)
    said = answer(found)
    gradient, _, learning = said.partition("What is learned")
    assert "other switches: norm=none +5 decades (" in gradient
    assert gradient.index("norm=none +5 decades") < gradient.index("skip=none +4 decades")
    assert "skip=none with norm=none with init=default +16 decades" in gradient
    assert "farthest from kept (skip=none, norm=none, init=default)" in gradient
    assert "norm=batch -17 decades" in gradient
    assert "init=he -16 decades" in gradient
    assert "skip=residual -16 decades" in gradient
    assert "skip=none: with norm=batch " in gradient
    assert "; with norm=none +8 decades" in gradient
    assert "norm=none: with skip=residual +1 decades" not in gradient  # it does something at both
    assert "other switches: norm=none -1 nats (" in learning
    assert "not told from 0: " in learning
    assert "Together" not in learning
    turned = trials(lambda s, n, i: 2.0 * s * (2 * n - 1), lambda s, n, i: 1.0)
    assert "skip=none: with norm=batch -2 decades" in answer(effects(turned, SWITCHES))
    assert ": with" not in learning
    decided = {claim.statement: claim.decision for claim in claims(found)}
    assert decided["Of the main effects on what is learned, that of norm=none is the largest"] == "holds"
    assert decided["norm=none instead of norm=batch leaves less learned"] == "holds"
    assert decided["skip=none instead of skip=residual leaves less learned"] == "undecided"
    rows = table(found).rows()
    assert len(rows) == 4 * (7 + 12 + 3)
    assert {row["factor"] for row in rows if row["kind"] == "interaction"} == {
        "skip x norm",
        "skip x init",
        "norm x init",
        "skip x norm x init",
    }


def test_what_is_not_known_is_told_as_such_and_last():
    """Gradients that vanish altogether in one cell leave what rests on it unknown, and the rest as it is."""
    made_up = trials(lambda s, n, i: math.inf if s * n * i else 3.0 * n, lambda s, n, i: 1.0 - 0.5 * n)
    said = answer(effects(made_up, SWITCHES))
    assert "other switches: not told from 0: skip=none not known; norm=none not known; init=default not known." in said
    assert "nan" not in said
    assert "other switches: norm=none -0.5 nats" in said
    assert "farthest from kept (skip=" in said


def test_cells_hold_means_over_their_seeds():
    """A cell's numbers are the means of its runs."""
    made = tables(trials(lambda s, n, i: 2.0 * s, lambda s, n, i: 0.5 * n))
    runs = made["runs"].rows()
    for row in made["cells"].rows():
        mine = [run for run in runs if run["cell"] == row["cell"]]
        assert len(mine) == row["n"] == 4
        for name in ("decades", "learned", "fall", "accuracy"):
            assert row[name] == pytest.approx(np.mean([run[name] for run in mine]))
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_two_seeds_decide_nothing_however_alike_they_are():
    """An interval of no width above 0 is no evidence of two seeds; of three it is."""
    for seeds, decided, held in ((2, "undecided", "undecided"), (3, "raises", "holds")):
        found = {name: factorial([[1.0] * seeds, [4.0] * seeds], {"skip": ["residual", "none"]}) for name in OUTCOMES}
        assert decision(found["decades"][0]) == decided
        assert claims(found)[0].decision == held


def test_a_long_curve_is_told_in_means():
    """More steps than points: each point is the mean over its steps, and says where it ends."""
    losses = np.arange(500.0)
    arrays = {"loss": losses, "diverged": np.array(-1)}
    numbers = {name: np.array(1.0) for name in ("chi", "decades", "ratio_decades", "start_loss", "chance")}
    one = Trial({"skip": "none"}, 0, arrays | numbers | {"accuracy": np.array(1.0), "test_loss": np.array(1.0)})
    points = tables([one])["curves"].rows()
    assert [point["step"] for point in points] == [*range(3, 499, 3), 500]
    assert [point["loss"] for point in points[:2]] == [1.0, 4.0]
    assert points[-1]["loss"] == 498.5
    assert one.end_loss == losses[450:].mean()


REFUSED = {
    "switches=3": (BadInput, {"switches": 3}),
    "nothing to switch": (BadInput, {"switches": {}}),
    "nothing to be compared with": (BadInput, {"switches": {"act": ["relu"]}}),
    "'relu' is there twice": (BadInput, {"switches": {"act": ["relu", "relu"]}}),
    "3 is no name": (BadInput, {"switches": {"act": ["relu", 3]}}),
    "option of 'mlp' 'skip'": (UnknownName, {"switches": {"skip": ["residual", "none"]}}),
    "act of": (UnknownName, {"switches": {"act": ["relu", "rleu"]}}),
    "init of": (UnknownName, {"switches": {"init": ["he", "orthogonl"]}}),
    "depth='vgg19'": (BadInput, {"switches": {"depth": ["[8]", "vgg19"]}}),
    "depth='mlp'": (BadInput, {"switches": {"depth": ["[8]", "mlp"]}}),
    "not of the form": (BadInput, {"switches": {"depth": ["[8]", "[8"]}}),
    "normalize of": (UnknownName, {"switches": {"input": ["raw", "cifar10"]}}),
    "optimizer 'adamw'": (UnknownName, {"switches": {"optimizer": ["adam", "adamw"]}}),
    "'x' is no rate": (BadInput, {"switches": {"optimizer": ["adam", "sgd@x"]}}),
    "train with lr=-1": (BadInput, {"switches": {"optimizer": ["adam", "sgd@-1"]}}),
    "steps=0": (BadInput, {"steps": 0}),
    "batches=0": (BadInput, {"batches": 0}),
    "epochs=1.5": (BadInput, {"epochs": 1.5}),
    "lr='x'": (BadInput, {"lr": "x"}),
    "0 is there twice": (BadInput, {"seeds": [0, 0]}),
    "device 'tpu9'": (BadInput, {"device": "tpu9"}),
    "which another process cannot build": (BadInput, {"model": nn.Linear(2, 2)}),
    "e.g. 'digits'": (BadInput, {"data": (1, 2)}),
    "labels for 3 outputs": (BadInput, {"model": "mlp[8]:classes=3"}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_trained(sentence, monkeypatch):
    """Each with a sentence that names it; no cell runs."""
    kind, changed = REFUSED[sentence]
    monkeypatch.setattr("netassay.studies.flow_study.grid", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(kind, match=sentence):
        na.flow_study(**{**SMALL, "switches": LEVELS, "seeds": 1, **changed})
