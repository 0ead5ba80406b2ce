"""Figures of an exchange map: what they draw is what its tables and blocks say, and what is missing is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from netassay.errors import BadInput, UnknownName
from netassay.figures import figure, figures
from netassay.figures.exchange import FLOOR, binned, blocks, panel
from netassay.figures.figure import BOX, Figure
from netassay.figures.residual import sankey
from netassay.result import Array, Table
from tests.exchanged import RESIDUAL, exchange

HAND = {"out": np.array([[3.0, 0.0], [1.0, 4.0]]), "in": np.array([[1.0, 2.0], [1.0, 0.0]])}


def by_hand():
    """Return a map of two layers of two channels whose numbers are told by hand: `in` runs before `out`."""
    shape = [("in", 2, 2, "branch"), ("out", 2, 2, "branch")]
    made = exchange(shape, residual=["in,out"])
    arrays = {f"blocks/{name}": Array(b, output="01", input="01") for name, b in HAND.items()}
    inputs = dict(made.tables["inputs"].columns)
    inputs["absorption_mean"] = np.array([3.0, 1.0, 4.0, 4.0])
    inputs["coherence_median"] = np.array([0.5, 0.25, 1.0, 1.0])
    rows = [{"layer": "in", "members": "in,out", "through": 8.0, "around": 5.0, "total": 9.0}]
    tables = {**made.tables, "inputs": Table(inputs), "residual": Table.of(rows)}
    return replace(made, tables=tables, arrays=arrays)


def widths(drawn):
    return dict(zip(drawn.flow.links, drawn.series["width"].tolist(), strict=True))


def test_coherence_is_the_layer_tables_with_a_line_for_each_result():
    """One line a result in [0, 1], a gap where nothing arrives, branches apart."""
    results = {"start": exchange(seed=1), "end": exchange(scale={"fc": 0.0})}
    drawn = figure(results, "coherence")
    assert (list(drawn.series), drawn.limits, drawn.kind) == (["start", "end"], (0.0, 1.0), "lines")
    for name, values in drawn.series.items():
        np.testing.assert_array_equal(values, results[name].tables["layers"].columns["coherence"])
    assert np.isnan(drawn.series["end"][-1])
    assert drawn.marks == set(drawn.x) - {"conv1", "fc"}


def test_variation_is_of_the_last_result():
    """Emission and absorption of the end, by their own names."""
    results = {"start": exchange(seed=1), "end": exchange()}
    drawn = figure(results, "variation")
    for side in ("emission", "absorption"):
        np.testing.assert_array_equal(drawn.series[side], results["end"].tables["layers"].columns[f"{side}_variation"])
    assert list(drawn.series) == ["emission", "absorption"]


def test_a_panel_shows_absorption_above_emission():
    """At most four layers that exchange and fifteen channels each, with their five numbers, lowest first."""
    result = exchange()
    drawn = panel({"": result})
    layers = ["conv1", "layer1.0.conv2", "layer2.0.conv1", "fc"]
    assert [(part.title, *part.series) for part in drawn.parts] == [
        (layer, side) for side in ("absorption", "emission") for layer in layers
    ]
    assert (drawn.columns, len(drawn.parts[1].x)) == (4, 15)
    told = result.tables["inputs"].columns
    rows = told["layer"] == "fc"
    for i, name in enumerate(("low", "q25", "median", "q75", "high")):
        np.testing.assert_array_equal(drawn.parts[3].series["absorption"][:, i], told[f"absorption_{name}"][rows][:15])
    assert all(part.log for part in drawn.parts)


def test_a_panel_shows_the_layers_and_channels_it_is_asked_for():
    """Chosen channels are named by their numbers, norms may be asked for, and an unknown layer is answered."""
    drawn = panel({"": exchange()}, layers=["layer1.0.bn1"], channels=[3, 5, 99])
    assert [list(part.x) for part in drawn.parts] == [["3", "5"], ["3", "5"]]
    with pytest.raises(UnknownName, match=r"layer1\.0\.conv1"):
        panel({"": exchange()}, layers=["layer1.conv1"])


def test_the_table_of_a_panel_leads_with_layer_and_quantity():
    """Parts are stacked; every box says its five numbers by their own names."""
    table = panel({"": exchange()}).table()
    assert list(table.columns) == ["layer", "quantity", "channel", "low", "q25", "median", "q75", "high"]
    first = table.rows()[0]
    assert (first["layer"], first["quantity"], first["channel"]) == ("conv1", "absorption", "0")
    assert set(table.columns["quantity"]) == {"absorption", "emission"}


def test_boxes_name_their_five_numbers():
    """Quantiles by default; a figure that draws others says which."""
    one = Figure("n", "t", "h.", "boxes", ["a"], {"": np.ones((1, 5))}, "layer", "y")
    assert list(one.table().columns)[1:] == list(BOX)
    assert list(replace(one, five=tuple("abcde")).table().columns)[1:] == list("abcde")


def test_blocks_are_of_the_least_coherent_layer_relative_to_the_largest():
    """Decades below the largest block, outputs by inputs, never below the floor."""
    result = exchange()
    layers = result.tables["layers"].columns
    least = layers["layer"][np.nanargmin(layers["coherence"])]
    drawn = blocks({"": result})
    values = np.asarray(result.array(f"blocks/{least}"))
    assert least in drawn.title
    np.testing.assert_allclose(np.stack(list(drawn.series.values())), np.log10(values / values.max()))
    made = replace(result, arrays={"blocks/fc": Array([[1.0, 0.0, 1e-9]], output=["0"], input=list("012"))})
    assert blocks({"": made}).series["0"].tolist() == [0.0, FLOOR, FLOOR]
    assert drawn.limits == (FLOOR, 0.0)


def test_blocks_are_of_the_layer_that_is_asked_for_or_has_some():
    """By name; else the least coherent of those that were kept; without any, a sentence."""
    result = exchange()
    assert blocks({"": result}, "conv1").title.endswith("conv1")
    kept = replace(result, arrays={"blocks/conv1": result.arrays["blocks/conv1"]})
    assert blocks({"": kept}).title.endswith("conv1")
    with pytest.raises(BadInput, match=r"no blocks of fc were kept"):
        blocks({"": kept}, "fc")
    with pytest.raises(BadInput, match=r"no blocks were kept"):
        blocks({"": exchange(blocks=False)})
    with pytest.raises(UnknownName, match="use 'conv1'"):
        blocks({"": result}, "conv")


def test_wide_layers_are_binned_in_order():
    """At most 64 cells a side, each the mean of neighbours; what has fewer channels is left as it is."""
    values = np.arange(130.0)[None] * np.ones((3, 1))
    cells, rows, columns = binned(values)
    assert (cells.shape, rows) == ((3, 64), ["0", "1", "2"])
    assert columns[:3] == ["0–2", "3–5", "6–7"]
    np.testing.assert_allclose(cells[0, :3], [1.0, 4.0, 6.5])


def test_a_flow_by_hand():
    """Each layer's blocks scaled to what comes through; hand-over at the mean of shares; what cancels by coherence."""
    found = widths(sankey({"": by_hand()}))
    wanted = {
        ("block's output", "around"): 5.0, ("around", "block's input"): 5.0,
        ("block's output", "out out 0"): 3.0, ("block's output", "out out 1"): 5.0,
        ("out out 0", "out in 0"): 3.0, ("out out 1", "out in 0"): 1.0, ("out out 1", "out in 1"): 4.0,
        ("out in 0", "in out 0"): 5.0, ("out in 1", "in out 1"): 3.0,
        ("in out 0", "in in 0"): 2.0, ("in out 0", "in in 1"): 4.0, ("in out 1", "in in 0"): 2.0,
        ("in in 0", "block's input"): 2.0, ("in in 0", "cancelled"): 2.0,
        ("in in 1", "block's input"): 1.0, ("in in 1", "cancelled"): 3.0,
    }  # fmt: skip
    assert found == pytest.approx(wanted)
    rows = sankey({"": by_hand()}).table().rows()
    assert {(row["from"], row["to"]): row["width"] for row in rows} == found


def test_what_cancels_is_weighted_by_what_is_absorbed():
    """Of a group of channels the coherence is pooled: a channel at which much arrives counts for much."""
    result = exchange([("a", 8, 16, "branch")], residual=["a"])
    found = widths(sankey({"": result}))
    told = result.tables["inputs"].columns
    shares, weights = (told[name].reshape(8, 2) for name in ("coherence_median", "absorption_mean"))
    for i, pooled in enumerate((shares * weights).sum(1) / weights.sum(1)):
        out, lost = (found[f"a in {2 * i}–{2 * i + 1}", end] for end in ("block's input", "cancelled"))
        assert out / (out + lost) == pytest.approx(pooled)


def test_a_flow_keeps_its_total_where_channel_counts_differ():
    """Every column of the branch carries what comes through, also from 32 input channels to 16 outputs."""
    shape = [("a", 16, 8, "branch"), ("b", 16, 32, "branch")]
    result = exchange(shape, residual=["a,b"])
    drawn = sankey({"": result})
    stages = {node.name: node.stage for node in drawn.flow.nodes}
    through = result.table("residual")[0]["through"]
    sums = np.zeros(5)
    for (before, after), width in widths(drawn).items():
        if "around" not in (before, after):
            sums[stages[before]] += width
    np.testing.assert_allclose(sums, through)
    handed = [link for link in drawn.flow.links if link[0].startswith("b in") and link[1].startswith("a out")]
    assert len(handed) == 64


def test_a_flow_is_of_the_longest_branch_or_the_one_that_is_asked_for():
    """Norms keep channels apart and are passed over; a branch is found by its first layer."""
    drawn = sankey({"": exchange()})
    assert drawn.flow.heads == ("", *(f"layer1.0.conv{i} {side}" for i in (2, 1) for side in ("out", "in")), "")
    assert max(map(len, ([n for n in drawn.flow.nodes if n.stage == s] for s in range(1, 5)))) == 9  # groups, around
    assert "layer2.0.conv2" in sankey({"": exchange()}, "layer2.0.conv1").title
    with pytest.raises(UnknownName, match=r"use 'layer1\.0\.conv1'"):
        sankey({"": exchange()}, "layer1.0.conv2")


def test_a_flow_is_routed_through_every_column():
    """What goes around passes each column at its edge, once; every piece joins neighbours."""
    drawn = sankey({"": exchange()})
    nodes, pieces = drawn.flow.routed(drawn.series["width"])
    assert all(nodes[piece.end].stage - nodes[piece.start].stage == 1 for piece in pieces)
    for stage in range(1, 5):
        tones = [node.tone for node in nodes if node.stage == stage]
        assert (tones[0], tones.count("around")) == ("around", 1)


@pytest.mark.parametrize(
    "result",
    [exchange(residual=[]), exchange(blocks=False), exchange([("fc", 10, 8, "trunk")], residual=["lost"])],
    ids=["no residual block", "no blocks", "members that are not there"],
)
def test_what_cannot_be_drawn_is_left_out_and_by_name_a_sentence(result):
    """Without residual rows, or without blocks, there is no flow; asked for, it says why."""
    assert "sankey" not in [one.name for one in figures({"": result})]
    with pytest.raises(BadInput, match=r"figure 'sankey'"):
        figure({"": result}, "sankey")


def test_a_map_without_the_residual_table_has_the_other_figures():
    """The table may be missing altogether."""
    made = exchange(residual=RESIDUAL)
    tables = {name: table for name, table in made.tables.items() if name != "residual"}
    assert [one.name for one in figures({"": replace(made, tables=tables)})] == [
        "coherence", "variation", "panel", "blocks",
    ]  # fmt: skip


def test_a_block_at_which_no_gradient_arrives_is_no_flow():
    """Nothing through and nothing around: nothing to draw; nothing around alone: the branch."""
    made = by_hand()
    for through, around, links in ((0.0, 0.0, None), (8.0, 0.0, 14), (0.0, 5.0, 2)):
        rows = [{"layer": "in", "members": "in,out", "through": through, "around": around, "total": 1.0}]
        result = replace(made, tables={**made.tables, "residual": Table.of(rows)})
        drawn = [one for one in figures({"": result}) if one.name == "sankey"]
        assert [len(one.flow.links) for one in drawn] == ([] if links is None else [links])


def test_a_figures_options_are_passed_on():
    """`plot` takes what the figure takes; another option is answered with those it has."""
    made = figure({"": by_hand()}, "blocks", layer="in")
    assert made.kind == "heat"
    with pytest.raises(UnknownName, match=r"(?s)option of figure 'blocks' 'colour'.*'layer'"):
        figure({"": by_hand()}, "blocks", colour="red")
