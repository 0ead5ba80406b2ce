"""A study killed again and again ends as one that was left alone, and trains nothing twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

import netassay as na
from netassay.engine import status

PROGRAM = """
import sys
import netassay as na
if __name__ == "__main__":
    schemes = ["orthogonal", "kaiming_uniform", "zeros"]
    na.init_study("mlp[16]", schemes, "digits", 6, 4, samples=100, ledger=sys.argv[1])
"""
CELLS = 12


def finished(file):
    """The cells that are done and when each ended, as the ledger has them."""
    if not file.exists():
        return {}
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(cell)")]
        at = columns.index("finished_at")
        return {row[0]: row[at] for row in connection.execute("SELECT * FROM cell WHERE state = 'done'")}


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path):
    """Killed with -9 at ten random moments and started again: the same tables, and no finished cell once more."""
    file, script, chance = tmp_path / "grid.db", tmp_path / "study.py", random.Random(0)
    script.write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done: dict = {}
    for _ in range(10):
        process = subprocess.Popen([sys.executable, script, file], env=environment, start_new_session=True)
        time.sleep(chance.uniform(1, 9))
        os.killpg(process.pid, signal.SIGKILL) if chance.random() < 0.5 else process.kill()
        process.wait()
        now = finished(file)
        assert now.items() >= done.items()
        done = now
    assert subprocess.run([sys.executable, script, file], env=environment, check=False).returncode == 0
    assert finished(file).items() >= done.items()
    assert status(file).done == CELLS
    resumed, alone = (
        na.init_study("mlp[16]", ["orthogonal", "kaiming_uniform", "zeros"], "digits", 6, 4, samples=100, ledger=ledger)
        for ledger in (file, None)
    )
    for name, table in alone.tables.items():
        for column, values in table.columns.items():
            np.testing.assert_array_equal(values, resumed.tables[name].columns[column], err_msg=f"{name} {column}")
