"""The lock on a run's folder: held by its writer, let go by the kernel when the writer ends, however it ends.

The lock is on the folder, never on `run.db`: closing a file anywhere in a process drops the process's POSIX
locks on it, SQLite's among them (sqlite.org/howtocorrupt.html, 2.2). A child forked by the writer shares it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl


def hold(folder: Path) -> int | None:
    """Take the lock and return its file descriptor; None where the system has no such lock.

    Raises BlockingIOError when another writer holds it.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None  # e.g. a network file system without locks
    return descriptor


def release(descriptor: int | None) -> None:
    """Let go."""
    if descriptor is not None:
        os.close(descriptor)


def held(folder: Path) -> bool | None:
    """Say whether a writer on this host holds the lock; None where the system has no such lock."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return True if isinstance(error, BlockingIOError) else None
    finally:
        os.close(descriptor)
