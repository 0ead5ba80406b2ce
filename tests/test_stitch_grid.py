"""Stitch grid: every cell is what its definition says, wherever and in whatever order it ran."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netassay.data import load_data, splits
from netassay.inference import fisher_tail
from netassay.patterns import Pattern, pattern
from netassay.stitching import DEFAULT, NormalEquations, Samples, adapter, trained_on
from netassay.studies import stitch_cell
from netassay.studies.stitch_asked import Net
from netassay.studies.stitch_claims import _patterned, judged, penalty_interval
from netassay.studies.stitch_grid import _invented, stitch_grid
from netassay.studies.stitch_tables import PLACE, Grid
from netassay.zoo import built
from tests.reference import inference as reference
from tests.reference import stitching as slow
from tests.stitches import trained  # noqa: F401

DATA, HOW = "digits:size=8", {"fit": 300, "samples": 200}
PLAIN = {"adapter": "affine", "matching": "closed_form"}
LAYERS = ["act1", "act2", "act3"]


@pytest.fixture(scope="module")
def grid(trained):  # noqa: F811
    """Two perceptrons into each other and themselves, all controls."""
    return stitch_grid({name: trained[name] for name in "ab"}, data=DATA, **PLAIN, **HOW)


def loaded(spec):
    learn, _ = splits(DATA)
    return built(spec, learn.input_shape, learn.classes).eval()


def sequence(model, layer):
    """A perceptron up to a layer and behind it."""
    names = [name for name, _ in model.named_children()]
    at = names.index(layer) + 1
    return torch.nn.Sequential(*list(model)[:at]), torch.nn.Sequential(*list(model)[at:])


@torch.no_grad()
def by_hand(sender, i, receiver, j, ridge):
    """Accuracy, agreement, R2 of a stitch of perceptrons by numpy's least squares, from the definition."""
    learn, test = splits(DATA)
    (x, _), (held, y) = first(learn, 300), first(test, 200)
    (front, _), (own, rest) = sequence(sender, i), sequence(receiver, j)
    sent, wanted = front(x).double().numpy(), own(x).double().numpy()
    weight, bias = slow.affine(sent, wanted, ridge)
    stitched = torch.tensor(front(held).double().numpy() @ weight.T + bias).float()
    answers, owns = rest(stitched).argmax(1), receiver(held).argmax(1)
    return (
        float((answers == y).double().mean()),
        float((answers == owns).double().mean()),
        slow.r2(sent, wanted, weight, bias),
        float((owns == y).double().mean()),
    )


def first(data, n):
    batches = list(data.first(n))
    return torch.cat([one.x for one in batches]), torch.cat([one.y for one in batches])


@torch.no_grad()
def alone(spec):
    """The accuracy of a network by itself, on the samples judged on."""
    x, y = first(splits(DATA)[1], HOW["samples"])
    return float((loaded(spec)(x).argmax(1) == y).double().mean())


def test_a_cell_is_what_its_definition_says(trained):  # noqa: F811
    """Front of one, least squares by numpy, rest of the other: the same accuracy, agreement, R2 and penalties."""
    nets = {name: loaded(trained[name]) for name in "ab"}
    how = {"ridge": 1e-6, "controls": ["self", "random_receiver"], **PLAIN, **HOW}
    found = stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, DATA, **how)
    for row in found.table("cells"):
        if row["control"] == "none":
            place = (nets["a"], row["sender_layer"], nets["b"], row["receiver_layer"])
            accuracy, agreement, r2, own = by_hand(*place, 1e-6)
            itself = by_hand(nets["b"], row["receiver_layer"], nets["b"], row["receiver_layer"], 1e-6)[0]
            assert (row["accuracy"], row["agreement"]) == (accuracy, agreement)
            assert row["r2"] == pytest.approx(r2, abs=1e-9)
            assert row["penalty"] == pytest.approx(own - accuracy, abs=1e-12)
            assert row["penalty_self"] == pytest.approx(itself - accuracy, abs=1e-12)
            assert (row["n_fit"], row["n_test"]) == (300, 200)


def test_a_network_is_compatible_with_itself(grid, trained):  # noqa: F811
    """Nothing between equal halves changes no answer; the controls are there, and far below."""
    rows = [row for row in grid.table("cells") if row["control"] == "identity"]
    assert len(rows) == 6
    for row in rows:
        assert (row["penalty"], row["agreement"], row["mse"], row["ood"]) == (0, 1, 0, 0.5)
        assert row["accuracy"] == alone(trained[row["sender"]])
    accuracy = np.asarray(grid.array("accuracy"))
    for control in ("random_sender", "random_receiver", "shuffled"):
        beside = np.asarray(grid.array(f"accuracy/{control}"))
        assert np.isfinite(beside).all()
        assert np.median(accuracy - beside) > 0
    assert np.asarray(grid.array("accuracy/shuffled")).max() < 0.4
    assert np.asarray(grid.array("accuracy/random_receiver")).max() < 0.6


def test_arrays_and_tables_tell_the_same(grid):
    """A cell stands at its labels in every array; all pairs are there, networks with themselves too."""
    labels = [f"{net}/{layer}" for net in "ab" for layer in LAYERS]
    assert grid.array("accuracy").axes == {"sender layer": tuple(labels), "receiver layer": tuple(labels)}
    drawn = {}
    for row in grid.table("cells"):
        assert row["draw"] == 0 or row["control"] == "random_sender"
        at = tuple(labels.index(f"{row[side]}/{row[f'{side}_layer']}") for side in ("sender", "receiver"))
        if row["control"] == "none":
            for name in ("accuracy", "penalty", "penalty_self", "agreement", "mse", "cka", "ood", "r2", "low", "high"):
                assert grid.array(name)[at] == row[name]
        elif row["control"] == "random_sender":
            drawn.setdefault(at, []).append(row["accuracy"])
        elif f"accuracy/{row['control']}" in grid.arrays:
            assert grid.array(f"accuracy/{row['control']}")[at] == row["accuracy"]
        elif row["control"] == "self":
            assert grid.array("self")[at[1]] == row["accuracy"]
    for at, found in drawn.items():
        assert grid.array("accuracy/random_sender")[at] == pytest.approx(np.mean(found))
    assert {len(found) for found in drawn.values()} == {5}
    assert all(len(set(found)) > 1 for found in drawn.values())
    assert {row["net"]: row["layers"] for row in grid.table("nets")} == {"a": 3, "b": 3}
    assert {(row["sender"], row["receiver"]) for row in grid.table("capacity")} == {(a, b) for a in "ab" for b in "ab"}
    assert [row["rank"] for row in grid.table("capacity")][:4] == [1, 2, 4, 8]
    full = [row["accuracy"] for row in grid.table("capacity") if row["rank"] == 10]
    assert full == [grid.array("accuracy")[1 + 3 * i, 1 + 3 * j] for j in (0, 1) for i in (0, 1)]


def chances(grid, *pair):
    """Return each cell of a pair, its p against the highest control that counts, by Holm, and what is beside it."""
    rows, found = {}, []
    for row in grid.table("cells"):
        rows.setdefault(tuple(row[name] for name in (*PLACE, "control")), []).append(row)
    for key in [key[:4] for key in rows if key[::2] == (*pair, "none")]:
        (mine,), drawn = rows[(*key, "none")], [row["accuracy"] for row in rows[(*key, "random_sender")]]
        beside = {name: rows[(*key, name)][0]["accuracy"] for name in ("noise", "shuffled", "random_receiver")}
        beside["random_sender"] = np.mean(drawn)
        best = max(value for name, value in beside.items() if name != "noise")
        p = fisher_tail(round(200 * mine["accuracy"]), 200, round(200 * best), 200)
        if mine["accuracy"] != drawn[0] or len(set(drawn)) > 1:
            p = max(p, reference.one_more(mine["accuracy"], drawn))
        found.append((mine, p, beside))
    found.sort(key=lambda told: told[1])
    adjusted = np.maximum.accumulate([p * (len(found) - rank) for rank, (_, p, _) in enumerate(found)])
    return [(mine, p, beside) for (mine, _, beside), p in zip(found, adjusted, strict=True)]


def test_what_is_claimed_of_a_cell(grid):
    """Beyond chance: above the highest control by Fisher's test, Holm over the pair's cells; compatible: cheap, too."""
    for pair in [(a, b) for a in "ab" for b in "ab"]:
        cells = chances(grid, *pair)
        assert len(cells) == 9
        for mine, p, beside in cells:
            assert all(f"{name} {value:.3f}" in mine["claim"] for name, value in beside.items())
            penalty = f"penalty {mine['penalty']:.3f}, {mine['penalty_low']:.3f} to {mine['penalty_high']:.3f}"
            assert penalty in mine["claim"]
            said = mine["claim"].split(" (")[0]
            assert (said in ("compatible", "beyond chance")) == (p <= 0.05)
            assert (said == "compatible") == (p <= 0.05 and mine["penalty_high"] <= 0.1)
    assert [row["control"] for row in grid.table("cells")][:36] == ["none"] * 36


def test_a_claim_counts_cells_and_bounds_the_penalty_of_the_surest(grid):
    """Of pairs of different networks alone; corrected for all their cells; those whose distances say no once more."""
    cells = [row for row in grid.table("cells") if row["control"] == "none"]
    counted = [claim for claim in grid.claims if "compatible" in claim.statement]
    assert not any("a into a" in claim.statement or "similar" in claim.statement for claim in grid.claims)
    for one, other in ("ab", "ba"):
        rows = [row for row in cells if (row["sender"], row["receiver"]) == (one, other)]
        hits = [row for row in rows if row["claim"].startswith("compatible (")]
        no = [row for row in hits if row["mse"] > 0.5 or row["cka"] < 0.5 or row["ood"] > 0.95]
        assert [row for row in rows if "the representation says no" in row["note"]] == no
        first, *second = (claim for claim in counted if claim.statement.startswith(f"{one} into {other}: "))
        assert first.statement.endswith(f"some layers are compatible ({len(hits)} of 9 cells)")
        assert (first.tests, first.n, first.counted) == (18, 200, "samples")
        # Surest is, of those beyond chance, the one whose penalty is least by the end of its interval.
        far = [(p > 0.05 / 2, penalty_interval(row, 1 - 0.05 / 18)[1], row) for row, p, _ in chances(grid, one, other)]
        *_, best = min(far, key=lambda told: told[:2])
        assert first.effect == pytest.approx(best["penalty"])
        assert first.interval[0] < best["penalty_low"] < best["penalty_high"] < first.interval[1]
        assert (first.decision == "holds") == (bool(hits) and first.interval[1] <= 0.1)
        assert [claim.statement.split(" no (")[1] for claim in second] == [
            f"{len(no)} of these {len(hits)} cells)"
        ] * bool(no)


def rows_of(*cells, **changes):
    """Judge cells of one pair, each (accuracy, more) beside a shuffled control of 0.5; return their rows."""
    rows = []
    for i, (accuracy, more) in enumerate(cells):
        place = {"sender": "a", "sender_layer": str(i), "receiver": "b", "receiver_layer": "0", "n_test": 400}
        place |= {
            "penalty": 0.9 - accuracy,
            "agreement": accuracy,
            "mse": 0.0,
            "cka": 1.0,
            "ood": 0.5,
            "note": "as it is",
        }
        rows += [
            {**place, "control": "none", "accuracy": accuracy, **more},
            {**place, "control": "shuffled", "accuracy": 0.5, "penalty": 0.4, "agreement": 0.5, **changes},
        ]
    judged(Grid([], [], rows, {}), 0.95)
    return [row for row in rows if row["control"] == "none"]


def test_compatible_is_above_chance_and_cheap():
    """Above the controls at a penalty that may be large is no more than beyond chance; what costs too much and is not
    above them is not compatible, and what costs nothing is undecided."""
    free = {"penalty": 0.0, "agreement": 1.0}
    rows = rows_of((0.9, {"agreement": 0.95}), (0.75, {}), (0.85, {"agreement": 0.6}), (0.52, {}), (0.5, free))
    words = [row["claim"].split(" (")[0] for row in rows]
    assert words == ["compatible", "beyond chance", "beyond chance", "not compatible", "undecided"]
    assert rows[0]["penalty_high"] < 0.1 < rows[2]["penalty_high"]
    assert pytest.approx(rows[2]["penalty"]) == 0.05


def test_the_spread_of_random_senders_is_no_evidence():
    """Far above the mean of the draws and within their spread is undecided; as far above draws that agree is not."""

    def word(*drawn):
        place = {"sender": "a", "sender_layer": "1", "receiver": "b", "receiver_layer": "2", "n_test": 6000, "note": ""}
        place |= {"penalty": 0.05, "agreement": 0.95, "mse": 0.0, "cka": 1.0, "ood": 0.5}
        rows = [{**place, "control": "none", "accuracy": 0.5}]
        rows += [{**place, "control": "random_sender", "accuracy": one} for one in drawn]
        judged(Grid([], [], rows, {}), 0.95)
        return rows[0]["claim"].split(" (")[0]

    assert word(0.4, 0.41, 0.4, 0.39, 0.4) == "compatible"
    assert word(0.3, 0.5, 0.4, 0.45, 0.35) == "undecided"
    assert word(0.4) == "compatible"


def test_without_a_control_that_counts_nothing_is_judged(trained):  # noqa: F811
    """Noise is told the label; a random twin of an input that nothing stands before is the input itself."""
    how = {"data": DATA, **HOW}
    alone = stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, controls=["noise"], **how)
    assert {row["claim"].split(" (")[0] for row in alone.table("cells") if row["control"] == "none"} == {"not judged"}
    assert not any("compatible" in claim.statement for claim in alone.claims)
    into = {"layers": ["", "act1"], "receiver_layers": "act1", "controls": ["random_sender", "shuffled"], **how}
    rows = stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, **into).table("cells")[:2]
    assert [row["claim"].startswith("not judged") for row in rows] == [True, False]


def test_a_distance_says_no_of_what_is_far_and_not_of_what_cannot_be_near():
    """Least squares is nearer to the mean than what is expected; one position spread over many does not count."""
    sure = {"agreement": 0.95}
    odd = [{"ood": 0.02}, {"ood": 0.97}, {"mse": 0.6, "note": "positions: nearest value"}, {}]
    notes = [row["note"] for row in rows_of(*((0.9, {**sure, **one}) for one in odd))]
    assert [note.startswith("the representation says no (ood)") for note in notes] == [False, True, False, False]
    assert "distances do not count, since the sender has fewer positions" in notes[2]
    assert notes[0] == notes[3] == "as it is"


def test_receivers_that_know_nothing_and_samples_of_one_class_are_noted():
    """What an untrained network answers is not told from chance; nor is anything learned from one class."""
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    y[30:] = 1
    found = stitch_grid("mlp[8]:input=4,classes=3", data=(x, y), controls=False, fit=30, samples=30)
    (net,) = found.table("nets")
    assert net["spec"].startswith("mlp[8]")
    chance = [note for note in found.notes if "is not told from chance, 0.333" in note]
    assert len(chance) == (net["accuracy"] < 0.5)
    assert any("all samples judged are of class 1" in note for note in found.notes)
    assert (found.provenance["fit"], found.provenance["samples"], found.provenance["classes"]) == (30, 30, 3)


@pytest.mark.parametrize("matching", ["task", "closed_form"])
def test_adapters_that_do_the_task_themselves_are_noted(trained, matching):  # noqa: F811
    """Trained into a random receiver they reach as much as into a trained one; solved they do not."""
    how = {"layers": ["act3"], "controls": ["random_receiver"], "adapter": "affine", "epochs": 20, "lr": 2e-2, **HOW}
    found = stitch_grid(trained["a"], trained["b"], DATA, matching=matching, **how)
    noted = [note for note in found.notes if "trained adapters do the task themselves" in note]
    assert len(noted) == (matching == "task")
    if noted:
        assert f"{float(found.array('accuracy/random_receiver').mean()):.2f} into receivers drawn at random" in noted[0]


def test_stitches_that_could_not_be_made_are_no_zeros():
    """What is said of random receivers is of those that were stitched into; nothing is said where none was."""

    def noted(ours, theirs):
        told = {"none": ours, "random_receiver": theirs}
        rows = [{"control": control, "accuracy": one} for control in told for one in told[control]]
        return _invented(Grid((), (), rows, {}))

    assert noted([0.8, np.nan, np.nan], [0.3]) == []
    (told,) = noted([0.6, 0.4], [0.5, np.nan, np.nan])
    assert told.startswith("stitches reach 0.50 on average, and 0.50 into receivers drawn at random")
    assert noted([0.8], [np.nan]) == noted([np.nan], [0.8]) == []


def test_a_penalty_is_covered_by_its_interval():
    """Answers of two networks drawn again and again: the true difference is inside at least as often as is said."""
    draw, inside, n = np.random.default_rng(0), 0, 100
    for _ in range(400):
        y, own, made = np.zeros(n), (draw.random(n) < 0.1) * draw.integers(1, 10, n), np.zeros(n)
        made = np.where(draw.random(n) < 0.8, own, (draw.random(n) < 0.4) * draw.integers(1, 10, n))
        told = {"control": "none", "n_test": n, "agreement": (own == made).mean()}
        low, high = penalty_interval({**told, "penalty": ((own == y).mean() - (made == y).mean())}, 0.95)
        inside += low <= 0.2 * (0.9 - 0.6) <= high
    assert inside >= 0.95 * 400


def test_patterns_are_those_of_the_maps(grid):
    """The table has what `patterns.pattern` makes of a pair's accuracies."""
    block = np.asarray(grid.array("accuracy"))[:3, 3:]
    told = pattern(block)
    rows = [row for row in grid.table("patterns") if (row["sender"], row["receiver"]) == ("a", "b")]
    assert [row["index"] for row in rows] == [row["index"] for row in told.rows]


def test_skips_are_refused_by_name_unless_allowed(trained):  # noqa: F811
    """Layers inside a residual block are named as no place to cut at; allowed, the skip is the receiver's own."""
    how = {"data": DATA, "layers": ["relu", "layer1.0.conv1", "layer2.0"], "controls": ["identity"], **PLAIN, **HOW}
    refused = stitch_grid({"r": trained["r"]}, **how)
    assert refused.array("accuracy").shape == (2, 2)
    (row,) = [row for row in refused.table("cuts") if not row["clean"]]
    assert row["layer"] == "layer1.0.conv1"
    assert "the skip of layer1.0 goes around it" in row["why"]
    assert "r: no clean cut at 'layer1.0.conv1'" in refused.notes[0]
    allowed = stitch_grid({"r": trained["r"]}, allow_skips=True, **how)
    assert allowed.array("accuracy").shape == (3, 3)
    same = {row["sender_layer"]: row for row in allowed.table("cells") if row["control"] == "identity"}
    assert {(row["agreement"], row["mse"], row["accuracy"]) for row in same.values()} == {(1, 0, alone(trained["r"]))}
    np.testing.assert_array_equal(allowed.array("accuracy")[::2, ::2], refused.array("accuracy"))


def test_training_goes_on_from_the_closed_form(trained):  # noqa: F811
    """Trained stitches cost more, are seldom worse, and have the R2 of the closed form they began at."""
    how = {"data": DATA, "layers": "act2", "controls": False, **HOW}
    plain, task, soft = (
        stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, matching=matching, epochs=3, lr=1e-2, **how).table(
            "cells"
        )[0]
        for matching in ("closed_form", "task", "soft")
    )
    for row in (task, soft):
        assert row["r2"] == pytest.approx(plain["r2"], abs=0.05)
        assert row["r2"] != plain["r2"], "a fifth of the samples is left out"
        assert row["note"].endswith(" epochs of training kept")
        assert row["madds"] > 3 * plain["madds"]
        assert row["accuracy"] > plain["accuracy"] - 0.05
        assert row["mse"] != plain["mse"]
    scratch = stitch_grid({"r": trained["r"]}, matching="task", adapter="bn_conv_bn", **{**how, "layers": "layer*.0"})
    assert np.isfinite(scratch.array("accuracy")).all()
    assert np.isnan(scratch.array("r2")).all()


@torch.no_grad()
def answered(models, i, j, x):
    """What a sender makes at a layer, what the receiver makes at another, and what follows there."""
    (front, _), (own, rest) = (sequence(model, layer) for model, layer in zip(models, (i, j), strict=True))
    return front(x), own(x), rest


def test_the_default_is_the_protocol(trained):  # noqa: F811
    """Closed form on four fifths, training until the fifth has the receiver's own hits: by hand the same stitches."""
    models, ((x, y), (test, labels)) = [loaded(trained[name]) for name in "ab"], [
        first(data, n) for data, n in zip(splits(DATA), (300, 200), strict=True)
    ]  # fmt: skip
    found = stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, DATA, layers=LAYERS, controls=False, **HOW)
    assert (found.provenance["adapter"], found.provenance["matching"]) == DEFAULT[:2]
    held = torch.arange(300) % 5 == 4
    for row in found.table("cells"):
        sent, own, rest = answered(models, row["sender_layer"], row["receiver_layer"], x)
        made = adapter(DEFAULT.adapter, sent.shape[1:], own.shape[1:])
        equations = NormalEquations(sent.shape[1:], {"": own.shape[1:]})
        for part in torch.arange(300).split(128):
            equations.add(sent[part][~held[part]], {"": own[part][~held[part]]})
        made.solve(equations.of(""))
        enough = int((models[1](x).argmax(1) == y)[held].sum())
        done = trained_on(made, rest, Samples(sent[~held], y[~held]), Samples(sent[held], y[held]), enough)
        judged = answered(models, row["sender_layer"], row["receiver_layer"], test)[0]
        assert row["accuracy"] == float((rest(made(judged)).argmax(1) == labels).double().mean())
        assert f"{done.kept} epochs of training kept" in row["note"]


def test_controls_are_matched_like_what_they_are_for(trained, monkeypatch):  # noqa: F811
    """Every control is trained until it is as good as the receiver itself, a random receiver's too."""
    seen = []

    def noted(made, rest, data, held, enough, **how):
        seen.append((enough, len(data), len(held)))
        return trained_on(made, rest, data, held, enough, **how)

    monkeypatch.setattr(stitch_cell, "trained_on", noted)
    how = {"layers": ["act2"], "controls": ["random_sender", "random_receiver", "noise", "shuffled"], **HOW}
    stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, DATA, **how)
    x, y = first(splits(DATA)[0], 300)
    right = (loaded(trained["b"])(x).argmax(1) == y)[4::5]
    assert seen == [(int(right.sum()), 240, 60)] * 9


def test_a_network_on_both_sides_is_held_against_itself_at_the_layers_of_each(trained):  # noqa: F811
    """Where senders and receivers are one network at other layers, both have their identity cells, each once."""
    how = {"layers": ["act1"], "receiver_layers": ["act1", "act3"], "controls": ["identity", "self"], **PLAIN, **HOW}
    rows = stitch_grid({"a": trained["a"]}, {"a": trained["a"]}, DATA, **how).table("cells")
    layers = {name: [row["receiver_layer"] for row in rows if row["control"] == name] for name in ("identity", "self")}
    assert layers == {"identity": ["act1", "act3"], "self": ["act1", "act3"]}
    assert {row["agreement"] for row in rows if row["control"] == "identity"} == {1}


def test_a_map_is_flat_only_where_most_of_it_is_unexplained():
    """A claim without a pattern has p and names the nearest; one whose interval holds 0 does not hold."""
    net, names = Net("a", "a", "0", [], "a", 1.0, 10), ("diagonal", "triangle", "block", "flat")

    def said(name, low=0.2, flat=0.3):
        index = dict.fromkeys(names, 0.1) | {"diagonal": 0.5, "flat": flat}
        rows = tuple({"pattern": one, "index": index[one], "low": low, "high": 0.9, "p": 0.02} for one in names)
        (claim,) = _patterned(Grid([net], [net], [], {}), {("a", "a"): Pattern(name, "", rows, "made up")}, 0.95)
        return claim.statement, claim.decision

    held = "a into a: beyond what each layer is like on average, stitches between equal depths are more accurate"
    assert said("diagonal") == (f"{held} (a diagonal; accuracy; p = 0.02)", "holds")
    assert said("diagonal", low=-0.1)[1] == "undecided"
    chance = "a into a: no pattern of the map is told from chance (most like: diagonal, 0.5; accuracy; p = 0.02"
    assert said("flat")[0].startswith(chance)
    assert said("flat", flat=0.8)[0].startswith("a into a: the map is flat: no pattern explains most of it (accuracy")


def test_stitches_into_the_input_make_pictures(trained):  # noqa: F811
    """The layer "" is the input: what arrives there is kept, in the input's shape."""
    how = {"layers": "layer*.0", "receiver_layers": ["", "relu"], "controls": False, **HOW}
    found = stitch_grid({"r": trained["r"]}, data=DATA, **how)
    assert found.array("accuracy").axes["receiver layer"] == ("", "relu")
    assert found.array("decoded/r").shape == (2, 4, 1, 8, 8)
    assert found.array("decoded/r").axes["sender layer"] == ("layer1.0", "layer2.0")
    first = next(iter(splits(DATA)[1])).x[:4]
    np.testing.assert_array_equal(found.array("samples"), first)


def test_a_stitch_that_cannot_be_made_says_why(trained):  # noqa: F811
    """Layers of other shapes have no identity between them; the other cells are there."""
    found = stitch_grid({"a": trained["a"]}, data=DATA, adapter="identity", controls=False, **HOW)
    accuracy = np.asarray(found.array("accuracy"))
    assert np.isfinite(np.diag(accuracy)).all()
    assert np.isnan(accuracy[0, 1])
    row = next(row for row in found.table("cells") if np.isnan(row["accuracy"]))
    assert "from vector of 12 to vector of 10: their shapes differ" in row["note"]
    assert row["claim"].startswith("not judged")
    assert any("their shapes differ" in note for note in found.notes)


def test_a_stitch_that_cannot_be_made_leaves_the_others_their_penalties(trained):  # noqa: F811
    """The last of its receiver: the penalty beside it is still the receiver's accuracy less the stitch's."""
    how = {"adapter": "identity", "layers": "act1", "receiver_layers": ["act1", "act2"], **HOW}
    found = stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, DATA, controls=["shuffled"], **how)
    whole = next(row["accuracy"] for row in found.table("nets") if row["net"] == "b")
    penalty, accuracy = (np.asarray(found.array(name)) for name in ("penalty", "accuracy"))
    np.testing.assert_array_equal(penalty, [[whole - accuracy[0, 0], np.nan]])
    made, failed = (row for row in found.table("cells") if row["control"] == "none")
    assert not made["claim"].startswith("not judged")
    assert [note for note in found.notes if note.startswith("not stitched")] == [f"not stitched: {failed['note']}"]
    assert found.claims


@pytest.mark.slow
def test_known_nets_give_known_numbers(shared):
    """Two public nets of other seeds: accuracies and R2 of the closed form, made by numpy from the definition."""
    parts = []
    for name, n in (("train", 1000), ("test", 2000)):
        path = shared / "cifar10-jpeg" / f"{name}.parquet"
        parts.append(first(load_data(f"parquet:{path},normalize=cifar10,split=all", batch_size=250), n))
    data = tuple(torch.cat(both) for both in zip(*parts, strict=True))
    nets = {str(i): f"tiny10:weights={shared / 'tiny10' / f'tiny10-{i}.safetensors'}" for i in (0, 1)}
    how = {"layers": ["relu1", "relu4", "relu8"], "ridge": 0, "controls": False, "fit": 1000, "samples": 2000, **PLAIN}
    found = stitch_grid({"0": nets["0"]}, {"1": nets["1"]}, data, **how)
    assert np.diag(found.array("accuracy")) == pytest.approx([0.7440, 0.6115, 0.7575], abs=0.005)
    assert np.diag(found.array("r2")) == pytest.approx([0.8178, 0.4370, 0.4268], abs=0.003)


def test_cells_are_corrected_for_each_other():
    """What one cell by itself would be called, three together are not."""

    def words(*accuracies):
        cheap = {"penalty": 0.0, "agreement": 1.0}
        return [row["claim"].split(" (")[0] for row in rows_of(*((accuracy, cheap) for accuracy in accuracies))]

    assert 0.02 < fisher_tail(228, 400, 200, 400) < 0.05
    assert words(0.57) == ["compatible"]
    assert words(0.57, 0.57, 0.51) == ["undecided"] * 3
