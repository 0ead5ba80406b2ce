"""Figures of an initialisation study: what cells, lines and bars show is what its tables and arrays say."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from netassay import plots
from netassay.errors import BadInput, UnknownName
from netassay.figures import Figure, figure, figures
from netassay.figures.density import ends, tidied, top
from netassay.figures.distributions import spoken
from netassay.plots.kinds import COLOURS
from netassay.report import page as written
from netassay.report.sections import Section
from netassay.result import Array, Table
from netassay.store import create, open_run
from tests.initialised import INPUTS, PARAMETERS, SCHEMES, profile, study

ODD = ("<b>", "a & b", "c")


@pytest.fixture(scope="module")
def made():
    return study()


def changed(result, name, **columns):
    table = result.tables[name].columns
    return replace(result, tables={**result.tables, name: Table({**table, **columns})})


def test_weights_are_a_row_for_each_scheme_and_a_column_for_each_parameter(made):
    """Every cell draws the densities of its own start and end over its own edges."""
    drawn = figure({"": made}, "weights")
    assert [(part.y_label, part.title) for part in drawn.parts] == [(s, p) for s in SCHEMES for p in PARAMETERS]
    density, edges = made.array("weights/density"), made.array("weights/edges")
    part = drawn.parts[3 * 10 + 4]
    np.testing.assert_array_equal(part.x, edges[3, 4])
    np.testing.assert_array_equal(part.series["start"], density[3, 4, 0])
    np.testing.assert_array_equal(part.series["end"], density[3, 4, 2])
    assert list(part.series) == ["start", "end"]


def test_a_cells_words_are_means_over_seeds(made):
    """Mean, standard deviation and skewness are those of the table, averaged over its seeds; counts are added."""
    drawn = figure({"": made}, "weights")
    part = drawn.parts[0]
    rows = [
        row
        for row in made.table("weights")
        if (row["scheme"], row["parameter"], row["when"]) == (SCHEMES[0], PARAMETERS[0], "end")
    ]
    assert len(rows) == 3
    for name in ("mean", "std", "skewness", "q05", "gaussian"):
        assert part.numbers["end"][name] == pytest.approx(np.mean([row[name] for row in rows]))
    assert part.numbers["end"]["n"] == sum(row["n"] for row in rows)
    assert part.said[1] == spoken("end", part.numbers["end"])
    told = drawn.table().rows()
    assert [told[1][key] for key in ("scheme", "parameter", "series")] == [SCHEMES[0], PARAMETERS[0], "end"]
    assert (told[1]["std"], len(told)) == (part.numbers["end"]["std"], 140)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"mean": 0.0102, "std": 0.1423, "skewness": -0.31}, "end 0.01 ± 0.14, skew −0.3"),
        ({"mean": -1e-9, "std": 0.11, "skewness": -0.01}, "end 0 ± 0.11, skew 0.0"),
        ({"mean": 43.21, "std": 1234.0, "skewness": float("nan")}, "end 0 ± 1200"),
        ({"mean": 1.0, "std": 2e-6, "skewness": 0.0, "nan": 2, "inf": 1}, "end 1 ± 2e-06, skew 0.0, 3 not finite"),
        ({"mean": 1.0, "std": 0.0, "skewness": float("nan")}, "end 1, constant"),
        ({"mean": float("nan"), "std": float("nan"), "nan": 9, "inf": 0}, "end: nothing finite"),
        (None, "end: not measured"),
    ],
)
def test_a_distribution_in_words(told, said):
    """The mean has the digits of the standard deviation; what is constant or not finite says so."""
    assert spoken("end", told) == said


def test_what_is_constant_is_one_bar():
    """Edges without a width become bins around the value, all of it in the middle one, whatever its density was."""
    for density in (np.nan, np.inf, 7.0):
        edges, drawn = tidied(np.full(5, 2.0), {"start": np.full(4, density), "end": np.zeros(4)})
        assert (edges[0], edges[-1], np.count_nonzero(drawn["start"]), list(drawn)) == (1.0, 3.0, 1, ["start"])
        assert (drawn["start"] * np.diff(edges)).sum() == pytest.approx(1.0)
    edges, drawn = tidied(np.arange(4.0), {"start": np.array([0, np.inf, 0]), "end": np.array([0, np.nan, 1.0])})
    assert (drawn["start"].tolist(), drawn["end"].tolist()) == ([0, 1, 0], [0, 0, 1])
    edges, drawn = tidied(np.full(4, np.nan), {"start": np.ones(3)})
    assert (edges.tolist(), drawn) == ([0, 1 / 3, 2 / 3, 1], {})


def cell(**series):
    size = len(next(iter(series.values()))) + 1
    return Figure("n", "t", "", "density", np.linspace(-1.0, 3.0, size), series, "value", "row")


def test_a_lone_bar_does_not_flatten_the_rest():
    """A constant start beside a spread end, or the zeros of a ReLU, are cut; a peak among its like is not."""
    spread = np.array([1.0, 2.0, 3.0, 2.0])
    assert top(cell(start=np.array([0, 60.0, 0, 0]), end=spread)) == 3.0
    assert top(cell(end=np.array([90.0, 4.0, 3.0, 2.0]))) == 6.0
    assert top(cell(end=np.array([9.0, 4.0, 3.0, 2.0]))) == 9.0
    assert top(cell(start=np.array([0, 60.0, 0, 0]))) == 60.0
    assert top(cell(start=np.zeros(3))) == 1.0


def test_the_ends_of_an_axis_are_told_apart():
    """Two digits where they do, more where the axis is short beside its place."""
    assert ends(cell(end=np.ones(4))) == ("−1", "3")
    near = replace(cell(end=np.ones(2)), x=np.array([0.9999, 1.0, 1.0001]))
    assert len(set(ends(near))) == 2
    assert ends(replace(near, x=np.array([0.0, 351.0]))) == ("0", "350")


def test_features_are_of_the_place_that_is_asked_for(made):
    """Before the logits by default; by name any other; an unknown one is answered with those there are."""
    drawn = figure({"": made}, "features")
    assert drawn.title == "What goes into fc1, the last weight layer"
    assert [part.title for part in drawn.parts[:3]] == list(INPUTS)
    chosen = figure({"": made}, "features", place="conv1 after")
    density = made.array("features/density")
    np.testing.assert_array_equal(chosen.parts[4].series["end"], density[1, 1, 1, 2])
    rows = [row for row in made.table("features") if (row["scheme"], row["place"]) == (SCHEMES[1], "after")]
    stds = [row["std"] for row in rows if (row["input"], row["when"]) == ("valid", "end")]
    assert chosen.parts[4].numbers["end"]["std"] == pytest.approx(np.mean(stds))
    assert figure({"": made}, "features_before").title == "Output of conv1, before its nonlinearity"
    with pytest.raises(UnknownName, match="use 'conv1 after'"):
        figure({"": made}, "features", place="conv1 afer")


def test_weights_of_deep_networks_show_ten_parameters():
    """The first, the last and some between; by name those that are asked for."""
    deep = study(("ones",), 1, tuple(f"layer{i}.weight" for i in range(30)))
    shown = [part.title for part in figure({"": deep}, "weights").parts]
    assert (len(shown), shown[0], shown[-1]) == (10, "layer0.weight", "layer29.weight")
    asked = figure({"": deep}, "weights", parameters=["layer7.weight"])
    assert ([part.title for part in asked.parts], asked.columns) == (["layer7.weight"], 1)
    with pytest.raises(UnknownName, match=r"parameter of init_study 'layer7\.bias'"):
        figure({"": deep}, "weights", parameters=["layer7.bias"])


def test_a_study_that_broke_off_shows_its_start(made):
    """Without an end, cells hold the start alone; a scheme without rows says that it was not measured."""
    array = made.array("weights/density")
    arrays = {**made.arrays, "weights/density": Array(np.asarray(array)[:, :, :1], **{**array.axes, "when": ["start"]})}
    table = made.tables["weights"].columns
    kept = {name: values[table["scheme"] != "ones"] for name, values in table.items()}
    broken = replace(made, arrays=arrays, tables={**made.tables, "weights": Table(kept)})
    drawn = figure({"": broken}, "weights")
    assert {tuple(part.series) for part in drawn.parts} == {("start",)}
    assert drawn.parts[SCHEMES.index("ones") * 10].said == ("start: not measured",)
    assert len(drawn.table()) == 60


def test_loss_is_the_mean_over_seeds_in_bins_of_steps(made):
    """At most two hundred points; bands from the lowest seed to the highest, each the mean over the bin."""
    drawn = figure({"": made}, "loss")
    told = made.tables["curves"].columns
    curves = told["loss"][told["scheme"] == "orthogonal"].reshape(3, 200, 3).mean(2)
    np.testing.assert_allclose(drawn.series["orthogonal"], curves.mean(0))
    np.testing.assert_allclose(drawn.bands["orthogonal"], (curves.min(0), curves.max(0)))
    np.testing.assert_allclose(drawn.x, np.arange(600).reshape(200, 3).mean(1))
    assert drawn.x_label == "step, means of 3"
    assert drawn.table().columns["ones low"] is drawn.bands["ones"][0]


def test_a_seed_whose_loss_is_not_finite_ends_the_line(made):
    """The mean is a gap from there on; the band holds the other seeds."""
    told = made.tables["curves"].columns
    loss = told["loss"].copy()
    loss[(told["scheme"] == "ones") & (told["seed"] == 1) & (told["step"] >= 300)] = np.inf
    drawn = figure({"": changed(made, "curves", loss=loss)}, "loss")
    assert np.isnan(drawn.series["ones"]).tolist() == [False] * 100 + [True] * 100
    assert all(np.isfinite(side).all() for side in drawn.bands["ones"])


def test_depth_has_each_prediction_dashed_in_its_schemes_colour(made):
    """Layers by depth whatever the order of rows; measured with a band, predicted dashed; zeros are a gap."""
    told = made.tables["signal"].columns
    mixed = changed(made, "signal", **{name: values[::-1] for name, values in told.items()})
    drawn = figure({"": mixed}, "depth")
    assert list(drawn.x) == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    rows = told["scheme"] == "orthogonal"
    np.testing.assert_array_equal(drawn.series["orthogonal"], told["measured"][rows])
    np.testing.assert_array_equal(drawn.series["orthogonal predicted"], told["predicted"][rows])
    np.testing.assert_array_equal(drawn.bands["orthogonal"], (told["low"][rows], told["high"][rows]))
    axes = plots.drawing(drawn).axes[0]
    dashed = [line.get_color() for line in axes.get_lines() if line.get_linestyle() == "--"][:7]
    assert dashed == list(COLOURS[:7])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [*SCHEMES[::-1], "predicted"]
    band = axes.collections[list(drawn.bands).index("orthogonal")].get_datalim(axes.transData)
    assert (band.y0, band.y1) == (pytest.approx(told["low"][rows].min()), pytest.approx(told["high"][rows].max()))


def test_shift_leaves_out_what_began_constant(made):
    """Bars are the log variance ratios with their intervals; parameters without a finite one are left out."""
    drawn = figure({"": made}, "shift")
    assert list(drawn.x) == [name for name in PARAMETERS if name.endswith("weight")]
    told = made.tables["shift"].columns
    rows = (told["scheme"] == "orthogonal") & np.isfinite(told["log_variance_ratio"])
    np.testing.assert_array_equal(drawn.series["orthogonal"], told["log_variance_ratio"][rows])
    np.testing.assert_array_equal(drawn.bands["orthogonal"][1], told["log_variance_ratio_high"][rows])
    assert np.isnan(drawn.series["ones"]).all()
    axes = plots.drawing(drawn).axes[0]
    whiskers = axes.collections[list(drawn.series).index("orthogonal")].get_segments()
    np.testing.assert_allclose(whiskers[2][:, 1], [told[f"log_variance_ratio_{s}"][rows][2] for s in ("low", "high")])
    still = changed(made, "shift", log_variance_ratio=np.full(70, np.inf))
    with pytest.raises(BadInput, match="began, or ended, constant"):
        figure({"": still}, "shift")


def test_a_profile_is_wrapped_and_has_one_bar_a_parameter():
    """Four cells a row, each with its own title; the table leads with the parameter; bars have no whiskers."""
    result = profile()
    drawn, bars = figures({"": result})
    assert (drawn.columns, [part.title for part in drawn.parts]) == (4, list(PARAMETERS))
    assert list(drawn.table().columns)[:3] == ["parameter", "series", "n"]
    assert (list(bars.series), bars.bands) == (["end / start"], {})
    axes = plots.drawing(drawn).axes
    assert [one.get_title(loc="left") for one in axes] == list(PARAMETERS)


def test_a_study_without_features_draws_the_rest(made):
    """What was not measured is left out; asked for by name, a sentence says what is missing."""
    arrays = {name: array for name, array in made.arrays.items() if not name.startswith("features")}
    without = replace(made, arrays=arrays, tables={**made.tables, "signal": Table({})})
    assert [one.name for one in figures({"": without})] == ["weights", "loss", "accuracy", "shift"]
    with pytest.raises(BadInput, match="holds no features"):
        figure({"": without}, "features")


def test_nothing_in_a_grid_overlaps(made):
    """Seventy cells on a page: no word of a cell reaches into the next one, leaves the paper, or is tiny."""
    canvas = figure_of(made, "weights")
    words = [text for axes in canvas.axes for text in [*axes.texts, axes.title, axes._left_title] if text.get_text()]
    words += canvas.texts
    assert min(text.get_fontsize() for text in words) >= 3.5
    boxes = [(text.get_text(), text.get_window_extent().extents) for text in words]
    inches = canvas.get_size_inches() * canvas.dpi
    for name, (x0, y0, x1, y1) in boxes:
        assert min(x0, y0) >= 0, name
        assert max(x1 - inches[0], y1 - inches[1]) <= 0, name
    extents = np.array([box for _, box in boxes])
    meet = np.minimum(extents[:, None, 2:], extents[None, :, 2:]) - np.maximum(
        extents[:, None, :2], extents[None, :, :2]
    )
    pairs = np.argwhere((meet > 0.6).all(2) & ~np.eye(len(boxes), dtype=bool))
    assert [(boxes[i][0], boxes[j][0]) for i, j in pairs] == []


def figure_of(result, name):
    canvas = plots.draw(result, name)
    canvas.savefig(io.BytesIO(), format="png")
    return canvas


def test_a_cell_is_drawn_as_its_histogram(made):
    """A shade and an outline for each series, over its edges, up to the top; the ends stand below."""
    canvas = figure_of(made, "features")
    drawn = figure({"": made}, "features")
    axes, part = canvas.axes[4], drawn.parts[4]
    assert [patch.get_data().values.tolist() for patch in axes.patches[::2]] == [
        v.tolist() for v in part.series.values()
    ]
    assert axes.get_ylim() == (0, pytest.approx(1.04 * top(part)))
    assert [text.get_text() for text in axes.texts[:2]] == list(ends(part))
    assert canvas.axes[0].get_title(loc="left") == "train"
    assert "kaiming_uniform" in [text.get_text() for text in canvas.texts]


def page_of(folder, *drawn):
    with create(folder, model="m") as writer:
        writer.add("init_profile", profile(("weight",)))
    return open_run(folder), [Section("init", "Initialisation", "Seen.", figures=drawn)]


def test_a_page_holds_every_cell_and_its_words(made, tmp_path, monkeypatch):
    """Cells carry densities, edges and height; heads and words are text, escaped; the page stays small."""
    run, sections = page_of(tmp_path, *figures({"": study(ODD, 1, ODD)}), figure({"": made}, "weights"))
    monkeypatch.setattr(written, "sections", lambda run, results: sections)
    page = written.render(run)
    cells = json.loads(re.search(r'id="cells">(.*?)</script>', page, re.DOTALL)[1])
    assert set(cells) == set(re.findall(r'data-cell="([^"]+)"', page))
    part = figure({"": made}, "weights").parts[2]
    told = cells["init-weights-2"]
    assert (told["from"], told["at"][0], told["at"][-1]) == (part.x[0], 0.0, 1.0)
    np.testing.assert_allclose(dict(told["series"])["end"], part.series["end"], rtol=1e-3)
    assert "<b>" not in re.findall(r'<th scope="row"><span>(.*?)</span>', page)
    assert '<th scope="col" title="&lt;b&gt;">&lt;b&gt;</th>' in page
    assert len(page) - len(written._asset("vendor/echarts.min.js")) < 700_000


def test_colours_are_those_of_the_style_sheet():
    """Thirteen, alike on paper and on the page, in light and in print; and thirteen in the dark."""
    style = written._asset("page.css")
    sheets = [
        re.findall(r"--c(\d+): (#[0-9a-f]{6})", part)
        for part in re.split(r"prefers-color-scheme|data-print\] \{", style)
    ]
    light, dark, printed = (dict(sheet) for sheet in sheets[:3])
    assert list(light.values()) == list(printed.values()) == list(COLOURS)
    assert (list(dark), len(set(dark.values()))) == (list(light), 13)


def test_a_curve_that_broke_off_tears_no_other():
    """The last step of a training that diverged lies between the others' steps, and leaves them whole."""
    made = study(SCHEMES[:2], seeds=1)
    rows = [row for row in made.table("curves") if row["scheme"] == SCHEMES[0]]
    broken = [{**row, "scheme": SCHEMES[1]} for row in rows[:3]] + [{**rows[0], "scheme": SCHEMES[1], "step": 2.5}]
    drawn = figure({"": replace(made, tables={"curves": Table.of(rows + broken)})}, "loss")
    assert np.isfinite(drawn.series[SCHEMES[0]]).all()


def test_a_prediction_that_begins_anew_says_where():
    """Layers behind what theory has no rule for are named below the figure."""
    made = study(SCHEMES[:2], seeds=1)
    columns = dict(made.tables["signal"].columns)
    columns["anchored"] = columns["layer"] == "conv2"
    drawn = figure({"": replace(made, tables={"signal": Table(columns)})}, "depth")
    assert "At conv2 it begins anew from what is measured before." in drawn.healthy
    assert "begins anew" not in figure({"": made}, "depth").healthy


def test_weights_come_before_what_has_few_numbers():
    """Where there are too many parameters for a grid, biases and gains are what is left out."""
    names = tuple(f"layer{i}.{kind}" for i in range(20) for kind in ("weight", "bias"))
    made = study(("ones",), 1, names)
    columns = dict(made.tables["weights"].columns)
    columns["n"] = np.where(np.char.endswith(columns["parameter"], "weight"), 900, 30)
    shown = figure({"": replace(made, tables={**made.tables, "weights": Table(columns)})}, "weights").parts
    assert {part.title.partition(".")[2] for part in shown} == {"weight"}
    assert (len(shown), shown[0].title, shown[-1].title) == (10, "layer0.weight", "layer19.weight")


def test_accuracies_are_those_of_the_schemes_with_their_intervals(made):
    """A bar for each scheme, and a whisker from the lower end of its interval to the upper."""
    drawn, table = figure({"": made}, "accuracy"), made.tables["schemes"].columns
    assert list(drawn.x) == table["scheme"].tolist()
    np.testing.assert_array_equal(drawn.series[""], table["accuracy"])
    np.testing.assert_array_equal(drawn.bands[""], (table["accuracy_low"], table["accuracy_high"]))
