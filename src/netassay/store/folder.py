"""The folder a run lives in: the next free one, and why one cannot be had."""

from __future__ import annotations

import os
import re
from pathlib import Path

from netassay.errors import BadInput
from netassay.store.database import FILE

NAME = re.compile(r"\w[\w.\- ]*")  # valid on every system, and never a path


def fresh(folder: str | Path, name: str) -> Path:
    """Make and return the next free run folder: NAME-001, NAME-002, ...; safe beside other processes.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     fresh(folder, "examine").name, fresh(folder, "examine").name
    ('examine-001', 'examine-002')
    """
    asked = f"make a run folder {name!r} in {str(folder)!r}"
    if not NAME.fullmatch(name):
        raise BadInput(asked, "a name that cannot be a folder's", "use letters, digits, '-', '_' and '.'")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        while True:
            path = Path(folder) / f"{name}-{_last(Path(folder), name) + 1:03d}"
            try:
                path.mkdir()
            except FileExistsError:
                continue  # another process was quicker
            return path
    except OSError as error:
        raise refusal(Path(folder), asked, error) from error


def vacant(folder: str | Path) -> None:
    """Raise `BadInput` where `create` would refuse the folder, without making it."""
    path, asked = Path(folder), f"begin a run in {str(folder)!r}"
    try:
        if (path / FILE).stat():
            raise refusal(path, asked, FileExistsError())
    except FileNotFoundError:
        return
    except OSError as error:
        raise refusal(path, asked, error) from error


def refusal(folder: Path, asked: str, error: OSError) -> BadInput:
    """Say why a run cannot begin in `folder`."""
    if isinstance(error, BlockingIOError):
        return BadInput(asked, "another process is writing a run there", "give another folder")
    if os.path.exists(folder / FILE):
        return BadInput(asked, "it holds a run already", f"open_run({str(folder)!r}) to read it, or another folder")
    files = [path for path in (folder, *folder.parents) if os.path.isfile(path)]
    if files:
        return BadInput(asked, f"{str(files[0])!r} is a file", "give a folder, e.g. 'runs/first'")
    return BadInput(asked, f"it cannot be written ({error.strerror})", "give a folder you can write to")


def _last(folder: Path, name: str) -> int:
    numbers = re.compile(re.escape(name) + r"-(\d{3,})")
    return max((int(match[1]) for path in folder.iterdir() if (match := numbers.fullmatch(path.name))), default=0)
