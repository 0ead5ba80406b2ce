"""The law of gradient: against its definition, on chains whose chi is known, and on real networks at initialisation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from netassay import flow
from netassay.flow import Readings, law, laws, stretch
from netassay.store import series_json
from tests import readings as made
from tests.reference import law as twin

NAMES = ("chi", "low", "high", "attenuation", "attenuation_low", "attenuation_high", "batches")


def of(depths, gradients, roles=None, paths=None):
    """Readings with nothing but gradients."""
    L, S = len(depths), len(gradients)
    calls = {
        "layer": np.array([f"l{i}" for i in range(L)]),
        "depth": np.array(depths),
        "role": np.array(roles or ["weight"] * L),
        "path": np.array(paths or ["trunk"] * L),
    }
    nothing = np.zeros(S)
    return Readings(np.arange(S), nothing, nothing, nothing + 8, calls, {"gradient": np.array(gradients, float)})


values = st.one_of(st.floats(1e-30, 1e30), st.sampled_from([0.0, np.nan, np.inf]))


@st.composite
def cases(draw):
    L, S = draw(st.integers(3, 7)), draw(st.integers(1, 5))
    depths = draw(st.lists(st.integers(1, 9), min_size=L, max_size=L).filter(lambda d: len(set(d)) >= 3))
    return depths, draw(st.lists(st.lists(values, min_size=L, max_size=L), min_size=S, max_size=S))


def fields(slope):
    return None if slope is None else {name: getattr(slope, name) for name in NAMES}


def near(numbers):
    """Equal up to rounding on a log scale, where a double holds them; beyond, nothing is told apart."""
    with np.errstate(divide="ignore"):
        logs = np.log(list(numbers.values()))
    return pytest.approx(np.clip(logs, -700, 700).tolist(), rel=1e-8, abs=1e-8, nan_ok=True)


def logs(numbers):
    return near(numbers).expected


@given(cases())
def test_the_law_equals_its_definition(case):
    """Slope, band and attenuation of any gradients, zeros, NaN and Inf among them, are what the definition says."""
    got, expected = fields(law(of(*case), "trunk")), twin.law(*case)
    assert (got is None) == (expected is None)
    if got is not None:
        assert logs(got) == near({name: expected[name] for name in NAMES})


@given(cases(), st.integers(-60, 60))
def test_the_law_does_not_know_the_loss_scale(case, k):
    """All gradients times 2**k: the same law."""
    read = of(*case)
    one, other = law(read, "trunk"), law(of(case[0], read.signals["gradient"] * 2.0**k), "trunk")
    assert (one is None) == (other is None)
    if one is not None:
        assert logs(fields(other)) == near(fields(one))


@given(cases(), st.integers(2, 4))
def test_steps_told_twice_leave_the_slope(case, times):
    """The same steps several times over: the same chi, from more of them."""
    one, more = law(of(*case), "trunk"), law(of(case[0], case[1] * times), "trunk")
    if one is not None:
        assert np.log(more.chi) == pytest.approx(np.log(one.chi), rel=1e-9, abs=1e-9)
        assert more.batches == times * one.batches


@pytest.mark.parametrize("chi", [0.2, 1.0, 3.0])
def test_a_chain_of_known_chi(chi):
    """A gradient that falls by sqrt(chi) from layer to layer has that chi, and chi**(-D/2) in all."""
    slope = law(made.chain(depth=9, chi=chi, noise=0), "trunk")
    assert (slope.chi, slope.low, slope.high) == pytest.approx((chi, chi, chi))
    assert slope.attenuation == pytest.approx(chi**-4)
    assert (slope.layers, slope.batches, slope.depth_from, slope.depth_to) == (9, 12, 1, 9)
    assert slope.r2 == pytest.approx(1)


def test_one_step_has_no_band():
    """A band is over steps; of one there is none."""
    slope = law(made.chain(steps=1, chi=0.5), "trunk")
    assert np.isfinite([slope.chi, slope.attenuation]).all()
    assert np.isnan([slope.low, slope.high, slope.attenuation_low, slope.attenuation_high]).all()


def test_what_is_zero_or_not_finite_is_left_out_and_counted():
    """A 0 or a NaN takes its point away, not the law."""
    slope = law(of([1, 2, 3, 4], [[1, 0, 4, 8], [1, 2, 4, 8]]), "trunk")
    assert (slope.left_out, slope.batches) == (1, 2)
    assert slope.chi == pytest.approx(0.25)
    assert law(of([1, 2, 3, 4], [[1, 0, np.nan, 8]]), "trunk") is None


def test_weights_are_the_points_where_there_are_three_depths_of_them():
    """Other calls come in only where weights are too few."""
    depths, row = [1, 1, 2, 2, 3], [1.0, 100.0, 2.0, 100.0, 4.0]
    many = law(of(depths, [row], ["weight", "activation", "weight", "norm", "weight"]), "trunk")
    assert (many.layers, many.chi) == (3, pytest.approx(0.25))
    few = law(of(depths, [row], ["weight", "activation", "weight", "norm", "activation"]), "trunk")
    assert few.layers == 5
    assert law(of(depths, [row], ["weight", "other", "weight", "other", "input"]), "trunk") is None


def test_calls_at_one_depth_are_averaged_in_the_log():
    """A depth counts once, however many calls are there."""
    slope = law(of([1, 1, 2, 3], [[1, 4, 4, 8]]), "trunk")
    assert slope.chi == pytest.approx(0.25)


def test_paths_are_apart():
    """Trunk, branch and calls of unknown place have laws of their own; unknown depths none."""
    paths = ["trunk"] * 3 + ["branch"] * 3 + ["unknown"] * 3
    read = of([1, 2, 3] * 3, [[1, 2, 4, 1, 1, 1, 4, 2, 1]], paths=paths)
    assert {one.path: round(one.chi, 9) for one in laws(read)} == {"trunk": 0.25, "branch": 1.0, "unknown": 4.0}
    assert laws(of([-1, -1, -1], [[1, 2, 4]], paths=["unknown"] * 3)) == ()


def test_rows_choose_the_steps():
    """A law may be that of some steps; "start" is the first five, "end" at most half of all."""
    read = of([1, 2, 3], [[1, 2, 4]] * 5 + [[1, 1, 1]] * 5)
    assert law(read, "trunk", stretch(read, "start")).chi == pytest.approx(0.25)
    assert law(read, "trunk", stretch(read, "end")).chi == pytest.approx(1.0)
    assert law(read, "trunk", stretch(read, "all")).batches == 10
    assert law(read, "trunk", [0, 9]).chi == pytest.approx(0.5)
    one = of([1, 2, 3], [[1, 2, 4]])
    assert law(one, "trunk", stretch(one, "end")).batches == 1


def test_the_forward_law_is_that_of_squares():
    """chi of the second moment is its factor per layer going forward."""
    slope = law(made.chain(forward=0.5, noise=0), "trunk", signal="second_moment")
    assert slope.chi == pytest.approx(0.5)
    assert slope.attenuation == pytest.approx(0.5**-3.5)


def test_no_double_overflows():
    """A law beyond what a double holds says infinity, and raises nothing."""
    slope = law(of([1, 2, 400], [[1e-300, 1.0, 1e300]] * 2), "trunk")
    assert slope.attenuation == np.inf or np.isfinite(slope.attenuation)
    steep = law(of([1, 2, 3, 2000], [[1e-200, 1.0, 1e200, np.nan]] * 2), "trunk")
    assert steep.attenuation == np.inf


def network(init, activation, depth=20, width=512, bias=False):
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width, bias=bias)
        init(layer.weight)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def read_of(model, x, seeds):
    """Norms of per-sample gradients and mean squares at every linear layer, read by hand."""
    gradients, squares = [], []
    for seed in seeds:
        torch.manual_seed(seed)
        net, outs = model(), []
        h = x
        for layer in net:
            h = layer(h)
            if isinstance(layer, nn.Linear):
                h.retain_grad()
                outs.append(h)
        (h * torch.randn_like(h)).sum().backward()
        gradients.append([float(one.grad.double().square().sum(1).mean().sqrt()) for one in outs])
        squares.append([float(one.detach().double().square().mean()) for one in outs])
    read = of(list(range(1, len(outs) + 1)), gradients)
    return replace(read, signals={**read.signals, "second_moment": np.array(squares)})


CASES = {
    "He, ReLU": (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), nn.ReLU, 1.0, 0.03),
    "torch's own, ReLU": (lambda w: nn.init.kaiming_uniform_(w, a=5**0.5), nn.ReLU, 1 / 6, 0.01),
    "Xavier, ReLU": (nn.init.xavier_normal_, nn.ReLU, 0.5, 0.02),
    "Xavier, linear": (nn.init.xavier_normal_, nn.Identity, 1.0, 0.02),
}


@pytest.mark.parametrize("name", CASES)
def test_initialisations_have_the_chi_that_theory_gives_them(name):
    """Forward and backward, over 20 layers of width 512: 1 for He, 1/6 for torch's own, 1/2 and 1 for Xavier."""
    init, activation, chi, near = CASES[name]
    read = read_of(lambda: network(init, activation), torch.randn(32, 512), range(4))
    backward, forward = law(read, "trunk"), law(read, "trunk", signal="second_moment")
    assert backward.chi == pytest.approx(chi, abs=near)
    assert forward.chi == pytest.approx(chi, abs=near)
    assert backward.low - near <= chi <= backward.high + near


def test_a_repeated_batch_has_the_same_law():
    """The root mean square over samples does not know how often they are told."""
    x = torch.randn(8, 64)

    def measured(x):
        torch.manual_seed(1)
        net, outs, h = network(nn.init.kaiming_normal_, nn.ReLU, 6, 64), [], x
        for layer in net:
            h = layer(h)
            h.retain_grad()
            outs += [h] if isinstance(layer, nn.Linear) else []
        h.square().sum().backward()
        return law(of(range(1, 7), [[float(o.grad.double().square().sum(1).mean().sqrt()) for o in outs]]), "trunk")

    assert measured(x.repeat(4, 1)).chi == pytest.approx(measured(x).chi, rel=1e-6)


def test_tables_and_arrays_say_what_was_read():
    """Rows per call, parameter, path and step; series by step; laws of three stretches beside what theory says."""
    read = made.chain(depth=5, steps=12, chi=0.5)
    result = flow.result(read, predicted={"trunk": (0.5, 4.0)})
    layers, parameters, law_rows = (result.table(name) for name in ("layers", "parameters", "law"))
    fc2 = next(row for row in layers if row["layer"] == "fc2")
    assert fc2["gradient"] == pytest.approx(np.median(read.signals["gradient"][:, made.call(read, "fc2")]))
    assert fc2["gradient_start"] == pytest.approx(np.median(read.signals["gradient"][:5, made.call(read, "fc2")]))
    assert fc2["dependence"] == pytest.approx(0.4)
    assert next(row for row in layers if row["layer"] == "act2")["zero_share"] == 0.5
    assert [row["ratio"] for row in parameters] == pytest.approx([1e-3] * 10)
    assert [row["when"] for row in law_rows] == ["start", "end", "all"]
    assert all((row["chi_predicted"], row["attenuation_predicted"]) == (0.5, 4.0) for row in law_rows)
    assert law_rows[2]["chi"] == law(read, "trunk").chi
    assert [row["step"] for row in result.table("steps")] == (10 * np.arange(12)).tolist()
    assert result.array("gradient").axes["layer"] == tuple(read.calls["layer"].tolist())
    assert result.array("update_ratio").axes["parameter"][0] == "fc1.weight"
    assert np.allclose(result.array("update_ratio"), 1e-3)
    assert flow.result(read).table("law")[0]["chi_predicted"] != 0.5


def test_tables_of_batches_without_an_optimizer():
    """A network as it stands has layers and a law, and no parameters."""
    read = replace(made.chain(), parameters={}, updates={})
    result = flow.result(read)
    assert result.table("parameters") == []
    assert "adam" not in result.arrays


def test_the_plain_layout_is_the_whole_batch_under_a_mean_loss():
    """Root mean square over N samples, divided by the root of N: the norm of the batch's gradient of a mean loss."""
    torch.manual_seed(3)
    net, x = nn.Linear(6, 4), torch.randn(16, 6)
    y = net(x)
    y.retain_grad()
    y.square().sum(1).mean().backward()
    per_sample = y.grad.double() * 16
    read = replace(made.chain(depth=2, steps=1), samples=np.array([16]))
    read.signals["gradient"][0, list(read.calls["layer"]).index("fc2")] = float(
        per_sample.square().sum(1).mean().sqrt()
    )
    told = json.loads(series_json(flow.result(read)))["fc2"]
    assert told == [pytest.approx(float(y.grad.double().norm()), rel=1e-12)]


def test_only_depths_that_have_gradient_are_spoken_of():
    """Behind a dead layer nothing arrives: the law is about the layers that gradient reaches."""
    read = made.chain()
    gradient = read.signals["gradient"].copy()
    gradient[:, read.calls["depth"] < 4] = 0.0
    found = law(replace(read, signals={**read.signals, "gradient": gradient}), "trunk")
    assert found.depth_from == 4
    assert found.attenuation == pytest.approx(found.chi ** (-(found.depth_to - 4) / 2))
