"""Who runs a cell: a process on a host, alive or not, told from another that has its number by when it began."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import NamedTuple

LEASE, BEAT = 120.0, 20.0
"""Seconds a claim holds without being renewed, and between two renewals. Hosts' clocks agree to within a minute."""


class Owner(NamedTuple):
    """One call of `grid`: its id, the host, process number and start of its process, and when its lease runs out."""

    id: str
    host: str
    pid: int
    begun: str | None
    lease: float


def myself() -> Owner:
    """Return a new owner in this process, with a fresh lease."""
    return Owner(uuid.uuid4().hex, host(), os.getpid(), begun(os.getpid()), time.time() + LEASE)


def alive(owner: Owner) -> bool:
    """Say whether an owner lives: its lease runs, and on this host its process does."""
    here = owner.host == host() and owner.begun is not None
    return owner.lease > time.time() and not (here and begun(owner.pid) not in (None, owner.begun))


def host() -> str:
    """Name the machine since it was started, and the name space of its process numbers (containers have their own)."""
    return " ".join((socket.gethostname(), _boot(), _names())).strip()


def begun(pid: int) -> str | None:
    """Return when a process of this host began, in the system's words; "" when it is gone, None where none can say."""
    if os.path.exists("/proc/self/stat"):
        return _from_proc(pid)
    return _from_ps(pid) if os.name == "posix" else None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _names() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _from_proc(pid: int) -> str:
    try:
        # after the name, which may hold anything: state, ..., start in ticks as the 20th (man 5 proc, fields 3 and 22)
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _from_ps(pid: int) -> str | None:
    try:
        # The time of day is told by the reader's clock and language: they must be the same for all.
        words = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=words)
    except OSError:
        return None
    state, _, start = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else " ".join(start.split())
