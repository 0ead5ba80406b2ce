"""Commands that read what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netassay import report, store, terminal


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
