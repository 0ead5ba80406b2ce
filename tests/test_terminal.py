"""The terminal: findings first, tables that fit, strict JSON and CSV that other programs read."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

import netassay as na
from netassay import terminal
from netassay.result import Result, Table, Verdict
from netassay.store import Run, create, open_run
from netassay.terminal import findings, show_result, show_run, show_runs, to_csv
from tests import similar, stitched
from tests.pages import X, Y, net


def verdict(severity, layer="fc1"):
    return Verdict("rule", layer, "8 of 8 channels carry nothing", severity, {"n": np.nan}, "t", "s", 9, "w", "x")


@pytest.fixture(scope="module")
def result():
    return na.channel_profile(net(dead=True), (X, Y))


@pytest.mark.parametrize(
    ("severities", "lines"),
    [
        ([], ["No finding."]),
        (["finding"], ["finding: fc1: 8 of 8 channels carry nothing"]),
        (["warning"], ["No finding.", "warning: fc1: 8 of 8 channels carry nothing"]),
        (["note", "note"], ["No finding.", "2 notes, none of them a finding; see --json or the page."]),
    ],
)
def test_findings_are_lines(severities, lines):
    """Findings and warnings are told in full, notes are counted, and silence is said."""
    assert findings([verdict(severity) for severity in severities]) == lines


def test_a_result_is_shown_with_findings_first(result, capsys):
    """The finding stands above the table; states that no channel is in have no column."""
    show_result(result, "layers", json=False, csv=False)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "finding: act1: 8 of 8 channels carry nothing (8 dead: 0-7)"
    header = next(line for line in out if line.startswith("layer "))
    assert " ".join(header.split()) == "layer channels unobserved dead constant y rms gy norm y zero share"
    assert [line.split()[0] for line in out[-4:]] == ["fc1", "act1", "head", "note:"]


def test_json_is_one_strict_document_with_every_number(result, capsys):
    """NaN and infinities are strings; what comes back is what `to_dict` says."""
    show_result(result, "layers", json=True, csv=False)
    shown = capsys.readouterr()
    assert json.loads(shown.out, parse_constant=pytest.fail) == result.to_dict()
    assert "NaN" in shown.out
    assert shown.out.count("\n") == 1


def test_csv_reads_back_as_the_table(result, capsys):
    """Each row and column of the main table, and NaN as such."""
    show_result(result, "channels", json=False, csv=True)
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["layer"] for row in read] == result.tables["channels"].columns["layer"].tolist()
    np.testing.assert_array_equal([float(row["gy_rms"]) for row in read], result.tables["channels"].columns["gy_rms"])
    np.testing.assert_array_equal([float(row["firing"]) for row in read], result.tables["channels"].columns["firing"])


def test_csv_quotes_names_and_keeps_numbers():
    """Commas, quotes and line ends in a name, NaN and infinities survive."""
    table = Table({"layer": np.array(['a,"b"\nc', "d"]), "x": np.array([np.nan, -np.inf])})
    read = list(csv.reader(io.StringIO(to_csv(table))))
    assert read == [["layer", "x"], ['a,"b"\nc', "nan"], ["d", "-inf"]]
    assert to_csv(Table({})) == "\n"


def test_names_are_not_markup(capsys):
    """A layer called [bold] or [/] is printed as it is called."""
    table = Table({"layer": np.array(["[bold]a[/bold]", "[/]"]), "kind": np.array(["[red]", "x"])})
    show_result(Result("summary", {"layers": table}, notes=("[note]",)), "layers", json=False, csv=False)
    out = capsys.readouterr().out
    for text in ("[bold]a[/bold]", "[/]", "[red]", "note: [note]"):
        assert text in out


def test_numbers_are_readable(capsys):
    """Counts have thousands, NaN is a dash, a truth value is a word."""
    table = Table({"n": np.array([1234567]), "x": np.array([np.nan]), "yes": np.array([True])})
    show_result(Result("other", {"t": table}), "t", json=False, csv=False)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1,234,567", "–", "True"]


def test_small_tables_and_notes_are_shown_too(capsys):
    """A table of one row, such as totals, is shown beside the main one; others are left to --json."""
    one, two = Table({"parameters": np.array([1])}), Table({"layer_name": np.array([1, 2])})
    show_result(Result("s", {"main": two, "totals": one, "other": two}, notes=("n",)), "main", json=False, csv=False)
    out = capsys.readouterr().out
    assert ("totals" in out, "other" in out, out.splitlines()[-1]) == (True, False, "note: n")


def test_a_map_is_shown_by_its_warnings_claims_patterns_and_the_first_matches(capsys):
    """Warnings and claims first; of sixty layers the first matches, and how many there are more."""
    show_result(similar.similarity_map(similar.many(60)), "best", json=False, csv=False)
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["No finding.", "warning: layer1.0.conv1: one direction has 97 % of the variance"]
    assert out[2].startswith("a and b share more than chance allows: holds")
    assert "and 90 more rows; --csv prints all of them" in out
    assert " ".join(next(line for line in out if line.startswith("model a")).split()).endswith("index low high p told")


def test_nothing_is_wrapped_where_output_is_no_terminal(capsys):
    """A long layer name keeps its row on one line, whole."""
    name = "encoder." * 12 + "conv"
    show_result(Result("summary", {"layers": Table({"layer": np.array([name])})}), "layers", json=False, csv=False)
    assert name in capsys.readouterr().out.splitlines()[-1]


@pytest.fixture
def run(tmp_path, result):
    with create(tmp_path / "one", model="m", data="d", lr=np.nan) as writer:
        writer.add("channels/start", Result("channel_profile", {"layers": Table({"layer": np.array(["no"])})}))
        writer.add("channels/end", result)
    return open_run(tmp_path / "one")


def test_a_run_ends_with_the_path_of_its_page(run, capsys):
    """Findings, claims, and last the file to open; as JSON the same; as CSV the layers at the end."""
    show_run(run, json=False, csv=False)
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {run.page}"
    show_run(run, json=True, csv=False)
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (document["page"], len(document["findings"])) == (str(run.page), 1)
    assert document["results"] == {label: result.to_dict() for label, result in run.results.items()}
    show_run(run, json=False, csv=True)
    assert [row["layer"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["fc1", "act1", "head"]


def test_runs_are_listed(run, capsys):
    """One line a run, an unreadable one with the reason; as JSON with what is known; none says how to make one."""
    both = [run, Run(run.path.parent / "bad", fault="no SQLite file")]
    show_runs(both, json=False)
    assert capsys.readouterr().out.splitlines() == [
        "one: m on d, finished, 1 finding",
        "bad: unreadable, no SQLite file",
    ]
    show_runs(both, json=True)
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [(row["status"], row.get("lr")) for row in rows] == [("finished", "NaN"), ("unreadable", None)]
    show_runs([], json=False)
    assert "netassay examine makes one" in capsys.readouterr().out


def test_main_columns_are_columns_of_their_studies(result):
    """What the terminal picks out of a table is in that table."""
    tables = {"channel_profile": result.tables["layers"], "summary": na.summary(net(), (1, 64)).tables["layers"]}
    tables |= {"similarity_map": similar.similarity_map().tables["best"]}
    tables |= {"similarity_trend": similar.trend().tables["sizes"]}
    tables |= {"stitch_trend": similar.stitch_trend().tables["sizes"]}
    tables |= {"stitch_grid": stitched.stitch_grid().tables["cells"]}
    for study, table in tables.items():
        assert set(terminal.COLUMNS[study]) <= set(table.columns)
