"""What the study of initialisations costs: memory of a worker, the share that looking takes, and what two workers gain.

Memory: peak resident memory of fresh processes, one that trains alone and one that looks as well. Promises: at most 1.2
times the training alone, at most 15 % of the time (of a training of five epochs on tens of thousands of images: give
--data parquet:PATH,normalize=half), and two workers at least 1.7 times as fast as one on a study of 60 s or more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import netassay as na

HEAD = """
import json, resource, sys, time
import torch
torch.set_num_threads(1)
from netassay.data import splits
from netassay.studies.init_cell import HOW, cell, drawn
from netassay.training import train
asked = json.loads(sys.argv[1])
begun = time.perf_counter()
"""
TAIL = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - begun, seconds)
"""
PROGRAMS = {
    "training alone": """
learn, _ = splits(asked["data"], batch_size=asked["batch_size"])
train(drawn(asked, learn)[0], learn, **{name: asked[name] for name in HOW})
seconds = 0
""",
    "with looks": """
seconds = cell(asked)["seconds"][1]
""",
}


def fresh(name, asked):
    """Run one cell in a fresh process; return its peak in MiB, its seconds, and those of looking."""
    command = [sys.executable, "-c", HEAD + PROGRAMS[name] + TAIL, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def cells(options):
    """Print memory and time of single cells, interleaved."""
    asked = {
        "model": options.model, "data": options.data, "epochs": options.epochs, "inputs": ["train", "valid", "noise"],
        "at": [], "samples": 1000, "batch_size": 64, "optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0,
        "schedule": "constant", "device": None, "scheme": "orthogonal", "seed": 0,
    }  # fmt: skip
    found = {name: [] for name in PROGRAMS}
    for _ in range(options.rounds):
        for name in PROGRAMS:
            found[name].append(fresh(name, asked))
    peak, seconds = ({name: statistics.median(row[i] for row in rows) for name, rows in found.items()} for i in (0, 1))
    looking = statistics.median(row[2] / row[1] for row in found["with looks"])
    ratio = peak["with looks"] / peak["training alone"]
    print(f"{options.model} on {options.data}, {options.epochs} epochs, medians of {options.rounds}")
    for name in PROGRAMS:
        print(f"  {name:16} {peak[name]:7.1f} MiB {seconds[name]:7.1f} s")
    print(f"  memory: {ratio:.3f} (promise 1.2); looking: {100 * looking:.1f} % of the time (promise 15 %)")


def studies(options):
    """Print what two workers gain over one."""
    found = {1: [], 2: []}
    for _ in range(options.pairs):
        for workers, times in found.items():
            begun = time.perf_counter()
            na.init_study(epochs=options.digits_epochs, workers=workers)
            times.append(time.perf_counter() - begun)
    one, two = (statistics.median(times) for times in found.values())
    print(f"the whole study of seven schemes and three seeds on digits, {options.digits_epochs} epochs")
    print(f"  one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast (promise 1.7)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--data", default="digits:size=32,normalize=half")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--digits-epochs", type=int, default=10)
    options = parser.parse_args()
    cells(options)
    studies(options)
