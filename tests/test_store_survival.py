"""A run is whole at every moment: beside its writer, after `kill -9`, on a read-only disk; damage is said."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from netassay.errors import BadInput
from netassay.result import Array, Result, Table
from netassay.store import create, database, open_run, runs

WRITER = """
import sys
import numpy as np
from netassay.result import Array, Result, Table
from netassay.store import create
with create(sys.argv[1]) as writer:
    print("begun", flush=True)
    for n in range(10**6):
        writer.log(n, {"step": n, "rms": float("nan") if n % 3 else n / 7})
        print("step", n, flush=True)
        if n % 20 == 0:
            table = Table({"n": np.full(2000, n), "layer": np.array(["conv"] * 2000)})
            array = Array(np.full((2, 4000), n, np.float32), half="ab", at=map(str, range(4000)))
            writer.add(f"r{n}", Result("s", tables={"t": table}, arrays={"a": array}))
            print("result", n, flush=True)
"""

# A big transaction with a tiny cache writes pages before it commits, so that a kill leaves a hot journal.
HALF = """
import os, signal, sys
from netassay.store import create, database
database.carries_wal = lambda folder: False
writer = create(sys.argv[1])
writer.log(0, {"loss": 1.0})
writer._connection.execute("PRAGMA cache_size=1")
with database.transaction(writer._connection, "half"):
    for step in range(1, 5000):
        writer._connection.execute("INSERT INTO point VALUES (?, 1, 2.0, 0)", (step,))
    os.kill(os.getpid(), signal.SIGKILL)
"""

FORK = """
import os, sys
from netassay.errors import BadInput
from netassay.store import create, open_run
with create(sys.argv[1]) as writer:
    writer.log(0, {"loss": 1.0})
    if os.fork() == 0:
        try:
            writer.log(1, {"loss": 2.0})
        except BadInput as error:
            print(error.found, flush=True)
        sys.exit()
    os.wait()
    print(open_run(sys.argv[1]).status)
    writer.log(2, {"loss": 3.0})
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="kill -9, folder locks and permissions are POSIX")


def integrity(folder):
    """Check with SQLite itself, on a copy, so that the run is left as the kill left it."""
    with tempfile.TemporaryDirectory() as copy:
        for path in folder.iterdir():
            shutil.copy(path, copy)
        connection = sqlite3.connect(Path(copy) / database.FILE)
        (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
    return answer


def killed(folder, seconds):
    """Kill a writing child after `seconds` and return what it had reported by then."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n"
    assert open_run(folder).status == "running"
    time.sleep(seconds)
    child.kill()
    said, _ = child.communicate()
    lines = [line.split() for line in said.split("\n")[:-1]]
    return [int(n) for kind, n in lines if kind == "step"], [int(n) for kind, n in lines if kind == "result"]


@posix
def test_what_was_committed_survives_kill_9(tmp_path):
    """Killed at 20 random moments, a run is intact and shows every step and result it had reported."""
    moments = random.Random(0)
    reported = 0
    for trial in range(20):
        folder = tmp_path / str(trial)
        steps, results = killed(folder, moments.uniform(0, 0.2))
        reported += len(steps) + len(results)
        assert integrity(folder) == "ok"
        run = open_run(folder)
        assert run.status == "interrupted"
        if steps:
            logged = run.series("step").columns
            assert logged["step"].tolist() == logged["value"].tolist() == list(range(len(logged["step"])))
            assert len(logged["step"]) - len(steps) in (0, 1)
            assert len(run.series("rms")) == len(logged["step"])
            assert np.isnan(run.series("rms").columns["value"]).sum() == sum(n % 3 > 0 for n in logged["step"])
        assert [f"r{n}" for n in results] == list(run.labels)[: len(results)]
        for label, result in run.results.items():
            assert np.all(result.array("a") == int(label[1:]))
            assert np.all(result.tables["t"].columns["n"] == int(label[1:]))
    assert reported > 100
    assert [run.status for run in runs(tmp_path)] == ["interrupted"] * 20


@posix
def test_a_half_transaction_is_taken_back_where_there_is_no_wal(tmp_path):
    """On a disk without WAL, a kill in the middle of a step leaves a journal that the reader rolls back."""
    done = subprocess.run([sys.executable, "-c", HALF, str(tmp_path / "run")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "run" / "run.db-journal").stat().st_size > 0
    run = open_run(tmp_path / "run")
    assert run.series("loss").rows() == [{"step": 0, "value": 1.0}]
    assert run.status == "interrupted"
    assert integrity(run.path) == "ok"


@posix
def test_a_forked_child_cannot_write_or_end_the_run(tmp_path):
    """A child that inherits the writer is refused, and leaving its `with` block leaves the run alone."""
    command = [sys.executable, "-c", FORK, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["this is not the process that began the run", "running"]
    assert done.stderr == ""
    assert open_run(tmp_path / "run").series("loss").columns["step"].tolist() == [0, 2]
    assert open_run(tmp_path / "run").status == "finished"


def test_a_reader_sees_the_last_commit_during_a_write(tmp_path):
    """While a transaction is open, a reader neither waits nor sees half of it."""
    with create(tmp_path) as writer:
        writer.log(0, {"loss": 1.0})
        run = open_run(tmp_path)
        with database.transaction(writer._connection, "hold"):
            writer._connection.execute("INSERT INTO point VALUES (1, 1, 2.0, 0)")
            began = time.perf_counter()
            assert run.series("loss").columns["step"].tolist() == [0]
            assert time.perf_counter() - began < 5
        assert run.series("loss").columns["step"].tolist() == [0, 1]
        assert run.status == "running"
    assert run.status == "finished"


def test_one_reading_is_one_state(tmp_path):
    """What a reading returns belongs together, also when a step is committed while it reads."""
    with create(tmp_path) as writer:
        writer.log(0, {"loss": 1.0})
        with database.reading(tmp_path / "run.db", "read") as connection:
            connection.execute("SELECT count(*) FROM series").fetchone()
            writer.log(1, {"loss": 2.0, "new": 0.0})
            assert connection.execute("SELECT count(*) FROM point").fetchone() == (1,)


def test_a_finished_run_is_one_plain_file(tmp_path):
    """The write-ahead log is folded in, and reading leaves nothing beside the file."""
    with create(tmp_path) as writer:
        writer.log(0, {"loss": 1.0})
        assert (tmp_path / "run.db-wal").exists()
    open_run(tmp_path).series("loss")
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]


def test_a_run_that_ends_under_a_reader_is_whole(tmp_path):
    """A reader that keeps the log in place when the run ends costs nothing but a second file."""
    with create(tmp_path) as writer:
        writer.log(0, {"loss": 1.0})
        reader = database.reading(tmp_path / "run.db", "read")
        connection = reader.__enter__()
        connection.execute("SELECT count(*) FROM point").fetchone()
    reader.__exit__(None, None, None)
    assert open_run(tmp_path).status == "finished"
    assert len(open_run(tmp_path).series("loss")) == 1


def test_without_wal_a_run_is_written_all_the_same(tmp_path, monkeypatch):
    """Where the probe finds that the disk carries no WAL, a rollback journal and full syncs are used."""
    monkeypatch.setattr(database, "carries_wal", lambda folder: False)
    with create(tmp_path) as writer:
        pragmas = [writer._connection.execute(f"PRAGMA {key}").fetchone() for key in ("journal_mode", "synchronous")]
        assert pragmas == [("truncate",), (2,)]
        writer.log(0, {"loss": float("nan")})
        assert len(open_run(tmp_path).series("loss")) == 1
    assert open_run(tmp_path).status == "finished"


def test_the_probe_leaves_nothing_and_believes_only_what_works(tmp_path, monkeypatch):
    """WAL is used where a trial write worked; an answer "wal" followed by an error counts as no."""
    assert database.carries_wal(tmp_path)
    assert list(tmp_path.iterdir()) == []

    memory = sqlite3.connect(":memory:")

    class Liar:
        def execute(self, statement):
            if statement.startswith("CREATE"):
                raise sqlite3.OperationalError("disk I/O error")
            return memory.execute("SELECT 'wal'")

        def close(self):
            pass

    monkeypatch.setattr(database.sqlite3, "connect", lambda *_, **__: Liar())
    assert not database.carries_wal(tmp_path)
    memory.close()


@contextlib.contextmanager
def unprivileged():
    """Act as a user whom permissions bind: root is above them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder():
    """A folder every user can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    for each in [path, *path.rglob("*")]:
        each.chmod(0o755)
    shutil.rmtree(path)


def seal_off(folder):
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


@posix
@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_finished_run_is_read_in_a_read_only_folder(folder, journal):
    """Whether or not the file still says WAL, a run on a disk that cannot be written is read."""
    with create(folder / "run") as writer:
        writer.log(0, {"loss": 1.0})
    connection = sqlite3.connect(folder / "run" / "run.db")
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.close()
    seal_off(folder / "run")
    with unprivileged():
        assert len(open_run(folder / "run").series("loss")) == 1
        assert [run.status for run in runs(folder)] == ["finished"]


@posix
@pytest.mark.parametrize("shared", [True, False])
def test_a_killed_run_in_a_read_only_folder_is_read_whole_or_refused(folder, shared):
    """With log and index it is read whole; without the index it is refused, never read without its log."""
    steps, _ = killed(folder / "run", 0.1)
    if not shared:
        (folder / "run" / "run.db-shm").unlink()
    seal_off(folder / "run")
    with unprivileged():
        if shared:
            assert len(open_run(folder / "run").series("step")) - len(steps) in (0, 1)
            return
        with pytest.raises(BadInput, match="open the copy"):
            open_run(folder / "run")
    shutil.copytree(folder / "run", folder / "copy")
    (folder / "copy").chmod(0o755)
    assert len(open_run(folder / "copy").series("step")) - len(steps) in (0, 1)


@posix
def test_a_half_transaction_in_a_read_only_folder_is_refused(folder):
    """A journal that cannot be rolled back is said to be in the way."""
    (folder / "run").mkdir()
    subprocess.run([sys.executable, "-c", HALF, str(folder / "run")], check=False)
    seal_off(folder / "run")
    with unprivileged(), pytest.raises(BadInput, match="open the copy"):
        open_run(folder / "run")


@posix
def test_a_folder_that_cannot_be_written_is_refused(folder):
    """Beginning a run in a read-only folder, or making one there, says so."""
    (folder / "mine").mkdir(mode=0o555)
    with unprivileged():
        for path in (folder / "mine", folder / "mine" / "deeper"):
            with pytest.raises(BadInput, match=r"cannot be written \(Permission denied\)"):
                create(path)
    (folder / "shut").mkdir()
    with create(folder / "shut" / "run"):
        pass
    (folder / "shut").chmod(0)
    with unprivileged():
        assert runs(folder) == []
        with pytest.raises(BadInput, match="permission denied"):
            runs(folder / "shut")


def test_where_there_is_no_run_a_sentence_says_so(tmp_path):
    """A missing folder, a folder without a run, a folder of runs, another file: each says what to open."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with create(tmp_path / "runs" / "examine-001"):
        pass
    for path, sentence in [
        ("runs/examine-01", "examine-001'"),
        ("nowhere", "see what there is: netassay runs"),
        ("empty", "a folder without a run.db"),
        ("empty/run.db", "a folder without a run.db"),
        ("runs", "open one of the runs in it, e.g. "),
        ("notes.txt", "a file that is not named run.db"),
    ]:
        with pytest.raises(BadInput) as caught:
            open_run(tmp_path / path)
        assert sentence in str(caught.value)
    with pytest.raises(BadInput, match=r"notes.txt' is a file"):
        create(tmp_path / "notes.txt" / "run")
    with pytest.raises(BadInput, match=r"notes.txt' is a file"):
        create(tmp_path / "notes.txt")


def test_other_files_and_newer_versions_are_refused(tmp_path):
    """An empty file, another program's database and a schema of tomorrow are each told apart."""
    for name, statements, sentence in [
        ("empty", (), "nothing was committed to it yet"),
        ("foreign", ("CREATE TABLE t (x)", "PRAGMA user_version=1"), "a SQLite file of another program"),
        ("newer", (f"PRAGMA application_id={database.MARK}", "PRAGMA user_version=2"), "schema version 2"),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.db").touch()
        connection = sqlite3.connect(tmp_path / name / "run.db")
        for statement in statements:
            connection.execute(statement)
        connection.close()
        with pytest.raises(BadInput, match=sentence):
            open_run(tmp_path / name)


def read_all(folder):
    run = open_run(folder)
    return [str(run), run.meta, run.results, run.all_series, run.claims, run.status]


def test_a_damaged_file_is_a_sentence_never_a_crash(tmp_path):
    """Cut short or with bytes overwritten anywhere, a run is read or refused; no other error comes out."""
    numbers = Result("s", arrays={"a": Array(np.zeros((40, 40)), x=range(40), y=range(40))}, provenance={"a": "b" * 99})
    words = Result("s", tables={"t": Table({"layer": np.array(["conv"] * 500)})})
    with create(tmp_path / "run", model="m") as writer:
        for step in range(300):
            writer.log(step, {"loss": step, "rms": np.nan})
        writer.add("numbers", numbers)
        writer.add("words", words)
    whole = (tmp_path / "run" / "run.db").read_bytes()
    chance, refused = random.Random(0), []
    for trial in range(150):
        hurt = bytearray(whole)
        if trial < 30:
            del hurt[chance.randrange(len(whole)) :]
        else:
            at = chance.randrange(len(whole))
            hurt[at : at + chance.choice([1, 16, 500])] = chance.randbytes(1) * chance.choice([1, 16, 500])
        (tmp_path / "run" / "run.db").write_bytes(hurt)
        try:
            read_all(tmp_path / "run")
        except BadInput as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert {text.count("\n") for text in refused} == {2}


def test_a_full_disk_is_a_sentence(tmp_path):
    """When the file can grow no further, the step is refused whole and what was there stays."""
    with create(tmp_path) as writer:
        writer.log(0, {"loss": 1.0})
        pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
        writer._connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(BadInput, match="the disk is full"):
            writer.add("big", Result("s", arrays={"a": np.zeros(10**5).view(Array)}))
    run = open_run(tmp_path)
    assert (run.labels, len(run.series("loss"))) == ((), 1)


def test_a_run_of_another_host_is_unfinished(tmp_path):
    """Whether a writer lives is asked only of its own machine."""
    with create(tmp_path) as writer:
        writer._connection.execute("UPDATE meta SET value = '\"elsewhere\"' WHERE key = 'host'")
        assert open_run(tmp_path).status == "unfinished"


def test_a_writing_process_keeps_its_database_locks(tmp_path, monkeypatch):
    """Opening and listing runs in the writing process does not take SQLite's locks from it."""
    monkeypatch.setattr(database, "carries_wal", lambda folder: False)  # without WAL, locks are on run.db itself
    with create(tmp_path / "run") as writer, database.transaction(writer._connection, "hold"):
        writer._connection.execute("INSERT INTO meta VALUES ('x', '1')")
        str(open_run(tmp_path / "run")), runs(tmp_path)
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        command = [sys.executable, "-c", code, str(tmp_path / "run" / "run.db")]
        assert "database is locked" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
