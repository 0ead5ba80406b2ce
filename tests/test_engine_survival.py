"""A grid goes on after `kill -9` of a worker, of its parent, of both; nothing is lost, nothing done twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from netassay.engine import grid, owners, status
from netassay.errors import BadInput
from tests import cells as work
from tests.test_engine import begun, same

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kill -9 and /proc")

PARENT = """
import sys
from netassay.engine import grid
from tests import cells
if __name__ == "__main__":
    print("begun", flush=True)
    file, ledger, number, seconds = sys.argv[1:]
    grid(cells.slowly, [dict(file=file, n=n, seconds=float(seconds)) for n in range(int(number))], ledger=ledger)
    print("ended", flush=True)
"""


@pytest.fixture
def parent():
    """Start grids in processes of their own; what a failing test leaves of them is killed."""
    started = []

    def start(folder, number, seconds, **options):
        script = folder / "parent.py"
        script.write_text(PARENT)
        told = [str(folder / "begun"), str(folder / "grid.db"), str(number), str(seconds)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        child = subprocess.Popen([sys.executable, str(script), *told], env=surroundings(), **pipes, **options)
        started.append(child)
        assert child.stdout.readline() == "begun\n"
        return child

    yield start
    for child in started:
        with child:
            child.kill()


def surroundings():
    """Return the environment in which a script finds netassay and the tests."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def cells(folder, number, seconds):
    return [{"file": str(folder / "begun"), "n": n, "seconds": seconds} for n in range(number)]


def done(ledger):
    """Return the numbers of the cells that a ledger holds, read from a file that a kill has left."""
    with closing(sqlite3.connect(ledger, timeout=30)) as connection:
        return {n for (n,) in connection.execute("SELECT json_extract(key, '$.n') FROM cell WHERE state = 'done'")}


def ended(child):
    """Wait for a grid to end, and return what it printed but its progress."""
    told, complaint = child.communicate(timeout=40)
    return told, [line for line in complaint.splitlines() if not line.startswith("grid: ")], child.returncode


def until(true, seconds=20):
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.03)


def holds(folder, number):
    """Return a question: does the ledger hold so many cells?"""
    file = folder / "grid.db"
    return lambda: file.exists() and file.stat().st_size > 0 and len(done(file)) >= number


def runs(folder, number):
    """Return a question: do so many cells run?"""
    file = folder / "grid.db"
    return lambda: file.exists() and file.stat().st_size > 0 and status(file).running == number


def children(pid):
    """Return the processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(pid):
    """Return the workers among them."""
    return [one for one in children(pid) if "spawn_main" in Path(f"/proc/{one}/cmdline").read_text(errors="replace")]


def test_killed_at_random_moments_a_grid_goes_on(tmp_path, parent):
    """Parent, or parent and workers, killed six times: what was done stays done, and all comes out bit for bit."""
    moments, finished, between = random.Random(0), set(), 0
    for trial in range(6):
        child = parent(tmp_path, 80, 0.03)
        until(holds(tmp_path, min(len(finished) + 1, 80)))
        time.sleep(moments.uniform(0, 0.15))
        for pid in [child.pid, *(workers(child.pid) if trial % 2 else [])]:
            os.kill(pid, signal.SIGKILL)
        child.communicate()
        assert finished <= done(tmp_path / "grid.db")
        finished = done(tmp_path / "grid.db")
        between += 0 < len(finished) < 80
    given = grid(work.slowly, cells(tmp_path, 80, 0.03), ledger=tmp_path / "grid.db")
    for cell, one in zip(cells(tmp_path, 80, 0.03), given, strict=True):
        same(one, work.numbers(cell))
    assert between > 0
    # a cell is noted when it is through; from there to the ledger are at most two cells at each kill
    times = Counter(begun(tmp_path / "begun"))
    assert set(times) == set(range(80))
    assert sum(times.values()) <= 80 + 6 * 2
    with closing(sqlite3.connect(tmp_path / "grid.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        attempts = dict(connection.execute("SELECT json_extract(key, '$.n'), attempts FROM cell"))
    assert all(times[n] <= attempts[n] for n in attempts)


def test_what_is_done_is_never_begun_again(tmp_path, parent):
    """After a kill, no cell that the ledger held is noted another time."""
    (tmp_path / "begun.gate").touch()
    child = parent(tmp_path, 12, 0)
    until(holds(tmp_path, 5))
    until(runs(tmp_path, 2))
    pids = workers(child.pid)
    child.kill()
    child.communicate()
    until(lambda: not any(owners.begun(pid) for pid in pids))
    (tmp_path / "begun.gate").unlink()
    grid(work.slowly, cells(tmp_path, 12, 0.0), ledger=tmp_path / "grid.db", workers=0)
    assert sorted(begun(tmp_path / "begun")) == list(range(12))


def test_workers_do_not_outlive_a_killed_parent(tmp_path, parent):
    """A worker in the middle of a long cell is gone soon after its parent, and its claim is open."""
    child = parent(tmp_path, 4, 60)
    until(runs(tmp_path, 2))
    until(lambda: len(workers(child.pid)) == 2)
    time.sleep(1)  # they import, and are in their cells
    pids = workers(child.pid)
    child.kill()
    child.communicate()
    until(lambda: not any(owners.begun(pid) for pid in pids), 5)
    assert status(tmp_path / "grid.db")[:4] == (0, 0, 4, 0)


def test_a_killed_worker_is_replaced(tmp_path, parent):
    """The other cells do not notice; the killed one is tried again."""
    child = parent(tmp_path, 30, 0.05)
    until(holds(tmp_path, 3))
    os.kill(workers(child.pid)[0], signal.SIGKILL)
    assert ended(child) == ("ended\n", [], 0)
    assert done(tmp_path / "grid.db") == set(range(30))


def test_a_cell_that_kills_its_worker_is_given_up(tmp_path):
    """Three times, then it is named; a cell that does it once comes through, and the others stay."""
    asked = [{"file": str(tmp_path / "begun"), "n": n} for n in range(5)]
    (tmp_path / "begun.1").write_text("kill")
    (tmp_path / "begun.3").write_text("kill once")
    with pytest.raises(BadInput) as refused:
        grid(work.failing, asked, ledger=tmp_path / "grid.db", task="sweep")
    assert refused.value.asked.startswith("sweep, cell {")
    assert '"n": 1}' in refused.value.asked
    assert refused.value.found == "it killed its worker process 3 times; it is likely out of memory"
    assert Counter(begun(tmp_path / "begun")) == {0: 1, 1: 3, 2: 1, 3: 2, 4: 1}
    with closing(sqlite3.connect(tmp_path / "grid.db")) as connection:
        told = connection.execute("SELECT state, attempts FROM cell ORDER BY key").fetchall()
    assert told == [("done", 1), ("failed", 3), ("done", 1), ("done", 2), ("done", 1)]


def test_two_parents_share_a_ledger(tmp_path, parent):
    """Each cell is run once, by one of them, and both have all."""
    (tmp_path / "begun.gate").touch()
    both = [parent(tmp_path, 40, 0.02) for _ in range(2)]
    until(runs(tmp_path, 4))
    (tmp_path / "begun.gate").unlink()
    assert [ended(child) for child in both] == [("ended\n", [], 0)] * 2
    assert sorted(begun(tmp_path / "begun")) == list(range(40))


def test_a_parent_takes_over_from_one_that_is_killed_beside_it(tmp_path, parent):
    """It waits for cells of the living, and runs those of the dead."""
    first = parent(tmp_path, 4, 1.5)
    until(runs(tmp_path, 2))
    second = parent(tmp_path, 4, 1.5)
    until(runs(tmp_path, 4))
    first.kill()
    first.communicate()
    assert ended(second) == ("ended\n", [], 0)
    assert done(tmp_path / "grid.db") == {0, 1, 2, 3}


def test_an_interrupt_ends_at_once_and_quietly(tmp_path, parent):
    """Ctrl-C reaches parent and workers: one traceback, no orphans, what is done is kept, the rest is open."""
    (tmp_path / "begun.gate").touch()
    child = parent(tmp_path, 8, 0, start_new_session=True)
    until(holds(tmp_path, 5))
    until(runs(tmp_path, 2))
    pids = workers(child.pid)
    os.killpg(child.pid, signal.SIGINT)
    told, complaint = child.communicate(timeout=30)
    assert told == ""
    assert (complaint.count("Traceback"), complaint.strip()[-17:]) == (1, "KeyboardInterrupt")
    assert not any(owners.begun(pid) for pid in pids)
    assert status(tmp_path / "grid.db")[:4] == (5, 0, 3, 0)


def test_an_interrupt_while_workers_start_is_quiet_too(tmp_path, parent):
    """A worker that is still importing prints nothing."""
    child = parent(tmp_path, 4, 60, start_new_session=True)
    until(lambda: children(child.pid))
    time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    _, complaint = child.communicate(timeout=30)
    assert (complaint.count("Traceback"), complaint.strip()[-17:]) == (1, "KeyboardInterrupt")


def test_a_script_without_a_guard_is_told(tmp_path):
    """Workers that die before they begin are no fault of a cell."""
    script = tmp_path / "script.py"
    script.write_text("from netassay.engine import grid\nfrom tests import cells\ngrid(cells.numbers, [{'n': 0}])\n")
    told = subprocess.run([sys.executable, script], env=surroundings(), capture_output=True, text=True, check=False)
    assert "3 died one after another before they began" in told.stderr
    assert 'call it below `if __name__ == "__main__":`' in told.stderr
