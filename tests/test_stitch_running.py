"""Stitch grids run anywhere: workers, threads, kills and budgets change no number."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from netassay.engine import status
from netassay.errors import BadInput
from netassay.studies import stitch_cell, stitch_halves
from netassay.studies.provenance import makeup_hash
from netassay.studies.stitch_grid import stitch_grid
from netassay.studies.stitch_kept import Store
from netassay.studies.stitch_trend import stitch_trend
from tests.stitches import same, trained  # noqa: F401

HOW = {
    "data": "digits:size=8",
    "layers": ["act1", "act3"],
    "fit": 100,
    "samples": 60,
    "ranks": [2],
    "matching": "closed_form",
}


@pytest.fixture(scope="module")
def alone(trained):  # noqa: F811
    """The grid, run in this process from the first cell to the last."""
    return stitch_grid(trained["a"], trained["b"], **HOW)


@pytest.mark.parametrize("budget", [1 << 30, 3000, 0])
def test_a_store_gives_what_was_put_in(budget):
    """Whatever lies on disk; at most the budget is held, and everything is made once."""
    store, made = Store(budget), []

    def batches(i):
        made.append(i)
        return iter([torch.full((4, 3), i + k / 4, dtype=(torch.float32, torch.bfloat16)[i % 2]) for k in range(5)])

    for _ in range(3):
        for i in range(10):
            kept = store.get(i, lambda i=i: batches(i))
            for one, other in zip(kept, kept, strict=True):
                assert torch.equal(one, other)
            for k, batch in enumerate(kept):
                assert torch.equal(batch.double(), torch.full((4, 3), i + k / 4).double())
            next(iter(store.get(0, lambda: batches(0))))  # what is written next must not lie where this was read
    assert made == list(range(10))
    assert store.peak <= budget


def test_what_cannot_be_made_or_kept_takes_no_room():
    """A store is as before where making ends midway, and what is larger than the budget drives nothing out."""

    def broken():
        yield torch.ones(5)
        raise OSError("no more")

    store = Store(40)
    with pytest.raises(OSError, match="no more"):
        store.get("broken", broken)
    for name, size in (("small", 10), ("large", 11)):
        store.get(name, lambda size=size: [torch.ones(size)])
    assert store.held == 40
    assert len(next(iter(store.get("large", list)))) == 11


def test_a_pass_that_broke_off_leaves_the_next_its_own_skips(trained):  # noqa: F811
    """What goes around a cut is that of the samples that are judged, whatever became of the cell before."""
    asked = {**HOW, "batch_size": 20, "seed": 0, "device": None, "allow_skips": True}
    bench, layer = stitch_halves.Bench(asked, 1 << 30), "layer1.0.conv1"
    named = trained["r"], makeup_hash(stitch_halves.network(trained["r"], bench.data, None))
    side = bench.side(named, "")
    bench.prepare(side, [layer])
    first = next(iter(bench.sent(side, "", layer, "test")))
    once, again = (bench.expected(side, layer).rest(first) for _ in range(2))
    assert torch.equal(once, again)


def test_any_budget_and_order_give_the_same(trained, alone, monkeypatch):  # noqa: F811
    """All on disk, nothing kept ready, threads, cells backwards: not a bit differs."""
    same(stitch_grid(trained["a"], trained["b"], memory=0, **HOW), alone)
    monkeypatch.setattr(stitch_halves, "NETS", 1)
    monkeypatch.setattr(stitch_halves, "RECEIVERS", 1)
    with ThreadPoolExecutor(2) as threads:
        same(stitch_grid(trained["a"], trained["b"], executor=threads, workers=2, **HOW), alone)


@pytest.mark.parametrize("study", [stitch_grid, stitch_trend], ids=["grid", "trend"])
def test_a_ledger_of_other_twins_is_not_gone_on_with(study, tmp_path, monkeypatch):
    """Its random controls are not those of today: it is refused, and as it was for whoever asks as it was asked."""
    how = {"fit": 40, "samples": 30, "matching": "closed_form", "workers": 0}
    how |= {"ledger": tmp_path / "grid.db", **({"steps": 2} if study is stitch_trend else {"controls": False})}
    with monkeypatch.context() as before:
        before.setattr(sys.modules[study.__module__], "METHOD", 1)
        study(["mlp[4,4,4]"], data="digits:size=8", **how)
    done = status(how["ledger"])
    with pytest.raises(BadInput, match=r"it answers another question: question\.method is 1 there and 2 here"):
        study(["mlp[4,4,4]"], data="digits:size=8", **how)
    assert status(how["ledger"]) == done


def test_what_a_bench_keeps_does_not_grow_with_the_cells(trained, monkeypatch):  # noqa: F811
    """Many times the stitches, no more in memory than the budget, and no more receivers ready than there may be."""
    benches, made = [], stitch_halves.Bench.__init__

    def noted(self, asked, budget):
        made(self, asked, budget)
        benches.append(self)

    monkeypatch.setattr(stitch_halves.Bench, "__init__", noted)
    monkeypatch.setattr(stitch_halves, "RECEIVERS", 2)
    for layers in ("act1", "*"):
        stitch_grid(trained["a"], memory=9_000, **{**HOW, "layers": layers, "controls": ["noise"]})
    assert 5_000 < benches[0].store.peak <= benches[-1].store.peak <= 9_000
    assert all(len(bench._expected) <= 2 for bench in benches)


LARGE = """
import resource
import sys
from netassay.studies.stitch_grid import stitch_grid
nets, layers = sys.argv[2:], sys.argv[1].split(",")
stitch_grid(nets, data="digits:size=8", layers=layers, fit=1000, samples=360, memory=1_000_000, matching="closed_form")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_the_memory_of_a_process_does_not_grow_with_the_cells(trained):  # noqa: F811
    """Twenty times the stitches: the process is as large, within a few MB (its own kilobytes, as Linux counts)."""
    sizes = []
    for given in (("act1", trained["a"]), ("act*", trained["a"], trained["b"])):
        command = [sys.executable, "-c", LARGE, *given]
        sizes.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert sizes[1] < sizes[0] + 40_000


PROGRAM = """
import sys
from netassay.studies.stitch_grid import stitch_grid
if __name__ == "__main__":
    a, b, ledger = sys.argv[1:]
    how = {how!r}
    stitch_grid(a, b, ledger=ledger, workers=1, **how)
"""


def children(pid):
    """Processes that a process started."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    rows = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, args in rows if "spawn_main" in args]


def test_killed_workers_and_a_killed_parent_lose_nothing(trained, alone, tmp_path):  # noqa: F811
    """A worker is killed, then the parent: started again, what was done is not done again, and all is equal."""
    ledger, script = tmp_path / "grid.db", tmp_path / "stitch.py"
    script.write_text(PROGRAM.format(how=HOW))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), trained["a"], trained["b"], str(ledger)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not (ledger.exists() and status(ledger).done):
        assert process.poll() is None
        time.sleep(0.05)
    for worker in children(process.pid)[:1]:
        os.kill(worker, signal.SIGKILL)
    while status(ledger).done < 4 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    with sqlite3.connect(ledger) as connection:
        before = dict(connection.execute("SELECT key, finished_at FROM cell WHERE state = 'done'").fetchall())
    assert before
    same(stitch_grid(trained["a"], trained["b"], ledger=ledger, **HOW), alone)
    with sqlite3.connect(ledger) as connection:
        after = dict(connection.execute("SELECT key, finished_at FROM cell WHERE state = 'done'").fetchall())
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert before.items() <= after.items()
    assert status(ledger).done == len(after) == len(set(after))
    stitch_cell.leave()
