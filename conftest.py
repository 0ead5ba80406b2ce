"""What is shown in docstrings and the README runs in a folder of its own."""

import pytest


@pytest.fixture(autouse=True)
def _elsewhere(request, tmp_path, monkeypatch):
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)
