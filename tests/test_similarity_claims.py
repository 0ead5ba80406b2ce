"""Similarity, claimed: many networks at once, what a pattern is called, and what its test and its interval say."""

from __future__ import annotations

import numpy as np
import pytest

import netassay as na
from netassay.measures import named
from netassay.patterns import PATTERNS, Pattern
from netassay.studies.similarity_claims import over_all
from netassay.studies.similarity_estimators import Estimate
from netassay.studies.similarity_patterns import patterned, within


def estimate(value, permuted):
    return Estimate(value, permuted, np.full(value.shape, np.nan), np.full(value.shape, np.nan))


def told(name, index=0.9, low=0.4, high=0.95, flat=0.1, side=""):
    """Return a pattern of that name with its index and interval."""
    rows = [
        {"pattern": one, "index": 0.2, "low": 0.1, "high": 0.3, "p": 0.01, "told": one == name} for one in PATTERNS[:-1]
    ]
    rows.append({"pattern": "flat", "index": flat, "low": 0.0, "high": 1.0, "p": 0.01, "told": name == "flat"})
    rows[PATTERNS.index(name)] |= {"index": flat if name == "flat" else index, "low": low, "high": high}
    return Pattern(name, side, tuple(rows), 1, "5 stretches of positions")


def claim(pattern, p=0.01, tests=1, several=""):
    return patterned("cka", pattern, p, tests, 25, several, 0.95)


@pytest.mark.parametrize("measure", ["cka", "procrustes"])
def test_the_best_of_several_maps_is_held_against_the_best_of_all_under_each_order(measure):
    """Against loops: p of each map from the largest of all maps under each order; cells not known are left out."""
    draw, sign = np.random.default_rng(0), 1 if measure == "cka" else -1
    values = [draw.normal(size=(3, 4)) + shift for shift in (0.0, sign * 2.5)]
    under = [draw.normal(size=(60, 3, 4)) for _ in values]
    under[0][7, 1, 2] = np.nan
    values[1][0, 0] = sign * 99
    under[1][:, 0, 0] = np.nan
    found = over_all(named(measure), [estimate(*one) for one in zip(values, under, strict=True)], 0.95)
    kept = [np.where(np.isfinite(u).all(0), sign * v, -np.inf) for v, u in zip(values, under, strict=True)]
    most = [max((sign * u[k][np.isfinite(u).all(0)]).max() for u in under) for k in range(60)]
    wanted = [(1 + sum(one >= v.max() for one in most)) / 61 for v in kept]
    np.testing.assert_allclose(found, wanted)
    assert wanted[1] < wanted[0]


def test_six_equal_checkpoints_share_more_than_chance_in_one_claim():
    """Fifteen pairs are decided by 40 orders: all of them are corrected for by one maximum."""
    nets = {f"e{i}": na.build("mlp[8]:input=64", seed=0) for i in range(6)}
    found = na.similarity_map(nets, None, "digits:split=test,n=60", permutations=40)
    shared = [one for one in found.claims if "chance allows" in one.statement]
    assert [one.decision for one in shared] == ["holds"]
    assert shared[0].statement == (
        "each of 15 pairs of networks shares more than chance allows (cka; p = 0.024, the least of 40 orders)"
    )
    assert shared[0].tests == 15 * 9


def test_a_map_without_a_pattern_is_flat_only_where_most_of_it_is_unexplained():
    """Explained, but not beyond chance: the nearest is named, and nothing is called flat."""
    plain = claim(told("flat", flat=0.007), 0.1)
    assert plain.statement.startswith("no pattern of the map is told from chance (most like: diagonal, 0.2; cka; p =")
    assert "flat" not in plain.statement
    assert claim(told("flat", flat=0.8), 0.4).statement.startswith("the map is flat: no pattern explains most of it")
    assert {claim(told("flat", flat=share)).decision for share in (0.1, 0.9)} == {"undecided"}


def test_a_pattern_says_what_it_means_and_is_decided_where_test_and_interval_agree():
    """p stands in the statement; after a correction it may be too large; an interval that holds 0 is named."""
    sure = claim(told("diagonal"), 0.004)
    assert sure.decision == "holds"
    assert sure.statement == (
        "beyond what each layer is like on average, layers at equal depth are more alike (a diagonal; cka; p = 0.004)"
    )
    assert claim(told("diagonal"), 0.06).decision == "undecided"
    uneven = claim(told("block", low=-0.2855, high=1.318), 0.004)
    assert (uneven.decision, uneven.interval) == ("undecided", (0.0, 1.0))
    assert uneven.statement.endswith("p = 0.004; its interval holds 0)")
    turned = claim(told("triangle", -0.8, -1.2, -0.3, side="rows before columns"), several=" of p and q", tests=3)
    assert (turned.decision, turned.interval) == ("holds", (-1.0, -0.3))
    assert "each layer of p and q is like" in turned.statement
    assert "a triangle, rows before columns" in turned.statement
    assert (turned.tests, turned.correction) == (9, "min-p over patterns, Holm over pairs of networks")
    assert np.isnan(within({"pattern": "flat", "low": 0.3, "high": 0.3})).all()


def test_a_pattern_needs_five_layers_and_says_so():
    """Three layers have no pattern, and a note why; five have one. One layer a side claims no correspondence."""
    data = "digits:split=test,n=60"
    small, large = (
        na.similarity_map(spec, na.build(f"{spec}:input=64", seed=1), data, permutations=40)
        for spec in ("mlp[8]", "mlp[8,8]")
    )
    assert (len(small.table("patterns")), len(large.table("patterns"))) == (0, 4)
    assert any("fewer than 5 layers" in note for note in small.notes)
    assert not any("fewer than 5 layers" in note for note in large.notes)
    alone = na.similarity_map("mlp[8]", na.build("mlp[8]:input=64", seed=1), data, permutations=40, layers="head")
    assert len(alone.claims) == 1


def test_distances_that_follow_the_norm_say_so():
    """Raw Procrustes calls small layers near; the angle does not."""
    data = "digits:split=test,n=60"
    ask = {"measures": ["procrustes", "angular_procrustes"], "permutations": 9}
    found = na.similarity_map("mlp[8]", na.build("mlp[8]:input=64", seed=1), data, **ask)
    assert [note.split(":")[0] for note in found.notes if "small norm" in note] == ["procrustes"]


def test_patterns_of_several_pairs_are_corrected_for_the_pairs():
    """Three networks are six maps: p of a claim is Holm's of the table's."""
    nets = {f"e{i}": na.build("mlp[8,8]:input=64", seed=i) for i in range(3)}
    found = na.similarity_map(nets, None, "digits:split=test,n=60", permutations=40)
    assert any("of 6 maps only what is decided" in note for note in found.notes)
    two = na.similarity_map({"p": nets["e0"]}, {"q": nets["e1"], "r": nets["e2"]}, "digits:split=test,n=60")
    tests = [one.tests for one in two.claims if "index" in one.unit]
    assert tests == [6, 6]
