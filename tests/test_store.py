"""A run from beginning to end: what is written is what is read, listed, and handed to other tools."""

from __future__ import annotations

import ast
import csv
import pickle
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from netassay.errors import BadInput, UnknownName
from netassay.result import Array, Claim, Result, Table, Verdict
from netassay.store import Run, clear, create, fresh, lock, open_run, runs

SCHEMA = """\
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID
CREATE TABLE result (
    id INTEGER PRIMARY KEY,
    label TEXT NOT NULL UNIQUE,
    study TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT
CREATE TABLE tensor (
    result INTEGER NOT NULL REFERENCES result (id),
    kind TEXT NOT NULL CHECK (kind IN ('table', 'array')),
    name TEXT NOT NULL,
    "column" TEXT NOT NULL,
    dtype TEXT NOT NULL,
    shape TEXT NOT NULL,
    data BLOB,
    words TEXT,
    PRIMARY KEY (result, kind, name, "column"),
    CHECK ((data IS NULL) <> (words IS NULL))
) STRICT
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    layer TEXT NOT NULL,
    unit TEXT NOT NULL,
    UNIQUE (name, layer)
) STRICT
CREATE TABLE point (
    step INTEGER NOT NULL,
    series INTEGER NOT NULL REFERENCES series (id),
    value REAL,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 3),
    PRIMARY KEY (step, series),
    CHECK ((kind = 0) = (value IS NOT NULL))
) STRICT, WITHOUT ROWID"""

DOCUMENT = (
    '{"claims": [{"statement": "a > b", "effect": 1.0, "interval": [0.5, {"$": "Infinity"}], "n": 3, '
    '"counted": "layers", "decision": "holds", "unit": "", "level": 0.95, "tests": 1, "correction": "none"}], '
    '"verdicts": [{"rule": "dead", "layer": "conv1", "cause": "no gradient", "severity": "finding", '
    '"numbers": {"rms": {"$": "NaN"}}, "threshold": "< 1e-8", "source": "ours", "n": 9, "wrong_if": "w", '
    '"next": "x"}], "notes": ["short"], "provenance": {"seed": 0}, "tables": {"t": ["layer", "x"]}, '
    '"arrays": {"a": {"q": ["25", "75"]}}}'
)

RESULT = Result(
    "summary",
    tables={"t": Table({"layer": np.array(["conv1", "fc"]), "x": np.array([np.nan, 0.1], np.float32)})},
    arrays={"a": Array([np.inf, -1.5], q=["25", "75"])},
    claims=(Claim("a > b", 1.0, (0.5, float("inf")), 3, "layers", "holds"),),
    verdicts=(Verdict("dead", "conv1", "no gradient", "finding", {"rms": np.nan}, "< 1e-8", "ours", 9, "w", "x"),),
    notes=("short",),
    provenance={"seed": 0},
)
WARNING = Verdict("slow", "fc", "little gradient", "warning", {"rms": 0.1}, "< 1e-4", "ours", 9, "w", "x")


def rows(file, statement):
    connection = sqlite3.connect(file)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_a_run_is_read_as_it_was_written(tmp_path):
    """Meta, results in order, series with NaN and infinities, and what is found are all there."""
    with create(tmp_path / "runs" / "one", model="resnet18", data="digits", lr=float("nan")) as writer:
        writer.log(0, {"loss": 0.5, "rms": np.float32(0.25)})
        writer.log(np.int64(1), {"loss": float("nan"), "rms": np.inf, ("norm", "conv1"): 3}, layer="")
        writer.log(2, {"loss": -np.inf}, layer="", unit="")
        writer.log(2, {"time": 1.5}, layer="conv1", unit="ms")
        writer.add("z", RESULT)
        writer.add("a", Result("flow", verdicts=(WARNING,)))
        writer.note(checkpoint=[1, 2], lr=0.1)
    run = open_run(tmp_path / "runs" / "one")
    assert {key: run.meta[key] for key in ("model", "data", "lr", "checkpoint", "status")} == {
        "model": "resnet18",
        "data": "digits",
        "lr": 0.1,
        "checkpoint": [1, 2],
        "status": "finished",
    }
    assert run.meta["started"] <= run.meta["ended"]
    assert (run.id, run.status, run.labels, list(run.results)) == ("one", "finished", ("z", "a"), ["z", "a"])
    assert (run.claims, [verdict.rule for verdict in run.findings]) == (RESULT.claims, ["dead"])
    assert [verdict.rule for verdict in run.verdicts] == ["dead", "slow"]
    assert np.isnan(run.findings[0].numbers["rms"])
    assert str(run) == "one: resnet18 on digits, finished, 1 finding"
    assert run.page == run.path / "index.html"
    assert run.series("loss").columns["step"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(run.series("loss").columns["value"], [0.5, np.nan, -np.inf])
    np.testing.assert_array_equal(run.series("rms").columns["value"], [0.25, np.inf])
    assert run.series("time", "conv1").rows() == [{"step": 2, "value": 1.5}]
    names = [("loss", "", ""), ("rms", "", ""), ("norm", "conv1", ""), ("time", "conv1", "ms")]
    assert list(run.series_names) == list(run.all_series) == names
    for series, table in run.all_series.items():
        np.testing.assert_equal(table.rows(), run.series(series.name, series.layer).rows())


def test_the_schema_and_the_document_change_only_on_purpose(tmp_path):
    """The schema's text and a result's document are pinned: a change needs a new VERSION."""
    with create(tmp_path) as writer:
        writer.add("it", RESULT)
    statements = rows(tmp_path / "run.db", "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    assert "\n".join(sql for (sql,) in statements) == SCHEMA
    assert rows(tmp_path / "run.db", "SELECT document FROM result") == [(DOCUMENT,)]
    assert rows(tmp_path / "run.db", "PRAGMA user_version") == [(1,)]
    assert rows(tmp_path / "run.db", "PRAGMA page_size") == [(4096,)]


def test_numbers_are_stored_as_numbers(tmp_path):
    """A float32 is REAL, not a BLOB; NaN is NULL with its kind, so that SQL's avg() passes over it."""
    with create(tmp_path) as writer:
        for step, value in enumerate([np.float32(0.5), np.float64(2), np.nan, np.inf, -np.inf, True]):
            writer.log(np.int32(step), {"x": value})
    points = rows(tmp_path / "run.db", "SELECT step, typeof(value), value, kind FROM point")
    assert points == [
        (0, "real", 0.5, 0), (1, "real", 2.0, 0), (2, "null", None, 1),
        (3, "null", None, 2), (4, "null", None, 3), (5, "real", 1.0, 0),
    ]  # fmt: skip


def test_a_run_that_raises_is_failed_with_the_reason(tmp_path):
    """The exception passes through, and its text is kept on one line."""
    with pytest.raises(BadInput), create(tmp_path) as writer:  # noqa: PT012
        writer.log(0, {"loss": 1.0})
        raise BadInput("a", "b", "c")
    run = open_run(tmp_path)
    assert (run.status, run.meta["error"]) == ("failed", "BadInput: asked: a found: b next: c")
    assert len(run.series("loss")) == 1
    with pytest.raises(KeyboardInterrupt), create(tmp_path / "stopped"):
        raise KeyboardInterrupt
    assert open_run(tmp_path / "stopped").meta["error"] == "KeyboardInterrupt"


def test_a_refused_step_leaves_nothing_behind(tmp_path):
    """A step that is refused is not half there, and the run goes on as if it had not been asked for."""
    with create(tmp_path) as writer:
        writer.log(1, {"loss": 1.0})
        for values, unit, sentence in [
            ({"new": 0.0, "loss": 2.0}, "", "has a value there already"),
            ({"new": 0.0, "loss": 2.0}, "nats", "'loss' is in '' so far, now in 'nats'"),
            ({"new": 0.0, "other": "high?"}, "", "'other' is a str where one number is needed"),
        ]:
            with pytest.raises(BadInput, match="log step 1 in") as caught:
                writer.log(1, values, unit=unit)
            assert sentence in str(caught.value)
        with pytest.raises(BadInput, match="no whole number"):
            writer.log(1.5, {"new": 0.0})
        writer.log(2, {"new": 3.0, "loss": 4.0})
    run = open_run(tmp_path)
    assert run.series("new").rows() == [{"step": 2, "value": 3.0}]
    assert run.series("loss").columns["value"].tolist() == [1.0, 4.0]


def test_refusals_of_the_writer_say_what_to_type(tmp_path):
    """A taken label, a key the run owns, JSON that cannot be, and writing after the end are sentences."""
    with create(tmp_path / "run") as writer:
        writer.add("it", RESULT)
        with pytest.raises(BadInput, match=r"use another, e\.g\. 'it-2'"):
            writer.add("it", RESULT)
        with pytest.raises(BadInput, match="'status' is what the run says about itself"):
            writer.note(status="finished")
        with pytest.raises(BadInput, match=r"store meta\.model"):
            writer.note(model=object())
    with pytest.raises(BadInput, match="the run has ended"):
        writer.log(0, {"loss": 1.0})
    with pytest.raises(BadInput, match=r"name it otherwise, e\.g\. my_host"):
        create(tmp_path / "other", host="here")
    assert not (tmp_path / "other").exists()


def test_unknown_names_are_answered_with_near_ones(tmp_path):
    """A label, table or series that is not there names the nearest and what to type."""
    with create(tmp_path) as writer:
        writer.add("summary", RESULT)
        writer.log(0, {"loss": 1.0, ("grad_norm", "conv1"): 2.0})
    run = open_run(tmp_path)
    with pytest.raises(UnknownName, match="use 'summary'"):
        run.result("sumary")
    with pytest.raises(UnknownName, match=r"run.series\('grad_norm', 'conv1'\)"):
        run.series("grad_norm", "conv")
    with pytest.raises(UnknownName, match=r"run.series\('loss', ''\)"):
        run.series("lost")
    with pytest.raises(UnknownName, match="table of 'summary' 'tt'"):
        run.to_pandas("summary", "tt")


def test_one_writer_begins_a_run(tmp_path):
    """Of eight that begin the same run at once, one gets it; afterwards nobody does."""

    def begin(_):
        try:
            return create(tmp_path / "run")
        except BadInput as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(begin, range(8)))
    (writer,) = [outcome for outcome in outcomes if not isinstance(outcome, BadInput)]
    for error in outcomes:
        assert error is writer or "another process is writing" in str(error) or "holds a run" in str(error)
    with pytest.raises(BadInput, match="another process is writing a run there"):
        create(tmp_path / "run")
    writer._ending.close()
    with pytest.raises(BadInput, match="it holds a run already"):
        create(tmp_path / "run")


def test_threads_take_turns(tmp_path):
    """A run may be written from an executor's threads: every step is there, each whole."""
    with create(tmp_path) as writer, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: writer.log(n, {f"new {n}": n, "all": n}), range(200)))
    run = open_run(tmp_path)
    assert run.series("all").columns["step"].tolist() == list(range(200))
    assert [run.series(f"new {n}").rows() for n in range(0, 200, 9)] == [
        [{"step": n, "value": n}] for n in range(0, 200, 9)
    ]


def test_fresh_folders_are_never_shared(tmp_path):
    """Eight threads get forty different folders, numbered without a gap; deleted numbers do not come back."""
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: fresh(tmp_path / "runs", "job"), range(40)))
    assert sorted(path.name for path in paths) == [f"job-{number:03d}" for number in range(1, 41)]
    (tmp_path / "runs" / "job-007").rmdir()
    assert fresh(tmp_path / "runs", "job").name == "job-041"
    assert fresh(tmp_path / "runs", "jo").name == "jo-001"
    (tmp_path / "runs" / "job-999").mkdir()
    assert fresh(tmp_path / "runs", "job").name == "job-1000"
    for name in ("", "../x", "a/b", "-x"):
        with pytest.raises(BadInput, match="use letters, digits"):
            fresh(tmp_path, name)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"file' is a file"):
        fresh(tmp_path / "file", "job")


def test_runs_are_listed_newest_first(tmp_path):
    """By when they started, then by name; folders without a run are passed over, a broken run is last."""
    for name, started in [("old", "2026-01-01"), ("b", "2026-02-01"), ("a", "2026-02-01")]:
        with create(tmp_path / name, started=started):
            pass
    (tmp_path / "no run").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.db").write_bytes(b"not a database at all" * 100)
    listed = runs(tmp_path)
    assert [run.id for run in listed] == ["b", "a", "old", "broken"]
    assert [run.status for run in listed] == ["finished"] * 3 + ["unreadable"]
    assert str(listed[3]).startswith("broken: unreadable, no SQLite file")
    with pytest.raises(BadInput, match="no SQLite file"):
        _ = listed[3].meta
    with pytest.raises(BadInput, match="no such file or directory"):
        runs(tmp_path / "nowhere")


def test_a_run_is_a_small_value(tmp_path):
    """A Run opens by folder or file, compares, and travels to another process."""
    with create(tmp_path):
        pass
    run = open_run(tmp_path)
    assert run == open_run(str(tmp_path / "run.db")) == pickle.loads(pickle.dumps(run)) == Run(tmp_path)
    assert str(run) == f"{tmp_path.name}: finished, 0 findings"


def files(folder, written):
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path for path in written}


@pytest.fixture
def run(tmp_path):
    with create(tmp_path / "run") as writer:
        writer.log(3, {"loss": np.nan, ("rms", "conv1"): -np.inf})
        writer.add("a.b/c", RESULT)
        writer.add("none", Result("empty", tables={"t": Table({})}, arrays={"v": np.zeros((1, 1)).view(Array)}))
    return open_run(tmp_path / "run")


def test_csv_keeps_nan_and_infinities(run, tmp_path):
    """Every table, array, series, claim and verdict is a file; NaN is NaN and infinity is inf."""
    written = files(tmp_path / "csv", run.to_csv(tmp_path / "csv"))
    assert sorted(written) == [
        "arrays/a%2Eb%2Fc.a.csv", "arrays/none.v.csv", "claims.csv", "series.csv", "tables/a%2Eb%2Fc.t.csv",
        "verdicts.csv",
    ]  # fmt: skip
    text = {name: path.read_text() for name, path in written.items()}
    assert text["series.csv"] == "name,layer,unit,step,value\nloss,,,3,NaN\nrms,conv1,,3,-inf\n"
    assert text["arrays/a%2Eb%2Fc.a.csv"] == "q,value\n25,inf\n75,-1.5\n"
    assert text["arrays/none.v.csv"] == "axis 0,axis 1,value\n0,0,0.0\n"
    layer, x = zip(*csv.reader(text["tables/a%2Eb%2Fc.t.csv"].splitlines()), strict=True)
    assert (layer, x[:2], np.float32(x[2])) == (("layer", "conv1", "fc"), ("x", "NaN"), np.float32(0.1))
    assert "a.b/c,a > b,1.0,3,layers,holds,,0.95,1,none,0.5,inf" in text["claims.csv"]
    assert '"{""rms"": ""NaN""}"' in text["verdicts.csv"]
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="give a folder you can write to"):
        run.to_csv(tmp_path / "file")
    (tmp_path / "taken" / "series.csv").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"series\.csv'\n +found: Is a directory"):
        run.to_csv(tmp_path / "taken")


def test_parquet_holds_the_same_as_csv(run, tmp_path):
    """Parquet files have the columns of the tables with their types; NaN is a number, not a null."""
    parquet = pytest.importorskip("pyarrow.parquet")
    written = files(tmp_path / "pq", run.to_parquet(tmp_path / "pq"))
    assert len(written) == 6
    table = parquet.read_table(written["tables/a%2Eb%2Fc.t.parquet"])
    assert table["x"].null_count == 0
    np.testing.assert_array_equal(table["x"].to_numpy(), RESULT.tables["t"].columns["x"])
    assert str(table["x"].type) == "float"
    assert parquet.read_table(written["series.parquet"])["step"].to_pylist() == [3, 3]


def test_a_table_becomes_a_data_frame(run):
    """pandas gets the columns with their types."""
    pytest.importorskip("pandas")
    frame = run.to_pandas("a.b/c", "t")
    assert (list(frame), frame["x"].dtype, len(frame)) == (["layer", "x"], np.float32, 2)


def test_a_long_array_names_every_entry(tmp_path):
    """An exported array says for each entry where it is, whatever its axes are called."""
    cube = Array(np.arange(6).reshape(2, 3), value=["u", "v"], b=["x", "y", "z"])
    with create(tmp_path / "run") as writer:
        writer.add("r", Result("s", arrays={"c": cube, "n": Array(2.5)}))
    open_run(tmp_path / "run").to_csv(tmp_path / "csv")
    lines = (tmp_path / "csv" / "arrays" / "r.c.csv").read_text().splitlines()
    assert lines[:3] == ["value,b,value of the array", "u,x,0", "u,y,1"]
    assert lines[-1] == "v,z,5"
    assert (tmp_path / "csv" / "arrays" / "r.n.csv").read_text() == "value\n2.5\n"


@pytest.mark.parametrize("module", ["pandas", "pyarrow"])
def test_missing_extras_are_a_sentence(run, tmp_path, monkeypatch, module):
    """Without pandas or pyarrow, what to install is said; CSV needs neither."""
    monkeypatch.setitem(sys.modules, module, None)
    ask = {"pandas": lambda: run.to_pandas("a.b/c", "t"), "pyarrow": lambda: run.to_parquet(tmp_path / "pq")}
    with pytest.raises(BadInput, match=rf"{module} is not installed\n +next: +pip install"):
        ask[module]()
    assert run.to_csv(tmp_path / "csv")


def test_the_store_is_light():
    """Reading and writing runs import neither torch nor the optional libraries."""
    code = "import sys, netassay.store; print({'torch', 'pandas', 'pyarrow', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_store_knows_errors_and_results_only():
    """Of netassay, the store imports errors, result and itself."""
    import netassay.store

    for path in Path(netassay.store.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("netassay"):
                assert str(node.module).startswith(("netassay.errors", "netassay.result", "netassay.store")), path


def test_the_verdicts_of_a_run_are_those_of_each_studys_last_result(tmp_path):
    """What a study said at the start is there to compare with, and no finding about what was examined."""
    told = {"severity": "finding", "numbers": {}, "threshold": "", "source": "", "n": 1, "wrong_if": "", "next": ""}
    with create(tmp_path / "run") as writer:
        for label, layer in (("channels/start", "a"), ("channels/end", "b")):
            writer.add(label, Result("channel_profile", verdicts=(Verdict("dead", layer, "it is dead", **told),)))
        writer.add("other", Result("other", verdicts=(Verdict("odd", "c", "it is odd", **told),)))
    run = open_run(tmp_path / "run")
    assert [verdict.layer for verdict in run.verdicts] == ["b", "c"] == [verdict.layer for verdict in run.findings]


def test_only_what_never_ended_is_cleared(tmp_path):
    """A run that ended, or is being written, stays; one that failed, or was killed before its first commit, goes."""
    with create(tmp_path / "done") as writer:
        clear(tmp_path / "done")
        assert open_run(tmp_path / "done").status == "running"
        writer.note(seed=1)
    clear(tmp_path / "done")
    assert open_run(tmp_path / "done").status == "finished"
    with pytest.raises(ValueError, match="broke"), create(tmp_path / "failed"):
        raise ValueError("broke")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.db").write_bytes(b"")
    for name in ("failed", "empty"):
        (tmp_path / name / "grid.db").write_text("kept")
        clear(tmp_path / name)
        assert [file.name for file in (tmp_path / name).iterdir()] == ["grid.db"]
    clear(tmp_path / "nowhere")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.db").write_bytes(b"")
    descriptor = lock.hold(tmp_path / "begun")
    clear(tmp_path / "begun")
    assert (tmp_path / "begun" / "run.db").exists() == (descriptor is not None)
    lock.release(descriptor)
