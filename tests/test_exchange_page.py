"""The page of an exchange map as text: its section, a holder for every part of a panel, and names that stay names."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from netassay.figures import figure
from netassay.report import render
from netassay.report.charts import plain
from netassay.result import Result, Table
from tests.exchanged import exchange
from tests.pages import WEIRD
from tests.test_page import MOST_BYTES, Reader, stored

PARTS = {f"exchange-panel-{i}" for i in range(8)}


def charts(read):
    return json.loads(read.text["script"][0], parse_constant=pytest.fail)


@pytest.fixture
def pair(tmp_path):
    return stored(tmp_path, {"exchange/start": exchange(seed=1), "exchange/end": exchange()}, model="m")


def test_every_part_of_a_panel_has_a_holder_of_its_own(pair):
    """Holders and charts are the same set; a panel itself has none; absorption stands above emission of its layer."""
    read = Reader(render(pair))
    holders = [a["data-chart"] for a in read.attributes("div") if "data-chart" in a]
    assert set(holders) == set(charts(read)) == PARTS | {f"exchange-{n}" for n in
                                                         ("coherence", "variation", "blocks", "sankey")}  # fmt: skip
    assert [name for name in holders if name in PARTS] == [f"exchange-panel-{i}" for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert [next(iter(charts(read)[name]["series"])) for name in ("exchange-panel-1", "exchange-panel-5")] == [
        "absorption",
        "emission",
    ]
    assert len(read.attributes("h4")) == 4


def test_the_section_says_what_it_rests_on(pair):
    """Samples, data and objective, the last result's claims, notes of both, a layer table each, and the words."""
    page = render(pair)
    read = Reader(page)
    assert "for 60 samples of made up (objective cross_entropy)." in page
    assert read.text["span"].count("uneven emission comes with uneven absorption") == 1
    assert {"start: made up", "end: made up"} <= set(read.text["li"])
    assert {"layers, start", "layers, end"} <= set(read.text["summary"])
    assert {"block", "emission", "absorption", "coherence", "share", "starved, cancelled"} <= set(read.text["dt"])
    order = [a["id"] for a in read.attributes("section")]
    assert order == ["exchange", "words", "provenance"]


def test_channels_that_get_no_gradient_are_listed(tmp_path):
    """Starved and cancelled ones, the first 200; and the table of claims where there is one."""
    shape = [("wide", 4, 300, "trunk")]
    made = exchange(shape, residual=[])
    for count in (0, 3, 250):
        inputs = dict(made.tables["inputs"].columns)
        inputs["state"] = np.array(["starved", "cancelled"] * 150)
        inputs["state"][: 300 - count] = "fed"
        tables = {**made.tables, "inputs": Table(inputs), "claims": Table({"claim": np.array(["c"])})}
        read = Reader(render(stored(tmp_path / str(count), {"exchange_map": replace(made, tables=tables)})))
        listed = [text for text in read.text["summary"] if text.startswith("input channels")]
        more = " (the first 200 of 250)" if count == 250 else ""
        assert listed == ([f"input channels that are starved or cancelled{more}"] if count else [])
        assert sum(text in ("starved", "cancelled") for text in read.text["td"]) == min(count, 200)
        assert "claims" in read.text["summary"]


def test_a_sankey_on_the_page_has_its_links_and_where_they_pass():
    """Pieces refer to nodes by place and to links by number; a waypoint has no label; every piece has its width."""
    drawn = figure({"": exchange()}, "sankey")
    flow = plain(drawn)["flow"]
    assert [tuple(link) for link in flow["links"]] == list(drawn.flow.links)
    for start, end, width, link in flow["pieces"]:
        assert flow["nodes"][end][1] - flow["nodes"][start][1] == 1
        assert width == pytest.approx(drawn.series["width"][link], rel=1e-4)
    assert {node[0] for node in flow["nodes"] if node[2]} == set(drawn.x)


def test_a_heat_map_says_what_its_shades_mean():
    """Ends and cells of blocks are their own; activity keeps its words."""
    told = plain(figure({"": exchange()}, "blocks"))
    assert (told["ends"][1], told["wide"]) == ("largest block", False)
    assert "{value}" in told["cell"]
    assert told["rows"] == list(told["series"])


@pytest.mark.parametrize("name", WEIRD)
def test_a_layers_name_stays_a_name(tmp_path, name):
    """In titles of panel, blocks and flow, in tables, and in the numbers of the charts."""
    branch = name if "," not in name else "first"
    shape = [("first", 8, 8, "branch"), (name, 8, 8, "branch")]
    read = Reader(render(stored(tmp_path, {"exchange_map": exchange(shape, residual=[branch])})))
    assert read.open == []
    assert name in read.text["h4"]
    assert name in read.text["td"]
    assert read.attributes("img") == []
    assert charts(read)["exchange-coherence"]["x"] == ["first", name]
    assert len(read.attributes("script")) == 5


def test_a_deep_map_is_a_small_page(tmp_path):
    """A hundred layers of 512 channels, none of them healthy, at the start and at the end: at most 2.5 MB."""
    shape = [(f"layer{i}", 512, 128, "branch") for i in range(100)]
    made = exchange(shape, residual=[",".join(f"layer{i}" for i in range(3))])
    assert isinstance(made, Result)
    assert len(render(stored(tmp_path, {"exchange/start": made, "exchange/end": made})).encode()) < MOST_BYTES
