"""Results: what a study hands over prints, slices, freezes, merges and goes into strict JSON."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest

from netassay.errors import BadInput, UnknownName
from netassay.result import Array, Claim, Result, Table, Verdict, plain

CLAIM = {"statement": "a is above b", "effect": 2.0, "n": 9, "counted": "layers", "unit": "bits"}
VERDICT = Verdict("dead", "conv1", "3 of 4 are dead", "finding", {"share": 0.75}, "any", "a paper", 9, "never", "look")


def result(**changes):
    fields = {
        "study": "made",
        "tables": {"layers": Table.of([{"layer": "a<b", "rms": np.nan, "n": 1}, {"layer": "c", "rms": 2.0, "n": 2}])},
        "arrays": {"q": Array([[1.0, np.inf], [-np.inf, np.nan]], layer=["a<b", "c"], quantile=["q1", "q2"])},
        "claims": (Claim.above(0.0, interval=(-np.inf, 3.0), **CLAIM),),
        "verdicts": (VERDICT, dataclasses.replace(VERDICT, severity="warning", numbers={"n": np.int64(3)})),
        "provenance": {"seed": np.int64(0), "on": np.bool_(True), "shape": (1, 2), "versions": {"torch": "2"}},
    }
    return Result(**{**fields, **changes})


@pytest.mark.parametrize(
    ("interval", "decision"),
    [((0.1, 3.0), "holds"), ((-3.0, -0.1), "does not hold"), ((-1.0, 3.0), "undecided"), ((0.0, 3.0), "undecided")],
)
def test_a_claim_is_decided_by_where_its_interval_lies(interval, decision):
    """Above the null it holds, below it does not, and with the null inside it is open."""
    claim = Claim.above(0.0, interval=interval, **CLAIM)
    assert claim.decision == decision
    low, high = interval
    assert str(claim) == (f"a is above b: {decision} (2 bits, 95 % interval {low:.3g} to {high:.3g}, n = 9 layers)")


def test_a_verdict_prints_layer_and_cause():
    assert str(VERDICT) == "conv1: 3 of 4 are dead"
    assert str(dataclasses.replace(VERDICT, layer="")) == "3 of 4 are dead"


def test_results_cannot_be_changed():
    """Fields of results, claims, verdicts and tables are fixed once made."""
    for one in (result(), result().claims[0], VERDICT, result().tables["layers"]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)


def test_rows_are_plain_values():
    """A table gives dicts of Python's own types, in the order of its columns."""
    rows = result().table("layers")
    assert list(rows[1].items()) == [("layer", "c"), ("rms", 2.0), ("n", 2)]
    assert {type(value) for value in rows[1].values()} == {str, float, int}
    assert len(result().tables["layers"]) == 2
    assert (Table.of([]).rows(), len(Table.of([]))) == ([], 0)


def test_columns_of_one_table_have_one_length():
    with pytest.raises(ValueError, match=r"differ in length: .*'a': 1, 'b': 2"):
        Table({"a": np.zeros(1), "b": np.zeros(2)})


def test_an_array_knows_its_labels_as_long_as_they_fit():
    """Axes survive arithmetic and pickling, and are gone where a slice leaves them without meaning."""
    array = result().array("q")
    axes = {"layer": ("a<b", "c"), "quantile": ("q1", "q2")}
    assert array.axes == (array + 1).axes == pickle.loads(pickle.dumps(array)).axes == axes
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)), array)
    assert array[0].axes == {}
    assert pickle.loads(pickle.dumps(array[0])).axes == {}
    with pytest.raises(ValueError, match=r"axes {'layer': 1} do not fit an array of shape \(2,\)"):
        Array([1.0, 2.0], layer=["a"])


def test_unknown_tables_and_arrays_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="closest: 'layers'"):
        result().table("layer")
    with pytest.raises(UnknownName, match="array of made 'y_quantiles'"):
        result().array("y_quantiles")


def test_findings_are_the_verdicts_that_call_for_action():
    assert result().findings == (VERDICT,)


def test_everything_goes_into_strict_json():
    """No NaN and no infinity as a number, no numpy type: what is read back is what was written, spelled out."""
    told = json.loads(json.dumps(result().to_dict(), allow_nan=False))
    assert told == result().to_dict()
    assert told["tables"]["layers"][0] == {"layer": "a<b", "rms": "NaN", "n": 1}
    assert told["arrays"]["q"]["values"] == [[1.0, "Infinity"], ["-Infinity", "NaN"]]
    assert told["arrays"]["q"]["axes"] == {"layer": ["a<b", "c"], "quantile": ["q1", "q2"]}
    assert told["claims"][0]["interval"] == ["-Infinity", 3.0]
    assert told["verdicts"][1]["numbers"] == {"n": 3}
    assert told["provenance"] == {"seed": 0, "on": True, "shape": [1, 2], "versions": {"torch": "2"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array(1.5), 1.5),
        (np.array([1, 2]), [1, 2]),
        (np.float32("nan"), "NaN"),
        ((x for x in (1, np.inf)), [1, "Infinity"]),
        ({3: None}, {"3": None}),
    ],
)
def test_plain_values(value, expected):
    """Arrays of any number of axes, generators, and keys that are no strings."""
    assert plain(value) == expected


def test_results_without_their_sums_do_not_merge():
    with pytest.raises(BadInput, match="keep no sums to join"):
        result().merge(result())


def test_a_notebook_shows_findings_and_tables_escaped():
    """The fragment has the findings, the claims and every table, and no name of a layer becomes markup."""
    html = result()._repr_html_()
    assert "conv1: 3 of 4 are dead" in html
    assert "a is above b: undecided" in html
    assert "a&lt;b" in html
    assert "a<b" not in html
    assert html.count("<tr>") == 3


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((-2.0, -1.0), "holds"),
        ((1.0, 2.0), "does not hold"),
        ((-1.0, 1.0), "undecided"),
        ((np.nan, np.nan), "undecided"),
    ],
)
def test_a_claim_below_is_one_above_turned_round(interval, word):
    """It holds where the whole interval lies below the null, and says the opposite where it lies above."""
    claim = Claim.below(0, statement="a < b", effect=0.0, interval=interval, n=3, counted="seeds")
    assert claim.decision == word
