"""Figures of gradient flow: what is drawn is what tables and arrays say; frames on paper, as a GIF, and as JSON."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from netassay import plots
from netassay.errors import BadInput, NothingToDraw, UnknownName
from netassay.figures import Figure, figure, figures
from netassay.figures.frames import BARS, WIDTHS, bins
from netassay.figures.gradients import BINS, LINES, binned
from netassay.plots.kinds import BAD, COLOURS, NONE, RAMP
from netassay.report import render
from netassay.report.charts import plain
from netassay.result import Result, Table
from netassay.store import series_json
from tests import flowed
from tests.flowed import LAYERS
from tests.reference import frames as slow
from tests.test_page import Reader, stored


@pytest.fixture(scope="module")
def made():
    return flowed.flow()


@pytest.fixture(scope="module")
def two():
    """A training of two epochs: two frames."""
    return flowed.flow(flowed.readings(20, 2))


def drawn(result, name, **options):
    return figure({"": result}, name, **options)


def test_the_law_draws_its_points_and_the_line_of_least_squares(made):
    """Trunk and branch are the layers' own numbers; with one step the line is that of least squares through them."""
    one = flowed.flow(flowed.readings(1, 1, trained=False))
    told, shown = one.tables["layers"].columns, drawn(one, "law")
    assert shown.x == list(LAYERS)
    for path in ("trunk", "branch"):
        at = [i for i, row in enumerate(shown.series[path]) if np.isfinite(row)]
        np.testing.assert_array_equal(shown.series[path][at], told["gradient"][at])
        assert len(at) == next(row["layers"] for row in one.table("law") if row["path"] == path)
        x, y, slope = slow.line([flowed.DEPTHS[i] for i in at], told["gradient"][at])
        line = shown.series[f"{path} fitted"]
        inside = np.isfinite(line)
        wanted = [math.exp(y + slope * (depth - x)) for depth in np.array(flowed.DEPTHS)[inside]]
        np.testing.assert_allclose(line[inside], wanted, rtol=1e-12)
    assert (shown.points, shown.dashed) == ({"trunk", "branch"}, {"trunk predicted"})


def test_prediction_and_band_have_the_slopes_of_the_table(made):
    """The prediction meets the line where gradient comes in; band and prediction fall by their chi a layer."""
    shown, row = drawn(made, "law"), next(row for row in made.table("law") if row["when"] == "end")
    depths, guess = np.array(flowed.DEPTHS), shown.series["trunk predicted"]
    assert guess[-1] == pytest.approx(shown.series["trunk fitted"][-1])
    np.testing.assert_allclose(np.diff(np.log(guess)), -np.diff(depths) / 2 * np.log(0.9), atol=1e-12)
    low, high = shown.bands["trunk fitted"]
    for side, ratio in (("chi_low", low[0] / high[-1]), ("chi_high", high[0] / low[-1])):
        assert ratio == pytest.approx(row[side] ** (5 / 2))
    assert (low <= shown.series["trunk fitted"]).all()
    assert (high >= shown.series["trunk fitted"]).all()


def test_a_law_says_chi_and_attenuation_in_words(made):
    """How the factor is called, what it is over, and what theory says; growth is told as growth."""
    row = next(row for row in made.table("law") if row["when"] == "end")
    said = drawn(made, "law").healthy
    assert f"On the trunk chi is {row['chi']:.3g} ({row['chi_low']:.3g} to {row['chi_high']:.3g})" in said
    assert f"depth 6 back to depth 1 the gradient shrinks by a factor of {row['attenuation']:.3g} (1000" in said
    assert "predicts chi 0.9 at the start (dashed)." in said
    grows = flowed.flow(flowed.readings(chi=1.3))
    assert "the gradient grows by a factor of" in drawn(grows, "law").healthy
    short = flowed.flow(flowed.readings(shape=flowed.chain(2)))
    assert "There is no line" in drawn(short, "law").healthy


def test_a_law_gives_no_factor_that_it_does_not_know(made):
    """Points far from a line, and a band about 1: said without a factor; else over the depths that were fitted."""
    law = made.tables["law"]
    rows = [row for row in law.rows() if row["path"] == "trunk"]

    def told(**other):
        table = Table.of([{**row, **other} for row in rows])
        return drawn(replace(made, tables={**made.tables, "law": table}), "law")

    bent = told(r2=0.31).healthy
    assert "On the trunk, from depth 6 back to depth 1, the points do not lie on a line (R² = 0.31)" in bent
    level = told(chi=0.98, chi_low=0.93, chi_high=1.02).healthy
    assert "is not told from 1 (band 0.93 to 1.02)" in level
    flat = told(chi=0.98, chi_low=0.93, chi_high=1.02, r2=0.1).healthy
    assert "is not told from 1 (band 0.93 to 1.02, R² = 0.1)" in flat
    assert "by a factor of" not in bent + level
    cut = flowed.flow(flowed.readings(chi=0.3, shape=flowed.chain(8)))
    cells = cut.tables["layers"].columns
    gone = {**cells, "gradient_end": np.where(cells["depth"] < 3, 0.0, cells["gradient_end"])}
    fewer = Table.of([{**row, "left_out": 9} for row in cut.table("law")])
    one = drawn(replace(cut, tables={**cut.tables, "layers": Table(gone), "law": fewer}), "law")
    chi = next(row["chi"] for row in cut.table("law") if row["when"] == "end")
    assert f"from depth 8 back to depth 3 the gradient shrinks by a factor of {chi ** (-5 / 2):.3g} " in one.healthy
    assert np.isfinite(one.series["trunk fitted"]).tolist() == [False] * 2 + [True] * 6


def test_the_law_is_at_start_and_end(made):
    """Of a training over its first and latest steps, of two profiles over each; one profile has one law."""
    told = made.tables["layers"].columns
    for name, when in (("law_start", "start"), ("law", "end")):
        np.testing.assert_array_equal(drawn(made, name).series["trunk"][[0, 7]], told[f"gradient_{when}"][[0, 7]])
    pair = {when: flowed.flow(flowed.readings(8, 1, trained=False, seed=i)) for i, when in enumerate(("start", "end"))}
    for name, when in (("law_start", "start"), ("law", "end")):
        shown = figure(pair | {"training": made}, name)
        assert shown.title == f"Gradient against depth, at the {when}"
        assert shown.series["trunk"][0] == pair[when].tables["layers"].columns["gradient"][0]
    assert [one.name for one in figures({"": pair["start"]})] == ["law"]
    with pytest.raises(NothingToDraw, match="of no training"):
        drawn(pair["start"], "law_start")
    with pytest.raises(UnknownName, match="use 'start'"):
        drawn(made, "law", when="stat")


def test_series_are_layers_with_weights_evenly_by_depth(made):
    """First and last among at most eight, in order; layers that are asked for are drawn, whatever they are."""
    array = made.array("gradient")
    shown = drawn(made, "series")
    assert list(shown.series) == [name for name, role in zip(LAYERS, flowed.ROLES, strict=True) if role == "weight"]
    np.testing.assert_array_equal(shown.series["fc"], array[:, 7])
    np.testing.assert_array_equal(shown.x, made.tables["steps"].columns["step"])
    deep = flowed.flow(flowed.readings(30, 1, shape=flowed.chain(50)))
    names = list(drawn(deep, "series").series)
    assert (len(names), names[0], names[-1]) == (LINES, "features.0", "head")
    assert "8 of 50 layers are drawn." in drawn(deep, "series").healthy
    assert list(drawn(made, "series", layers=["layer1.0"]).series) == ["layer1.0"]
    with pytest.raises(UnknownName, match=r"use 'layer1\.0'"):
        drawn(made, "series", layers=["layer1.1"])


def test_cells_of_the_heat_map_are_medians_of_steps():
    """Columns are medians of log10, at most 120 of them; a bin with a NaN is NaN, one of zeros minus infinity."""
    long = flowed.flow(flowed.readings(300, 1))
    shown, values = drawn(long, "heat"), np.asarray(long.array("gradient"))
    assert len(shown.x) == 100 <= BINS
    wanted = [math.log10(sorted(values[i : i + 3, 0].tolist())[1]) for i in range(0, 300, 3)]
    np.testing.assert_allclose(shown.series["conv1"], wanted, rtol=1e-12)
    assert shown.x_label == "step, medians of 3 that were read"
    broken = drawn(flowed.broken(), "heat")
    assert np.isneginf(broken.series["layer1.0.conv1"][20:]).all()
    assert np.isnan(broken.series["layer1.0.conv2"][40:]).all()
    assert not np.isfinite(broken.series["conv1"][50:]).any()
    odd = binned(np.array([0.0, 0.0, 1.0, np.inf]), np.array([0, 3]))
    assert (odd[0], np.isfinite(odd[1])) == (-np.inf, False)


def test_shades_span_three_decades_at_least(made):
    """What hardly varies is of one shade; a wider range is as wide as it is."""
    narrow = flowed.readings()
    narrow.signals["gradient"][:] = 0.1 * (1 + narrow.signals["gradient"] / 10)
    low, high = drawn(flowed.flow(narrow), "heat").limits
    assert high - low == pytest.approx(3)
    cells = np.array(list(drawn(flowed.flow(narrow), "heat").series.values()))
    assert (low + high) / 2 == pytest.approx((cells.min() + cells.max()) / 2)
    vast = drawn(flowed.flow(flowed.readings(chi=0.01)), "heat")
    cells = np.array(list(vast.series.values()))
    assert vast.limits == (cells.min(), cells.max())


def test_the_loss_is_drawn_where_it_was_told(made):
    """The numbers of the steps; steps without are left out, and without any there is no figure."""
    told = made.tables["steps"].columns
    one = drawn(made, "loss")
    np.testing.assert_array_equal(one.series["loss"], told["loss"])
    np.testing.assert_array_equal(one.x, told["step"])
    some = np.where(np.arange(len(told["loss"])) % 3, np.nan, told["loss"])
    fewer = replace(made, tables={**made.tables, "steps": Table({**told, "loss": some})})
    np.testing.assert_array_equal(drawn(fewer, "loss").x, told["step"][::3])
    none = replace(made, tables={**made.tables, "steps": Table({**told, "loss": np.nan * told["loss"]})})
    with pytest.raises(NothingToDraw, match="no loss was told"):
        drawn(none, "loss")
    assert "loss" not in [one.name for one in figures({"": none})]


def test_zero_and_not_finite_cells_are_set_apart():
    """On paper grey and red, on the page told by their places: zero apart from what is not known."""
    one = drawn(flowed.broken(), "heat")
    canvas = plots.drawing(one)
    canvas.draw_without_rendering()
    image = canvas.axes[0].get_images()[0]
    shades = image.to_rgba(image.get_array())
    rgb = lambda tone: [int(tone[i : i + 2], 16) / 255 for i in (1, 3, 5)]  # noqa: E731
    np.testing.assert_allclose(shades[1, 30, :3], rgb(NONE), atol=0.01)
    np.testing.assert_allclose(shades[2, 50, :3], rgb(BAD), atol=0.01)
    np.testing.assert_allclose(shades[0, 55, :3], rgb(BAD), atol=0.01)
    told = plain(one)
    assert told["zero"]["layer1.0.conv1"] == list(range(20, 60))
    assert (told["zero"]["layer1.0.conv2"], told["series"]["layer1.0.conv2"][40]) == ([], None)
    assert canvas.axes[1].get_ylabel() == "log10 of the gradient"


def test_updates_are_ratios_of_weight_matrices_over_a_healthy_range(made):
    """Biases are left out; the range is shaded, also on the page."""
    one = drawn(made, "updates")
    array = made.array("update_ratio")
    assert [name for name in array.axes["parameter"] if name.endswith("weight")] == list(one.series)
    np.testing.assert_array_equal(one.series["fc.weight"], array[:, array.axes["parameter"].index("fc.weight")])
    assert plain(one)["range"] == one.healthy_range == (1e-4, 1e-2)
    low, high = (plots.drawing(one).axes[0].patches[0].get_extents().get_points()[:, 1] for _ in range(2))
    assert (low == high).all()
    assert list(drawn(made, "updates", parameters=["fc.bias"]).series) == ["fc.bias"]


def test_histograms_are_counted_one_by_one():
    """Each epoch's frame has the share of its steps in each bin; zero and NaN lower the hump."""
    for result in (flowed.flow(flowed.readings(300, 10, 0.3)), flowed.broken()):
        one = drawn(result, "histograms")
        values, names = np.asarray(result.array("gradient")), result.array("gradient").axes["layer"]
        epochs = result.tables["steps"].columns["epoch"]
        every = [values[:, names.index(name)] for name in one.parts[0].series]
        at = slow.edges(np.concatenate(every).tolist(), WIDTHS, BARS)
        assert one.title == "Gradient norms of the steps, epoch by epoch"
        assert [part.title for part in one.parts] == [f"epoch {epoch}" for epoch in sorted(set(epochs.tolist()))]
        for part in one.parts:
            rows = epochs == int(part.title.removeprefix("epoch "))
            np.testing.assert_allclose(part.x, [(a + b) / 2 for a, b in pairwise(at)], atol=1e-6)
            for name, shown in part.series.items():
                np.testing.assert_allclose(shown, slow.shares(values[rows, names.index(name)].tolist(), at))
    assert one.parts[-1].series["layer1.0.conv1"].sum() == 0
    assert one.parts[0].series["fc"].sum() == pytest.approx(1.0)


def test_frames_are_tenths_where_epochs_are_not_known():
    """Ten stretches of steps, as even as can be; fewer where steps are few, none where they are too few."""
    short = drawn(flowed.flow(flowed.readings(20, 6)), "histograms")
    assert short.parts[0].title == "steps 3 to 33"
    one = drawn(flowed.flow(flowed.readings(64, 1)), "histograms")
    assert [part.title for part in one.parts][::9] == ["steps 3 to 63", "steps 583 to 633"]
    assert len(drawn(flowed.flow(flowed.readings(9, 1)), "histograms").parts) == 2
    with pytest.raises(NothingToDraw, match="7 steps were read"):
        drawn(flowed.flow(flowed.readings(7, 1)), "histograms")
    many = drawn(flowed.flow(flowed.readings(800, 200)), "histograms")
    assert (len(many.parts), many.parts[0].title, many.parts[-1].title) == (40, "epoch 0", "epoch 199")


def test_bins_hold_fifty_decades_and_none():
    """Wide ranges have wide bins; without a positive number there are edges all the same."""
    for low in (1e-45, 1e-3):
        at = bins(np.array([[low, 0.5]]))
        assert len(at) - 1 <= BARS
        assert at[0] <= math.log10(low)
        assert at[-1] >= math.log10(0.5)
    assert bins(np.zeros((2, 2))).tolist()[::10] == [-1.0, 0.0]


def test_a_table_of_frames_has_a_row_for_each_bin_of_each_frame(made):
    """Led by the frame's name; the numbers are those that are drawn."""
    one = drawn(made, "histograms")
    rows = one.table().rows()
    assert len(rows) == sum(len(part.x) for part in one.parts)
    assert rows[-1]["frame"] == "epoch 5"
    assert rows[-1]["fc"] == one.parts[-1].series["fc"][-1]


def test_small_multiples_are_at_most_nine_with_common_axes(made):
    """Evenly chosen, the first and the last among them; one legend, colours along the ramp."""
    one = drawn(flowed.flow(flowed.readings(200, 20)), "histograms")
    canvas = plots.drawing(one)
    assert [axes.get_title(loc="left") for axes in canvas.axes][::8] == ["epoch 0", "epoch 19"]
    assert len(canvas.axes) == 9
    assert len({(*axes.get_xlim(), *axes.get_ylim()) for axes in canvas.axes}) == 1
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == list(one.parts[0].series)
    tones = [made.get_facecolor()[0, :3] for made in canvas.axes[0].collections]
    ends = [[int(RAMP[i][j : j + 2], 16) / 255 for j in (1, 3, 5)] for i in (0, -1)]
    np.testing.assert_allclose([tones[0], tones[-1]], ends, atol=0.01)


def test_a_gif_has_a_picture_for_each_frame(two, tmp_path):
    """As many as there are epochs, the same bytes twice, and nothing left beside it."""
    path = two.animate("histograms", tmp_path / "a.gif")
    with Image.open(path) as seen:
        assert (seen.format, seen.n_frames) == ("GIF", 2)
        first = seen.convert("RGB").tobytes()
        seen.seek(1)
        assert seen.convert("RGB").tobytes() != first
    assert two.animate("histograms", tmp_path / "b.gif").read_bytes() == path.read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.gif", "b.gif"]


def test_what_cannot_be_animated_is_refused_in_a_sentence(made, tmp_path, monkeypatch):
    """Another ending, a figure without frames, a folder that is not there, and no Pillow: each says what to do."""
    with pytest.raises(BadInput, match=r"does not end in \.gif\n.*name it .*a\.gif"):
        made.animate("histograms", tmp_path / "a.mp4")
    with pytest.raises(BadInput, match=r"does not change in time\n.*draw it: result\.plot\('law'\)"):
        made.animate("law", tmp_path / "a.gif")
    with pytest.raises(BadInput, match="name a folder that can be written"):
        made.animate("histograms", tmp_path / "none" / "a.gif")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BadInput, match=r"Pillow is not installed\n.*pip install pillow"):
        made.animate("histograms", tmp_path / "a.gif")


def test_a_kept_gif_outlives_a_failure(two, tmp_path, monkeypatch):
    """A disk that is full while a GIF is written leaves the one that was there, and no half of one."""
    path = tmp_path / "a.gif"
    path.write_bytes(b"kept")

    def full(writer):
        Path(writer.outfile).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.animation.PillowWriter.finish", full)
    with pytest.raises(BadInput, match="No space left on device"):
        two.animate("histograms", path)
    assert (path.read_bytes(), len(list(tmp_path.iterdir()))) == (b"kept", 1)


def test_series_as_json_are_norms_of_whole_batches():
    """The same mapping as of the readings; NaN is null, a layer without any is left out; what is no flow is refused."""
    made = flowed.readings()
    by_definition = (made.signals["gradient"] / np.sqrt(made.samples)[:, None]).T.tolist()
    wanted = dict(zip(made.calls["layer"].tolist(), by_definition, strict=True))
    told = json.loads(series_json(flowed.flow(made)))
    assert list(told) == list(wanted)
    for layer, norms in told.items():
        np.testing.assert_allclose(norms, wanted[layer], rtol=1e-14)
    assert told["fc"][0] == pytest.approx(made.signals["gradient"][0, 7] / 4)
    broken = json.loads(series_json(flowed.broken()))
    assert (broken["layer1.0.conv2"][-1], broken["conv1"][-1], set(broken["layer1.0"])) == (None, "Infinity", {0.0})
    made.signals["gradient"][:, 3] = np.nan
    assert [*json.loads(series_json(flowed.flow(made)))] == [one for one in LAYERS if one != "layer1.0"]
    with pytest.raises(BadInput, match="give the result of a flow"):
        series_json(Result("summary"))


def test_effects_are_the_rows_of_their_table():
    """Main effects first, the largest on top, then interactions; whiskers are the table's interval."""
    study = flowed.study()
    for name, outcome in (("effects", "decades"), ("effects_learning", "learned")):
        one = drawn(study, name)
        rows = {r["change"].replace(", ", " × "): r for r in study.table("effects") if r["outcome"] == outcome}
        assert sorted(one.x) == sorted(rows)
        assert [" × " in label for label in one.x] == [False] * 3 + [True] * 3
        for i, label in enumerate(one.x):
            told = [one.series[""][i], *(side[i] for side in one.bands[""])]
            assert told == [rows[label][key] for key in ("effect", "low", "high")]
        sizes = np.abs(one.series[""])[:3]
        assert (np.diff(sizes) <= 0).all()


def test_cells_and_curves_name_their_combinations():
    """Bars are the cells' numbers, most lost first; curves at most eight, by what was learned."""
    study = flowed.study()
    told = {row["cell"]: row for row in study.table("cells")}
    for name, outcome in (("cells", "decades"), ("cells_learning", "learned")):
        one = drawn(study, name)
        assert one.series[""].tolist() == [told[cell][outcome] for cell in one.x]
        assert one.bands[""][0].tolist() == [told[cell][f"{outcome}_low"] for cell in one.x]
    assert one.x[0].startswith("skip=none, norm=none")
    assert set(drawn(study, "curves").series) == set(told)
    many = flowed.study(1, dict.fromkeys("abcdef", ("on", "none")))
    assert len(drawn(many, "curves").series) == 8
    assert len(drawn(many, "cells").x) == 40
    assert "40 of 64 combinations" in drawn(many, "cells").healthy


def test_before_and_after_show_the_network_and_the_best_remedies():
    """As it is first, then the three best by rank; numbers and intervals are the table's, no layer is a gap."""
    made = flowed.prescription()
    one = drawn(made, "before_after")
    assert list(one.series) == ["as it is", "skip=residual", "norm=batch", "LSUV"]
    rows = {(row["remedy"], row["layer"]): row for row in made.table("before_after")}
    for remedy, values in one.series.items():
        assert values.tolist() == [rows[remedy, layer]["gradient"] for layer in one.x]
        assert one.bands[remedy][1].tolist() == [rows[remedy, layer]["high"] for layer in one.x]
    table = made.tables["before_after"].columns
    kept = ~((table["remedy"] == "LSUV") & (table["layer"] == "conv3"))
    fewer = {**made.tables, "before_after": Table({name: values[kept] for name, values in table.items()})}
    assert np.isnan(drawn(replace(made, tables=fewer), "before_after").series["LSUV"]).tolist().index(True) == 2
    assert list(drawn(made, "loss").series) == list(one.series)


def test_remedies_that_leave_the_law_as_it_is_are_no_lines_of_it():
    """A rate changes nothing at the start: the next remedy is drawn, and the loss has the rate."""
    made = flowed.prescription()
    told = {name: values.copy() for name, values in made.tables["before_after"].columns.items()}
    same, now = (told["remedy"] == name for name in ("norm=batch", "as it is"))
    told["gradient"][same] = told["gradient"][now]
    made = replace(made, tables={**made.tables, "before_after": Table(told)})
    lines = {name: drawn(made, name) for name in ("before_after", "loss", "ranking", "chi")}
    assert list(lines["before_after"].series) == ["as it is", "skip=residual", "LSUV", "init=orthogonal"]
    assert list(lines["loss"].series) == ["as it is", "skip=residual", "norm=batch", "LSUV"]
    every = ["as it is", "skip=residual", "LSUV", "init=orthogonal", "norm=batch"]
    assert all(one.tones == {name: i for i, name in enumerate(every)} for one in lines.values())


def test_a_remedy_has_one_colour_in_all_figures():
    """A line of the loss and a bar of the ranking; a remedy that is no line is grey; the page is told the same."""
    tones = {"b": 5, "a": 2}
    told = {"a": np.array([1.0, 2.0]), "b": np.array([2.0, 3.0])}
    lines = Figure("n", "t", "h.", "lines", ["x", "y"], told, "x", "unit", tones=tones)
    bars = Figure("n", "t", "h.", "bars", ["a", "b", "c"], {"": np.ones(3)}, "x", "unit", flat=True, tones=tones)
    colours = [line.get_color() for line in plots.drawing(lines).axes[0].lines]
    assert {COLOURS[2], COLOURS[5]} == set(colours)
    shown = [to_hex(bar.get_facecolor()) for bar in plots.drawing(bars).axes[0].patches]
    assert shown == [COLOURS[2], COLOURS[5], NONE]
    assert plain(bars)["tones"] == plain(lines)["tones"] == tones


def test_remedies_stand_in_their_order():
    """Ranking and chi have every remedy by rank with its interval, and chi the range in which gradient is kept."""
    made = flowed.prescription()
    rows = sorted(made.table("remedies"), key=lambda row: row["rank"])
    for name, measure in (("ranking", "loss_fall"), ("chi", "chi")):
        one = drawn(made, name)
        assert one.x == [row["remedy"] for row in rows]
        assert one.series[""].tolist() == [row[measure] for row in rows]
        assert one.bands[""][1].tolist() == [row[f"{measure}_high"] for row in rows]
    assert plain(one)["range"] == one.healthy_range == (0.95, 1.05)


def test_differences_are_over_the_reach_of_their_intervals():
    """The nearer end of each interval lies one reach from the number; what is certain without width is left out."""
    made = flowed.comparison()
    one = drawn(made, "differences")
    rows = made.table("largest")[:-1]
    assert one.x == [f"{layer} gradient" for layer in LAYERS]
    assert one.title == "What differs most (intervals are not corrected for their number)"
    for i, row in enumerate(rows):
        assert abs(one.series[""][i]) == pytest.approx(row["size"])
        assert np.sign(one.series[""][i]) == np.sign(row["difference"])
        low, high = (side[i] for side in one.bands[""])
        assert (high - low) / 2 == pytest.approx(1.0)
    same = replace(made, tables={"largest": Table.of(made.table("largest")[-1:])})
    with pytest.raises(NothingToDraw, match="excludes 0"):
        drawn(same, "differences")


def test_bars_that_lie_are_named_on_the_left_from_top_to_bottom():
    """Each bar's length, whisker and name, in order."""
    told = {"": np.array([2.0, -1.0])}
    one = Figure("n", "t", "h.", "bars", ["a$x$", 60 * "b"], told, "x", "unit", flat=True, healthy_range=(0.5, 1.0),
                 bands={"": (np.array([1.0, -2.0]), np.array([3.0, 0.0]))})  # fmt: skip
    axes = plots.drawing(one).axes[0]
    bars = [patch for patch in axes.patches if patch.get_height() == pytest.approx(0.8)]
    assert [bar.get_width() for bar in bars] == [2.0, -1.0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a$x$", "…" + 39 * "b"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    (whiskers,) = axes.collections
    assert [segment[:, 0].tolist() for segment in whiskers.get_segments()] == [[1.0, 3.0], [-2.0, 0.0]]
    assert axes.get_xlabel() == "unit"
    assert next(iter(whiskers.get_path_effects()))._gc["foreground"] == "white"


def test_the_section_has_verdicts_law_and_what_was_dismissed(tmp_path):
    """Findings first, then the figures, tables of the law and of what was considered and dismissed, and the words."""
    page = render(stored(tmp_path, {"flow/training": flowed.flow(verdicts=[flowed.verdict()])}))
    read = Reader(page)
    assert [a["id"] for a in read.attributes("section")] == ["findings", "flow", "words", "provenance"]
    holders = [a["data-chart"] for a in read.attributes("div") if "data-chart" in a]
    assert holders == [f"flow-{n}" for n in ("loss", "law_start", "law", "series", "heat", "updates", "histograms")]
    assert {"law, training", "considered and dismissed, training"} <= set(read.text["summary"])
    assert {"chi", "attenuation", "gradient of a layer", "update ratio", "lost update", "input dependence"} <= set(
        read.text["dt"]
    )
    assert "the loss is a mean over samples" in page
    (slider,) = [a for a in read.attributes("input") if a["type"] == "range"]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "5", "5")
    assert not re.search(r"\son\w+=", page[: page.index("<script")])
    charts = json.loads(read.text["script"][0], parse_constant=pytest.fail)
    assert charts["flow-histograms"]["titles"] == [f"epoch {i}" for i in range(6)]
    assert set(charts) == set(holders)


def test_a_fault_is_told_once_and_only_while_it_lasts(tmp_path):
    """What start, end and training all have is one finding; what only the start has is none, if there is more."""
    gone, stays = flowed.verdict("conv1"), flowed.verdict("fc")
    results = {"flow/start": flowed.flow(verdicts=[gone, stays])}
    for rest, told in (({}, ["conv1", "fc"]), ({"end": [stays], "training": [stays]}, ["fc"])):
        results |= {f"flow/{when}": flowed.flow(verdicts=said) for when, said in rest.items()}
        page = render(stored(tmp_path / str(len(results)), results))
        assert re.findall(r'"severity">finding</span> <code>([^<]*)', page) == told


def test_each_study_has_its_section_and_says_what_it_is(tmp_path):
    """Switches, remedies and a comparison: section, first sentence of the page, and their figures."""
    for label, results in flowed.EXTRA.items():
        page = render(stored(tmp_path / label, results()))
        read = Reader(page)
        key, said = {
            "study": ("switches", "The skip matters most."),
            "prescribe": ("remedies", "Type `skip=residual`: the loss falls."),
            "compare": ("comparison", "8 of 20 numbers differ; the interval of 9 excludes 0"),
        }[label]
        assert [a["id"] for a in read.attributes("section")] == [key, "words", "provenance"]
        head = page[page.index('<div class="said plain') : page.index("</header>")]
        assert said in head
        words = {"trunk, branch", "depth", "nats", "law", "chi", "attenuation"}
        assert len(read.text["dt"]) == len(set(read.text["dt"]))
        assert words <= set(read.text["dt"]) or key == "comparison"
        assert ("loss at the start" in read.text["dt"]) == (key == "remedies")
    healthy = render(stored(tmp_path / "flow", {"flow": flowed.flow()}))
    assert "No finding in how gradient flows." in healthy
    assert '<div class="said good">' in healthy


def test_what_one_side_lacks_is_folded(tmp_path):
    """Lists of rows that are only in a, or only in b, are below a word each; other notes stay in sight."""
    made = replace(flowed.comparison(), notes=("a: x; b: y", "only in a: rows: 'p'", "only in b: rows: 'q'"))
    read = Reader(render(stored(tmp_path, {"compare": made})))
    assert {"only in a", "only in b"} <= set(read.text["summary"])
    assert not any(line.startswith("only in") for line in read.text["li"])
    assert {"a: x; b: y", "rows: 'p'", "rows: 'q'"} <= set(read.text["li"])
