"""Clearing: making room for a run where a killed one left its beginning."""

from __future__ import annotations

from pathlib import Path

from netassay.errors import BadInput
from netassay.store import database, lock
from netassay.store.run import Run


def clear(folder: str | Path) -> None:
    """Remove what is left of a run that never ended and that nobody writes; one that ended well stays.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     clear(folder)
    """
    path = Path(folder)
    if lock.held(path) or not (path / database.FILE).exists():
        return
    try:
        ended = Run(path).status in ("finished", "running")
    except BadInput:  # killed before anything was committed
        ended = False
    if not ended:
        for file in path.glob(f"{database.FILE}*"):
            file.unlink()
