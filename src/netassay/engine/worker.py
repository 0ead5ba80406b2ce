"""One cell, where it runs: the work is called, and what it gave or how it failed is sent back as plain data.

Errors travel as text: an exception that cannot be pickled would take the pool with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from netassay import errors
from netassay.engine.payloads import Packed, pack
from netassay.errors import BadInput, InternalError, NetassayError
from netassay.progress import hushed

LOOK = 1.0
"""Seconds between two looks at whether the parent still is the parent."""


class Done(NamedTuple):
    """What a cell gave, the wall seconds it took, and the host it ran on."""

    arrays: tuple[Packed, ...]
    seconds: float
    host: str


class Fault(NamedTuple):
    """How a cell failed: an error of netassay in its fields, and the traceback."""

    kind: str
    asked: str
    found: str
    next: str
    trace: str = ""


def run(work: Callable[[Any], Any], key: str) -> Done | Fault:
    """Call `work` on the cell that `key` is the text of, with one torch thread."""
    one_thread()
    begun = time.perf_counter()
    try:
        with hushed():
            arrays = pack(work(json.loads(key)))
    except (Exception, SystemExit) as error:
        return fault(error)
    return Done(arrays, time.perf_counter() - begun, socket.gethostname())


def run_named(module: str, name: str, key: str) -> Done | Fault:
    """Import `work` and call it: a failing import then is an error of the cell, and not the end of the pool."""
    try:
        work = getattr(import_module(module), name)
    except Exception as error:
        next = "define it in a module that `import` finds"
        text = f"it cannot be imported there ({type(error).__name__}: {error})"
        return fault(BadInput(f"{module}.{name} in a worker process", text, next))
    return run(work, key)


def fault(error: BaseException) -> Fault:
    """Return an error as data; its class is the nearest one that `netassay.errors` has."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, NetassayError):
        kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__)
        return Fault(kind, error.asked, error.found, error.next, trace)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Fault(InternalError.__name__, "", text, "mend the cause", trace)


def one_thread() -> None:
    """Let torch, where it is loaded, use one thread from here on."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def begin(line: Connection, parent: int) -> None:
    """Prepare a worker process: it leaves Ctrl-C to its parent, and ends with it or with the line to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(line, parent), daemon=True).start()
    try:
        line.send_bytes(b"begun")
    except OSError:  # nobody waits any more
        os._exit(1)


def _follow(line: Connection, parent: int) -> None:
    # The line ends with the parent, unless a process the parent forked holds a copy of it.
    while not line.poll(LOOK):
        if sys.platform != "win32" and os.getppid() != parent:
            break
    os._exit(1)
