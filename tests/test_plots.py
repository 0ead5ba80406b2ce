"""Plots: every figure is drawn without a warning, at the width of a column, into every format."""

from __future__ import annotations

import io
import pickle
import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from torch import nn

import netassay as na
from netassay import plots
from netassay.errors import UnknownName
from netassay.figures import FIGURES, Figure, figure
from netassay.result import Table
from tests import flowed, similar, stitched
from tests.exchanged import exchange
from tests.initialised import oddly, profile, study
from tests.pages import WEIRD, X, Y, net

ALL = [(study, name) for study, made in FIGURES.items() for name in made]


def broken():
    made = net()
    nn.init.constant_(made.fc1.weight, float("nan"))
    return made


def silent():
    made = net(dead=True)
    nn.init.zeros_(made.head.weight)
    return made


MODELS = {
    "plain": net,
    "weird names": lambda: net(*WEIRD),
    "silent": silent,
    "not a number": broken,
    "one layer": lambda: nn.Linear(64, 10),
}

FC = [("fc1", 8, 64, "trunk"), ("head", 10, 8, "branch")]
WEIRDLY = [(WEIRD[0], 20, 64, "branch"), (WEIRD[1], 8, 20, "branch"), (WEIRD[2], 300, 8, "trunk")]
MAPS = {
    "plain": exchange,
    "weird names": lambda: exchange(WEIRDLY, residual=[f"{WEIRD[0]},{WEIRD[1]}"]),
    "silent": lambda: exchange(FC, scale={"head": 0.0}, residual=["fc1,head"]),
    "not a number": lambda: exchange(FC, scale={"fc1": np.nan}, residual=["fc1,head"]),
    "one layer": lambda: exchange([("model", 10, 64, "trunk")], residual=["model"]),
}

ODD = ("a$\\frac$ {b}", '"><b>', 60 * "e")
STUDIES = {
    "plain": lambda: study(("kaiming_normal", "ones", "zeros"), 2, ("conv1.weight", "conv1.bias")),
    "weird names": lambda: study(ODD, 1, ODD),
    "silent": lambda: study(("zeros", "kaiming_normal"), 2, ("fc2.bias", "fc2.weight")),
    "not a number": lambda: oddly(study(("kaiming_normal", "orthogonal"), 2, ("conv1.weight", "fc1.weight"))),
    "one layer": lambda: study(("orthogonal",), 1, ("weight",)),
}
OWN = {
    "plain": profile,
    "weird names": lambda: profile(ODD),
    "silent": lambda: profile(("fc2.weight",)),
    "not a number": lambda: oddly(profile(("conv1.weight", "fc1.weight"))),
    "one layer": lambda: profile(("weight",)),
}


def quiet():
    """A training at whose layers no gradient arrives."""
    made = flowed.readings()
    made.signals["gradient"][:] = 0
    return flowed.flow(made)


ODDLY = ((*ODD, "d.e", "fc"), (1, 2, 2, 3, 4), ("weight",) * 5, ("trunk", "branch", "branch", "trunk", "unknown"))
FLOWS = {
    "plain": flowed.flow,
    "weird names": lambda: flowed.flow(flowed.readings(shape=ODDLY)),
    "silent": quiet,
    "not a number": flowed.broken,
    "one layer": lambda: flowed.flow(flowed.readings(shape=flowed.chain(1))),
}
FACTORIALS = {
    "plain": flowed.study,
    "weird names": lambda: flowed.study(2, {ODD[0]: ODD, "norm": ("batch", "none")}),
    "silent": lambda: flowed.study(1, {"skip": ("residual", "none")}),
    "not a number": lambda: oddly(flowed.study()),
    "one layer": lambda: flowed.study(2, {"skip": ("residual", "none")}),
}
PRESCRIPTIONS = {
    "plain": flowed.prescription,
    "weird names": lambda: flowed.prescription(ODD),
    "silent": lambda: flowed.prescription(flowed.REMEDIES[:2]),
    "not a number": lambda: oddly(flowed.prescription()),
    "one layer": lambda: flowed.prescription(flowed.REMEDIES[:1]),
}
COMPARISONS = {
    "plain": flowed.comparison,
    "weird names": lambda: flowed.comparison(ODD),
    "silent": lambda: flowed.comparison(("conv1", "fc")),
    "not a number": lambda: endless(flowed.comparison(("a", "b"))),
    "one layer": lambda: flowed.comparison(("fc",)),
}
ALIKE = {
    "plain": lambda: similar.similarity_map(twin=True, measures=("cka", "procrustes")),
    "weird names": lambda: similar.similarity_map(ODD, WEIRD, sides=((WEIRD[0], "b"), (WEIRD[2],))),
    "silent": lambda: similar.unlike(similar.similarity_map()),
    "not a number": lambda: similar.undefined(similar.similarity_map(measures=("procrustes",)), "layer1.1.conv1"),
    "one layer": lambda: similar.similarity_map(("fc",), ("fc", "fc2")),
}
SIZES = {
    "plain": similar.trend,
    "weird names": lambda: similar.trend({ODD[0]: {ODD[1]: 2, WEIRD[1]: 4, ODD[2]: 6}}),
    "silent": lambda: similar.trend({"mlp": {"mlp[4,4]": 2}}),
    "not a number": lambda: oddly(similar.trend()),
    "one layer": lambda: similar.trend({"mlp": {"mlp[4]": 1, "mlp[5]": 1}, "cnn": {"cnn": 1}}),
}
STITCHED = {
    "plain": lambda: stitched.stitch_grid(nets=(("p", "q"), ("r",)), pictures=2),
    "weird names": lambda: stitched.stitch_grid(ODD, nets=((WEIRD[0], "b"), (WEIRD[2],)), pictures=1),
    "silent": lambda: stitched.stitch_grid(controls=(), nets=(("p", "q"), ("r",)), pictures=2),
    "not a number": lambda: stitched.undone(
        stitched.stitch_grid((*stitched.LAYERS, stitched.INSIDE), nets=(("p",), ("q", "r")), pictures=2)
    ),
    "one layer": lambda: stitched.stitch_grid(("fc",), nets=(("p", "q"), ("r",)), pictures=2),
}


def endless(made):
    """Return a comparison whose first interval has no upper end."""
    rows = made.table("largest")
    rows[0]["difference_high"] = np.inf
    return replace(made, tables={"largest": Table.of(rows)})


MADE = {"flow": FLOWS, "flow_study": FACTORIALS, "prescribe": PRESCRIPTIONS, "compare": COMPARISONS}
MADE |= {"similarity_map": ALIKE, "similarity_trend": SIZES, "stitch_grid": STITCHED}
MADE |= {
    "stitch_trend": {name: lambda make=make: replace(make(), study="stitch_trend") for name, make in SIZES.items()}
}


@pytest.fixture(scope="module")
def results():
    profiles = {name: na.channel_profile(make(), (X, Y)) for name, make in MODELS.items()}
    summaries = {name: na.summary(make(), input_size=(1, 64)) for name, make in MODELS.items()}
    maps = {name: make() for name, make in MAPS.items()}
    signals = {name: na.signal(make(), (X, Y)) for name, make in MODELS.items()}
    studies = {name: make() for name, make in STUDIES.items()}
    own = {name: make() for name, make in OWN.items()}
    return {
        "channel_profile": profiles, "summary": summaries, "exchange_map": maps, "init_study": studies,
        "init_profile": own, "signal": signals,
        **{study: {name: make() for name, make in made.items()} for study, made in MADE.items()},
    }  # fmt: skip


@pytest.mark.parametrize(("study", "name"), ALL)
@pytest.mark.parametrize("model", MODELS)
def test_every_figure_is_drawn_for_every_model(results, study, name, model):
    """Nothing warns, whatever the names and numbers, and there is ink on the canvas."""
    canvas = results[study][model].plot(name)
    out = io.BytesIO()
    canvas.savefig(out, format="png")
    assert out.getvalue().startswith(b"\x89PNG")
    assert any(axes.has_data() or axes.collections for axes in canvas.axes)


def test_a_network_without_parameters_has_an_empty_figure():
    """Where there is nothing to draw, axes without bars are drawn, without a warning."""
    canvas = na.summary(nn.Identity(), input_size=(1, 64)).plot("structure")
    canvas.savefig(io.BytesIO(), format="pdf")
    assert not canvas.axes[0].patches


@pytest.mark.parametrize(("study", "name"), ALL)
def test_files_of_every_format_are_written(results, study, name, tmp_path):
    """PDF and SVG are what they say; text stays text, in fonts that a journal accepts."""
    canvas = results[study]["plain"].plot(name)
    canvas.savefig(tmp_path / "figure.pdf")
    canvas.savefig(tmp_path / "figure.svg")
    paper = (tmp_path / "figure.pdf").read_bytes()
    assert paper.startswith(b"%PDF")
    assert (b"/Type3" in paper, b"/CIDFontType2" in paper) == (False, True)
    assert b"</svg>" in (tmp_path / "figure.svg").read_bytes()[-20:]


def test_a_figure_is_the_same_file_twice(results):
    """Drawn and saved again, an SVG has the same ids; a figure that was pickled saves the same."""
    files = []
    for canvas in (results["summary"]["plain"].plot(), pickle.loads(pickle.dumps(results["summary"]["plain"].plot()))):
        files.append(io.StringIO())
        canvas.savefig(files[-1], format="svg", metadata={"Date": None})
    assert files[0].getvalue() == files[1].getvalue()


@pytest.mark.parametrize(("study", "name"), ALL)
def test_a_figure_is_a_column_or_a_page_wide(results, study, name):
    """3.4 inches, or 7 where it is wide: what two-column papers have."""
    result = results[study]["plain"]
    wide = FIGURES[study][name]({"": result}).wide
    assert result.plot(name).get_figwidth() == (7.0 if wide else 3.4)


def test_drawing_leaves_the_users_style_alone(results):
    """Only the figure itself has the house's style."""
    with mpl.rc_context({"font.size": 9.5, "pdf.fonttype": 3}):
        before = dict(mpl.rcParams)
        results["summary"]["plain"].plot().savefig(io.BytesIO(), format="pdf")
        assert dict(mpl.rcParams) == before


def test_lines_show_the_numbers_and_hollow_points_lie_on_a_branch():
    """Points are where the series is; log axes leave out what is not positive; marks are drawn hollow."""
    one = Figure(
        "n", "t", "h.", "lines", ["a", "b", "c"], {"end": np.array([1.0, 0.0, 3.0])}, "layer", "size",
        log=True, marks=frozenset("c"),
    )  # fmt: skip
    axes = plots.drawing(one).axes[0]
    line, filled, hollow = axes.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), [1.0, np.nan, 3.0])
    assert (filled.get_xdata().tolist(), hollow.get_xdata().tolist()) == ([0, 1], [2])
    assert hollow.get_markerfacecolor() == "white"
    assert axes.get_yscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "c"]


def test_boxes_on_a_logarithmic_axis_leave_out_what_is_zero():
    """A whisker to zero is left out, and a box that begins at zero is none; linear axes show both."""
    rows = np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 2.0, 3.0, 4.0]])
    one = Figure("n", "t", "h.", "boxes", ["a", "b"], {"absorption": rows}, "channel", "size", log=True)
    drawn = [line.get_ydata() for line in plots.drawing(one).axes[0].get_lines()]
    assert sum(np.isfinite(np.asarray(y, dtype=float)).all() for y in drawn) == 4  # box, upper whisker, its cap, median
    linear = plots.drawing(replace(one, log=False)).axes[0].get_lines()
    assert all(np.isfinite(line.get_ydata()).all() for line in linear)


def test_a_panel_is_a_grid_of_absorption_above_emission(results):
    """One column a layer: its name above, absorption over emission, both on logarithmic axes."""
    axes = results["exchange_map"]["plain"].plot("panel").axes
    assert [(at.rowspan.start, at.colspan.start) for at in (one.get_subplotspec() for one in axes)] == [
        (row, column) for row in range(2) for column in range(4)
    ]
    assert [one.get_title() for one in axes] == ["conv1", "layer1.0.conv2", "layer2.0.conv1", "fc", *4 * [""]]
    assert [one.get_xlabel() for one in axes] == [*4 * ["input channel"], *4 * ["output channel"]]
    assert {one.get_yscale() for one in axes} == {"log"}


def test_ribbons_are_as_wide_as_their_links(results):
    """Every piece of a link is a band of its width, from one node to the next; they fill the canvas and no more."""
    one = figure({"": results["exchange_map"]["plain"]}, "sankey")
    axes = plots.drawing(one).axes[0]
    nodes, pieces = one.flow.routed(one.series["width"])
    bands = [np.concatenate([path.vertices for path in made.get_paths()]) for made in axes.collections[: len(pieces)]]
    widths = sorted(np.ptp(band[np.isclose(band[:, 0], band[:, 0].min())][:, 1]) for band in bands)
    wanted = np.array(sorted(piece.width for piece in pieces))
    np.testing.assert_allclose(np.array(widths) / widths[-1], wanted / wanted[-1], rtol=1e-6)
    tall = np.concatenate([path.vertices for made in axes.collections for path in made.get_paths()])[:, 1]
    assert (tall.min() > -1e-9, tall.max()) == (True, pytest.approx(1.0))
    assert len(axes.collections) == len(pieces) + len(nodes)


def test_start_and_end_keep_their_colours_and_a_legend(results):
    """Two results have a legend, and the colours that the page gives them."""
    pair = {"start": results["channel_profile"]["plain"], "end": results["channel_profile"]["silent"]}
    axes = plots.draw(pair, "signal").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["start", "end"]
    assert [line.get_color() for line in axes.get_lines()[::3]] == [plots.NAMED["start"], plots.NAMED["end"]]
    assert results["channel_profile"]["plain"].plot("signal").axes[0].get_legend() is None


def test_deep_networks_label_every_so_many_layers():
    """Four hundred layers have about forty labels, and no points."""
    x = [f"layer{i}" for i in range(400)]
    axes = plots.drawing(Figure("n", "t", "h.", "lines", x, {"": np.ones(400)}, "layer", "size")).axes[0]
    assert len(axes.get_xticks()) == 40
    assert len(axes.get_lines()) == 1


def test_a_long_name_shows_its_end_and_dollars_stay_dollars(results):
    """Names are cut at the front, where layers are alike, and are not read as mathematics."""
    labels = [
        tick.get_text() for tick in results["channel_profile"]["weird names"].plot("signal").axes[0].get_xticklabels()
    ]
    assert labels[0] == WEIRD[0]
    assert labels[2] == "…" + 39 * "e"
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        plots.drawing(Figure("n", "t", "h.", "bars", ["a$x$"], {"": np.ones(1)}, "layer", "y")).savefig(
            out, format="svg"
        )
    assert re.search(r">a\$x\$<", out.getvalue())


def test_the_first_figure_is_drawn_by_default(results):
    """Without a name it is the study's first; an unknown one is answered with the nearest."""
    drawn = results["channel_profile"]["plain"].plot()
    assert drawn.get_suptitle() == "Gradient that arrives at each layer"
    with pytest.raises(UnknownName, match="use 'outputs'"):
        results["channel_profile"]["plain"].plot("output")


def test_without_matplotlib_a_sentence_says_what_to_install(results, monkeypatch):
    """Nothing but drawing needs it."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(na.errors.BadInput, match="pip install matplotlib"):
        results["summary"]["plain"].plot()
