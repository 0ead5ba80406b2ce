"""Diagnosing: numbers against their definitions, and warnings on what they are for and not beside it."""

from __future__ import annotations

import math

import pytest
import torch

from netassay.errors import BadInput
from netassay.measures import named
from netassay.measures.diagnosing import CONCERNS, check_paired, diagnose, sortedness, spectrum, warn
from tests.reference import alignment


@pytest.mark.parametrize(("n", "d"), [(30, 6), (12, 40)])
def test_numbers_are_those_of_the_definitions(n, d):
    """With more and with fewer features than samples, far from zero."""
    x = torch.randn(n, d) * torch.arange(1, d + 1) + 1e4
    told, centred = diagnose(x), alignment.centred(x.numpy())
    assert told["d_over_n"] == d / n
    assert told["effective_rank"] == pytest.approx(alignment.effective_rank(x.numpy()), rel=1e-9)
    carried = (centred**2).sum(1) / (centred**2).sum()
    assert (told["leverage"], told["whose"]) == (pytest.approx(carried.max()), carried.argmax())
    values = spectrum(torch.from_numpy(centred.T @ centred))
    assert (told["effective_rank"], told["first_share"]) == pytest.approx(values)


def test_dead_features_are_counted():
    """A constant that no binary fraction holds is constant, too; NaN is not."""
    x = torch.randn(20, 4)
    x[:, 1], x[:, 3] = 0.1, 0
    assert diagnose(x)["dead"] == 0.5
    x[0, 1] = torch.nan
    assert diagnose(x)["dead"] == 0.25
    assert math.isnan(diagnose(x)["leverage"])


@pytest.mark.parametrize("labels", [(0, 0, 1, 1, 2), (0, 0, 0, 1, 1, 1), (0, 1, 2, 0, 1, 2, 2)])
def test_runs_are_judged_by_all_orders(labels):
    """Mean and deviation over every order of the labels."""
    mean, deviation = alignment.runs(labels)
    told = sortedness(labels)
    assert told["expected"] == pytest.approx(mean)
    assert told["z"] == pytest.approx((told["runs"] - mean) / deviation)


def names(*asked, **more):
    return [verdict.rule for verdict in warn(*asked, **more)]


def far(x):
    x[7] += 100
    return x


FEATURES = {
    "dead layer": lambda: torch.full((50, 4), 0.1),
    "many features for few samples": lambda: torch.randn(50, 40),
    "few directions": lambda: torch.randn(200, 1) * torch.ones(8) + 0.05 * torch.randn(200, 8),
    "one direction dominates": lambda: torch.randn(200, 1) * torch.ones(8) + 0.05 * torch.randn(200, 8),
    "one sample dominates": lambda: far(torch.randn(200, 8)),
}
SAMPLES = {"one class only": [3] * 100, "sorted classes": [i // 20 for i in range(100)]}


@pytest.mark.parametrize("rule", FEATURES)
def test_features_are_warned_of(rule):
    """Each by its own row, with the layer's name, the numbers it was judged by and what to do next."""
    found = {
        one.rule: one
        for one in warn("features", diagnose(FEATURES[rule]()), "fc1", [named("cka"), named("svcca:components=9")])
    }
    assert rule in found
    assert str(found[rule]).startswith("fc1: ")
    assert found[rule].severity == "warning"


@pytest.mark.parametrize("rule", SAMPLES)
def test_samples_are_warned_of(rule):
    """Classes in runs, and one class alone."""
    assert names("samples", sortedness(SAMPLES[rule])) == [rule]


def test_healthy_features_and_shuffled_samples_are_not_warned_of():
    """Many features are no concern of a measure without bias; alternating classes are none of anybody."""
    assert names("features", diagnose(torch.randn(200, 8)), measures=[named("nbs")]) == []
    assert names("features", diagnose(torch.randn(50, 40)), measures=[named("cka")]) == []
    assert names("samples", sortedness(torch.randint(10, (500,)))) == []
    assert names("samples", sortedness([0, 1] * 50)) == []
    assert names("samples", sortedness(list(range(100)))) == []


def test_every_warning_is_tried():
    """A row without a case of its own would be a row nobody has seen."""
    assert {row.name for row in CONCERNS} == {*FEATURES, *SAMPLES}


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ([1, 2, 3], [1, 3, 2], "the same samples in another order: sample 2 beside 3 in row 1"),
        ([1, 2, 3], [1, 2, 4], "other samples: sample 3 beside 4 in row 2"),
        ([1, 2, 3], [1, 2], "other samples: 3 and 2"),
    ],
)
def test_unpaired_loaders_are_refused(a, b, sentence):
    """A loader that shuffles gives each model its own order, and a net no likeness with itself."""
    check_paired(a, torch.tensor(a))
    with pytest.raises(BadInput, match=f"{sentence}.*(?s:.*)shuffle=False"):
        check_paired(torch.tensor(a), b)
