"""Rules for trainings: each fires on readings made for it, with layer and cause, and not on their healthy twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netassay.verdicts import RULES, channel_table, judge, judged_result
from netassay.verdicts import thresholds as at
from tests.readings import call, chain, channels, fact, parameter, put, scaled, silenced, step

LATE = slice(5, None)


def told(readings, severity="finding"):
    return [(v.rule, v.layer) for v in judge(readings).verdicts if v.severity == severity]


def only(readings, rule, severity="finding"):
    (found,) = [v for v in judge(readings).verdicts if v.rule == rule]
    assert found.severity == severity
    return found


def names(readings, *parts):
    return [one for one in readings.calls["layer"].tolist() if one.startswith(parts)]


def upto(depth, *kinds):
    return [f"{kind}{i}" for i in range(1, depth + 1) for kind in kinds or ("fc", "act")]


HEALTHY = {
    "SGD": chain(),
    "norm": chain(norm="BatchNorm1d"),
    "tanh": chain(activation="Tanh"),
    "one step": chain(steps=1),
    "two steps": chain(steps=2),
    "shallow": chain(depth=1),
    "mildly falling": chain(chi=0.3),
    "mildly rising": chain(chi=3.0),
    "no optimizer": replace(chain(), parameters={}, updates={}),
    "Adam": step(chain(), ["fc1.weight", "fc2.weight"], adam=0.99),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_training_has_no_verdict(name):
    """Nothing is found, warned of or noted."""
    assert judge(HEALTHY[name]).verdicts == ()


def test_every_rule_says_where_its_line_is_and_why():
    """All that a verdict says stands in the table, and names are unique."""
    for rule in RULES:
        assert all(len(getattr(rule, part)) > 4 for part in ("name", "threshold", "source", "wrong_if", "next"))
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_no_step_is_no_verdict():
    """Before the first reading there is nothing to judge."""
    empty = chain(steps=0)
    assert judge(empty).verdicts == judge(empty).dismissed == ()


# What is not finite.


def test_the_first_bad_output_is_named_and_nothing_else_is_judged():
    """NaN from one layer on: that layer, its counts, the step; channels and later steps are not judged."""
    sick = put(chain(), names(chain(), "fc4", "act4"), LATE, nan=7, gradient_nan=7, variance=np.nan)
    sick = channels(sick, "act2", silenced(64, slice(0, 60)))
    (found,) = judge(sick).verdicts
    assert (found.rule, found.layer, found.numbers["step"], found.numbers["nan"]) == ("not finite", "fc4", 50, 7)
    assert "everything before it is finite" in str(found)
    assert found.n == 32


def test_an_activation_makes_nothing_infinite():
    """Where a ReLU's output is bad, what it was given was: it came between the layer before and it."""
    found = only(put(chain(), ["act3", "fc4"], LATE, nan=7), "not finite")
    assert found.layer == "fc3"
    assert "between the output of fc3 and that of act3" in str(found)
    whole = put(chain(), ["fc4", "act4"], LATE, nan=32 * 64)
    assert only(whole, "not finite").layer == "act3"
    assert only(put(chain(), ["fc1"], LATE, nan=32 * 64), "not finite").layer == "fc1"


def test_bad_data_are_named_as_such():
    found = only(put(chain(), ["input", "fc1"], LATE, inf=3), "not finite")
    assert found.layer == "input"
    assert "the data" in str(found)


def test_a_bad_loss_comes_before_the_gradients_it_makes():
    read = chain()
    loss = np.where(np.arange(12) >= 5, np.nan, read.loss)
    found = only(replace(put(read, names(read, "fc", "act"), LATE, gradient_nan=9), loss=loss), "not finite")
    assert found.layer == "fc8"
    assert "the loss is nan" in str(found)


def test_of_bad_gradients_the_backward_pass_met_the_last_call_first():
    """Outputs finite, gradients not: the call nearest to the loss, though others run before it."""
    found = only(put(chain(), ["fc1", "act2", "fc3"], LATE, gradient_inf=2), "not finite")
    assert found.layer == "fc3"
    assert "act3 behind it is finite" in str(found)


@pytest.mark.parametrize(
    ("number", "what"),
    [("gradient_nan", "gradient"), ("state_nan", "optimizer's state"), ("weight_inf", "what the step made")],
)
def test_then_parameters_gradients_state_and_weights(number, what):
    """A parameter's own tensors come last, in the order in which a step makes them."""
    sick = step(step(chain(), "fc5.weight", LATE, weight_nan=1), "fc2.weight", LATE, **{number: 4})
    found = only(sick, "not finite")
    assert found.layer == "fc2"
    assert what in str(found)
    assert "fc2.weight" in str(found)


def test_a_parameter_that_was_bad_before_the_step_is_named_with_the_steps_between():
    """Steps that were read lie far apart: it happened between two of them."""
    sick = step(put(chain(), names(chain(), "fc3", "act3"), LATE, nan=9), "fc3.weight", LATE, weight=np.nan)
    found = only(sick, "not finite")
    assert found.layer == "fc3"
    assert "fc3.weight was not finite before the step" in str(found)
    assert "between step 40 and 50" in str(found)


def test_a_parameter_that_the_bad_output_spoilt_is_no_cause():
    """Weights that were finite before the step are no cause, however much of the output is bad."""
    for nan, layer in ((32 * 64, "act3"), (32, "fc4")):
        sick = step(put(chain(), ["fc4", "act4"], LATE, nan=nan), "fc4.weight", LATE, weight_nan=4096)
        found = only(sick, "not finite")
        assert found.layer == layer
        assert "its parameter" not in str(found)


def test_the_earliest_step_wins_over_the_earliest_layer():
    sick = put(put(chain(), "fc7", slice(3, None), nan=1), "fc1", slice(4, None), nan=1)
    assert only(sick, "not finite").layer == "fc7"


def test_steps_that_the_scaler_skipped_are_its_own():
    """With a scaler, gradients that are not finite in a step that was not made are what it is for."""
    sick = put(chain(), ["fc1", "fc2"], slice(2, 3), gradient_inf=5)
    every = sick.parameters["parameter"].tolist()
    sick = step(sick, every, slice(2, 3), **dict.fromkeys(sick.updates, np.nan))
    assert told(sick) == [("not finite", "fc2")]
    assert told(replace(sick, assumed={"scaler": True})) == []


def test_what_led_to_it_is_judged_by_the_steps_before():
    sick = put(chain(chi=20.0, forward=20.0), "fc8", slice(8, None), inf=1)
    assert [rule for rule, _ in told(sick)] == ["not finite", "exploding gradient"]


# Depth.


@pytest.mark.parametrize(("chi", "rule"), [(0.05, "vanishing gradient"), (20.0, "exploding gradient")])
def test_gradient_that_shrinks_or_grows_by_more_than_a_thousand(chi, rule):
    """At the input end, with chi, attenuation, and the initialisation as the cause where the signal goes alike."""
    sick = step(chain(chi=chi, forward=chi), upto(2, "fc")[0] + ".weight", update=8e-9)
    found = next(v for v in judge(sick).verdicts if v.rule == rule)
    assert (found.layer, found.severity) == ("fc1", "finding")
    assert found.numbers["chi"] == pytest.approx(chi, rel=0.05)
    assert found.numbers["attenuation"] == pytest.approx(chi**-3.5, rel=0.2)
    assert f"the weights are too {'small' if chi < 1 else 'large'}" in str(found)


def test_a_band_that_holds_one_is_no_law():
    """However steep a single step: where steps disagree, nothing is claimed."""
    read, depth = chain(noise=0), 8 - chain().calls["depth"]
    wild = np.where(np.arange(12)[:, None] % 2, 1e-20, 1e6) ** (depth / 8)
    read = replace(read, signals={**read.signals, "gradient": read.signals["gradient"] * wild})
    assert judge(read).verdicts == ()


def test_small_but_effective_is_a_warning():
    """Where Adam makes up for the size and steps move the weights, a small gradient does its work."""
    sick = step(chain(chi=0.05, forward=0.05), [f"fc{i}.weight" for i in range(1, 9)], adam=0.95)
    assert "Small but effective" in str(only(sick, "vanishing gradient", "warning"))
    late = step(sick, "fc1.weight", adam=0.3)
    assert "Small but" not in str(only(late, "vanishing gradient"))


def test_what_training_has_overcome_is_a_warning():
    """There at the start, and no longer."""
    early, late = chain(steps=24, chi=0.05), chain(steps=24)
    rows = np.arange(24)[:, None] < 6
    gradient = np.where(rows, early.signals["gradient"], late.signals["gradient"])
    read = replace(late, signals={**late.signals, "gradient": gradient})
    assert "training has overcome it" in str(only(read, "vanishing gradient", "warning"))


CAUSES = {
    "saturation": lambda read: put(read, "act3", flat=0.7),
    "dead units": lambda read: put(read, "act3", zero=0.95 * 32 * 64),
    "depth without normalisation and without skip": lambda read: read,
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_told_by_what_else_was_read(cause):
    sick = CAUSES[cause](replace(chain(chi=0.05), parameters={}, updates={}))
    assert cause in str(only(sick, "vanishing gradient"))


def test_a_drop_at_one_layer_names_it():
    """Most of the attenuation between two neighbours: the weights of the one nearer to the loss."""
    read = replace(chain(noise=0), parameters={}, updates={})
    sick = put(read, upto(3), gradient=0.5e-6)
    found = only(sick, "vanishing gradient")
    assert found.layer == "fc4"
    assert "at this layer alone" in str(found)


# Exactly zero, and too small for its format.


def test_a_dead_layer_lets_nothing_through():
    """The gradient is exactly 0 from the layer before the dead activation on."""
    sick = put(put(chain(), [*upto(2), "fc3"], gradient=0.0), "act3", zero=32 * 64)
    found = only(sick, "zero gradient")
    assert found.layer == "fc3"
    assert "nothing fires in act3" in str(found)
    assert found.numbers["calls"] == 5
    assert found.numbers["since_step"] == 0


def test_zero_is_not_tiny():
    """1e-24 everywhere is no zero gradient."""
    read = chain()
    tiny = replace(read, signals={**read.signals, "gradient": read.signals["gradient"] * 1e-24})
    assert told(tiny) == []


def test_zero_weights_are_the_cause_behind_it():
    sick = step(put(chain(steps=20), upto(4), gradient=0.0), "fc5.weight", weight=0.0)
    found = only(sick, "zero gradient")
    assert found.layer == "fc5"
    assert "is 0 and stays 0" in str(found)


def test_underflow_where_zeros_follow_subnormals():
    sick = put(put(chain(), [*upto(3), "fc4"], gradient=0.0), "act4", gradient_subnormal=500)
    assert "underflow" in str(only(sick, "zero gradient"))


def test_a_step_at_which_all_was_zero_is_no_zero_gradient():
    """Zero-initialised ends block the first step alone."""
    assert told(put(chain(), upto(4), slice(0, 1), gradient=0.0)) == []


def test_a_loss_of_zero_gives_zero_gradient_by_right():
    read = replace(
        put(chain(), names(chain(), "fc", "act"), slice(6, None), gradient=0.0), loss=np.r_[np.ones(6), np.zeros(6)]
    )
    assert told(read) == []
    assert told(replace(read, loss=np.ones(12))) == [("zero gradient", "fc8")]


def test_a_matrix_whose_input_is_zero():
    found = only(step(chain(), "fc3.weight", gradient=0.0), "zero gradient")
    assert found.layer == "fc3"
    assert "its input is 0" in str(found)


def test_subnormal_gradients_are_underflow():
    """A quarter of what is not 0 below the smallest normal number; a ReLU's zeros alone are none."""
    sparse = put(chain(), ["fc2", "fc3"], gradient_zero=0.9 * 32 * 64)
    assert told(sparse) == []
    found = only(put(sparse, ["fc2", "fc3"], gradient_subnormal=0.06 * 32 * 64), "underflow")
    assert found.layer == "fc3"
    assert told(put(sparse, ["fc2", "fc3"], gradient_subnormal=0.02 * 32 * 64)) == []


# Updates.


def test_updates_lost_to_rounding():
    assert told(step(chain(), "fc3.weight", lost=0.9)) == [("lost update", "fc3")]
    assert told(step(chain(), "fc3.weight", slice(6, None), lost=0.9)) == []
    assert told(step(chain(), "fc3.weight", lost=0.4)) == []


def test_a_decayed_rate_is_no_lost_update():
    """Steps with less than a tenth of the largest rate are not judged."""
    read = chain(steps=24)
    every, rates = read.parameters["parameter"].tolist(), np.geomspace(1, 1e-4, 24)[:, None]
    read = replace(read, updates={**read.updates, "rate": rates * np.ones((1, len(every))), "update": rates * 1e-3})
    read = replace(read, updates={**read.updates, "update": read.updates["update"] * read.updates["weight"]})
    assert told(step(read, every, slice(5, None), lost=1.0)) == []


def test_epsilon_swallows_the_update():
    """Below a fifth in both halves: a finding where the weights hardly move, else a warning."""
    still = step(chain(), "fc3.weight", adam=0.01, update=8 * 5e-5)
    assert told(still) == [("epsilon swallows the update", "fc3")]
    assert only(step(chain(), "fc3.weight", adam=0.01), "epsilon swallows the update", "warning").layer == "fc3"
    assert told(step(chain(), "fc3.weight", slice(6, None), adam=0.01)) == []
    black = step(chain(), "fc3.weight", adam=0.09, gradient_zero=0.9 * 64 * 64)
    assert told(black) == told(black, "warning") == []


RATIOS = [(1e-7, "finding"), (9e-6, "finding"), (1e-4, None), (0.05, None), (0.4, "warning"), (0.6, "finding")]


@pytest.mark.parametrize(("ratio", "severity"), RATIOS)
def test_the_update_ratio_has_a_range(ratio, severity):
    read = replace(chain(steps=32), loss=np.full(32, 2.0))
    sick = step(read, "fc3.weight", update=ratio * read.updates["weight"][:, parameter(read, "fc3.weight")])
    assert [(v.rule, v.layer, v.severity) for v in judge(sick).verdicts] == (
        [("update ratio", "fc3", severity)] if severity else []
    )


def test_a_large_update_under_which_the_loss_falls_is_no_warning():
    """A head on frozen layers may take steps of a quarter of its size, and learn; beyond a half it is a finding.

    Before 32 steps nobody knows whether it learns.
    """
    read = chain(steps=32)
    size = read.updates["weight"][:, parameter(read, "fc3.weight")]
    learns = replace(read, loss=np.linspace(2, 0.2, len(read)))
    assert judge(step(learns, "fc3.weight", update=0.3 * size)).verdicts == ()
    only(step(replace(read, loss=np.full(len(read), 2.0)), "fc3.weight", update=0.3 * size), "update ratio", "warning")
    only(step(learns, "fc3.weight", update=0.6 * size), "update ratio")
    early = chain(steps=31)
    size = early.updates["weight"][:, parameter(early, "fc3.weight")]
    level = replace(early, loss=np.full(31, 2.0))
    assert judge(step(level, "fc3.weight", update=0.3 * size)).verdicts == ()


def test_branches_are_not_judged_while_what_began_at_zero_opens():
    """Behind a factor that is 0 at first, a branch gets gradient by and by; from the 16th step on it is judged."""
    for steps, found in ((15, []), (16, ["vanishing gradient"])):
        read = chain(steps=steps, norm="BatchNorm1d", chi=0.05)
        read = replace(read, calls={**read.calls, "path": np.full(len(read.calls["path"]), "branch")})
        size = read.updates["weight"][:, parameter(read, "norm2.weight")] * np.minimum(np.arange(steps), 1)
        rules = [one.rule for one in judge(step(read, "norm2.weight", weight=size)).verdicts]
        assert [one for one in rules if one == "vanishing gradient"] == found


def test_small_updates_are_not_judged_while_what_began_at_zero_opens():
    """In the first 15 steps of a net with a gain of 0; from the 16th on they are."""
    for steps, found in ((15, []), (16, [("update ratio", "fc3")])):
        read = chain(steps=steps, norm="BatchNorm1d")
        size = read.updates["weight"][:, parameter(read, "norm2.weight")] * np.minimum(np.arange(steps), 1)
        opening = step(read, "norm2.weight", weight=size)
        assert told(step(opening, "fc3.weight", update=1e-7)) == found


def test_the_update_ratio_judges_matrices_that_did_not_start_at_zero():
    for name in ("fc3.bias", "norm3.weight"):
        assert told(step(chain(norm="LayerNorm"), name, update=1.0)) == []
    grown = step(chain(), "fc3.weight", update=1.0, weight=1.0)
    assert told(grown) == [("update ratio", "fc3")]
    assert told(step(grown, "fc3.weight", slice(0, 1), weight=0.0)) == []


def test_parameters_in_no_optimizer():
    """One among those that are trained is forgotten; all but a head may be meant."""
    sick = fact(fact(chain(), "fc3.weight", optimizer=-1), "fc3.bias", optimizer=-1)
    assert told(sick) == [("forgotten parameters", "fc3")]
    head = chain()
    for name in head.parameters["parameter"].tolist()[:-2]:
        head = fact(head, name, optimizer=-1)
    assert told(head) == []
    assert told(head, "warning") == [("forgotten parameters", "fc1")]


def test_a_detach_is_where_gradient_ends():
    """None at every layer up to one: that one is named."""
    sick = put(chain(), upto(3), gradient=np.nan, gradient_entries=0)
    sick = step(sick, [f"fc{i}.{p}" for i in (1, 2, 3) for p in ("weight", "bias")], gradient=np.nan)
    found = only(sick, "unused parameters")
    assert (found.layer, found.severity) == ("fc3", "finding")
    assert "gradient ends here" in str(found)


def test_what_nobody_uses_is_a_note():
    """A last layer whose output is thrown away, and one that never ran."""
    spare = put(chain(), "fc8", gradient=np.nan, gradient_entries=0)
    spare = step(spare, ["fc8.weight", "fc8.bias"], gradient=np.nan)
    assert told(spare, "note") == [("unused parameters", "fc8")]
    facts = {**chain().parameters, "layer": chain().parameters["layer"].astype(object)}
    facts["layer"][:2] = "spare"
    never = step(replace(chain(), parameters=facts), ["fc1.weight", "fc1.bias"], gradient=np.nan)
    assert "did not run" in str(only(never, "unused parameters", "note"))


def test_copies_of_a_channel():
    """All rows of a matrix equal at the start; zero rows are zero-initialised, not symmetric."""
    sick = fact(chain(), "fc3.weight", symmetric=63)
    assert told(sick) == [("symmetry not broken", "fc3")]
    assert told(step(sick, "fc3.weight", slice(0, 1), weight=0.0)) == []


def test_weights_that_stay_zero():
    assert told(step(chain(), "fc3.weight", weight=0.0, update=0.0)) == [("weights stay zero", "fc3")]


@pytest.mark.parametrize(("skipped", "fires"), [(10, False), (25, False), (40, True)])
def test_steps_that_the_scaler_skips(skipped, fires):
    read = replace(chain(), told={"steps": 100, "skipped": skipped})
    assert bool(told(read)) == fires


# Signals.


@pytest.mark.parametrize("born", [False, True])
@pytest.mark.parametrize("dead", [16, 20, 31, 32, 38, 39, 64])
def test_dead_channels_by_their_share(dead, born):
    """A quarter is let pass; a half is a finding where they began dead, 0.6 where they died; channels are named."""
    sick = channels(chain(), "act2", silenced(64, slice(0, dead)), silenced(64, slice(0, dead if born else 0)))
    severity = "finding" if dead >= (32 if born else 39) else "note" if dead > 16 else None
    found = [v for v in judge(sick).verdicts if v.rule == "dead channels"]
    assert [(v.layer, v.severity) for v in found] == ([("act2", severity)] if severity else [])
    assert all(f"0-{dead - 1}" in str(v) and v.numbers["dead"] == dead for v in found)


def test_silence_after_an_input_that_does_not_vary_is_an_effect():
    """Random weights leave half of a layer silent where all inputs are alike: a note, and the cause is elsewhere."""
    sick = channels(chain(), "act3", silenced(64, slice(0, 64)), silenced(64, slice(0, 64)))
    assert told(sick) == [("dead channels", "act3")]
    alike = put(sick, "act2", variance=1e-3)
    assert told(alike) == []
    assert "hardly varies" in str(only(alike, "dead channels", "note"))


def test_few_samples_make_no_finding():
    assert told(channels(chain(), "act2", silenced(64, slice(0, 48), samples=64))) == []


def test_dead_from_the_start_is_told():
    sick = channels(chain(), "act2", silenced(64, slice(0, 40)), silenced(64, slice(0, 38)))
    assert "38 so in the first 320 samples read" in str(only(sick, "dead channels"))


def test_one_silence_is_told_once():
    """A norm and an activation are silent where the layer before them is."""
    sick = channels(chain(norm="BatchNorm1d"), "fc2", silenced(64, slice(0, 40)))
    for layer in ("norm2", "act2"):
        sick = channels(sick, layer, silenced(64, slice(0, 39)))
    assert told(sick) == [("dead channels", "fc2")]
    assert [row["dead"] for row in channel_table(sick).rows() if row["dead"]] == [40, 39, 39]


@pytest.mark.parametrize("flat", [0.4, 0.6])
def test_saturated_activations(flat):
    sick = put(chain(activation="Tanh"), ["act3", "act5"], flat=flat)
    assert told(sick) == ([("saturated", "act3")] if flat > 0.5 else [])


def test_an_output_may_be_saturated():
    """Nothing with weights comes after it: probabilities near 0 and 1 are what training is for."""
    read = chain(activation="Tanh")
    read = put(read, names(read, "fc8"), flat=0.9)
    roles = np.where(read.calls["layer"] == "fc8", "activation", read.calls["role"])
    assert told(replace(read, calls={**read.calls, "role": roles})) == []


def test_outputs_that_no_longer_tell_inputs_apart():
    """From fc4 on to the output the variance is gone; where a later layer has it again, nothing is lost."""
    lost = [one for one in names(chain(), "fc", "act") if int(one[-1]) >= 4]
    sick = put(chain(), lost, variance=1e-9)
    assert told(sick) == [("input dependence lost", "fc4")]
    assert told(put(sick, ["fc8"], variance=0.1)) == []


def test_data_that_do_not_vary():
    found = only(put(chain(), ["input", *upto(8, "fc"), *upto(7, "act")], variance=1e-12), "input dependence lost")
    assert found.layer == "input"
    assert "the data" in str(found)


def test_one_sample_has_no_variance():
    read = replace(chain(), samples=np.ones(12, int))
    assert told(replace(read, signals={**read.signals, "variance": 0 * read.signals["variance"]})) == []


def test_saturated_and_constant_channels_are_warnings():
    flat = {**silenced(64, []), "flat": np.where(np.arange(64) < 20, 0.9, 0.1)}
    assert told(channels(chain(activation="Tanh"), "act2", flat), "warning") == [("saturated channels", "act2")]
    same = {**silenced(64, []), "spread": np.where(np.arange(64) < 20, 0.0, 0.5)}
    assert told(channels(chain(), "act2", same), "warning") == [("constant channels", "act2")]


# What is dismissed.


def row(readings, what):
    (found,) = [one for one in judge(readings).dismissed if one["what"] == what]
    assert all(found[part] for part in ("where", "why", "numbers"))
    return found


def test_a_bias_before_a_batch_norm_is_dismissed():
    read = step(chain(norm="BatchNorm1d"), [f"fc{i}.bias" for i in range(1, 8)], gradient=1e-9)
    assert told(read) == []
    assert row(read, "bias before a batch norm")["where"].startswith("fc1.bias, fc2.bias")
    assert not any("batch norm" in one["what"] for one in judge(step(chain(), "fc2.bias", gradient=1e-9)).dismissed)


def test_a_bias_of_keys_is_dismissed():
    facts = {**chain().parameters, "parameter": chain().parameters["parameter"].astype(object)}
    facts["parameter"][3] = "attention.k_proj.bias"
    read = step(replace(chain(), parameters=facts), "attention.k_proj.bias", gradient=1e-8)
    assert row(read, "bias of keys")["where"] == "attention.k_proj.bias"
    assert told(read) == []


def test_rows_of_an_embedding_are_dismissed():
    read = step(fact(chain(), "fc1.weight", role="embedding"), "fc1.weight", gradient_zero=0.97 * 4096, adam=0.03)
    assert "97 %" in row(read, "embedding rows not seen")["numbers"]
    assert told(read) == []


def test_zero_initialised_weights_are_dismissed():
    """The first step read shows exactly 0 before them, be it the only one or not."""
    first = put(step(chain(), "fc5.weight", slice(0, 1), weight=0.0), upto(4), slice(0, 1), gradient=0.0)
    assert "8 calls" in row(first, "zero-initialised weights")["numbers"]
    assert told(first) == []
    alone = put(step(chain(steps=1), "fc5.weight", weight=0.0), upto(4), gradient=0.0)
    assert row(alone, "zero-initialised weights")["where"] == "fc5.weight"
    assert told(alone) == []


def test_frozen_parameters_are_dismissed():
    read = step(fact(chain(), "fc1.weight", trained=False), "fc1.weight", gradient=np.nan, update=0.0)
    assert row(read, "frozen")["where"] == "fc1.weight"
    assert told(read) == []


def test_scale_invariant_weights_are_dismissed():
    """The weight grows, the gradient shrinks as one over it, and both are at right angles."""
    read = chain(norm="BatchNorm1d", noise=0)
    grow = np.linspace(1, 8, 12)
    read = step(read, "fc2.weight", weight=8 * grow, gradient=0.1 / grow, update=8e-3 * grow, radial=1e-7)
    found = row(read, "scale-invariant weights")
    assert found["where"] == "fc2.weight"
    assert "weight x" in found["numbers"]


def test_a_layer_that_is_used_without_being_called_is_dismissed():
    facts = {**chain().parameters, "layer": chain().parameters["layer"].astype(object)}
    facts["layer"][:2] = "attention.out_proj"
    read = replace(chain(), parameters=facts, told={"steps": 120, "never_ran": ("attention.out_proj",)})
    assert row(read, "never called")["where"] == "attention.out_proj"
    assert told(read) == told(read, "note") == []


def test_gradients_that_go_with_the_loss_are_dismissed():
    read = chain(steps=24)
    fall = np.geomspace(1, 1e-6, 24)
    read = replace(read, loss=fall, signals={**read.signals, "gradient": read.signals["gradient"] * fall[:, None]})
    assert told(read) == []
    assert "chi 1" in row(read, "gradients shrink")["numbers"] or "chi 0.99" in row(read, "gradients shrink")["numbers"]


def test_the_zeros_of_a_rectifier_are_dismissed():
    assert row(chain(), "zeros of rectifiers")["numbers"] == "50 to 50 % of the entries"


# What no rule may depend on.

SICK = {
    "dead": channels(chain(), "act2", silenced(64, slice(0, 40))),
    "zero": put(put(chain(), [*upto(2), "fc3"], gradient=0.0), "act3", zero=32 * 64),
    "vanishing": replace(chain(chi=0.05), parameters={}, updates={}),
    "exploding": chain(chi=20.0),
    "lost": step(chain(), "fc3.weight", lost=0.9),
    "saturated": put(chain(activation="Tanh"), "act3", flat=0.8),
    "not finite": put(chain(), "act3", LATE, nan=7),
    "dependence": put(chain(), names(chain(), "fc8"), variance=1e-9),
}
ALL = {**HEALTHY, **SICK}


@settings(max_examples=40)
@given(st.sampled_from(sorted(ALL)), st.integers(-40, 40))
def test_verdicts_do_not_know_the_loss_scale(name, k):
    """A loss times 2**k: the same rules, layers and severities."""
    one, other = judge(ALL[name]), judge(scaled(ALL[name], k) if ALL[name].updates else ALL[name])
    assert [(v.rule, v.layer, v.severity) for v in one.verdicts] == [
        (v.rule, v.layer, v.severity) for v in other.verdicts
    ]


@settings(max_examples=40)
@given(st.sampled_from(sorted(ALL)), st.integers(2, 5))
def test_verdicts_do_not_know_how_often_samples_are_told(name, times):
    """A batch repeated: counts of samples and entries grow, and the same is found."""
    read = ALL[name]
    counts = [
        key for key in read.signals if key in {"entries", "zero", "subnormal", "nan", "inf"} or "gradient_" in key
    ]
    signals = {**read.signals, **{key: read.signals[key] * times for key in counts}}
    more = replace(read, signals=signals, samples=read.samples * times)
    assert [(v.rule, v.layer, v.severity) for v in judge(read).verdicts] == [
        (v.rule, v.layer, v.severity) for v in judge(more).verdicts
    ]


@settings(max_examples=20)
@given(st.sampled_from(["SGD", "Adam", "tanh", "lost", "dependence", "saturated"]), st.integers(1, 3))
def test_layers_without_gradient_do_not_matter(name, count):
    """Calls that no gradient is asked for, their parameters being frozen, change no verdict on others."""
    read = put(
        ALL[name], [f"act{i}" for i in range(1, count)] + upto(count, "fc"), gradient=np.nan, gradient_entries=0.0
    )
    for own in [f"fc{i}.{part}" for i in range(1, count + 1) for part in ("weight", "bias")]:
        if own != "fc3.weight":
            read = step(fact(read, own, trained=False), own, gradient=np.nan, update=0.0)
    assert told(read) == told(ALL[name])


def test_all_verdicts_carry_their_evidence():
    """Numbers, samples, threshold, source, what would make it wrong, and what to do next."""
    for name, read in SICK.items():
        assert judge(read).verdicts, name
        for verdict in judge(read).verdicts:
            assert verdict.numbers
            assert verdict.n > 0
            assert verdict.layer in str(verdict)
            assert all((verdict.threshold, verdict.source, verdict.wrong_if, verdict.next))


def test_findings_come_first_and_causes_before_effects():
    sick = step(
        channels(put(chain(), upto(3), gradient=0.0), "act3", silenced(64, slice(0, 20))), "fc7.weight", lost=0.9
    )
    severities = [v.severity for v in judge(sick).verdicts]
    assert severities == sorted(severities, key=["finding", "warning", "note"].index)
    assert next(v.rule for v in judge(sick).verdicts) == "zero gradient"


def test_a_result_holds_verdicts_channels_and_what_was_dismissed():
    result = judged_result(SICK["dead"], notes=("a note",), provenance={"seed": 0})
    assert [v.rule for v in result.findings] == ["dead channels"]
    assert next(r for r in result.table("channels") if r["layer"] == "act2")["dead"] == 40
    assert result.table("dismissed")[0]["what"] == "zeros of rectifiers"
    assert result.provenance["seed"] == 0
    assert result.notes == ("a note",)


def test_thresholds_stand_in_order():
    """A warning comes before a finding."""
    assert at.DEAD_SOME < at.DEAD_BORN < at.DEAD_MADE
    assert at.RATIO_LOW < at.RATIO_HIGH < at.RATIO_WILD
    assert call(chain(), "input") == 0
