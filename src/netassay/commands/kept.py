"""Commands that read what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netassay import report, store, terminal
from netassay.commands.showing import show
from netassay.comparing import compare as compared
from netassay.options import SHOWN, Shown


def report_(run: Path, /, *, out: Path | None = None) -> int:
    """Write the page of a run again.

    Parameters
    ----------
    run
        The folder of a run.
    out
        The file to write; by default index.html in the run's folder.
    """
    print(report.write_page(store.open_run(run), out))
    return 0


def runs(folder: Path = Path("runs"), /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the runs of a folder, the newest first.

    Parameters
    ----------
    folder
        Where runs are kept.
    json
        One JSON document on standard output.
    """
    terminal.show_runs(store.runs(folder), json=json)
    return 0


def compare(run: Path, other: Path, /, *, shown: Shown = SHOWN) -> int:
    """Compare two runs of any study, number by number, with intervals of the differences; 1 for new findings.

    Parameters
    ----------
    run
        The folder of a run, a.
    other
        The folder of another one, b; every difference is b - a, and --fail-on is about what b has and a has not.
    """
    shown.check()
    return show(compared(run, other), shown, "largest", {"a": str(run), "b": str(other)})
