"""The bench of labelled trainings runs, tells healthy from sabotaged, and draws the same nets for the same seed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(tmp_path, *options):
    """Run the bench; return its exit code, its tables and the outcomes."""
    command = [sys.executable, "bench/health.py", "--workers", "0", "--seed", "4", *options]
    kept = tmp_path / "outcomes.json"
    done = subprocess.run([*command, "--json", kept], cwd=ROOT, capture_output=True, text=True, check=False)
    assert kept.is_file(), done.stderr
    return done.returncode, done.stdout, json.loads(kept.read_text())


def test_the_bench_tells_healthy_from_sabotaged(tmp_path):
    """Two healthy nets learn without an alarm; NaN made forward or backward is found where it was made."""
    code, told, outcomes = run(tmp_path, "--nets", "2")
    assert code == 0, told
    assert "| all | 2 | 0 | 0 |" in told
    assert "| all | 2 of 2 | 2 of 2 | 2 of 2 | 2 of 2 | 2 of 2 |" in told
    assert all(one["fell"] < 0.8 and one["accuracy"] > 0.4 for one in outcomes[:2])
    assert [one["faults"] for one in outcomes] == [[]] * 4
    again = run(tmp_path, "--nets", "1", "--only", "healthy")[2]
    assert [one | {"seconds": 0} for one in again] == [one | {"seconds": 0} for one in outcomes[:1]]
