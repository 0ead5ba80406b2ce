"""Examine: everything is stored as it comes, a kill loses nothing, and the claims are what a hand would compute."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import netassay as na
from netassay import report, training
from netassay.errors import BadInput
from netassay.inference import binomial_interval, bootstrap
from netassay.studies import examine as room
from netassay.studies.twins import settle
from netassay.testing import check_quiet
from tests.pages import X, Y, net
from tests.test_store_survival import integrity

LABELS = (
    "summary",
    "channels/start",
    "channels/end",
    "exchange/start",
    "exchange/end",
    "initialisation",
    "signal/start",
    "flow/start",
    "flow/end",
    "flow/training",
    "similarity/start",
    "similarity/seed",
    "stitching/seed",
    "examine",
)
TRAINED = "resnet[1]:width=8,input=8,channels=1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small residual network, trained for one epoch."""
    return na.examine(TRAINED, "digits", epochs=1, out=tmp_path_factory.mktemp("examine") / "run")


def layers(run, column, when="end"):
    return run.result(f"channels/{when}").tables["layers"].columns[column]


def claim(run, words):
    return next(claim for claim in run.claims if words in claim.statement)


def test_a_run_has_every_result_the_curves_and_a_page(run):
    """Results in order, losses of every step, test accuracy of every epoch, and the page in the folder."""
    assert (run.status, run.labels) == ("finished", LABELS)
    assert run.page.read_text().startswith("<!doctype html>")
    steps = -(-1437 // 128)
    assert run.series("training loss").columns["step"].tolist() == list(range(steps))
    assert len(run.series("training accuracy")) == steps
    assert run.series("test accuracy").columns["step"].tolist() == [steps - 1]
    meta = run.meta
    assert meta["model"] == "resnet[1]:width=8,input=8,channels=1,classes=10"
    assert (meta["data"], meta["seed"]) == ("digits:split=test", 0)
    assert "trained on digits:split=train" in meta["how"]


def test_the_same_seed_gives_the_same_numbers(run, tmp_path):
    """Everything measured is bit by bit the same again, and another seed gives other numbers."""
    again = na.examine(TRAINED, "digits", epochs=1, out=tmp_path / "again")
    for label, result in run.results.items():
        np.testing.assert_equal(again.result(label).to_dict(), result.to_dict())
    np.testing.assert_array_equal(
        again.series("training loss").columns["value"], run.series("training loss").columns["value"]
    )
    other = na.examine(TRAINED, "digits", epochs=1, seed=1, out=tmp_path / "other")
    assert (layers(other, "y_rms") != layers(run, "y_rms")).all()


def test_the_scores_are_counted_by_hand(tmp_path):
    """Accuracy, its interval and loss of a given module are those of its own logits on the data."""
    made = net()
    run = na.examine(made, (X, Y), out=tmp_path / "run")
    with torch.no_grad():
        logits = made(X)
    hits = int((logits.argmax(1) == Y).sum())
    score = run.result("examine").table("scores")[-1]
    low, high = binomial_interval(hits, len(Y))
    assert (score["when"], score["n"], score["accuracy"]) == ("end", 60, hits / 60)
    assert (score["low"], score["high"]) == (float(low), float(high))
    assert score["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, Y)), rel=1e-6)


def test_the_accuracy_is_held_against_the_commonest_class(run):
    """Effect and interval are the accuracy's, at a level corrected for as many claims as were made."""
    score = run.result("examine").table("scores")[-1]
    labels = torch.cat([batch.y for batch in na.load_data("digits:split=test")])
    share = max((labels == digit).float().mean().item() for digit in range(10))
    made = claim(run, f"always naming the commonest class ({share:.3g})")
    low, high = binomial_interval(round(score["accuracy"] * 360), 360, 1 - 0.05 / 4)
    assert made.effect == score["accuracy"]
    assert made.interval == (float(low), float(high))
    assert (made.n, made.decision) == (
        360,
        "holds" if low > share else "does not hold" if high < share else "undecided",
    )
    assert {(one.tests, one.correction, one.level) for one in run.result("examine").claims} == {
        (4, "Bonferroni", 1 - 0.05 / 4)
    }
    assert "98.75 % interval" in str(made)


def test_claims_about_layers_are_means_of_differences(run):
    """Sparser, set apart, more gradient: each effect is the mean over layers of end - start, as it is or as a ratio."""
    chosen = layers(run, "activation")
    zeros = (layers(run, "y_zero_share") - layers(run, "y_zero_share", "start"))[chosen]
    spread = []
    for when in ("start", "end"):
        table = run.result(f"channels/{when}").tables["channels"].columns
        sizes = [table["y_rms"][table["layer"] == name] for name in layers(run, "layer")]
        spread.append(np.log2([np.std(size) / np.mean(size) for size in sizes]))
    norms = [np.log2(layers(run, "gy_norm", when)) for when in ("start", "end")]
    start, end = (norm[:-1] - norm[-1] for norm in norms)
    for words, change, shown in (
        ("sparser", zeros, float),
        ("apart", spread[1] - spread[0], np.exp2),
        ("more gradient", end - start, np.exp2),
    ):
        made = claim(run, words)
        assert made.n == len(change)
        assert made.effect == pytest.approx(shown(change.mean()))
        _, low, high = bootstrap(change, np.mean, level=1 - 0.05 / 4, seed=0)
        assert made.interval == pytest.approx((shown(low), shown(high)))
        wanted = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
        assert made.decision == (wanted if len(change) >= 8 else "undecided")


def test_the_start_is_the_initialisation_and_the_end_was_trained(run):
    """The profile at the start is that of the freshly built model; the end is another network."""
    model = na.build(run.meta["model"])
    settle(model, na.load_data("digits:split=train"))
    fresh = na.channel_profile(model, "digits:split=test")
    np.testing.assert_array_equal(layers(run, "y_rms", "start"), fresh.tables["layers"].columns["y_rms"])
    assert (layers(run, "y_rms") != layers(run, "y_rms", "start")).all()


def test_layers_are_held_against_the_start_and_against_a_second_seed(run, tmp_path):
    """By the first 256 samples; of the second seed's training there is nothing else; it can be left out."""
    for name, other in {"start": "start", "seed": "second seed"}.items():
        made = run.result(f"similarity/{name}")
        assert (made.provenance["samples"], made.provenance["data"]) == (256, "digits:split=test")
        models = made.tables["layers"].columns["model"].tolist()
        assert list(dict.fromkeys(models)) == ["end", other]
        assert all(claim.statement.startswith(f"end against {other}: ") for claim in made.claims)
    again = na.examine(TRAINED, "digits", epochs=1, second=False, out=tmp_path / "run")
    assert again.labels == tuple(label for label in LABELS if not label.endswith("/seed"))
    for label in again.labels[:-1]:
        np.testing.assert_equal(again.result(label).to_dict(), run.result(label).to_dict())


def test_the_second_seed_is_a_network_of_its_own_trained_alike(run):
    """Its map is that of two networks trained by hand, with this seed and the next."""
    learn = na.load_data("digits:split=train")
    nets = []
    for seed in (0, 1):
        nets.append(na.build(run.meta["model"], seed=seed))
        training.train(nets[-1], learn, epochs=1, lr=0.05, seed=seed)
    first = next(iter(na.load_data("digits:split=test", batch_size=256)))
    wanted = na.similarity_map(*nets, [first], permutations=5).array("cka")
    np.testing.assert_allclose(run.result("similarity/seed").array("cka"), wanted, rtol=1e-4, atol=1e-5)


def test_the_network_is_stitched_into_its_second_seed(run, monkeypatch, tmp_path):
    """Activations beside a random sender, as by hand; the second seed is trained once for both of its studies."""
    made = run.result("stitching/seed")
    learn, seeds = na.load_data("digits:split=train"), {}
    for name, seed in {"end": 0, "second seed": 1}.items():
        seeds[name] = na.build(run.meta["model"], seed=seed)
        training.train(seeds[name], learn, epochs=1, lr=0.05, seed=seed)
    first, second = ({name: net} for name, net in seeds.items())
    wanted = na.stitch_grid(
        first,
        second,
        "digits",
        adapter="affine",
        matching="closed_form",
        controls=["random_sender"],
        fit=300,
        samples=360,
    )
    assert made.arrays["accuracy"].axes == wanted.arrays["accuracy"].axes
    for name in ("accuracy", "accuracy/random_sender"):
        np.testing.assert_allclose(made.array(name), wanted.array(name), atol=0.01)
    assert {row["control"] for row in made.table("cells")} == {"none", "random_sender"}
    assert made.claims[0].statement.startswith("end into second seed: ")
    trained = []
    monkeypatch.setattr(
        room, "_again", lambda plan, learn, test: trained.append(plan.seed) or na.build("mlp[8]", seed=1)
    )
    na.examine("mlp[8]", "digits", epochs=1, out=tmp_path / "run")
    assert trained == [0]


def test_a_few_activations_are_stitched_or_the_layers_asked_for(tmp_path):
    """Of eight activations four, the last among them; with layers named those, and a refusal is a note."""
    deep = na.examine("mlp[8,8,8,8,8,8,8,8]", "digits", epochs=1, out=tmp_path / "deep").result("stitching/seed")
    assert deep.array("accuracy").axes["sender layer"] == ("act2", "act4", "act6", "act8")
    assert deep.notes[-1].startswith("4 of 8 activations, beside a random sender only")
    assert all(np.isfinite(row["accuracy"]) for row in deep.table("nets"))
    named = na.examine("mlp[8,8]", "digits", epochs=1, layers="fc*", out=tmp_path / "named").result("stitching/seed")
    assert named.array("accuracy").axes["sender layer"] == ("fc1", "fc2")
    inside = na.examine("resnet[1]:width=8", "digits", epochs=1, layers="*.bn1", out=tmp_path / "inside")
    assert (inside.status, inside.result("stitching/seed").tables) == ("finished", {})
    assert inside.result("stitching/seed").notes[0].startswith("no grid: no clean cut; ")


def test_a_map_that_cannot_be_made_is_a_note(tmp_path):
    """Three samples are too few for debiased CKA; everything else is there."""
    run = na.examine(net(), (X[:3], Y[:3]), out=tmp_path / "run")
    made = run.result("similarity/start")
    assert (run.status, made.tables) == ("finished", {})
    assert made.notes[0].startswith("no map: 3 samples")


def test_a_given_module_is_compared_with_a_twin_and_not_touched(tmp_path):
    """A module is looked at as it is, beside a copy drawn anew; nothing of it changes, and nothing is trained."""
    made = net(dead=True)
    before = copy.deepcopy(made.state_dict())
    with check_quiet(made):
        run = na.examine(made, (X, Y), out=tmp_path / "run")
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert run.series_names == ()
    dead, *rest = run.findings
    assert str(dead) == "act1: 8 of 8 channels carry nothing (8 dead: 0-7)"
    assert {one.rule for one in rest} == {"input dependence lost", "zero gradient"}
    assert "drawn anew" in run.meta["how"]
    assert layers(run, "y_rms", "start")[1] > 0


def test_weights_from_a_file_are_examined_without_training(tmp_path):
    """A spec with a safetensors file is that network, beside one built again from its spec."""
    trained = na.build("mlp[16]", seed=5)
    save_file(dict(trained.state_dict()), tmp_path / "net.safetensors")
    for spec, weights in (
        ("mlp[16]", tmp_path / "net.safetensors"),
        (f"mlp[16]:weights={tmp_path}/net.safetensors", None),
    ):
        run = na.examine(spec, "digits", weights=weights, out=tmp_path / f"run{weights is None}")
        wanted = na.channel_profile(trained, "digits:split=test").tables["layers"].columns["y_rms"]
        np.testing.assert_array_equal(layers(run, "y_rms"), wanted)
        assert "as it was given" in run.meta["how"]
        assert run.series_names == ()


class Endless(IterableDataset):
    """Samples without a length."""

    def __iter__(self):
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize("data", [(X, Y), DataLoader(TensorDataset(X, Y), 16), DataLoader(Endless(), 16)], ids=type)
def test_data_of_any_form_is_trained_on(tmp_path, data):
    """Tensors, a loader, and a loader that does not know its length: epochs are scored at their last batch."""
    run = na.examine("mlp[8]:input=64,classes=10", data, epochs=3, batch_size=16, out=tmp_path / "run")
    assert run.series("accuracy").columns["step"].tolist() == [3, 7, 11]
    assert "Accuracy on what it learns from" in run.page.read_text()
    assert not any("right more often" in str(claim) for claim in run.claims)
    assert "the samples it learned from" in run.meta["how"]


def test_regression_has_no_accuracy_and_says_why(tmp_path):
    """With another objective the scores are left out, with a note; the profiles are there."""
    run = na.examine(net(), (X, X[:, :10]), objective="mse", out=tmp_path / "run")
    assert run.labels == tuple(label for label in LABELS if label != "flow/training" and not label.endswith("/seed"))
    assert "scores" not in run.result("examine").tables
    assert run.result("examine").notes[0].startswith("no accuracy: ")
    assert not any("right more often" in claim.statement for claim in run.claims)


@pytest.mark.parametrize(("failing", "kept"), [(0, 0), (1, 1), (2, 3)])
def test_an_exception_in_the_middle_loses_nothing_before_it(tmp_path, monkeypatch, failing, kept):
    """Whatever a study raises, the results before it, the curves, and the reason are in the run, and it has a page."""

    def fails(*_):
        raise ZeroDivisionError("in the middle")

    studies = [*room.STUDIES[:failing], fails, *room.STUDIES[failing:]]
    monkeypatch.setattr(room, "STUDIES", tuple(studies))
    with pytest.raises(ZeroDivisionError):
        na.examine("mlp[16]", "digits", epochs=1, out=tmp_path / "run")
    run = na.open_run(tmp_path / "run")
    assert (run.status, run.meta["error"]) == ("failed", "ZeroDivisionError: in the middle")
    assert run.labels == LABELS[:kept]
    assert len(run.series("training loss")) == 12
    assert report.write_page(run).stat().st_size > 1e6


def steps_in(folder):
    """Count the steps that a reader sees; 0 as long as there is nothing to see."""
    try:
        run = na.open_run(folder)
        return len(run.series("training loss")) if run.series_names else 0
    except BadInput:
        return 0


def killed(folder, moment):
    """Kill a real examination at a moment: seconds after its run began, or if negative after its first step."""
    words = ["examine", "mlp[64]", "--data", "digits", "--epochs", "40", "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-m", "netassay", *words], stdout=subprocess.DEVNULL, env=environment)
    while child.poll() is None and not (steps_in(folder) if moment < 0 else (folder / "run.db").exists()):
        time.sleep(0.005)
    time.sleep(abs(moment))
    steps = steps_in(folder)
    labels = na.open_run(folder).labels if steps else ()
    child.send_signal(signal.SIGKILL)
    child.wait()
    return labels, steps


def survives(folder, moment):
    """Kill at a moment, and check that everything that was there is there."""
    labels, steps = killed(folder, moment)
    assert integrity(folder) == "ok"
    if not steps and not steps_in(folder):
        return 0
    run = na.open_run(folder)
    assert run.labels[: len(labels)] == labels
    assert run.labels == LABELS[: len(run.labels)]
    curve = run.series("training loss").columns
    assert len(curve["step"]) >= steps
    assert curve["step"].tolist() == list(range(len(curve["step"])))
    assert np.isfinite(curve["value"]).all()
    assert all(result.tables for result in run.results.values())
    assert run.status in (("interrupted", "finished") if len(run.labels) == len(LABELS) else ("interrupted",))
    assert report.write_page(run).exists()
    return steps


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
@pytest.mark.parametrize("trials", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_an_examination_survives_kill_9(tmp_path, trials):
    """Killed at random moments, the file is intact and holds every step and result that a reader had seen."""
    moments = random.Random(trials)
    when = [moments.uniform(0, 1.5) if trial % 3 == 2 else -moments.uniform(0, 0.8) for trial in range(trials)]
    seen = [survives(tmp_path / str(trial), moment) for trial, moment in enumerate(when)]
    assert sum(seen) > 0
