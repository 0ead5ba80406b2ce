"""Figures and section of similarity: what is drawn is what the arrays say, and which row is which model is said."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from netassay import build, plots
from netassay.errors import NothingToDraw, UnknownName
from netassay.figures import figure, figures
from netassay.figures.similarity_trend import short
from netassay.report.charts import plain
from netassay.report.page import render
from netassay.report.sections.similarity import once, words
from netassay.result import Array, Result, Table
from netassay.studies.similarity_map import similarity_map
from netassay.studies.similarity_trend import similarity_trend
from tests import similar
from tests.test_page import Reader, stored


def drawn(result, name, **options):
    return figure({"": result}, name, **options)


def cells(part):
    return np.array(list(part.series.values()))


def test_maps_are_the_arrays_beside_each_other_on_one_scale():
    """Similarity, chance and calibrated, rows of a and columns of b as the axes say, limits from 0 to 1."""
    made = similar.similarity_map(similar.many(6), similar.many(9))
    one = drawn(made, "map")
    assert [part.name for part in one.parts] == ["similarity", "by chance", "calibrated"]
    for part, end in zip(one.parts, ("", "/null", "/calibrated"), strict=True):
        array = made.arrays[f"cka{end}"]
        assert (list(part.series), list(part.x)) == (list(array.axes["layer of a"]), list(array.axes["layer of b"]))
        shown = cells(part)
        np.testing.assert_array_equal(np.where(np.isneginf(shown), 0, shown), array)
        assert part.limits == one.limits == (0.0, 1.0)
        assert (part.x_label, part.y_label) == ("b: b net", "a: a net")
    assert (np.isneginf(cells(one.parts[2])) == (np.asarray(made.arrays["cka/calibrated"]) <= 0)).all()
    assert "debiased linear CKA" in one.title
    assert "Rows are layers of a (a net), columns of b (b net)" in one.healthy


def test_a_negative_similarity_is_on_the_scale_and_a_slightly_negative_one_is_as_dark_as_0():
    """The darkest shade is 0 unless something lies far below; then the next tenth."""
    made = similar.similarity_map()
    for least, low in ((-0.01, 0.0), (-0.234, -0.3)):
        values = np.array(made.arrays["cka/null"])
        values[0, 0] = least
        null = Array(values, **made.arrays["cka/null"].axes)
        one = drawn(replace(made, arrays={**made.arrays, "cka/null": null}), "map")
        assert one.limits == pytest.approx((low, 1.0))


def test_of_a_distance_small_is_bright_and_calibrated_has_its_own_scale():
    """Limits fall from the largest distance to 0; the calibrated map goes from 0 to 1; the page draws both ways."""
    made = similar.similarity_map(measures=("procrustes",))
    one = drawn(made, "map")
    high, low = one.limits
    assert (high > 1, low) == (True, 0.0)
    assert [part.limits for part in one.parts] == [one.limits, one.limits, (0.0, 1.0)]
    assert (one.parts[0].name, one.ends) == ("distance", ("far", "equal"))
    assert "Bright is near" in one.healthy
    axes = plots.drawing(one).axes
    first, last = (axes[i].images[0] for i in (0, 2))
    assert first.get_cmap()(0.0) == last.get_cmap()(1.0)
    assert first.get_clim() == (0.0, high)


def test_what_chance_explains_is_grey():
    """In matplotlib a cell of minus infinity lies below the scale, whose colour there is grey."""
    one = drawn(similar.unlike(similar.similarity_map()), "map")
    image = plots.drawing(one).axes[2].images[0]
    assert (image.get_array() < image.get_clim()[0]).all()
    assert mpl.colors.to_hex(image.get_cmap().get_under()) == "#c9c5b8"


def test_the_line_of_equal_depth_goes_from_corner_to_corner_of_each_pair_of_models():
    """(i + 1/2) / I = (j + 1/2) / J along it, for each model of a with each of b; a line parts the models."""
    made = similar.similarity_map(similar.many(4), similar.many(8), sides=(("p", "q"), ("r",)))
    *slanted, across = drawn(made, "map").parts[0].lines
    assert [line[2:] for line in slanted] == [(7.5, 3.5), (7.5, 7.5)]
    for (x0, y0, x1, y1), top in zip(slanted, (0, 4), strict=True):
        for x, y in ((x0, y0), (x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2)):
            assert (x + 0.5) / 8 == pytest.approx((y - top + 0.5) / 4)
    assert across == (-0.5, 3.5, 7.5, 3.5)


def test_many_layers_are_named_every_so_many_and_few_are_all():
    """Sixty by 120 layers have names that do not touch; eight all have theirs."""
    few, many = (plots.drawing(drawn(made, "map")).axes[0] for made in (
        similar.similarity_map(), similar.similarity_map(similar.many(60), similar.many(120))))  # fmt: skip
    assert len(few.get_yticklabels()) == len(few.get_xticklabels()) == 8
    canvas = many.figure
    canvas.draw_without_rendering()
    boxes = [label.get_window_extent() for label in many.get_yticklabels()]
    assert 5 <= len(boxes) <= 20
    assert all(above.y0 >= below.y1 - 0.5 for above, below in itertools.pairwise(boxes))
    assert many.get_ylim()[0] > many.get_ylim()[1]


def test_a_measure_is_drawn_on_request_and_an_unknown_one_is_answered():
    """The first is drawn by default; the names of the others are those of the table; without any it is said."""
    made = similar.similarity_map(measures=("cka", "procrustes"))
    assert "Procrustes" in drawn(made, "map", measure="procrustes").title
    with pytest.raises(UnknownName, match="use 'procrustes'"):
        drawn(made, "map", measure="procrustis")
    with pytest.raises(NothingToDraw, match="no measure was taken"):
        drawn(Result("similarity_map"), "map")


def test_best_matches_stand_at_their_relative_depth_and_are_hollow_where_chance_explains_them():
    """Each point is the position of the match, the dashed line the layer's own; the line of a tooltip has the score."""
    made = similar.similarity_map(similar.many(6), similar.many(9))
    for name, side, other in (("best", "a", "b"), ("best_of_b", "b", "a")):
        one = drawn(made, name)
        rows = [row for row in made.table("best") if row["of"] == side]
        at = {(row["side"], row["layer"]): row["position"] for row in made.table("layers")}
        assert list(one.x) == [row[f"layer_{side}"] for row in rows]
        np.testing.assert_allclose(one.series["best match"], [at[other, row[f"layer_{other}"]] for row in rows])
        np.testing.assert_allclose(one.series["own depth"], [at[side, row[f"layer_{side}"]] for row in rows])
        assert one.marks == {row[f"layer_{side}"] for row in rows if row["p"] > 0.05} == {rows[0][f"layer_{side}"]}
        assert one.notes[1].startswith(f"{rows[1][f'layer_{other}']}: {rows[1]['score']:.3g} (")
        assert one.table().columns["note"].tolist() == list(one.notes)
        hollow = [line for line in plots.drawing(one).axes[0].get_lines() if line.get_markerfacecolor() == "white"]
        assert [line.get_xdata().tolist() for line in hollow] == [[0]]


def test_matches_of_labels_with_the_model_in_front_are_found():
    """Where a side has several models, labels of the layer table have them in front; the first pair is drawn."""
    made = similar.similarity_map(sides=(("p", "q"), ("r",)))
    table = Table.of([{**row, "layer": f"{row['model']}/{row['layer']}"} if row["side"] == "a" else row
                      for row in made.table("layers")])  # fmt: skip
    one = drawn(replace(made, tables={**made.tables, "layers": table}), "best")
    np.testing.assert_allclose(one.series["own depth"], (np.arange(8) + 0.5) / 8)
    assert "Of 2 pairs of models one is drawn: p and r" in one.healthy


def test_a_network_against_itself_has_one_figure_of_best_matches():
    """What b's layers match is what a's match."""
    made = similar.similarity_map(sides=(("net",), ("net",)))
    same = np.asarray(made.arrays["cka"]) + np.asarray(made.arrays["cka"]).T
    made = replace(made, arrays={**made.arrays, "cka": Array(same, **made.arrays["cka"].axes)})
    assert [one.name for one in figures({"": made})] == ["map", "best"]
    map, best = figures({"": made})
    assert (map.title.partition(":")[0], map.x_label) == ("Every layer against every layer in the same network", "")
    assert best.title == "Where each layer of a (net) has its best match in the same network"
    assert (list(best.series), best.dashed) == (["best match"], frozenset())
    with pytest.raises(NothingToDraw, match="against itself"):
        drawn(made, "best_of_b")


def test_a_trend_has_a_part_for_each_family_and_names_the_pattern_above_each_size():
    """Networks in the order of their size; indices with their intervals; the word above is the one that was told."""
    made = similar.trend({"resnet": {"r[2]": 8, "r[1]": 4}, "cnn": {"cnn": 3, "cnn:a=1": 6}})
    one = drawn(made, "trend")
    assert [part.title for part in one.parts] == ["resnet", "cnn"]
    part = one.parts[0]
    rows = sorted((row for row in made.table("sizes") if row["family"] == "resnet"), key=lambda row: row["size"])
    assert list(part.x) == ["r[1] (4)", "r[2] (8)"]
    for name in similar.PATTERNS:
        np.testing.assert_array_equal(part.series[name], [row[name] for row in rows])
        np.testing.assert_array_equal(part.bands[name][1], [row[f"{name}_high"] for row in rows])
    assert part.said == tuple(row["told"] for row in rows)
    texts = [text.get_text() for text in plots.drawing(one).axes[0].texts]
    assert texts == list(part.said)
    assert one.table().columns["family"].tolist() == ["resnet", "resnet", "cnn", "cnn"]


def test_small_multiples_are_the_maps_of_the_networks():
    """One part for each network that has a map, small to large, each with its pattern and its own layers."""
    made = similar.trend()
    one = drawn(made, "maps")
    assert [len(part.series) for part in one.parts] == [8, 16, 24, 32]
    assert one.parts[0].title == "triangle: resnet[1,1,1,1]"
    np.testing.assert_array_equal(cells(one.parts[2]), made.arrays["map/resnet[3,3,3,3]:input=8"])
    assert len(one.table()) == 80
    with pytest.raises(NothingToDraw, match="no map was kept"):
        drawn(replace(made, arrays={}), "maps")


def test_options_that_all_networks_share_are_left_out_of_their_names():
    """What tells them apart stays; a single name loses nothing."""
    assert short(["a:x=1,y=2", "b:y=2"]) == ["a:x=1", "b"]
    assert short(["a:x=1"]) == ["a:x=1"]


def test_the_page_has_what_the_script_needs():
    """Numbers of a map with its lines and the words for cells that are set apart; notes and words of lines."""
    part = plain(drawn(similar.similarity_map(), "map").parts[2])
    assert part["apart"] == ("not told from chance", "not defined")
    assert part["lines"] == ((-0.5, -0.5, 7.5, 7.5),)
    assert sum(map(len, part["zero"].values())) == sum(
        value is None for row in part["series"].values() for value in row
    )
    best = plain(drawn(similar.similarity_map(), "best"))
    assert (len(best["notes"]), len(best["said"]), best["marks"]) == (8, 8, ["layer1.0.conv1"])
    assert plain(drawn(similar.trend(), "trend").parts[0])["said"] == ["triangle", "triangle", "diagonal", "diagonal"]


def test_the_section_says_what_was_compared_and_what_the_words_mean(tmp_path):
    """Claims and warnings of each map, figures of every measure, one scale in words, tables, definitions."""
    results = {"similarity/start": similar.similarity_map(measures=("cka", "procrustes")),
               "similarity/seed": similar.similarity_map(similar.many(9)), "trend": similar.trend()}  # fmt: skip
    page = render(stored(tmp_path, results))
    read = Reader(page)
    assert [a["id"] for a in read.attributes("section")] == ["findings", "sizes", "similarity", "words", "provenance"]
    holders = [a["data-chart"] for a in read.attributes("div") if a.get("data-chart", "").startswith("similarity-")]
    wanted = [f"map-start-{i}" for i in range(3)] + [f"map_1-start-{i}" for i in range(3)]
    wanted += ["best-start", "best_of_b-start", *(f"map-seed-{i}" for i in range(3)), "best-seed", "best_of_b-seed"]
    assert holders == [f"similarity-{name}" for name in wanted]
    assert "8 layers of a (a net) against 8 layers of b (b net), 512 samples of made up." in page
    assert page.count("<span>a and b share more than chance allows</span>") == 2
    assert page.count("one direction has 97 % of the variance") == 1
    assert {"calibrated", "by chance", "best match", "diagonal, triangle, block, flat"} <= set(read.text["dt"])
    assert {"best, start", "patterns, seed", "trends", "sizes"} <= set(read.text["summary"])
    assert re.search(r'class="shades"><span>none 0</span><i></i><span>1 equal</span>', page.replace(".0<", "<"))
    assert '<span class="grey">not told from chance</span>' in page
    assert "resnet: the pattern changes from triangle to diagonal: holds." in page


def test_a_map_that_could_not_be_made_says_why(tmp_path):
    """Its note stands in the section, without a figure."""
    page = render(stored(tmp_path, {"similarity/seed": Result("similarity_map", notes=("no map: the loss is nan",))}))
    assert "seed: no map: the loss is nan" in page
    assert "data-chart=" not in page[: page.index("<script")]


def test_undefined_cells_are_named_in_figure_and_page(tmp_path):
    """A layer that is constant gives red cells, which are not defined."""
    made = similar.undefined(similar.similarity_map(), "layer2.0.conv1")
    with mpl.rc_context():
        canvas = plots.drawing(drawn(made, "map"))
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == [
        "not told from chance",
        "not defined",
        "equal relative depth",
    ]
    assert '<span class="grey red">not defined</span>' in render(stored(tmp_path, {"similarity": made}))


def test_made_up_results_have_the_columns_of_real_ones():
    """What figures and page are tested on is what studies give: tables, columns and arrays, of a map and of a trend."""
    real = similarity_map("mlp[8,8]", build("mlp[8,8]:input=64", seed=1), "digits:split=test,n=60", permutations=9)
    made = similar.similarity_map()
    assert {name: set(table.columns) for name, table in made.tables.items()} == {
        name: set(table.columns) for name, table in real.tables.items()
    }
    assert set(made.arrays) == set(real.arrays)
    real = similarity_trend(["mlp[8,8,8]", "mlp[8,8,8,8]"], steps=2, samples=40, workers=0)
    made = similar.trend()
    for name, table in made.tables.items():
        assert set(table.columns) <= set(real.tables[name].columns), name
    assert {one.partition("/")[0] for one in made.arrays} == {one.partition("/")[0] for one in real.arrays}


def test_a_trend_names_no_pattern_where_none_is_told_and_little_is_unexplained():
    """Flat is a large unexplained share, not that nothing was told from chance."""
    made = similar.trend({"resnet": {"r[1]": 4, "r[2]": 8}})
    rows = [{**row, "told": "flat", "flat": share} for row, share in zip(made.table("sizes"), (0.01, 0.8), strict=True)]
    one = drawn(replace(made, tables={**made.tables, "sizes": Table.of(rows)}), "trend")
    assert one.parts[0].said == ("none told", "flat")


def test_the_level_of_tests_is_the_map_s_own(tmp_path):
    """At 99 % figures and words say 1 %, and a match of p 0.02 is hollow; 95 % where nothing is said."""
    made = similar.similarity_map()
    strict = replace(made, provenance={**made.provenance, "level": 0.99})
    assert "not told from chance at 1 %" in drawn(strict, "map").healthy
    rows = [{**row, "p": 0.02} for row in made.table("best")]
    tables = {**made.tables, "best": Table.of(rows)}
    assert len(drawn(replace(strict, tables=tables), "best").marks) == 8
    old = {name: value for name, value in made.provenance.items() if name != "level"}
    assert not drawn(replace(made, tables=tables, provenance=old), "best").marks
    assert "the 99 % point of chance to equal: 0 is not told from chance at 1 %" in words(0.01)["calibrated"]


def test_maps_of_a_distance_have_a_scale_each():
    """Three maps, three scales: the calibrated one ends at 1, and the page writes what its ends are."""
    one = drawn(similar.similarity_map(measures=("procrustes",)), "map")
    assert [part.ends for part in one.parts] == [("far", "equal"), ("far", "equal"), ("none", "equal")]
    canvas = plots.drawing(one)
    assert len(canvas.axes) == 6
    assert canvas.axes[-1].get_ylim() == (0.0, 1.0)


def test_many_networks_are_counted_and_a_pair_of_two_is_drawn():
    """Four are named by the first and the last; of pairs one that is not a network with itself."""
    names = tuple(f"e{i}" for i in range(4))
    made = similar.similarity_map(similar.many(5), sides=(names, names))
    assert drawn(made, "map").y_label == "a: 4 networks, e0 to e3"
    best = drawn(made, "best")
    assert best.title == "Where each layer of a (e0) has its best match in b (e1)"
    assert best.said == tuple(
        row["layer_b"] for row in made.table("best") if (row["of"], row["model_a"], row["model_b"]) == ("a", "e0", "e1")
    )
    texts = [text.get_text() for text in plots.drawing(best).axes[0].texts]
    assert texts == list(best.said)


def test_a_network_with_itself_has_rows_of_one_side():
    """What would stand twice on the page stands once."""
    made = similar.similarity_map(sides=(("net",), ("net",)))
    same = np.asarray(made.arrays["cka"]) + np.asarray(made.arrays["cka"]).T
    made = replace(made, arrays={**made.arrays, "cka": Array(same, **made.arrays["cka"].axes)})
    assert {row["side"] for row in once(made, "layers").rows()} == {"a"}
    assert {row["of"] for row in once(made, "best").rows()} == {"a"}
    assert len(once(similar.similarity_map(), "layers")) == 16
