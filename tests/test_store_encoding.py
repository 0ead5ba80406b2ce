"""What is stored comes back the same: dtypes bit for bit, NaN and infinities, order and axes."""

from __future__ import annotations

import itertools
import json
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from netassay.errors import BadInput
from netassay.result import Array, Claim, Result, Table, Verdict
from netassay.store import create, open_run
from netassay.store.encoding import dumps, loads

COUNT = itertools.count()
DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["$", "$$", "$x"]), inner),
)


def kept(folder, result):
    with create(folder) as writer:
        writer.add("it", result)
    return open_run(folder).result("it")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    with create(tmp_path_factory.mktemp("runs") / "one") as writer:
        yield writer


def same(a, b):
    native = a.dtype.newbyteorder("=")
    assert type(b) is type(a)
    assert (b.dtype, b.shape) == (native, a.shape)
    assert b.tobytes() == a.astype(native).tobytes()


@given(data=st.data(), dtype=st.sampled_from(DTYPES), order=st.sampled_from("<>"))
def test_arrays_and_columns_come_back_bit_for_bit(writer, data, dtype, order):
    """Every dtype, shape (empty too) and byte order of an array or column returns as this machine's own."""
    kind = np.dtype(dtype).newbyteorder(order)
    cube = data.draw(arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    column = data.draw(arrays.arrays(kind, st.integers(0, 5)))
    label = f"r{next(COUNT)}"
    writer.add(label, Result("s", tables={"t": Table({"x": column})}, arrays={"a": cube.view(Array)}))
    result = open_run(writer.path).result(label)
    same(column, result.tables["t"].columns["x"])
    same(cube.view(Array), result.array("a"))


def test_a_signalling_nan_keeps_its_payload(tmp_path):
    """Not even the unused bits of a NaN change."""
    bits = np.array([0x7FC00000, 0x7F800001, 0xFFC12345, 0x80000000], dtype=np.uint32)
    result = kept(tmp_path, Result("s", arrays={"a": Array(bits.view(np.float32), n=list("abcd"))}))
    assert result.array("a").view(np.uint32).tolist() == bits.tolist()


@given(words=st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_string_columns_come_back(writer, words):
    """Strings of any language, empty ones and none at all return as a string column."""
    column = np.array(words, dtype=str)
    label = f"w{next(COUNT)}"
    writer.add(label, Result("s", tables={"t": Table({"layer": column})}))
    back = open_run(writer.path).result(label).tables["t"].columns["layer"]
    assert back.tolist() == column.tolist()
    assert back.dtype.kind == "U"


def test_object_columns_of_strings_and_string_arrays_come_back(tmp_path):
    """Strings are kept whatever numpy calls them, in any shape."""
    decisions = Array([["holds", "undecided"], ["", "é"]], a=["x", "y"], b=["u", "v"])
    table = Table({"layer": np.array(["conv1", "fc"], dtype=object)})
    result = kept(tmp_path, Result("s", tables={"t": table}, arrays={"d": decisions}))
    assert result.array("d").tolist() == decisions.tolist()
    assert result.array("d").axes == decisions.axes
    assert result.table("t") == [{"layer": "conv1"}, {"layer": "fc"}]


def test_order_axes_and_empty_parts_come_back(tmp_path):
    """Tables, columns, arrays and axes keep their order and labels; an empty table is still there."""
    arrays = {
        "z": Array([[1.0, 2.0]], layer=["conv1"], q=["25", "75"]),
        "a": Array(np.zeros((0, 2)), n=[], m="xy"),
    }
    tables = {"z": Table({"b": np.arange(2), "a": np.ones(2)}), "a": Table({}), "m": Table.of([])}
    result = kept(tmp_path, Result("s", tables=tables, arrays=arrays))
    assert [list(result.tables), list(result.arrays)] == [["z", "a", "m"], ["z", "a"]]
    assert [list(table.columns) for table in result.tables.values()] == [["b", "a"], [], []]
    assert result.array("z").axes == {"layer": ("conv1",), "q": ("25", "75")}
    assert list(result.array("z").axes) == ["layer", "q"]
    assert result.array("a").axes == {"n": (), "m": ("x", "y")}


def test_an_array_read_back_can_be_changed(tmp_path):
    """What is read is the reader's own, not a view of a read-only buffer."""
    array = kept(tmp_path, Result("s", arrays={"a": Array([1.0, 2.0], n=["x", "y"])})).array("a")
    array[0] = 5.0
    assert array.tolist() == [5.0, 2.0]


def test_claims_verdicts_notes_and_provenance_come_back(tmp_path):
    """The words of a result return equal: NaN and infinite bounds as numbers, scalars as Python's own."""
    claim = Claim.above(
        0,
        statement="a > b",
        effect=np.float32(0.5),
        interval=(-np.inf, np.inf),
        n=np.int64(3),
        counted="layers",
    )
    numbers = {"rms": float("-inf"), "share": np.float16(0.25), "finite": np.bool_(False)}
    verdict = Verdict("dead", "conv1", "no gradient", "finding", numbers, "< 1e-8", "ours", 9, "w", "n")
    sent = Result("s", claims=(claim,), verdicts=(verdict,), notes=("one", "two"), provenance={"lr": 0.1, "of": [1]})
    result = kept(tmp_path, sent)
    assert (result.claims, result.verdicts) == (sent.claims, sent.verdicts)
    assert (result.notes, result.provenance, result.study) == (sent.notes, sent.provenance, "s")
    assert isinstance(result.claims[0].interval, tuple)
    assert type(result.claims[0].effect) is float


@given(value=JSON)
def test_json_round_trips_with_nan_and_dollars(value):
    """Any JSON value returns the same, NaN, infinities and keys with "$" included, and the text is strict."""

    def refused(token):
        raise AssertionError(f"{token} is not JSON")

    text = dumps(value, "here")
    json.loads(text, parse_constant=refused)
    assert repr(loads(text)) == repr(value)


def test_tuples_and_numpy_become_plain(tmp_path):
    """Tuples return as lists, numpy arrays as lists, numpy scalars as Python's own, keys as strings."""
    value = {1: (np.float32(0.5), np.array([[True, False]])), "n": np.int8(-3)}
    assert loads(dumps(value, "here")) == {"1": [0.5, [[True, False]]], "n": -3}


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (Result("s", provenance={"model": {"path": {1}}}), "store s.provenance.model.path"),
        (Result("s", arrays={"z": np.zeros(2, complex).view(Array)}), "array 'z'"),
        (Result("s", arrays={"z": np.zeros(2, np.longdouble).view(Array)}), "numbers up to 64 bits"),
        (Result("s", tables={"t": Table({"x": np.array([None, "a"])})}), "column 'x'"),
        (Result("s", tables={"t": Table({"x": np.zeros((2, 3))})}), "shape (2, 3) where one value a row"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(tmp_path, result, sentence):
    """A value that would not come back the same is refused with its place; nothing of the result is kept."""
    with create(tmp_path / "run") as writer:
        with pytest.raises(BadInput) as caught:
            writer.add("it", result)
        writer.add("after", Result("s"))
    assert sentence in str(caught.value)
    assert open_run(tmp_path / "run").labels == ("after",)


def test_an_array_sqlite_cannot_take_is_refused(tmp_path, monkeypatch):
    """An array above SQLite's limit is refused before it is copied into the file."""
    monkeypatch.setattr("netassay.store.encoding.MOST", 100)
    with create(tmp_path / "run") as writer, pytest.raises(BadInput, match="104 bytes; SQLite takes 100"):
        writer.add("it", Result("s", arrays={"z": np.zeros(13).view(Array)}))


def test_bytes_in_the_file_are_little_endian(tmp_path):
    """The file means the same on every machine."""
    kept(tmp_path, Result("s", arrays={"a": Array(np.array([1], dtype=">i4"), n=["x"])}))
    with sqlite3.connect(tmp_path / "run.db") as connection:
        row = connection.execute("SELECT dtype, shape, data FROM tensor").fetchone()
    connection.close()
    assert row == ("int32", "[1]", b"\x01\x00\x00\x00")
