"""Figures and section of stitching: maps are the arrays on scales of their own, points are cells, and the words."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from netassay import plots
from netassay.errors import NothingToDraw, UnknownName
from netassay.figures import figure, figures, stitching_cells
from netassay.report.charts import plain
from netassay.report.page import render
from netassay.result import Array, Result, Table
from netassay.studies import stitch_claims
from tests import stitched
from tests.test_page import Reader, stored


def drawn(result, name, **options):
    return figure({"": result}, name, **options)


def cells(part):
    return np.array(list(part.series.values()))


def test_a_grid_is_drawn_beside_its_control_its_penalty_and_its_distance():
    """Rows send and columns receive, as the axes say; each map has its numbers, its scale and the scale's meaning."""
    made = stitched.stitch_grid(stitched.LAYERS, stitched.LAYERS[:4])
    one = drawn(made, "grids")
    wanted = {
        "accuracy": "accuracy",
        "random sender": "accuracy/random_sender",
        "penalty": "penalty",
        "distance": "mse",
    }
    assert [part.name for part in one.parts] == list(wanted)
    for part, name in zip(one.parts, wanted.values(), strict=True):
        array = made.arrays[name]
        assert (list(part.series), list(part.x)) == (
            list(array.axes["sender layer"]),
            list(array.axes["receiver layer"]),
        )
        np.testing.assert_array_equal(cells(part), array)
        assert (part.y_label, part.x_label) == ("sender: a net", "receiver: b net")
    assert [part.unit for part in one.parts] == ["accuracy", "accuracy", "penalty", "distance"]
    assert "Rows send (a net), columns receive (b net)" in one.healthy
    assert one.parts[0].title == "accuracy: affine, closed form"


def test_bright_is_good_on_every_scale():
    """Accuracy rises from chance to the receiver's; penalty falls to 0, distance from twice a constant's."""
    made = stitched.stitch_grid()
    accuracy, control, penalty, distance = (part.limits for part in drawn(made, "grids").parts)
    assert accuracy == control == (0.0, 0.95)
    told = replace(made, provenance={**made.provenance, "classes": 4})
    assert (drawn(told, "grids").parts[0].limits, drawn(told, "grids").parts[0].ends[0]) == ((0.25, 0.95), "chance")
    assert (penalty[0], penalty[1]) == pytest.approx((0.9, 0.0))
    assert np.nanmin(made.array("penalty")) < 0
    assert (made.array("mse").max() > 2, distance) == (True, (2.0, 0.0))
    near = replace(made, arrays={**made.arrays, "mse": Array(made.array("mse") / 50, **made.array("mse").axes)})
    assert drawn(near, "grids").parts[3].limits == (1.0, 0.0)
    axes = plots.drawing(drawn(made, "grids")).axes
    first, last = (axes[i].images[0] for i in (0, 3))
    assert first.get_cmap()(0.0) == last.get_cmap()(1.0)
    bars = [one for one in axes if not one.images or one.get_ylim() == (2.0, 0.0)]
    assert len(bars) == 4
    assert [axes[i].get_title(loc="left") for i in (1, 2)] == [
        "accuracy\nrandom sender", "penalty\naccuracy lost against the receiver",
    ]  # fmt: skip
    assert {(bar.get_title(loc="left"), bar.get_xlabel()) for bar in axes[4:]} == {
        ("receiver's", "none"), ("free", "dear"), ("near", "far"),
    }  # fmt: skip


def test_small_maps_have_their_numbers_in_them():
    """Two digits in each cell that has a number, no minus before 0; from nine layers on none; three maps abreast."""
    made = stitched.undone(stitched.refused())
    one = drawn(made, "grids")
    assert plain(one.parts[0])["written"]
    words = [text.get_text() for text in plots.drawing(one).axes[2].texts]
    wanted = [
        f"{value:.2f}".replace("-0.00", "0.00") for value in np.ravel(made.array("penalty")) if np.isfinite(value)
    ]
    assert words == wanted
    assert not drawn(stitched.stitch_grid([f"conv{i}" for i in range(9)]), "grids").parts[0].written
    assert (one.columns, drawn(stitched.stitch_grid(controls=()), "grids").columns) == (2, 3)


def test_a_control_is_drawn_on_request_the_first_by_default_and_none_where_none_was_run():
    """An unknown one is answered with those that were run."""
    made = stitched.stitch_grid()
    assert [part.name for part in drawn(made, "grids", control="noise").parts][1] == "noise sender"
    alone = stitched.stitch_grid(controls=())
    assert [part.name for part in drawn(alone, "grids").parts] == ["accuracy", "penalty", "distance"]
    with pytest.raises(UnknownName, match="use 'noise'"):
        drawn(made, "grids", control="noize")


def test_layers_that_a_skip_crosses_are_grey_and_other_gaps_are_not():
    """In row and column of a refused layer there is no stitch; a cell that has no number for another reason is red."""
    one = drawn(stitched.undone(stitched.refused()), "grids").parts[0]
    at = list(one.series).index(stitched.INSIDE)
    shown = cells(one)
    assert np.isneginf(shown[at]).all()
    assert np.isneginf(shown[:, at]).all()
    assert np.isneginf(shown).sum() == 13
    assert np.argwhere(np.isnan(shown)).tolist() == [[0, 0]]
    assert one.apart == ("no stitch: something goes around the layer", "not defined")
    image = plots.drawing(drawn(stitched.refused(), "grids")).axes[0].images[0]
    assert mpl.colors.to_hex(image.get_cmap().get_under()) == "#c9c5b8"
    assert (image.get_array()[at] < image.get_clim()[0]).all()


def test_several_networks_stand_in_one_map_with_lines_between_them():
    """A line of equal depth for each pair; a network whose name begins another's keeps its own layers."""
    made = stitched.stitch_grid(stitched.LAYERS, stitched.LAYERS[:3], nets=(("p", "pp"), ("r",)))
    *slanted, across = drawn(made, "grids").parts[0].lines
    assert [line[2:] for line in slanted[5::6]] == [(2.0, pytest.approx(4.5)), (2.0, pytest.approx(10.5))]
    for x0, y0, x1, y1 in slanted:
        for x, y in ((x0, y0), (x1, y1)):
            assert (x + 0.5) / 3 == pytest.approx((y % 6 + 0.5) / 6)
    assert across == (-0.5, 5.5, 2.5, 5.5)
    into = stitched.stitch_grid(stitched.LAYERS, ("", "conv1"), nets=(("p",), ("q", "r")))
    assert list(drawn(into, "grids").parts[0].x) == ["q/input", "q/conv1", "r/input", "r/conv1"]


def test_the_line_of_equal_depth_passes_layers_that_are_refused():
    """Depth counts the layers that can be stitched; the row of another is crossed, not counted."""
    made = stitched.refused()
    place = {row["layer"]: row["position"] for row in made.table("cuts") if row["net"] == "a net"}
    part = drawn(made, "grids").parts[0]
    at = list(part.series)
    for x0, y0, x1, y1 in part.lines:
        assert (x0, x1) == (y0, y1)
        assert place[at[int(y1)]] - place[at[int(y0)]] == pytest.approx(1 / 6)
    assert {line[1] for line in part.lines} == {0, 1, 3, 4, 5}


def test_layers_that_are_mostly_refused_are_left_out():
    """Where more are refused than not, grey rows would be all there is to see."""
    layers = ("conv1", *(f"{stage}.{stitched.INSIDE}" for stage in "abc"), "layer1.0")
    assert list(drawn(stitched.stitch_grid(layers), "grids").parts[0].series) == ["conv1", "layer1.0"]


def test_each_pair_of_networks_has_its_part_of_the_map():
    """Senders go down and receivers across; one pair has no such figure, and the first of very many are drawn."""
    made = stitched.stitch_grid(nets=(("p", "q"), ("r", "s", "t")))
    one = drawn(made, "pairs")
    assert ([part.title for part in one.parts][:4], one.columns) == (
        ["p into r", "p into s", "p into t", "q into r"],
        3,
    )
    np.testing.assert_array_equal(cells(one.parts[4]), made.array("accuracy")[6:, 6:12])
    assert list(one.parts[4].series) == list(stitched.LAYERS)
    assert one.parts[4].lines == one.parts[0].lines == tuple((i, i, i + 1, i + 1) for i in range(5))
    costs = drawn(made, "pairs", quantity="penalty")
    np.testing.assert_array_equal(cells(costs.parts[4]), made.array("penalty")[6:, 6:12])
    assert (costs.limits[0] > costs.limits[1], costs.unit) == (True, "penalty")
    with pytest.raises(NothingToDraw, match="one pair of networks"):
        drawn(stitched.stitch_grid(), "pairs")
    with pytest.raises(UnknownName, match="use 'penalty'"):
        drawn(made, "pairs", quantity="penalti")
    crowd = tuple(f"n{i}" for i in range(7))
    many = drawn(stitched.stitch_grid(("a",), nets=(crowd, crowd)), "pairs")
    assert (len(many.parts), "The first 36 of 49 pairs" in many.healthy) == (36, True)


def test_the_warning_has_a_point_for_each_stitch_and_the_corner_counts():
    """Accuracy against distance, those of the random sender apart; notes say which stitch; far ones at the edge."""
    made = stitched.stitch_grid()
    one = drawn(made, "warning")
    rows = [row for row in made.table("cells") if row["control"] in ("none", "random_sender")]
    names = ["compatible", "compatible, representation says no", "not told from controls", "random sender"]
    assert (len(one.x), list(one.series)) == (len(rows), names)
    wanted = {name: set() for name in names}
    for row in rows:
        hit = row["control"] == "none" and row["claim"].startswith("compatible")
        own = names["the representation says no" in row["note"]] if hit else names[2]
        wanted[own if row["control"] == "none" else names[3]].add((row["mse"], row["accuracy"]))
    for name, values in one.series.items():
        drawn_at = {(float(x), float(y)) for x, y in zip(one.x, values, strict=True) if np.isfinite(y)}
        assert drawn_at == {(min(x, 3.0), y) for x, y in wanted[name]}
    left, bottom, right, top = one.corner
    assert (left, bottom, top) == (0.5, min(y for name in names[:2] for _, y in wanted[name]), one.limits[1])
    assert one.limits[1] > 1
    assert one.notes[-1].count(" into ") == 1
    assert right > one.x.max()
    far = replace(made, tables={**made.tables, "cells": _farther(made)})
    edge = drawn(far, "warning")
    assert edge.x.max() == 3.0
    assert re.search(r"\d+ that lie farther than 3 are drawn there", edge.healthy)
    patch = plots.drawing(one).axes[0].patches[0]
    assert (patch.get_x(), patch.get_y()) == (left, bottom)


def test_a_point_is_called_what_its_cell_is():
    """By the word of the claim, and wherever the warning stands in the note; where none is compatible, no corner."""
    made = stitched.stitch_grid(controls=())
    columns = made.tables["cells"].columns

    def points(claim, note):
        said = {"claim": f"{claim} (penalty 0.1)", "note": note, "control": "none"}
        told = {name: np.full(len(columns["control"]), one) for name, one in said.items()}
        return drawn(replace(made, tables={**made.tables, "cells": Table({**columns, **told})}), "warning")

    assert stitch_claims.SAYS_NO == stitching_cells.SAYS_NO
    assert stitch_claims.LIMITS["mse"][1] == stitching_cells.FAR
    no = points("compatible", "rows are fewer; the representation says no (cka); affine")
    assert set(no.series) == {"compatible, representation says no"}
    for word in ("beyond chance", "not judged"):
        other = points(word, "affine")
        assert set(other.series) == {word}
        assert (other.corner, other.said) == (None, ())
        assert plots.drawing(other).axes[0].get_legend() is not None
    assert "not told from controls" in points("undecided", "").series


def _farther(made):
    columns = made.tables["cells"].columns
    return type(made.tables["cells"])({**columns, "mse": columns["mse"] * 20})


def test_decoded_pictures_stand_side_by_side_layer_by_layer():
    """A map for each sender layer: its pictures row by row, mean over channels, all on one scale."""
    made = stitched.stitch_grid(pictures=4)
    one = drawn(made, "decoded")
    array = made.arrays["decoded/b net"]
    assert [part.title for part in one.parts] == list(stitched.LAYERS)
    shown = cells(one.parts[2])
    assert shown.shape == (16, 16)
    for i, place in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        np.testing.assert_array_equal(shown[place[0] : place[0] + 8, place[1] : place[1] + 8], array[2, i, 0])
    assert {part.limits for part in one.parts} == {one.limits}
    assert one.parts[0].lines == ((7.5, -0.5, 7.5, 15.5), (-0.5, 7.5, 15.5, 7.5))
    assert cells(drawn(stitched.stitch_grid(pictures=1), "decoded").parts[0]).shape == (8, 8)
    axes = {**array.axes, "sender layer": ("", *stitched.LAYERS[1:])}
    flat = np.array(array)
    flat[3] = flat[3, :, :, :1, :1]
    beside = {"decoded/b net": Array(flat, **axes), "samples": Array(flat[0], **dict(list(axes.items())[1:]))}
    told = drawn(replace(made, arrays={**made.arrays, **beside}), "decoded")
    assert [part.title for part in told.parts][:3] == ["the samples", "input", "layer1.0"]
    np.testing.assert_array_equal(cells(told.parts[0]), cells(told.parts[1]))
    assert "From layer2.0 comes one value a picture" in told.healthy
    assert "comes one value" not in one.healthy
    with pytest.raises(NothingToDraw, match=r'no stitch went into the input[\s\S]*receiver_layers=\["'):
        drawn(stitched.stitch_grid(), "decoded")
    with pytest.raises(NothingToDraw, match="known: b net"):
        drawn(made, "decoded", receiver="a net")


def test_a_grid_without_stitches_draws_nothing_and_says_where_to_look():
    """Where every layer is refused, the table of cuts says why."""
    made = stitched.stitch_grid((stitched.INSIDE,))
    for name in ("grids", "pairs", "warning"):
        with pytest.raises(NothingToDraw, match=r"no stitch was made[\s\S]*table\('cuts'\)"):
            drawn(made, name)
    assert figures({"": made}) == []


def test_the_page_has_what_the_script_needs():
    """The corner and the words of points; limits and shades of each map."""
    told = json.loads(json.dumps(plain(drawn(stitched.stitch_grid(), "warning"))))
    assert (len(told["corner"]), told["said"]) == (4, ["compatible by accuracy alone"])
    assert (len(told["notes"]), told["kind"]) == (72, "scatter")


def test_the_section_says_compatible_and_never_similar(tmp_path):
    """Claims first, then maps with a scale each, points and tables; the word for accuracies is compatible."""
    results = {"stitching/seed": stitched.refused(), "stitching/all": stitched.stitch_grid(nets=(("p", "q"), ("r",)))}
    page = render(stored(tmp_path, results))
    read = Reader(page)
    assert [a["id"] for a in read.attributes("section")] == ["stitching", "words", "provenance"]
    holders = [a["data-chart"] for a in read.attributes("div") if a.get("data-chart", "").startswith("stitching-")]
    wanted = [*(f"grids-seed-{i}" for i in range(4)), "warning-seed", *(f"grids-all-{i}" for i in range(4))]
    assert holders == [f"stitching-{name}" for name in [*wanted, "warning-all", "pairs-all-0", "pairs-all-1"]]
    assert "6 layers of a net into 6 layers of b net, on made up, matched on 800 samples and judged on 400" in page
    assert "all: 12 layers of p, q into 6 layers of r, on made up, matched on" in page
    assert "Accuracy of the networks: a net 0.95, b net 0.95." in page
    hits = [row for row in results["stitching/seed"].table("cells") if row["claim"].startswith("compatible")]
    no = sum("says no" in row["note"] for row in hits)
    assert f"{len(hits)} of 36 stitches are compatible; penalty" in page
    assert f"at {no} of them the representation says no" in page
    assert page.count("<i></i>") == 9
    assert "<span>none 0</span><i></i><span>0.95 receiver&#39;s</span>" in page
    assert {"compatible", "penalty", "representation distance"} <= set(read.text["dt"])
    assert {"cuts, seed", "patterns, all"} <= set(read.text["summary"])
    body = page[: page.index("<script")]
    assert not re.search("similar|alike", re.sub("look alike", "", body), flags=re.IGNORECASE)
    assert page.index("some layers are compatible") < page.index("Every layer stitched")


def test_a_grid_that_could_not_be_made_says_why(tmp_path):
    """Its note stands in the section, without a figure."""
    page = render(stored(tmp_path, {"stitching/seed": Result("stitch_grid", notes=("no grid: the loss is nan",))}))
    assert "seed: no grid: the loss is nan" in page
    assert "No stitch was made." in page
    assert "data-chart=" not in page[: page.index("<script")]


def test_words_are_of_the_controls_that_were_run(tmp_path):
    """Noise is not explained where none was sent, and is no control that counts; a page says first what it found."""
    page = render(stored(tmp_path, {"stitch_grid": stitched.stitch_grid(controls=("random_sender",))}))
    read = Reader(page)
    assert ("random sender" in read.text["dt"], "noise" in read.text["dt"]) == (True, False)
    assert "noise, which is told the label, does not count" in page
    assert "This run holds no channel profile" not in page
    said = page[page.index('class="said') :]
    assert re.search(r"\d+ of 36 stitches are compatible; penalty", said[:400])
