"""The fragment that a notebook shows: text that stays text, and nothing that reaches beyond it."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import netassay as na
from netassay.report.notebook import MOST_ROWS, cell, fragment
from netassay.result import Claim, Result, Table, Verdict
from tests.pages import WEIRD, X, Y, net

ALLOWED = {"div", "h4", "p", "b", "details", "summary", "table", "tr", "th", "td"}


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("name", WEIRD)
def test_names_stay_text(name):
    """Whatever a study, layer, column, claim or finding is called, it makes no element and no attribute."""
    result = Result(
        name,
        {name: Table({name: np.array([name])})},
        claims=(Claim(name, 1.0, (0.5, 2.0), 3, name, "holds"),),
        verdicts=(Verdict(name, name, name, "finding", {}, name, name, 1, name, name),),
    )
    read = Reader(fragment(result))
    assert set(read.tags) <= ALLOWED
    assert read.attributes == []
    assert read.open == []
    assert sum(name in text for text in read.texts) == 6


def test_a_real_result_is_shown_without_script_style_or_id():
    """A channel profile shows its finding, and folds each table; one page may hold many of them."""
    result = na.channel_profile(net(dead=True), (X, Y))
    read = Reader(result._repr_html_())
    assert set(read.tags) <= ALLOWED
    assert read.attributes == []
    assert "act1: 8 of 8 channels carry nothing (8 dead: 0-7)" in read.texts
    assert "channels (26 rows)" in read.texts
    assert read.tags.count("details") == len(result.tables)


def test_only_findings_are_shown_of_the_verdicts():
    """Notes and warnings are left to the table of verdicts."""
    made = [Verdict("r", "fc1", cause, cause, {}, "t", "s", 1, "w", "x") for cause in ("finding", "warning", "note")]
    assert [text for text in Reader(fragment(Result("s", verdicts=tuple(made)))).texts if "fc1" in text] == [
        "fc1: finding"
    ]


def test_long_tables_are_cut_and_say_so():
    """The first rows, and how many more there are."""
    texts = Reader(fragment(Result("s", {"t": Table({"n": np.arange(MOST_ROWS + 5)})}))).texts
    assert (str(MOST_ROWS - 1) in texts, str(MOST_ROWS) in texts) == (True, False)
    assert texts[-1] == "5 more rows"
    assert "more rows" not in fragment(Result("s", {"t": Table({"n": np.arange(MOST_ROWS)})}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(float("nan"), "–"), (float("inf"), "inf"), (0.1234567, "0.1235"), (0.0, "0"), (1e-20, "1e-20"), (12, "12"),
     (1234567, "1234567"), (True, "True"), ("<", "<"), (None, "None")],
)  # fmt: skip
def test_a_cell_is_four_digits(value, shown):
    """Floats have four significant digits, NaN is a dash, everything else is as it is."""
    assert cell(value) == shown
    if isinstance(value, float):
        assert f"<td>{shown}</td>" in fragment(Result("s", {"t": Table({"x": np.array([value])})}))


def test_an_empty_result_is_a_heading():
    """Nothing to show is no error; a table without rows says so."""
    assert Reader(fragment(Result("s"))).texts == ["netassay s"]
    assert "t (0 rows)" in fragment(Result("s", {"t": Table({})}))


def test_many_claims_are_folded():
    """The first stand open, all are there, and the rest are counted."""
    told = {"interval": (0.0, 1.0), "n": 9, "counted": "cells", "decision": "undecided"}
    made = Result("s", claims=tuple(Claim(f"claim {i}", 0.5, **told) for i in range(9)))
    page = fragment(made)
    assert [page.count(f"claim {i}:") for i in range(9)] == [1] * 9
    assert page.index("claim 5:") < page.index("<summary>3 more claims</summary>") < page.index("claim 6:")
    assert "more claims" not in fragment(replace(made, claims=made.claims[:6]))
