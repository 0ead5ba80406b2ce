"""A grid of stitches, killed again and again: it ends as the one that was left alone, and does no cell twice.

Four workers; 20 random `kill -9` of one of them, and 3 of the parent, at random moments. Afterwards the ledger has
every cell once, what was done at a kill was not done again, SQLite finds it whole, and every number but the seconds
equals that of a grid left alone. With --dask, the same grid through a cluster of two processes gives the same numbers.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from safetensors.torch import save_model

from netassay.data import splits
from netassay.studies.stitch_grid import stitch_grid
from netassay.training import train
from netassay.zoo import built

WORKERS, KILLS, PARENTS = 4, 20, 3
NETS = ("mlp[12,12,12,12]", "mlp[10,10,10]", "mlp[16,16,16,16,16]", "mlp[8,8,8,8]", "mlp[14,12,10,8]")
HOW = {"data": "digits:size=8", "layers": "act*", "fit": 200, "samples": 100}
HOW |= {"adapter": "affine", "matching": "closed_form"}


def nets(folder):
    """Train the networks, or take them where they lie."""
    learn, _ = splits(HOW["data"], batch_size=64)
    found = {}
    for seed, spec in enumerate(NETS):
        file = folder / f"{seed}.safetensors"
        if not file.exists():
            model = built(spec, learn.input_shape, learn.classes, seed=seed)
            train(model, learn, epochs=1, lr=1e-2, seed=seed)
            save_model(model, str(file))
        found[f"net{seed}"] = f"{spec}:weights={file}"
    return found


def states(file):
    """What the ledger says of every cell that is done: its key, when it ended."""
    if not file.exists():
        return {}
    # Able to write: who reads first after a kill rolls back what was half written.
    with sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=30) as connection:
        return dict(connection.execute("SELECT key, finished_at FROM cell WHERE state = 'done'").fetchall())


def workers(pid):
    """The worker processes of a parent."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    rows = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, args in rows if "spawn_main" in args]


def begun(folder, file):
    command = [sys.executable, __file__, "--folder", str(folder), "--ledger", str(file)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def struck(folder, file, chance, cells):
    """Run the grid under fire; return how many workers and parents were killed, the cells done again, and its end.

    Each kill comes when a random number of cells is done, and a random moment later.
    """
    order = chance.sample(["worker"] * KILLS + ["parent"] * PARENTS, KILLS + PARENTS)
    moments = sorted(chance.sample(range(5, cells - 20), len(order)))
    process, done, again, kills = begun(folder, file), {}, 0, Counter()
    for what, moment in zip(order, moments, strict=True):
        while len(states(file)) < moment and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.5))
        if process.poll() is not None:
            break
        if what == "parent":
            process.kill()
            process.wait()
            process, kills[what] = begun(folder, file), kills[what] + 1
        elif there := workers(process.pid):
            os.kill(chance.choice(there), signal.SIGKILL)
            kills[what] += 1
        now = states(file)
        again, done = again + sum(now.get(key) != at for key, at in done.items()), now
        print(f"  {dict(kills)} killed, {len(done)} cells done", flush=True)
    code, now = process.wait(), states(file)
    return kills, again + sum(now.get(key) != at for key, at in done.items()), code


def differences(one, other):
    """Columns in which two grids differ, seconds left out."""
    return [
        f"{name} {column}"
        for name, table in one.tables.items()
        for column, values in table.columns.items()
        if column != "seconds" and values.tobytes() != other.tables[name].columns[column].tobytes()
    ]


def dask(nets, alone):
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError:
        print("Dask: not installed, not run")
        return
    with ExitStack() as stack:
        cluster = stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))
        client = stack.enter_context(Client(cluster))
        spread = stitch_grid(nets, executor=client.get_executor(), workers=2, **HOW)
    print(f"Dask, two processes: differing columns {differences(spread, alone) or 'none'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--ledger", type=Path, help="run the grid on this ledger, and nothing else")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dask", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.folder or Path(made)
        given = nets(folder)
        if asked.ledger:
            stitch_grid(given, ledger=asked.ledger, workers=WORKERS, **HOW)
            return
        begin = time.perf_counter()
        alone = stitch_grid(given, ledger=folder / "alone.db", **HOW)
        print(f"{len(states(folder / 'alone.db'))} cells, {len(alone.tables['cells'])} stitches", flush=True)
        print(f"alone, in one process: {time.perf_counter() - begin:.0f} s", flush=True)
        total = len(states(folder / "alone.db"))
        kills, again, code = struck(folder, folder / "killed.db", random.Random(asked.seed), total)
        with sqlite3.connect(folder / "killed.db") as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
        same = states(folder / "killed.db").keys() == states(folder / "alone.db").keys()
        killed = stitch_grid(given, ledger=folder / "killed.db", **HOW)
        print(f"{dict(kills)} killed with -9; the last parent ended with {code}")
        print(f"cells the same: {same}; done again: {again}; integrity: {whole}")
        print(
            f"differing columns: {differences(killed, alone) or 'none'}; same claims: {killed.claims == alone.claims}"
        )
        if asked.dask:
            dask(given, alone)


if __name__ == "__main__":
    main()
