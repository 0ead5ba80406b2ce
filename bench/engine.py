"""What a grid costs: two workers against one on cells that keep a core busy, and the time a trivial cell takes.

Interleaved, medians. Promise: two workers, one thread each, finish a grid of a minute or more at least 1.7 times as
fast as one. The first cells of a worker wait for its interpreter to start; that is in the figures. A second table
runs the same two processes without the engine: what the machine gives at most.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from netassay.engine import grid

PROMISED = 1.7


def busy(cell):
    """Add up a series for about as long as asked on this machine."""
    total = 0.0
    for n in range(cell["terms"]):
        total += 1 / (n + 1) ** 2
    return {"total": np.array(total)}


def trivial(cell):
    return {"n": np.array(cell["n"])}


def timed(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def terms(seconds):
    """Return how many terms take so many seconds here."""
    return int(10**6 * seconds / timed(lambda: busy({"terms": 10**6})))


def spent(workers, cells, work, kept=True):
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "grid.db" if kept else None
        return timed(lambda: grid(work, cells, workers=workers, ledger=ledger))


def alone(number, times):
    """Time `number` plain processes side by side, each adding up the series `times` times."""
    program = f"from bench.engine import busy\nfor _ in range({times}): busy({{'terms': {TERMS}}})"
    command, root = [sys.executable, "-c", program], Path(__file__).parents[1]
    return timed(lambda: [each.wait() for each in [subprocess.Popen(command, cwd=root) for _ in range(number)]])


def speed(cells, rounds):
    """Print how much faster two are than one, engine and machine."""
    grids, plain = [], []
    work = [{"n": n, "terms": TERMS} for n in range(cells)]
    for _ in range(rounds):
        grids.append(spent(1, work, busy) / spent(2, work, busy))
        plain.append(alone(1, cells) / alone(2, cells // 2))
    for name, ratios, told in (("grid", grids, f"promised {PROMISED}"), ("plain processes", plain, "")):
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"  two against one, {name:16s}{statistics.median(ratios):5.2f} times ({shown})  {told}")


def overhead(number, rounds):
    """Print milliseconds a trivial cell takes, each way; the workers' start is taken off."""
    cells = [{"n": n} for n in range(number)]
    ways = {
        "here, in memory": (0, False),
        "here, ledger": (0, True),
        "1 worker, in memory": (1, False),
        "1 worker, ledger": (1, True),
        "2 workers, ledger": (2, True),
    }
    times = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (workers, kept) in ways.items():
            start = spent(workers, cells[:1], trivial, kept)
            times[way].append(1000 * (spent(workers, cells, trivial, kept) - start) / (number - 1))
    for way, each in times.items():
        print(f"  {way:22s}{statistics.median(each):6.2f} ms a cell")
    with ThreadPoolExecutor(2) as executor:
        every = timed(lambda: grid(trivial, cells, executor=executor))
    print(f"  {'2 threads, in memory':22s}{1000 * every / number:6.2f} ms a cell")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one cell")
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    TERMS = terms(chosen.seconds)
    print(f"{chosen.cells} cells of {chosen.seconds:g} s")
    speed(chosen.cells, chosen.rounds)
    print("200 cells that do nothing")
    overhead(200, chosen.rounds)
