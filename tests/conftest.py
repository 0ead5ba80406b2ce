"""Shared by all tests: one torch thread a process, and the data that is not part of the product."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# The same commit has the same outcome; `--hypothesis-profile=explore` looks further.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("same")
SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def shared():
    """The folder of checks on real input; tests that need it say so where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("the data for checks on real input is not here")
    return SHARED
