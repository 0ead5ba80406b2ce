"""What the README says can be typed works as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from netassay.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = re.findall(r"^\$ netassay (.*)$", README, flags=re.MULTILINE)


def test_every_command_works_as_written(tmp_path, monkeypatch, capsys):
    """The commands run one after the other in an empty folder, and each prints something and succeeds."""
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        assert main(shlex.split(command)) == 0, command
        assert capsys.readouterr().out.strip(), command


def test_make_has_the_targets_that_are_named():
    """Every `make` target of the README is one of the Makefile's."""
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    targets = set(re.findall(r"make (\w+)", README))
    assert targets >= {"examine", "test", "slow", "lint", "bench"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    """Links and pictures point at files of the repository."""
    assert (Path(__file__).parents[1] / link).exists()
