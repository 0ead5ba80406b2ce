"""The page as text: the same bytes each time, small, asking for nothing, and names that stay names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import netassay as na
from netassay.errors import BadInput
from netassay.report import render, write_page
from netassay.report.page import tiles
from netassay.result import Claim, Result, Table
from netassay.store import create, open_run
from tests import initialised
from tests.exchanged import exchange
from tests.pages import WEIRD, X, Y, net

MOST_BYTES = 2_500_000
ADDRESSES = ("src", "href", "action", "data", "poster", "srcset", "background", "formaction")


class Reader(HTMLParser):
    """What a browser would see: elements, the text inside each kind, and addresses."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.addresses, self.text, self.open = [], [], {}, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in ADDRESSES]
        if tag not in ("meta", "link", "img", "input", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with everything: trained, profiled before and after."""
    return na.examine("mlp[16]", "digits", epochs=1, out=tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def page(run):
    return run.page.read_text(encoding="utf-8")


def stored(folder, results, **meta):
    with create(folder, **meta) as writer:
        for label, result in results.items():
            writer.add(label, result)
    return open_run(folder)


def test_the_same_folder_gives_the_same_bytes(run, page):
    """Rendered again here, and by two processes whose hashes differ, the page does not change by a byte."""
    assert render(run) == page
    program = "import sys; from netassay import open_run; from netassay.report import render\n"
    program += "sys.stdout.buffer.write(render(open_run(sys.argv[1])).encode())"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo"}
        command = [sys.executable, "-c", program, str(run.path)]
        assert subprocess.run(command, capture_output=True, check=True, env=environment).stdout == page.encode()


def test_a_page_is_small(page, tmp_path):
    """At most 2.5 MB, also for a network of 219 layers in which no channel is healthy."""
    assert len(page.encode()) < MOST_BYTES
    deep = na.channel_profile("resnet110", (X.repeat(1, 48)[:2].reshape(2, 3, 32, 32), Y[:2]))
    made = stored(tmp_path / "deep", {"channels/start": deep, "channels/end": deep}, model="resnet110", data="x")
    assert (deep.tables["channels"].columns["state"] != "healthy").all()
    assert len(render(made).encode()) < MOST_BYTES


def test_a_page_is_well_formed_and_asks_for_nothing(page):
    """Every element is closed; no address leads anywhere; nothing in the style sheet is fetched."""
    read = Reader(page)
    assert read.open == []
    assert read.addresses == ["data:,"]
    style = "".join(read.text["style"])
    assert not re.search(r"url\(|@import|@font-face", style)
    assert {"iframe", "object", "embed", "form", "base", "img"}.isdisjoint(tag for tag, _ in read.elements)


def test_the_policy_allows_these_scripts_and_styles_and_nothing_else(page):
    """Scripts and styles run by hash; the hashes are those of the inline texts; no element has a handler or a style."""
    read = Reader(page)
    policies = [a["content"] for a in read.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    policy = dict(part.strip().split(" ", 1) for part in policies[0].split(";"))
    hashes = {name: set(re.findall(r"'sha256-([^']+)'", value)) for name, value in policy.items()}
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for name, texts in (("script-src", scripts), ("style-src", styles)):
        made = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts}
        assert hashes[name] == made
    assert len(policies) == 1
    assert (policy["default-src"], policy["img-src"]) == ("'none'", "data:")
    assert "unsafe" not in policies[0]
    assert not [a for _, a in read.elements if "style" in a or any(name.startswith("on") for name in a)]


@pytest.mark.parametrize("name", WEIRD)
def test_a_layers_name_stays_a_name(tmp_path, name):
    """Whatever a layer is called, its name is text: in findings, tables, and the numbers of the charts."""
    run = na.examine(net("first", name, "head", dead=True), (X, Y), out=tmp_path / "run")
    assert run.findings[0].layer == name
    read = Reader(run.page.read_text())
    assert read.open == []
    assert {"img", "b"} & {tag for tag, a in read.elements if "onerror" in a} == set()
    assert read.attributes("img") == []
    assert name in read.text["code"]
    assert name in read.text["td"]
    charts = json.loads("".join(read.text["script"][:1]))
    assert charts["channels-gradient"]["x"] == ["first", name, "head"]
    assert len(read.attributes("script")) == 5


def test_what_a_user_typed_stays_text(tmp_path):
    """Specs, notes and the sentence on how a network was made are not read as HTML."""
    told = Result("examine", provenance={"how": "<em>", "objective": "<u>"})
    page = render(stored(tmp_path, {"examine": told}, model="<b>:<s>=", data="<i>", note="</title>"))
    assert {"b", "s", "i", "em", "u"}.isdisjoint(tag for tag, _ in Reader(page).elements)
    assert {"<b>", "<i>", "<em>", "<u>", "</title>"} <= {text for texts in Reader(page).text.values() for text in texts}


def test_findings_come_first(tmp_path, page):
    """The headline is the first finding, before any figure; without one it says that channels work."""
    sick = na.examine(net(dead=True), (X, Y), out=tmp_path / "run")
    read = Reader(sick.page.read_text())
    said = " ".join("".join(read.text["p"]).split())
    assert "act1: 8 of 8 channels carry nothing (8 dead: 0-7)." in said
    order = [a["id"] for a in read.attributes("section")]
    assert order == [
        "findings",
        "learning",
        "channels",
        "flow",
        "exchange",
        "similarity",
        "initialisation",
        "structure",
        "words",
        "provenance",
    ]
    assert 'class="said bad"' in sick.page.read_text()
    assert "No finding: its channels work." in page
    assert 'class="said good"' in page


def test_tiles_are_the_numbers_of_the_tables(run):
    """Accuracy, healthy channels, parameters and work are those of the results."""
    shown = {name: (value, note) for value, name, note in tiles(run.results)}
    score = run.result("examine").table("scores")[-1]
    assert shown["accuracy"][0] == f"{100 * score['accuracy']:.3g} %"
    states = run.result("channels/end").tables["channels"].columns["state"]
    healthy = 100 * (states == "healthy").mean()
    assert shown["channels healthy"] == (f"{healthy:.3g} %", f"of {len(states)}, end")
    assert shown["parameters"][0] == "1.21 k"
    assert tiles({"channel_profile": run.result("channels/end")})[0][2] == f"of {len(states)}"


def test_claims_and_numbers_are_on_the_page_as_text(run, page):
    """Every claim with its decision, and every number of the layer table, can be selected."""
    read = Reader(page)
    for claim in run.claims:
        assert claim.statement in read.text["span"]
    # A run counts the last of two maps; the page shows both.
    told = [*run.claims, *run.result("similarity/start").claims]
    assert read.text["b"].count("holds") == sum(claim.decision == "holds" for claim in told)
    for row in run.result("channels/end").table("layers"):
        assert f"{row['y_rms']:.4g}" in read.text["td"]
    charts = json.loads(read.text["script"][0])
    assert {a["data-chart"] for a in read.attributes("div") if "data-chart" in a} == set(charts)
    np.testing.assert_allclose(
        charts["channels-signal"]["series"]["end"],
        run.result("channels/end").tables["layers"].columns["y_rms"],
        rtol=1e-4,
    )


def test_what_is_not_finite_is_a_dash_and_a_gap(tmp_path):
    """NaN in a table is a dash, in a chart a gap; JSON stays strict."""
    profile = na.channel_profile(net(dead=True), (X, Y), objective=lambda out, y: out.sum(1) * 0)
    page = render(stored(tmp_path, {"channels/end": profile}, model="m"))
    read = Reader(page)
    assert "–" in read.text["td"]
    assert "nan" not in [text.lower() for text in read.text["td"]]
    charts = json.loads(read.text["script"][0], parse_constant=pytest.fail)
    assert charts["channels-dependence"]["series"]["end"][1] is None


PARTS = {
    "nothing": {},
    "only a summary": {"summary": na.summary(net(), input_size=(1, 64))},
    "only a channel profile": {"channel_profile": na.channel_profile(net(), (X, Y))},
    "only its start": {"channels/start": na.channel_profile(net(), (X, Y))},
    "claims without scores": {"examine": Result("examine", claims=(Claim("a", 1.0, (0, np.inf), 3, "x", "holds"),))},
    "only an exchange map": {"exchange_map": exchange()},
    "an exchange map of one layer": {"exchange/end": exchange([("m", 10, 64, "trunk")], residual=[])},
    "an initialisation study": {"init_study": initialised.study()},
    "an initialisation study without figures": {"init_study": replace(initialised.study(), tables={}, arrays={})},
    "a network beside its start": {"initialisation": initialised.profile()},
    "another study": {"checkpoints": Result("checkpoints", {"t": Table({"n": np.arange(3)})})},
}


@pytest.mark.parametrize("meta", [{}, {"model": "m"}, {"model": "m", "data": "d"}], ids=len)
@pytest.mark.parametrize("part", PARTS)
def test_a_run_of_parts_has_a_page(tmp_path, part, meta):
    """Whatever a run holds, and whatever was said about it, it renders, and claims no more than it saw."""
    page = render(stored(tmp_path, PARTS[part], **meta))
    assert Reader(page).open == []
    looked = any(result.study == "channel_profile" for result in PARTS[part].values())
    assert ("its channels work" in page) == looked
    checkpoints = part == "another study"
    exchanged = "exchange map" in part
    studied = "initialisation study" in part
    nothing = not looked and not checkpoints and not exchanged and not studied
    assert ("This run holds no channel profile." in page) == nothing
    assert ("What was drawn, and what training made of it." in page) == studied
    assert ("No finding in how its channels exchange gradient." in page) == exchanged
    assert ("Checkpoint by checkpoint" in page) == ("No finding in any checkpoint." in page) == checkpoints


def test_a_run_that_broke_off_shows_its_curves(tmp_path):
    """What training logged is drawn even where no result followed."""
    with create(tmp_path / "run", model="m") as writer:
        for step in range(3):
            writer.log(step, {"training loss": 1.0})
    page = render(open_run(tmp_path / "run"))
    assert "The run ended before it was judged." in page
    assert '"learning-loss":' in page


def test_too_few_samples_are_no_good_news(tmp_path):
    """Where no state can be named, the page does not say that all is well."""
    page = render(stored(tmp_path, {"channel_profile": na.channel_profile(net(), (X[:9], Y[:9]))}))
    assert "No finding, but too few samples to tell." in page
    assert "9 samples are too few to tell whether a channel is silent" in page
    assert "its channels work" not in page


def test_a_page_goes_where_it_is_told_or_says_why_not(run, tmp_path):
    """By default into the run's folder; a place that cannot be written is a sentence."""
    assert write_page(run, tmp_path / "a.html").read_bytes() == run.page.read_bytes()
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "a.html", tmp_path):
        with pytest.raises(BadInput, match="name a folder that can be written"):
            write_page(run, place)
