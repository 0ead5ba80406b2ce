"""Similarity trend: what is trained, kept, mapped and claimed of networks of growing size."""

from __future__ import annotations

import math

import numpy as np
import pytest

import netassay as na
from netassay.data import splits
from netassay.errors import BadInput, NetassayError, UnknownName
from netassay.inference import seed_interval
from netassay.patterns import PATTERNS, Pattern, pattern
from netassay.studies import similarity_trend_cell as cells
from netassay.studies import trend_cell
from netassay.studies.similarity_map import similarity_map
from netassay.studies.similarity_trend import similarity_trend
from netassay.studies.trend_asked import families_of
from netassay.studies.trend_tables import Size, change, claims, sizes, trends
from netassay.training import train
from netassay.zoo import built

SPECS = ["mlp[12,12,12]", "mlp[12,12,12,12]"]
HOW = {"steps": 6, "samples": 60, "permutations": 20, "workers": 0}


@pytest.fixture(scope="module")
def trend(tmp_path_factory):
    """A small study, and where it is kept."""
    ledger = tmp_path_factory.mktemp("trend") / "trend.db"
    return similarity_trend(SPECS[::-1], "digits", ledger=ledger, **HOW), ledger


def trained(spec, seed):
    """Train one network by hand as the study does."""
    learn, _ = splits("digits", batch_size=64)
    model = built(spec, learn.input_shape, learn.classes, seed=seed)
    batches = list(learn.shuffled(seed, 0))[:6]
    train(model, batches, epochs=1, optimizer="adam", lr=1e-3, schedule="cosine", seed=seed)
    return model


def test_a_trend_is_the_pattern_of_maps_made_by_hand(trend):
    """Networks trained one by one, mapped pair by pair: the same indices, the same calibrated mean."""
    result, _ = trend
    nets = [trained(SPECS[0], seed) for seed in range(3)]
    _, test = splits("digits", batch_size=64)
    pairs, maps, fair = [(0, 1), (0, 2), (1, 2)], [], []
    for a, b in pairs:
        one = similarity_map(nets[a], nets[b], test.first(60), layers="act*", permutations=20)
        maps.append(np.asarray(one.array("cka")))
        fair.append(np.asarray(one.array("cka/calibrated")))
    told = pattern(maps, pairs=pairs)
    row = result.table("sizes")[0]
    assert (row["spec"], row["size"], row["pairs"], row["told"]) == (SPECS[0], 3, 3, told.name)
    for name in PATTERNS:
        expected = [told.row(name)[key] for key in ("index", "low", "high", "p")]
        assert [row[f"{name}{end}"] for end in ("", "_low", "_high", "_p")] == pytest.approx(expected, abs=1e-6)
    shown = result.array(f"map/{SPECS[0]}")
    assert shown.axes["layer of the first seed"] == ("act1", "act2", "act3")
    assert np.asarray(shown) == pytest.approx(np.mean(fair, 0), abs=1e-6)


def test_sizes_go_up_and_nets_are_listed(trend):
    """In the order of size within a family, whatever the order of specs; a row for each network."""
    result, _ = trend
    assert [row["spec"] for row in result.table("sizes")] == SPECS
    assert [(row["spec"], row["seed"]) for row in result.table("nets")] == [(s, k) for s in SPECS for k in range(3)]
    assert {row["pattern"] for row in result.table("trends")} == set(PATTERNS)
    assert len(result.claims) == 1


def test_what_was_done_is_not_done_again(trend, monkeypatch):
    """Neither a cell that the ledger keeps, nor, where a cell was lost, a network whose weights are there."""
    result, ledger = trend

    def never(*_args, **_how):
        raise AssertionError("trained again")

    monkeypatch.setattr(trend_cell, "trained", never)
    again = similarity_trend(SPECS[::-1], "digits", ledger=ledger, **HOW)
    assert again.table("sizes") == result.table("sizes")
    ledger.rename(ledger.with_name("old.db"))
    assert similarity_trend(SPECS[::-1], "digits", ledger=ledger, **HOW).table("sizes") == result.table("sizes")
    with pytest.raises(NetassayError, match="trained again"):
        similarity_trend(SPECS[::-1], "digits", ledger=ledger.with_name("new.db"), **HOW)


def test_more_seeds_take_the_networks_that_are_there(trend, monkeypatch):
    """Weights are kept by network, not by cell."""
    _, ledger = trend
    seeds, train_one = [], trend_cell.trained

    def counted(model, asked, seed, learn):
        seeds.append(seed)
        return train_one(model, asked, seed, learn)

    monkeypatch.setattr(trend_cell, "trained", counted)
    similarity_trend(SPECS[:1], "digits", seeds=[0, 1, 5], ledger=ledger, **HOW)
    assert seeds == [5]


def test_distances_are_turned_round():
    """A pattern is where layers are near: of a distance the map is less it."""
    nets = {str(seed): na.build("mlp[8,8,8]", seed=seed) for seed in (0, 1)}
    asked = {"layers": None, "positions": "flatten", "tokens": "mean", "permutations": 5, "level": 0.95}
    asked |= {"seed": 0, "memory": 1 << 30}
    _, test = splits("digits", batch_size=64)
    made = cells.mapped(nets, {**asked, "measure": "procrustes", "batch_size": 64}, test.first(60))
    whole = similarity_map(nets["0"], nets["1"], test.first(60), layers="act*", measures=["procrustes"])
    assert made["maps"][0] == pytest.approx(-np.asarray(whole.array("procrustes")), abs=1e-9)
    assert made["layers"].tolist() == ["act1", "act2", "act3"]


@pytest.mark.parametrize("given", [{"seed": 5}, {"memory": 1000}])
def test_seed_and_memory_reach_the_map(given):
    """Orders of samples are drawn with the seed, and what does not fit into memory is estimated by batches."""
    nets, (_, test) = [trained(SPECS[0], seed) for seed in (0, 1)], splits("digits", batch_size=64)
    how = {"layers": "act*", "permutations": 20, "batch_size": 64}
    asked, plain = (similarity_map(*nets, test.first(100), **how, **more) for more in (given, {}))
    found = similarity_trend(SPECS[:1], "digits", seeds=2, **HOW | {"samples": 100}, **given)
    shown, wanted, other = found.array(f"map/{SPECS[0]}"), asked.array("cka/calibrated"), plain.array("cka/calibrated")
    assert np.asarray(shown) == pytest.approx(np.asarray(wanted), abs=1e-6)
    assert np.asarray(shown) != pytest.approx(np.asarray(other), abs=1e-6)


def test_networks_are_compared_by_what_is_asked_for():
    """Layers by pattern, for all families or for each; the default is activations."""
    specs = ["mlp[8,8,8]", "cnn"]
    found = similarity_trend(specs, "digits", layers={"cnn": "type:Conv2d"}, **{**HOW, "steps": 1})
    assert found.array("map/mlp[8,8,8]").axes["layer of the second seed"] == ("act1", "act2", "act3")
    assert found.array("map/cnn").axes["layer of the second seed"] == ("conv1", "conv2", "conv3")


def test_families():
    """A family is a name, and the options in which specs of that name differ; or what is given."""
    named = families_of(["resnet18:input=32,width=8", "resnet[1,1]:input=32,width=8", "vgg11:width=4"], None)
    assert list(named.values()) == ["resnet", "resnet", "vgg"]
    skips = [f"densenet[2,2]:growth=4,skip={skip}" for skip in ("all", "none")]
    assert list(families_of(skips, None).values()) == ["densenet:skip=all", "densenet:skip=none"]
    assert list(families_of(skips, "dense").values()) == ["dense", "dense"]
    assert list(families_of(skips, ["with", "without"]).values()) == ["with", "without"]


def size(spec, layers, values, name, family="f"):
    """Return a made-up size: indices (seed, pattern), and the name that is told."""
    means = np.mean(values, 0)
    rows = [
        {"pattern": one, "index": float(mean), "low": 0.0, "high": 1.0, "p": 0.01, "told": one == name}
        for one, mean in zip(PATTERNS, means, strict=True)
    ]
    made = {"accuracy": np.full(len(values), 0.9), "diverged": np.full(len(values), -1)}
    return Size(family, spec, layers, 3, Pattern(name, "", tuple(rows), "3 networks", tuple(map(tuple, values))), made)


def test_slopes_are_those_of_the_definition():
    """Least squares on log2 of the size, for each seed; the interval is over seeds."""
    draw = np.random.default_rng(0)
    layers, values = [4, 9, 20], draw.random((3, 3, 4))
    found = [size(f"s{n}", n, value, "diagonal") for n, value in zip(layers, values, strict=True)]
    slopes = [np.polyfit(np.log2(layers), values[:, seed, 0], 1)[0] for seed in range(3)]
    row = trends(found, [0, 1, 2], 0.95)["trends"].rows()[0]
    assert (row["slope"], row["low"], row["high"]) == pytest.approx(seed_interval(slopes))
    assert row["changes_between"] == "none"
    (claim,) = claims(found, 0.95)
    assert claim.unit == "index per doubling of the size"
    assert (claim.effect, claim.interval) == (pytest.approx(row["slope"]), pytest.approx((row["low"], row["high"])))


def test_a_change_is_claimed_where_it_is_and_tested_over_seeds():
    """By how much more the new pattern gains than the old one; corrected for all changes."""
    block, line = [0.1, 0.0, 0.8, 0.2], [0.7, 0.0, 0.2, 0.3]
    shift = np.array([[0.01], [0.0], [-0.01]]) * [1, 0, -1, 0]
    found = [size(f"s{n}", n, one + shift, name) for n, one, name in ((4, block, "block"), (9, line, "diagonal"))]
    (claim,) = claims(found, 0.95)
    assert claim.statement == "f: the pattern changes from block to diagonal between s4 and s9"
    assert (claim.effect, claim.decision, claim.n) == (pytest.approx(1.2), "holds", 3)
    rows = {row["pattern"]: row["changes_between"] for row in trends(found, [0, 1, 2], 0.95)["trends"].rows()}
    assert rows == {"diagonal": "s4 and s9", "block": "s4 and s9", "triangle": "none", "flat": "none"}
    two = claims([*found, *(size(f"t{n}", n, np.array([line] * 3), "diagonal", "g") for n in (4, 9))], 0.95)
    assert [(one.tests, one.level) for one in two] == [(2, pytest.approx(0.975))] * 2
    assert two[0].interval[0] < claim.interval[0]
    assert two[1].decision == "undecided"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("bbddd", ("block", "diagonal", 2)),
        ("dfddd", None),  # one size that is called otherwise is no change
        ("bdbddd", ("block", "diagonal", 1)),
        ("ffffd", ("flat", "diagonal", 4)),
        ("bdb", None),
        ("dddd", None),
        ("d", None),
    ],
)
def test_one_change_at_most_is_told(names, told):
    """The split that calls the fewest sizes otherwise, where it says more than one pattern for all."""
    words = {one[0]: one for one in PATTERNS}
    found = [size(f"s{k}", 4 + k, np.zeros((3, 4)), words[letter]) for k, letter in enumerate(names)]
    changed = change(found)
    assert (changed and (*changed.names, len(changed.before))) == told


def test_the_side_of_a_triangle_does_not_turn_its_growth_round():
    """A triangle that is negative grows where it falls further below 0."""
    found = [size(f"s{n}", n, np.array([[0, -n / 20, 0, 0.1]] * 3), "triangle") for n in (4, 8, 16)]
    (claim,) = claims(found, 0.95)
    assert claim.effect > 0
    assert sizes(found).rows()[0]["triangle"] < 0


def test_two_seeds_decide_nothing():
    """One pair has no interval over networks, and the result says so."""
    found = similarity_trend(SPECS, "digits", seeds=2, **{**HOW, "steps": 1})
    (claim,) = found.claims
    assert (claim.decision, math.isnan(claim.effect)) == ("undecided", True)
    assert claim.counted == "seeds, too few to decide"
    assert found.notes[0] == "fewer than 3 seeds: nothing is decided"


def test_a_network_that_collapsed_has_a_row_without_a_pattern(monkeypatch):
    """The others keep theirs; the trend is over them, and a note says which is left out."""
    monkeypatch.setattr(cells, "activations", activations)
    found = similarity_trend([*SPECS, "mlp[12,12,12,12,12]"], "digits", **HOW)
    rows = found.table("sizes")
    assert [row["told"] == "none" for row in rows] == [False, True, False]
    assert all(math.isnan(rows[1][name]) and math.isnan(rows[1][f"{name}_low"]) for name in PATTERNS)
    assert "mlp[12,12,12,12]: no pattern, a map has too few numbers" in found.notes
    assert all(math.isfinite(row["slope"]) for row in found.table("trends"))


def activations(model):
    """All of them; those of the network of four hidden layers are made to say nothing before."""
    names = [f"act{i + 1}" for i in range(len([one for one, _ in model.named_children() if one.startswith("act")]))]
    if len(names) == 4:
        model.fc1.weight.data.zero_()
    return names


def test_a_kept_file_that_was_cut_off_is_made_again(tmp_path):
    """Trained again and written over; the result is the same."""
    how = {**HOW, "ledger": tmp_path / "one.db"}
    first = similarity_trend(SPECS[:1], "digits", **how)
    (tmp_path / "one.db").unlink()
    kept = sorted((tmp_path / "one.db.nets").iterdir())
    whole = kept[0].read_bytes()
    kept[0].write_bytes(whole[:100])
    kept[1].write_bytes(b"")
    again = similarity_trend(SPECS[:1], "digits", **how)
    assert len(kept[0].read_bytes()) == len(whole)
    assert again.table("sizes") == first.table("sizes")


@pytest.mark.parametrize(
    ("specs", "how", "error", "told"),
    [
        (SPECS, {"level": 1.5}, BadInput, "level=1.5"),
        (SPECS, {"seed": -1}, BadInput, "seed=-1"),
        (SPECS, {"memory": -1}, BadInput, "memory=-1"),
        (SPECS, {"tokens": "tals"}, UnknownName, "tals"),
        (SPECS, {"seeds": 1}, BadInput, "one network of each"),
        (["mlp[8,8]"], {}, BadInput, "2 of the layers asked for run in it"),
        ([], {}, BadInput, "nothing to do"),
        (SPECS, {"family": ["a"]}, BadInput, "1 families for 2 specs"),
        (SPECS, {"layers": {"vgg": "*"}}, UnknownName, "family of this trend"),
        (SPECS, {"measure": "ckaa"}, UnknownName, "ckaa"),
        (SPECS, {"samples": 0}, BadInput, "samples=0"),
        (SPECS, {"optimizer": "rmsprop"}, UnknownName, "rmsprop"),
        ([na.build("mlp[8]")], {}, BadInput, "is no name"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(specs, how, error, told, monkeypatch):
    """With a sentence."""
    monkeypatch.setattr(trend_cell, "trained", None)
    with pytest.raises(error, match=told):
        similarity_trend(specs, "digits", **{**HOW, **how})
