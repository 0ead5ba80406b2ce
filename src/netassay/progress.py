"""Progress: what is being done and how much of it is left, on standard error; silent for the first two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

QUIET_FOR, EVERY = 2.0, 5.0
"""Seconds before anything is shown, and between two plain lines where standard error is no terminal."""

T = TypeVar("T")
_hushed = ContextVar("_hushed", default=False)
Advance = Callable[[str], None]


def track(items: Iterable[T], task: str, total: int | None = None) -> Iterator[T]:
    """Pass `items` through, showing how many have gone by."""
    with steps(task, total) as advance:
        for item in items:
            yield item
            advance("")


@contextmanager
def steps(task: str, total: int | None) -> Iterator[Advance]:
    """Yield `advance(note)`, to be called after each of `total` steps; `note` stands beside the bar."""
    if _hushed.get():
        yield lambda note: None
        return
    show = _bar if sys.stderr.isatty() else _lines
    with show(task, total) as advance:
        yield advance


@contextmanager
def hushed() -> Iterator[None]:
    """Show no progress inside: somebody else tells of the whole."""
    before = _hushed.set(True)
    try:
        yield
    finally:
        _hushed.reset(before)


@contextmanager
def _bar(task: str, total: int | None) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True)
    begun, number, done = time.monotonic(), None, 0

    def advance(note: str) -> None:
        nonlocal number, done
        done += 1
        if number is None and time.monotonic() - begun >= QUIET_FOR:
            bar.start()
            number = bar.add_task(task, total=total, note=note)
        if number is not None:
            bar.update(number, completed=done, note=note)

    try:
        yield advance
    finally:
        bar.stop()


@contextmanager
def _lines(task: str, total: int | None) -> Iterator[Advance]:
    begun = time.monotonic()
    due, done = begun + QUIET_FOR, 0

    def advance(note: str) -> None:
        nonlocal due, done
        done += 1
        now = time.monotonic()
        if now >= due:
            due = now + EVERY
            left = f", {(now - begun) / done * (total - done):.0f} s left" if total else ""
            share = f"{done}/{total}" if total else str(done)
            print(f"{task}: {share}{left}{' - ' + note if note else ''}", file=sys.stderr, flush=True)

    yield advance
