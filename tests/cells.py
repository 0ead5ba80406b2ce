"""Work small enough to be done thousands of times, importable by a worker process; none of it imports torch."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from netassay.errors import BadInput, UnknownName


def noted(cell):
    """Note that this cell was begun, in a file that every process appends to."""
    with Path(cell["file"]).open("a") as file:
        file.write(f"{cell['n']}\n")


def numbers(cell):
    """Random numbers of the cell's own, NaN among them, and text."""
    values = np.random.default_rng(cell["n"]).standard_normal((3, 4))
    values[0, 0] = np.nan
    return {"values": values, "größe": np.array(["µ", "", "日本"]), "n": np.array(cell["n"])}


def slowly(cell):
    """Numbers, after a while and, from the fifth cell on, not while there is a gate; noted when they are there."""
    time.sleep(cell["seconds"])
    while cell["n"] >= 5 and Path(cell["file"]).with_suffix(".gate").exists():
        time.sleep(0.01)
    given = numbers(cell)
    noted(cell)
    return given


def failing(cell):
    """Numbers, unless a file says that this cell shall fail, and how."""
    noted(cell)
    flag = Path(cell["file"]).with_suffix(f".{cell['n']}")
    how = flag.read_text() if flag.exists() else ""
    if how == "value":
        raise ValueError("half\na number")
    if how == "ours":
        raise UnknownName("scheme", "onse", ["ones", "zeros"])
    if how == "exit":
        sys.exit(3)
    if how == "odd":
        raise Unpicklable(1, 2)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "kill once":
        flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return numbers(cell)


class Unpicklable(BadInput):
    """An error that pickle cannot make again."""

    def __init__(self, one, two):
        super().__init__("this", f"{one} and {two}", "that")


def process(cell):
    """What the process is that a cell runs in."""
    return {
        "pid": np.array(os.getpid()),
        "torch": np.array("torch" in sys.modules),
        "threads": np.array([os.environ.get("OMP_NUM_THREADS", ""), os.environ.get("OPENBLAS_NUM_THREADS", "")]),
    }


def threads(cell):
    """How many threads torch uses where a cell runs."""
    import torch

    return {"threads": np.array(torch.get_num_threads()), "product": (torch.ones(3, 3) / 3).numpy()}


def given(cell):
    """A payload that cannot be carried, by name."""
    return {
        "list": lambda: [1],
        "object": lambda: {"a": np.array([None])},
        "masked": lambda: {"a": np.ma.masked_array([1.0], [True])},
        "python": lambda: {"a": 1.0},
        "name": lambda: {1: np.zeros(1)},
        "surrogate": lambda: {"\ud800": np.zeros(1)},
        "long": lambda: {"a": np.zeros(1, np.longdouble)},
        "date": lambda: {"a": np.zeros(1, "M8[s]")},
        "large": lambda: {"a": np.broadcast_to(np.zeros(1), 2**26 + 1)},
    }[cell["what"]]()
