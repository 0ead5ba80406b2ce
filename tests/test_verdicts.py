"""Verdicts: the table of states row by row, at both sides of every threshold, and the rules for layers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats

from netassay import verdicts

FINE = {"samples": 100, "firing": 50, "open": 0.5, "size": 1.0, "spread": 0.5, "flat": 0.1}
MANY = np.array(["dead"] * 20 + ["healthy"] * 44)


def state(**numbers):
    one = {**FINE, **numbers}
    return verdicts.states({name: np.array([value], float) for name, value in one.items()})[0]


@pytest.mark.parametrize(
    ("name", "number", "applies", "spares"),
    [
        ("unobserved", "samples", 9, 10),
        ("dead", "firing", 0, 1),
        ("constant", "spread", 1e-12, 1.0001e-12),
        ("saturated", "flat", 0.5001, 0.5),
        ("dormant", "size", 0.025, 0.0251),
        ("sparse", "open", 0.00999, 0.01),
    ],
)
def test_each_state_begins_where_its_threshold_says(name, number, applies, spares):
    """On one side of the threshold the state, on the other a healthy channel."""
    assert state(**{number: applies}) == name
    assert state(**{number: spares}) == "healthy"


ORDER = ["unobserved", "dead", "constant", "saturated", "dormant", "sparse"]
SICK = {"samples": 9, "firing": 0, "spread": 0.0, "flat": 1.0, "size": 0.0, "open": 0.0}


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_state_that_applies_names_the_channel(first):
    """With every later row applying too, the earlier one wins: the order of the table is that of precedence."""
    assert [row.name for row in verdicts.STATES] == ORDER
    assert state(**dict(list(SICK.items())[first:])) == ORDER[first]


def test_numbers_that_are_not_known_are_not_judged():
    """NaN in any number, or in all but the samples, is no state."""
    for name in FINE:
        assert state(**{name: np.nan}) == "healthy"
    assert state(**{name: np.nan for name in FINE if name != "samples"}) == "healthy"


def test_channels_are_judged_one_by_one():
    """A state for each channel, in their order."""
    numbers = {name: np.array([value] * 3, float) for name, value in FINE.items()}
    numbers["firing"][1], numbers["size"][2] = 0, 0.0
    assert verdicts.states(numbers).tolist() == ["healthy", "dead", "dormant"]


def test_every_row_says_what_it_means_and_where_its_threshold_is_from():
    """Name, meaning, threshold and source of each row are written out, and names are unique."""
    for row in verdicts.STATES:
        assert all(len(getattr(row, part)) > 3 for part in ("name", "meaning", "threshold", "source"))
    assert len({row.name for row in verdicts.STATES}) == len(verdicts.STATES)


@pytest.mark.parametrize("n", [1, 3, 10, 300, 10**6])
def test_the_silence_bound_is_exact(n):
    """0 of n leaves open rates up to 1 - 0.05**(1/n), which nears 3/n."""
    bound = verdicts.silence_bound(np.array([n]))[0]
    assert bound == pytest.approx(-np.expm1(np.log(0.05) / n), rel=1e-9, abs=0)
    assert bound <= 3 / n


def test_nothing_seen_leaves_every_rate_open():
    assert verdicts.silence_bound(np.array([0])).tolist() == [1.0]


def made(dead, channels, dormant=0):
    named = ["dead"] * dead + ["dormant"] * dormant
    return np.array(named + ["healthy"] * (channels - len(named)), dtype="<U10")


@pytest.mark.parametrize(("dead", "told"), [(16, None), (17, "finding")])
def test_without_a_baseline_a_quarter_is_the_line(dead, told):
    """16 of 64 silent channels are a quarter and pass; 17 are a finding until a baseline says otherwise."""
    verdict = verdicts.silent_layer("conv", made(dead, 64), 100, None)
    assert (None if verdict is None else verdict.severity) == told


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        (0, 0, None),
        (7, 0, None),
        (12, 0, "note"),
        (16, 0, "note"),
        (17, 0, "finding"),
        (17, 6, None),
        (30, 6, "finding"),
    ],
)
def test_with_a_baseline_more_than_it_predicts_is_told(now, before, told):
    """What chance brings to layers like the baseline's is nothing; beyond, a note up to a quarter, then a finding."""
    verdict = verdicts.silent_layer("conv", made(now, 64), 100, made(before, 64))
    assert (None if verdict is None else verdict.severity) == told
    chance = scipy.stats.fisher_exact([[now, 64 - now], [before, 64 - before]], alternative="greater").pvalue
    assert (chance < 0.001) == (told is not None)
    if verdict is not None:
        assert verdict.numbers["untrained"] == before
        assert verdict.numbers["chance"] == pytest.approx(chance, rel=1e-9)


def test_a_finding_counts_dead_and_dormant_channels_and_names_them():
    """Both kinds carry nothing; the sentence has their numbers, the evidence the share and its interval."""
    named = made(10, 40, dormant=10)
    verdict = verdicts.silent_layer("conv", np.roll(named, 5), 77, None)
    assert str(verdict) == "conv: 20 of 40 channels carry nothing (10 dead and 10 dormant: 5-24)"
    assert (verdict.numbers["dead"], verdict.numbers["dormant"], verdict.numbers["share"]) == (10, 10, 0.5)
    assert verdict.numbers["low"] < 0.5 < verdict.numbers["high"]
    assert verdict.n == 77


@pytest.mark.parametrize("name", ["constant", "saturated"])
def test_many_begins_above_a_quarter(name):
    """A quarter of the channels passes, one more is a warning; other states do not count."""
    assert verdicts.many(name, "act", np.array([name] * 4 + ["dead"] * 12), 50) is None
    warning = verdicts.many(name, "act", np.array([name] * 5 + ["dead"] * 11), 50)
    row = next(row for row in verdicts.STATES if row.name == name)
    assert (warning.severity, warning.rule, warning.n) == ("warning", f"{name} channels", 50)
    assert str(warning) == f"act: 5 of 16 channels are {name} (0-4): {row.meaning}"
    assert (warning.threshold, warning.source) == (row.threshold, row.source)
    assert warning.numbers == {"channels": 16, name: 5}


def test_other_verdicts_say_what_they_found():
    """No gradient is a warning with the samples; not finite a finding with its counts."""
    unreached = verdicts.unreached_layer("conv", 60)
    assert (str(unreached), unreached.severity) == ("conv: no gradient arrived at any channel in 60 samples", "warning")
    bad = verdicts.not_finite("conv", "output", {"nan": 3.0, "inf": 2.0}, 60)
    assert (str(bad), bad.severity) == ("conv: the first output with NaN or Inf: 3 NaN, 2 Inf", "finding")


@pytest.mark.parametrize(
    "verdict",
    [
        verdicts.silent_layer("conv", MANY, 100, None),
        verdicts.silent_layer("conv", MANY, 100, made(0, 64)),
        verdicts.unreached_layer("conv", 60),
        verdicts.not_finite("conv", "output", {"nan": 3.0, "inf": 2.0}, 60),
        verdicts.many("constant", "act", np.array(["constant"] * 3), 50),
    ],
    ids=lambda verdict: verdict.rule,
)
def test_every_verdict_is_written_out(verdict):
    """Layer, cause, numbers, threshold and its source, n, what would make it wrong, and what to do next: none empty."""
    for field in dataclasses.fields(verdict):
        assert getattr(verdict, field.name), field.name


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([4], "4"),
        ([0, 1], "0-1"),
        ([0, 2, 3, 4, 9], "0, 2-4, 9"),
        (list(range(100)), "0-99"),
        (np.arange(0, 24, 2), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22"),
        (np.arange(0, 30, 2), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 3 more runs"),
    ],
)
def test_channel_numbers_are_written_as_runs(numbers, text):
    """Neighbours join; after twelve runs the rest is counted."""
    assert verdicts.ranges(numbers) == text
