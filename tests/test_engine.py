"""A grid gives what its work gives, in order, anywhere, once; what it cannot take it refuses in a sentence."""

from __future__ import annotations

import functools
import os
import random
import sqlite3
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from netassay import progress
from netassay.engine import grid, ledger, owners, pools, schema, status
from netassay.engine.ledger import Ledger
from netassay.engine.payloads import Packed, pack, unpack
from netassay.engine.worker import Done
from netassay.errors import BadInput, InternalError, UnknownName
from tests import cells as work

CELLS = [{"n": n} for n in (3, 1, 2, 0)]


def same(one, other):
    """Assert that two payloads have the same arrays in the same order, bit for bit."""
    assert list(one) == list(other)
    for left, right in zip(one.values(), other.values(), strict=True):
        assert (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


def begun(file):
    """Return the numbers of the cells that were begun, in order."""
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def rows(file, statement, *values):
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


@pytest.fixture
def files(tmp_path):
    """Cells that note in a file that they were begun; and the name of a ledger."""
    return [{"n": n, "file": str(tmp_path / "begun")} for n in range(4)], tmp_path / "new" / "grid.db"


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_grid_gives_what_the_work_gives(workers, kept, tmp_path):
    """In the order of the cells, bit for bit, with any number of workers, with a ledger and without."""
    ledger = tmp_path / "grid.db" if kept else None
    given = grid(work.numbers, CELLS, workers=workers, ledger=ledger)
    again = grid(work.numbers, CELLS[::-1], workers=workers, ledger=ledger) if kept else given[::-1]
    for cell, one, other in zip(CELLS, given, again[::-1], strict=True):
        same(one, work.numbers(cell))
        same(other, work.numbers(cell))


def test_any_executor_does():
    """Threads give the same as processes; the executor is left open."""
    with ThreadPoolExecutor(3) as executor:
        given = grid(work.numbers, CELLS, executor=executor)
        assert executor.submit(int, "3").result() == 3
    for cell, one in zip(CELLS, given, strict=True):
        same(one, work.numbers(cell))


def test_dask_does(tmp_path):
    """A Dask client's executor gives the same, and a failing cell fails alone."""
    distributed = pytest.importorskip("distributed")
    cells = [{"n": n, "file": str(tmp_path / "begun")} for n in range(4)]
    (tmp_path / "begun.2").write_text("ours")
    options = {"processes": False, "dashboard_address": None, "n_workers": 1, "threads_per_worker": 2}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        with pytest.raises(UnknownName, match="onse"):
            grid(work.failing, cells, executor=client.get_executor(), ledger=tmp_path / "grid.db")
        (tmp_path / "begun.2").unlink()
        given = grid(work.failing, cells, executor=client.get_executor(), ledger=tmp_path / "grid.db")
    assert sorted(begun(tmp_path / "begun")) == [0, 1, 2, 2, 3]
    for cell, one in zip(cells, given, strict=True):
        same(one, work.numbers(cell))


class Counting(Executor):
    """An executor of two threads that counts how many cells it was given and has not ended."""

    def __init__(self):
        self.inner, self.ahead, self.most, self.lock = ThreadPoolExecutor(2), 0, 0, threading.Lock()

    def submit(self, *call):
        with self.lock:
            self.ahead += 1
            self.most = max(self.most, self.ahead)
        future = self.inner.submit(*call)
        future.add_done_callback(self.ended)
        return future

    def ended(self, _):
        with self.lock:
            self.ahead -= 1


def test_few_cells_are_begun_ahead(files):
    """An executor holds at most twice as many cells as it has workers."""
    executor = Counting()
    cells = [{**files[0][0], "n": n, "seconds": 0.001} for n in range(40)]
    grid(work.slowly, cells, executor=executor, workers=2)
    executor.inner.shutdown()
    assert executor.most == 4


def test_workers_are_processes_with_one_thread(monkeypatch):
    """One worker is a process too; torch is loaded where the work needs it; the caller's environment stays."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    (told,) = grid(work.process, [{}], workers=1)
    assert told["pid"] != os.getpid()
    assert not told["torch"]
    assert told["threads"].tolist() == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_torch_has_one_thread_and_gets_its_own_back():
    """In a worker, here, and on a thread of the caller's: one thread for the work, and afterwards as before."""
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1) as executor:
            runs = [{"workers": 0}, {"executor": executor}, {"workers": 1}]
            told = []
            for how in runs:
                told += grid(work.threads, [{"n": 0}], **how)
                assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert [int(one["threads"]) for one in told] == [1, 1, 1]
    for one in told[1:]:
        np.testing.assert_array_equal(told[0]["product"], one["product"])


def test_the_callers_random_numbers_are_not_used(tmp_path):
    """Neither Python's nor numpy's nor torch's."""
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    for workers in (0, 1):
        grid(work.numbers, CELLS, workers=workers, ledger=tmp_path / f"{workers}.db")
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


ODD = np.array([0x7FF8000000000001, 0xFFF0000000000001, 0x8000000000000000], np.uint64).view(np.float64)
ARRAYS = {
    "nan": ODD,
    "half": np.array([1, np.inf], np.float16),
    "complex": np.array([1 + 2j, np.nan], np.complex64),
    "bool": np.array([[True], [False]]),
    "scalar": np.float32(0.1),
    "none": np.zeros((0, 3), np.int8),
    "text": np.array([["µ", "a\x00b", ""], ["日本", "\ud800", "\n"]]),
    "no text": np.array(["", ""]),
    "a text": np.array("word"),
    "turned": np.arange(6).reshape(2, 3).T,
    "big": np.arange(3, dtype=">i4"),
    "": np.array(2**64 - 1, np.uint64),
}


def test_arrays_come_back_bit_for_bit():
    """NaN with its bits, text of any kind, empty, without axes, in any memory order; and free to be changed."""
    back = unpack(pack(ARRAYS))
    assert list(back) == list(ARRAYS)
    for given, got in zip(ARRAYS.values(), back.values(), strict=True):
        assert (got.dtype, got.shape) == (np.asarray(given).dtype.newbyteorder("="), np.shape(given))
        assert got.tobytes() == np.asarray(given).astype(got.dtype).tobytes()
        assert got.flags.writeable


REFUSED = {
    "list": 'asked: a payload (cell {"what": "list"})\n  found: a list',
    "object": 'array \'a\' of a payload (cell {"what": "object"})\n  found: dtype object',
    "masked": "found: a MaskedArray",
    "python": "found: a float\n  next:  return numpy arrays",
    "name": "the name 1",
    "surrogate": "the name '\\ud800'",
    "long": "dtype float128",
    "date": "dtype datetime64",
    "large": "536,870,920 bytes; 536,870,912 is the most",
}


@pytest.mark.parametrize("what", REFUSED)
def test_payloads_that_would_not_come_back_are_refused(what):
    """The sentence says which cell, which array, and what it is."""
    with pytest.raises(BadInput) as refused:
        grid(work.given, [{"what": what}], workers=0)
    assert REFUSED[what] in str(refused.value)


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], 'asked: cell 1: {"a": 1, "b": 2}\n  found: cell 0 is the same'),
        ([{"a": (1, 2)}], "asked: cell 0, 'a'\n  found: (1, 2), a tuple, which JSON lacks"),
        ([{"a": [{"b": float("nan")}]}], "asked: cell 0, 'a', item 0, 'b'\n  found: nan, a float"),
        ([{"a": np.int64(3)}], "a int64, which JSON lacks"),
        ([{1: 2}], "found: the name 1, a int"),
        (["ones"], "asked: cell 0\n  found: a str"),
    ],
)
def test_cells_are_strict_json_and_each_is_there_once(cells, sentence):
    """What is refused is named by its place."""
    with pytest.raises(BadInput) as refused:
        grid(work.numbers, cells)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("function", [lambda cell: {}, functools.partial(work.numbers), np.float64(1).item])
def test_work_that_no_worker_could_import_is_refused(function):
    """Before anything is run."""
    with pytest.raises(BadInput, match="no function that a worker process could import by name"):
        grid(function, CELLS)


@pytest.mark.parametrize("workers", [-1, 1.5, None])
def test_workers_are_counted(workers):
    """A number of workers that is none is refused."""
    with pytest.raises(BadInput, match=r"no whole number from 0 on"):
        grid(work.numbers, CELLS, workers=workers)


def test_only_what_is_left_is_run(files, capsys, monkeypatch):
    """A ledger may be asked for more cells, for fewer, and in another order; the progress counts what was left."""
    monkeypatch.setattr(progress, "QUIET_FOR", -1)
    cells, ledger = files
    grid(work.failing, cells[:2], ledger=ledger, workers=0)
    given = grid(work.failing, cells[::-1], ledger=ledger, workers=0, task="sweep")
    assert begun(ledger.parents[1] / "begun") == [0, 1, 3, 2]
    assert capsys.readouterr().err.splitlines()[-1] == "sweep: 1/2, 0 s left - 2 of 4 were done before"
    same(given[0], work.numbers(cells[3]))
    same(grid(work.failing, cells[1:2], ledger=ledger, workers=0)[0], work.numbers(cells[1]))
    assert status(ledger)[:4] == (4, 0, 0, 0)
    assert rows(ledger, "SELECT DISTINCT attempts, owner, host <> '', seconds > 0 FROM cell") == [(1, None, 1, 1)]
    assert rows(ledger, "SELECT * FROM owner") == []


@pytest.mark.parametrize(
    ("question", "function", "sentence"),
    [
        ({"epochs": 3, "data": {"name": "digits"}}, work.numbers, "question.epochs is 5 there and 3 here"),
        ({"epochs": 5, "data": {"name": "noise"}}, work.numbers, 'question.data.name is "digits" there and "noise" h'),
        ({"epochs": 5}, work.numbers, 'question.data is {"name": "digits"} there and missing here'),
        ({"epochs": 5.0, "data": {"name": "digits"}}, work.numbers, "question.epochs is 5 there and 5.0 here"),
        ({"epochs": 5, "data": {"name": "digits"}}, work.slowly, 'work is "tests.cells.numbers" there and "tests.ce'),
    ],
)
def test_a_ledger_answers_one_question(question, function, sentence, tmp_path):
    """Another question, or another work, is refused with the first difference."""
    ledger = tmp_path / "grid.db"
    asked = {"data": {"name": "digits"}, "epochs": 5}
    grid(work.numbers, CELLS, ledger=ledger, question=asked, workers=0)
    with pytest.raises(BadInput) as refused:
        grid(function, CELLS, ledger=ledger, question=question, workers=0)
    assert f"it answers another question: {sentence}" in str(refused.value)
    assert len(grid(work.numbers, CELLS, ledger=ledger, question=asked, workers=0)) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_cell_fails_alone(workers, files):
    """The others are kept; the error names the cell; started again, only that cell is run."""
    cells, ledger = files
    for n, how in ((1, "value"), (3, "exit")):
        (ledger.parents[1] / f"begun.{n}").write_text(how)
    with pytest.raises(InternalError) as refused:
        grid(work.failing, cells, ledger=ledger, workers=workers, task="sweep")
    assert refused.value.asked.startswith('sweep, cell {"file": ')
    assert refused.value.found == "ValueError: half a number; 1 more of 4 cells failed"
    assert f"started again with {str(ledger)!r}, only what is not done is run" in refused.value.next
    assert 'raise ValueError("half' in refused.value.__notes__[0]
    assert status(ledger)[:4] == (2, 0, 0, 2)
    for n in (1, 3):
        (ledger.parents[1] / f"begun.{n}").unlink()
    given = grid(work.failing, cells, ledger=ledger, workers=workers)
    assert sorted(begun(ledger.parents[1] / "begun")) == [0, 1, 1, 2, 3, 3]
    for cell, one in zip(cells, given, strict=True):
        same(one, work.numbers(cell))


@pytest.mark.parametrize("how", ["ours", "odd"])
def test_an_error_of_netassay_passes_as_itself(how, files):
    """With its class, its sentence and the cell, also where pickle could not make it again."""
    cells, ledger = files
    (ledger.parents[1] / "begun.0").write_text(how)
    kind = UnknownName if how == "ours" else BadInput
    with pytest.raises(kind) as refused:
        grid(work.failing, cells[:1], workers=1)
    asked, found = ("scheme 'onse'", "closest: 'ones'") if how == "ours" else ("this", "1 and 2")
    assert type(refused.value) is kind
    assert str(refused.value).startswith(f'asked: {asked} (cell {{"file": ')
    assert refused.value.found == found


def test_a_module_that_only_the_caller_has_is_named(monkeypatch):
    """A worker that cannot import the work says so; it is no death."""
    module = type(sys)("nowhere")
    module.numbers = type(work.numbers)(work.numbers.__code__, {}, "numbers")
    module.numbers.__module__ = "nowhere"
    monkeypatch.setitem(sys.modules, "nowhere", module)
    with pytest.raises(BadInput, match=r"nowhere.numbers in a worker process.*\n.*cannot be imported there"):
        grid(module.numbers, CELLS[:1], workers=1)


def test_an_interrupt_keeps_what_is_done(files, monkeypatch):
    """Ctrl-C passes as it is; the cells that ended are in the ledger, and no claim is left."""
    cells, ledger = files
    original = Ledger.claim
    monkeypatch.setattr(Ledger, "claim", lambda book, key: interrupted() if '"n":2' in key else original(book, key))

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as executor:
        grid(work.failing, cells, ledger=ledger, executor=Slow(executor))
    assert status(ledger)[:4] == (2, 0, 2, 0)


class Slow(Executor):
    """An executor that lets a cell end before it returns."""

    def __init__(self, inner):
        self.inner = inner

    def submit(self, *call):
        future = self.inner.submit(*call)
        future.exception()
        return future


class Ended(Executor):
    """An executor that cancels what it is given."""

    def submit(self, *call):
        future = Future()
        future.cancel()
        return future


def test_an_executor_that_ended_is_named(files):
    """Cancelled or shut down, it cannot be replaced; no claim is left."""
    cells, ledger = files
    with ThreadPoolExecutor(1) as executor:
        pass
    for each in (Ended(), executor):
        with pytest.raises(BadInput, match=r"the executor that was given\n  found: it takes no more cells"):
            grid(work.failing, cells, ledger=ledger, executor=each)
    assert status(ledger)[:4] == (0, 0, 4, 0)


def test_a_worker_that_died_idle_is_replaced(tmp_path):
    """Between two cells a worker may go without harm."""
    place = pools.Processes(work.process, 1)
    try:
        pids = []
        for _ in range(2):
            future = place.submit("{}")
            done = place.taken(future)
            pids.append(int(unpack(done.arrays)["pid"]))
            if len(pids) == 1:
                os.kill(pids[0], 9)
                while owners.begun(pids[0]):
                    time.sleep(0.01)
                time.sleep(0.1)
    finally:
        place.close(now=False)
    assert pids[0] != pids[1]


def test_a_claim_holds_for_its_owner_alone(tmp_path):
    """A cell is claimed once, and finished only by who claimed it; what a lost owner sends is not kept."""
    file, done = tmp_path / "grid.db", Done(pack({"a": np.zeros(1)}), 1.0, "host")
    one, other = (Ledger(file, "{}", ["1", "2"]) for _ in range(2))
    assert (one.claim("1"), other.claim("1"), other.claim("2")) == (True, False, True)
    assert (other.finish("1", done), other.again("1"), one.again("1")) == (False, False, True)
    rows(file, "UPDATE owner SET lease = 0")
    one.reap()
    assert one.states() == {"1": "run", "2": "open"}
    assert (other.finish("2", done), one.finish("1", done), one.finish("1", done)) == (False, True, False)
    other.renew()
    one.close()
    assert rows(file, "SELECT count(*), max(lease) > unixepoch() + 100 FROM owner") == [(1, 1)]
    other.close()
    assert status(file)[:4] == (1, 0, 1, 0)


def test_a_lease_is_renewed_while_a_grid_runs(tmp_path, monkeypatch):
    """Again and again, so that another host does not take over what still runs."""
    monkeypatch.setattr(ledger, "BEAT", 0.1)
    file = tmp_path / "grid.db"
    with ledger.opened(file, "{}", ["1"]):
        rows(file, "UPDATE owner SET lease = 0")
        end = time.monotonic() + 10
        while rows(file, "SELECT lease FROM owner")[0][0] == 0:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert rows(file, "SELECT * FROM owner") == []


NOW = "CAST(unixepoch() AS REAL)"


@pytest.mark.parametrize(
    ("host", "pid", "birth", "lease", "lives"),
    [
        ("here", "me", "mine", f"{NOW} + 60", True),
        ("here", "me", "'another'", f"{NOW} + 60", False),
        ("here", "gone", "mine", f"{NOW} + 60", False),
        ("here", "me", "mine", f"{NOW} - 60", False),
        ("elsewhere", "gone", "mine", f"{NOW} + 60", True),
        ("elsewhere", "me", "mine", f"{NOW} - 60", False),
    ],
)
def test_who_is_gone_is_known_by_process_and_lease(host, pid, birth, lease, lives, tmp_path):
    """Here by the process, which is told from a later one of its number; on other hosts by the lease."""
    file = tmp_path / "grid.db"
    grid(work.numbers, CELLS[:2], ledger=file, workers=0)
    pid = os.getpid() if pid == "me" else 2**22 + 1
    values = (owners.host() if host == "here" else "elsewhere", pid, owners.begun(os.getpid()))
    birth = "?" if birth == "mine" else "coalesce('another', ?)"
    rows(file, f"INSERT INTO owner VALUES ('x', ?, ?, {birth}, {lease})", *values)
    rows(file, "UPDATE cell SET state = 'run', owner = 'x', finished_at = NULL WHERE key = '{\"n\":3}'")
    assert status(file)[:4] == ((1, 1, 0, 0) if lives else (1, 0, 1, 0))


def test_ps_knows_a_process_where_there_is_no_proc():
    """The same process begins once; another number is nobody."""
    assert owners._from_ps(os.getpid()) == owners._from_ps(os.getpid()) != ""
    assert owners._from_ps(2**22 + 1) == ""


def damaged(file, how):
    """Make a file that is no ledger of ours."""
    if how in ("newer", "other", "words", "shape", "code"):
        grid(work.numbers, CELLS, ledger=file, workers=0)
        statements = {
            "newer": "PRAGMA user_version = 2",
            "other": "PRAGMA application_id = 7",
            "words": "UPDATE payload SET data = x'00'",
            "shape": "UPDATE payload SET shape = 'x'",
            "code": "UPDATE payload SET dtype = '|O'",
        }
        rows(file, statements[how])
    elif how == "cut":
        grid(work.numbers, CELLS, ledger=file, workers=0)
        file.write_bytes(file.read_bytes()[:5000])
    elif how == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"nothing of the kind" * 100)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("text", "no SQLite file"),
        ("cut", schema.DAMAGED),
        ("words", schema.DAMAGED),
        ("shape", schema.DAMAGED),
        ("code", schema.DAMAGED),
        ("other", "a SQLite file that is no ledger"),
        ("newer", "schema version 2; this netassay reads up to 1"),
        ("folder", "no file can be opened there"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused(how, sentence, tmp_path):
    """In a sentence that names it, and without changing it."""
    file = tmp_path / "grid.db"
    damaged(file, how)
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(BadInput) as refused:
        grid(work.numbers, CELLS, ledger=file, workers=0)
    assert str(refused.value).startswith(f"asked: the ledger {str(file)!r}\n  found: {sentence}")
    if how in ("text", "cut", "other", "newer"):
        assert file.read_bytes() == before
        with pytest.raises(BadInput, match=sentence):
            status(file)


def test_status_reads_and_makes_nothing(tmp_path):
    """A ledger that is not there is refused, and is not there afterwards."""
    with pytest.raises(BadInput, match="no such file"):
        status(tmp_path / "grid.db")
    assert not (tmp_path / "grid.db").exists()


def test_a_ledger_is_a_plain_file_of_strict_tables(tmp_path):
    """Full synchronisation with a rollback journal while it is written; one file and no more when it is closed."""
    file = tmp_path / "grid.db"
    connection = schema.establish(file)
    told = [connection.execute(f"PRAGMA {each}").fetchone()[0] for each in ("journal_mode", "synchronous")]
    connection.close()
    assert told == ["truncate", 2]
    tables = rows(file, "SELECT sql FROM sqlite_master WHERE type = 'table'")
    assert len(tables) == 4
    assert all("STRICT" in sql for (sql,) in tables)
    grid(work.numbers, CELLS, ledger=file, workers=0)
    assert not (tmp_path / "grid.db-wal").exists()


def test_the_same_bits_are_stored_whatever_the_machine():
    """Little-endian, C order, with dtype and shape as text."""
    packed = pack({"a": np.array([[1, 2], [3, 4]], ">u2", order="F")})
    assert packed == (Packed("a", "<u2", "[2, 2]", b"\x01\x00\x02\x00\x03\x00\x04\x00"),)
