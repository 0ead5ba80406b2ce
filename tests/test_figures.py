"""Figures as data: what they draw is what the tables say, also where a table is nearly empty or not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.errors import NothingToDraw, UnknownName
from netassay.figures import BOX, FIGURES, SHADES, Figure, figure, figures
from netassay.figures.window import outside, window
from netassay.result import Result
from tests import flowed, similar, stitched
from tests.exchanged import exchange
from tests.initialised import profile, study_of_two
from tests.pages import X, Y, net


class Branched(nn.Module):
    """A layer that a skip connection bypasses."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = self.first(x)
        return self.last(x + self.inner(x))


@pytest.fixture(scope="module")
def profiles():
    torch.manual_seed(0)
    return {"start": na.channel_profile(net(), (X, Y)), "end": na.channel_profile(net(width=6), (X, Y))}


def shown(one):
    """Count the numbers of a figure: those in words of a cell; else its series, bands, and a numeric axis."""
    if one.kind == "density":
        return sum(map(len, one.numbers.values()))
    axis = [one.x] if isinstance(one.x, np.ndarray) and one.x.dtype.kind == "f" else []
    return sum(map(np.size, [*one.series.values(), *one.bands.values(), *axis]))


def column(result, name, table="layers"):
    return result.tables[table].columns[name]


def test_lines_are_the_columns_of_the_layer_table(profiles):
    """Gradient and signal are gy_norm and y_rms, one line a result, along the layers in order."""
    for name, wanted in (("gradient", "gy_norm"), ("signal", "y_rms")):
        drawn = figure(profiles, name)
        assert list(drawn.x) == ["fc1", "act1", "head"]
        assert (list(drawn.series), drawn.log) == (["start", "end"], True)
        for label, values in drawn.series.items():
            np.testing.assert_array_equal(values, column(profiles[label], wanted))


def test_input_dependence_is_a_share(profiles):
    """It is variance across samples over mean square, between 0 and 1, and a gap where a layer says nothing."""
    values = figure(profiles, "dependence").series["end"]
    share = column(profiles["end"], "y_variance_across_samples") / column(profiles["end"], "y_mean_square")
    np.testing.assert_allclose(values, share)
    assert ((values > 0) & (values <= 1)).all()
    silent = figure({"": na.channel_profile(net(dead=True), (X, Y))}, "dependence")
    assert np.isnan(silent.series["share"]).tolist() == [False, True, False]
    assert silent.limits == (0.0, 1.0)


def test_activity_is_each_activations_channels_sorted(profiles):
    """One row an activation, from the channel that fires least to the one that fires most."""
    drawn = figure(profiles, "activity")
    fires = 1 - column(profiles["end"], "y_zero_share", "channels")
    owner = column(profiles["end"], "layer", "channels")
    assert list(drawn.series) == ["act1"]
    row = drawn.series["act1"]
    assert len(row) == len(drawn.x) == SHADES
    assert (np.diff(row) >= 0).all()
    np.testing.assert_array_equal(np.unique(row), np.unique(fires[owner == "act1"]))


def test_activity_without_activations_shows_where_gradient_arrives():
    """A model of linear layers shows the share of entries at which its gradient is not zero."""
    drawn = figure({"": na.channel_profile(nn.Linear(64, 10), (X, Y))}, "activity")
    assert "gradient" in drawn.title
    assert list(drawn.series) == ["model"]
    np.testing.assert_array_equal(drawn.series["model"], 1.0)


def test_boxes_are_five_quantiles_in_order(profiles):
    """Each layer's box is its 5, 25, 50, 75 and 95 % quantile."""
    drawn = figure(profiles, "outputs")
    boxes, array = drawn.series["end"], profiles["end"].array("y_quantiles")
    assert boxes.shape == (3, len(BOX))
    assert (np.diff(boxes) >= 0).all()
    for i, name in enumerate(BOX):
        np.testing.assert_array_equal(boxes[:, i], np.asarray(array)[:, array.axes["quantile"].index(name)])


def test_layers_on_a_branch_are_set_apart():
    """What a skip connection bypasses is marked, the trunk is not."""
    assert figure({"": na.channel_profile(Branched(), (X, Y))}, "gradient").marks == {"inner"}


def test_structure_is_in_per_cent_of_the_totals():
    """Shares of parameters and of multiply-adds are the table's counts, and sum to 100; idle layers are left out."""
    made = na.summary(net(), input_size=(1, 64))
    drawn = figure({"": made}, "structure")
    assert drawn.x == ["fc1", "head"]
    np.testing.assert_allclose(drawn.series["parameters"], [100 * 520 / 610, 100 * 90 / 610])
    np.testing.assert_allclose(drawn.series["multiply-adds"], [100 * 512 / 592, 100 * 80 / 592])


@pytest.mark.parametrize("study", FIGURES)
def test_every_figure_has_a_table_of_its_numbers(profiles, study):
    """Each figure's table has a row for each x (row of a heat map, link of a sankey), and every one of its numbers."""
    made = {
        "summary": lambda: na.summary(net(), input_size=(1, 64)),
        "exchange_map": exchange,
        "signal": lambda: na.signal(net(), (X, Y)),
        "init_study": study_of_two,
        "init_profile": profile,
        "flow": flowed.flow,
        "flow_study": flowed.study,
        "prescribe": flowed.prescription,
        "compare": flowed.comparison,
        "similarity_map": similar.similarity_map,
        "similarity_trend": similar.trend,
        "stitch_trend": similar.stitch_trend,
        "stitch_grid": lambda: stitched.stitch_grid(nets=(("p", "q"), ("r",)), pictures=2),
    }
    results = {"": made[study]()} if study in made else profiles
    assert [one.name for one in figures(results)] == list(FIGURES[study])
    for one in figures(results):
        table, drawn = one.table(), one.parts or (one,)
        rows = {"heat": len(one.series), "sankey": len(one.flow.links) if one.flow else 0}
        rows["grid"] = sum(len(part.numbers) for part in one.parts)
        rows["maps"] = sum(len(part.series) for part in one.parts)
        assert len(table) == rows.get(one.kind, sum(len(part.x) for part in drawn))
        numbers = [values for values in table.columns.values() if values.dtype.kind == "f"]
        wide = max((len(part.x) for part in one.parts), default=0)  # maps of unlike sizes are as wide as the widest
        assert sum(map(np.size, numbers)) == (wide * len(table) if one.kind == "maps" else sum(map(shown, drawn)))
        assert one.healthy.endswith(".")


@pytest.mark.parametrize(
    ("kind", "series", "names"),
    [
        ("lines", {"a": np.ones(2), "b": np.zeros(2)}, ["layer", "a", "b"]),
        ("boxes", {"": np.ones((2, 5))}, ["layer", "q05", "q25", "q50", "q75", "q95"]),
        ("boxes", {"end": np.ones((2, 5))}, ["layer", *(f"end {q}" for q in BOX)]),
        ("heat", {"r1": np.ones(2), "r2": np.zeros(2)}, ["what", "x", "y"]),
    ],
)
def test_columns_of_a_figures_table_are_named(kind, series, names):
    """Lines are named as they are, boxes by quantile, a heat map by its columns."""
    one = Figure("n", "t", "h.", kind, ["x", "y"], series, "layer", "what")
    assert list(one.table().columns) == names


def test_a_figure_of_one_layer_with_one_channel():
    """A single channel fills the whole row of its heat map, and every other figure has one point."""
    made = na.channel_profile(nn.Sequential(nn.Linear(64, 1), nn.ReLU()), (X, Y * 0))
    for one in figures({"": made}):
        assert len(one.x) == (SHADES if one.kind == "heat" else 2)
    assert len(set(figure({"": made}, "activity").series["1"].tolist())) == 1


def test_what_is_not_finite_stays_a_gap():
    """A layer of nothing but NaN is NaN in the figures, not zero."""
    broken = net()
    nn.init.constant_(broken.fc1.weight, float("nan"))
    result = na.channel_profile(broken, (X, Y))
    assert np.isnan(figure({"": result}, "dependence").series["share"]).all()
    assert np.isnan(figure({"": result}, "outputs").series[""]).all()


def test_a_study_without_figures_has_none():
    """An unknown study draws nothing; an unknown figure is answered with the nearest name."""
    assert figures({"": Result("other")}) == []
    with pytest.raises(UnknownName, match="use 'gradient'"):
        figure({"": Result("channel_profile")}, "gradiant")
    with pytest.raises(NothingToDraw, match=r"no figures of other\n.*result\.table"):
        figure({"": Result("other")}, None)


def test_an_axis_is_for_most_series():
    """One series far above the middle one is cut off and named; without one the axis is left alone."""
    series = {
        "a": np.array([1.0, 2.0]),
        "b": np.array([3.0, 4.0]),
        "c": np.array([0.0, 2.0]),
        "far": np.array([2.0, 1e6]),
    }
    low, high = window(series)
    assert (low, high) == pytest.approx((1 / 1.5, 6.0))
    assert outside(series) == " Off the top, in the numbers below: far."
    near = {name: values for name, values in series.items() if name != "far"}
    assert (window(near), outside(near), window({}), window({"zero": np.zeros(2)})) == (None, "", None, None)
