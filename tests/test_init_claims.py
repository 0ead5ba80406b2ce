"""Claims about initialisations: each can hold, fail and stay undecided, by numbers put there by hand."""

from __future__ import annotations

import numpy as np
import pytest

from netassay.shape import Distribution
from netassay.studies.init_claims import STATEMENTS, claims
from netassay.studies.init_payload import Outcome, packed

E2 = ("kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "orthogonal", "ones", "zeros")
SEEDS = 4
FASTER, FASTER_TOO, STILL, WORSE, ONE, MEAN, GROWS, GAUSSIAN, ABOUT_1, SPREADS, DEEPER = (
    one.text for one in STATEMENTS
)
LOSSES = {"orthogonal": 1.0, "kaiming": 1.2, "xavier": 1.4, "ones": 9.0, "zeros": 2.3}
RANDOM = np.random.default_rng(0)
GAUSS = RANDOM.standard_normal(4000)
FLAT = RANDOM.uniform(-1, 1, 4000)


def outcome(scheme, seed, **changed):
    """What a cell hands over where every claim holds, but for what is changed."""
    told = {
        "loss": LOSSES[scheme.split("_")[0]] + 0.01 * seed,
        "unmoved": 1.0 if scheme == "zeros" else 0.0,
        "distinct": [1, 1, 10] if scheme == "ones" else [16, 16, 10],
        "mean": 0.001 * seed,
        "grown": 1.5 + 0.01 * seed,
        "end": GAUSS,
        "stds": ([1.0, 1.1, 0.9], [2.0, 3.0, 4.0]),
    } | changed
    start = FLAT if scheme.endswith("uniform") else GAUSS
    names = ("a", "b", "c")
    found = {}
    for name in names:
        end = told["end"] / told["end"].std() * start.std() * told["grown"] + told["mean"]
        found["start", f"{name}.weight", ""] = Distribution.of(start)
        found["end", f"{name}.weight", ""] = Distribution.of(end)
    for when, stds in zip(("start", "end"), told["stds"], strict=True):
        for name, std in zip(names, stds, strict=True):
            place = "logits" if name == "c" else "before"
            found[when, f"{name} {place}", "train"] = Distribution.of(GAUSS * std * (1 + 0.001 * seed))
    arrays = {
        "curve/step": np.array([10, 20]),
        "curve/loss": np.array([told["loss"] + 0.5, told["loss"] - 0.5]),
        "distinct/layer": np.array(names),
        "distinct/channels": np.array([16, 16, 10]),
        "distinct/start": np.array(told["distinct"]),
        "distinct/end": np.array(told["distinct"]),
        "unmoved/parameter": np.array([f"{name}.weight" for name in names]),
        "unmoved/share": np.full(3, told["unmoved"]),
        "diverged": np.array(-1),
    }
    return Outcome(scheme, seed, packed(found) | arrays)


def study(schemes=E2, seeds=SEEDS, **changed):
    """Outcomes of a whole study; `changed` is by scheme."""
    return [outcome(scheme, seed, **changed.get(scheme, {})) for scheme in schemes for seed in range(seeds)]


def decided(outcomes):
    return {claim.statement: claim.decision for claim in claims(outcomes)}


def everyone(**changed):
    return {scheme: changed for scheme in E2 if scheme not in ("ones", "zeros")}


def test_every_claim_can_hold():
    """With numbers as the study of seven schemes describes them, all claims hold, corrected for their number."""
    found = claims(study())
    assert [claim.statement for claim in found] == [one.text for one in STATEMENTS]
    assert {claim.decision for claim in found} == {"holds"}
    exact = {claim.statement: claim.tests for claim in found if claim.correction == "none"}
    assert exact == {STILL: 1, ONE: 1}
    assert {(claim.tests, claim.n) for claim in found if claim.correction == "Bonferroni"} == {(9, SEEDS)}


FAILURES = {
    FASTER: {"orthogonal": {"loss": 1.9}},
    FASTER_TOO: {"kaiming_normal": {"loss": 3.0}},
    STILL: {"zeros": {"unmoved": 0.999}},
    WORSE: {"ones": {"loss": 1.1}},
    ONE: {"ones": {"distinct": [1, 2, 10]}},
    MEAN: everyone(mean=3.0),
    GROWS: {"orthogonal": {"grown": 0.9}},
    GAUSSIAN: {"kaiming_uniform": {"end": FLAT}, "xavier_uniform": {"end": FLAT}},
    ABOUT_1: everyone(stds=([0.1, 0.1, 0.1], [2.0, 3.0, 4.0])),
    SPREADS: everyone(stds=([1.0, 1.1, 0.9], [0.5, 0.6, 0.7])),
    DEEPER: everyone(stds=([1.0, 1.1, 0.9], [4.0, 3.0, 2.0])),
}


@pytest.mark.parametrize("statement", FAILURES)
def test_every_claim_can_fail(statement):
    """Numbers against a claim are told as such, and the others still hold."""
    found = decided(study(**FAILURES[statement]))
    assert found.pop(statement) == "does not hold"
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(seeds):
    """Two seeds or one leave every claim undecided, and the claim says why."""
    found = claims(study(seeds=seeds))
    assert {claim.decision for claim in found} == {"undecided"}
    assert {claim.counted for claim in found} == {"seeds, too few to decide"}


def test_schemes_that_were_not_studied_are_not_spoken_of():
    """Without zeros, ones and orthogonal, only claims about the others are made, and corrected for their number."""
    found = claims(study(("kaiming_normal", "xavier_normal")))
    assert [claim.statement for claim in found] == [FASTER_TOO, MEAN, GROWS, ABOUT_1, SPREADS, DEEPER]
    assert {claim.tests for claim in found} == {6}


def test_the_effect_is_the_mean_over_seeds():
    """Orthogonal's loss is 0.2 nats below Kaiming's in every seed; means over the seeds' losses cancel."""
    claim = claims(study())[0]
    assert claim.effect == pytest.approx(0.2)
    assert claim.interval == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize("scheme", ["orthogonal", "ones"])
def test_a_training_that_broke_off_says_nothing(scheme):
    """Claims about a scheme that diverged in one seed are undecided; the others are made as before."""
    outcomes = study()
    broken = next(one for one in outcomes if one.scheme == scheme)
    broken.arrays["diverged"] = np.array(0)
    broken.arrays["curve/step"] = broken.arrays["curve/loss"] = np.zeros(0)
    found = decided(outcomes)
    about = {"orthogonal": {FASTER, WORSE, MEAN, GROWS, ABOUT_1, SPREADS, DEEPER}, "ones": {WORSE, ONE}}[scheme]
    assert {text for text, word in found.items() if word == "undecided"} == about
    assert set(found.values()) == {"holds", "undecided"}


def test_one_seed_is_enough_against_what_is_exact():
    """That no weight moves is told to be wrong by a single seed; that it holds needs three."""
    assert decided(study(seeds=1, zeros={"unmoved": 0.5}))[STILL] == "does not hold"
    assert decided(study(seeds=1))[STILL] == "undecided"


def test_weights_without_spread_leave_claims_undecided():
    """A constant matrix where a random one was expected has no ratio: no number, no error."""
    outcomes = study()
    for one in outcomes:
        if one.scheme == "kaiming_uniform":
            for when in ("start", "end"):
                one.distributions[when, "a.weight", ""] = Distribution.of(np.full(9, 2.0))
    found = decided(outcomes)
    assert {found[MEAN], found[GAUSSIAN], found[GROWS]} == {"undecided"}


def test_scatter_between_seeds_leaves_a_claim_undecided():
    """Where seeds disagree, nothing is decided."""
    scattered = [outcome("orthogonal", seed, loss=1.2 + (-1) ** seed) for seed in range(SEEDS)]
    found = decided([*study(E2[:4]), *scattered])
    assert found[FASTER] == "undecided"
