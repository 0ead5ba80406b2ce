"""The map over a grid: claim, run, keep, and go on where something was killed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from netassay import errors
from netassay.engine.cells import identity, keys, told
from netassay.engine.ledger import Ledger, opened
from netassay.engine.payloads import Payload
from netassay.engine.pools import Died, Pool, pool
from netassay.engine.worker import Done, Fault
from netassay.errors import BadInput, NetassayError
from netassay.progress import steps

LIVES = 3
"""Workers a cell may take with it before it is given up."""
PAUSE = 0.5
"""Seconds between two looks at the cells that another process runs."""


def grid(
    work: Callable[[Mapping[str, Any]], Payload],
    cells: Sequence[Mapping[str, Any]],
    *,
    ledger: str | Path | None = None,
    question: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    workers: int = 2,
    task: str = "grid",
) -> list[Payload]:
    """Call `work` on every cell and return what each gave, in the order of `cells`.

    `work` is a function of a module; a cell is a mapping of JSON values; a payload is a dict of numpy arrays (numbers,
    truth values, text; at most 512 MiB). Cells run in `workers` processes of one torch thread each, or with
    `workers=0` in this one, or on `executor`, any of `concurrent.futures`, at most 2 * `workers` cells ahead. `work`
    seeds itself: then the payloads are the same, bit for bit, however many workers there are.

    `ledger` names a file that keeps every cell as it ends. Called again, also after `kill -9`, only what is not
    done is run; several processes may share it. It answers one `question` (what all cells share), one `work` and
    one version of netassay. A cell that fails leaves the others going; then the first failure is raised.

    Raises BadInput for cells that are no JSON or twice there, and for a ledger of another question; the error of
    netassay that `work` raised, with the cell named; InternalError for any other that it raised.

    >>> grid(dict, [{"seed": 0}, {"seed": 0}])
    Traceback (most recent call last):
    netassay.errors.BadInput: asked: cell 1: {"seed": 0}
      found: cell 0 is the same
      next:  give each cell once
    """
    if not isinstance(workers, int) or workers < 0:
        raise BadInput(f"workers={workers!r}", "no whole number from 0 on", "workers=2, or 0 for this process")
    wanted, file = keys(cells), None if ledger is None else Path(ledger)
    with opened(file, identity(work, question), wanted) as book:
        states = book.states()
        left = [key for key in wanted if states[key] != "done"]
        before = len(wanted) - len(left)
        note = f"{before} of {len(wanted)} were done before" if before else ""
        if left:
            with pool(work, executor, workers) as place, steps(task, len(left)) as advance:
                Course(book, place, lambda: advance(note), left).run()
        _refuse(task, book.faults(), wanted, file)
        return [book.payload(key) for key in wanted]


class Course:
    """The cells that are left, on their way: pending here, running here, or elsewhere, claimed by another process."""

    def __init__(self, book: Ledger, place: Pool, advance: Callable[[], None], left: Sequence[str]) -> None:
        self._book, self._place, self._advance = book, place, advance
        self._pending, self._elsewhere = deque(left), list[str]()
        self._running: dict[Future[Any], str] = {}
        self._deaths: Counter[str] = Counter()

    def run(self) -> None:
        """Work until every cell is done or failed, here or elsewhere; what has ended is kept also on an interrupt."""
        try:
            while self._pending or self._running or self._elsewhere:
                self._begin()
                self._wait()
                for future in [each for each in self._running if each.done()]:
                    self._end(future)
                if self._elsewhere and not self._pending:
                    self._look()
        except BaseException:
            self._keep()
            raise

    def _begin(self) -> None:
        while self._pending and self._place.room:
            key = self._pending.popleft()
            # A claim that was lost meanwhile, its lease having run out, is made anew.
            if (key in self._deaths and self._book.again(key)) or self._book.claim(key):
                self._running[self._place.submit(key)] = key
            else:
                self._elsewhere.append(key)

    def _wait(self) -> None:
        if self._running:
            wait(self._running, PAUSE, FIRST_COMPLETED)
        elif not self._pending:
            time.sleep(PAUSE)

    def _end(self, future: Future[Any]) -> None:
        key, outcome = self._running[future], self._place.taken(future)
        if isinstance(outcome, Died):
            self._deaths[key] += outcome.begun
            if self._deaths[key] < LIVES:
                self._pending.appendleft(key)
                del self._running[future]
                return
            outcome = _given_up()
        kept = self._book.finish(key, outcome) if isinstance(outcome, Done) else self._book.fail(key, outcome)
        del self._running[future]
        if kept:
            self._advance()
        else:
            self._elsewhere.append(key)

    def _look(self) -> None:
        self._book.reap()
        states, elsewhere = self._book.states(), self._elsewhere
        self._pending.extend(key for key in elsewhere if states[key] == "open")
        self._elsewhere = [key for key in elsewhere if states[key] == "run"]
        for _ in range(sum(states[key] in ("done", "failed") for key in elsewhere)):
            self._advance()

    def _keep(self) -> None:
        for future, key in self._running.items():
            if future.done() and not future.cancelled() and not future.exception():
                with suppress(NetassayError):
                    if isinstance(future.result(), Done):
                        self._book.finish(key, future.result())


def _given_up() -> Fault:
    found = f"it killed its worker process {LIVES} times; it is likely out of memory"
    next = "make the cell smaller, use fewer workers, or a machine with more memory, then start again"
    return Fault(BadInput.__name__, "", found, next)


def _refuse(task: str, faults: Mapping[str, Fault], wanted: Sequence[str], file: Path | None) -> None:
    failed = [key for key in wanted if key in faults]
    if failed:
        fault = faults[failed[0]]
        cell = f"cell {told(failed[0])}"
        more = f"; {len(failed) - 1} more of {len(wanted)} cells failed" if failed[1:] else ""
        kept = f"; started again with {str(file)!r}, only what is not done is run" if file else ""
        error = _error(fault, f"{fault.asked} ({cell})" if fault.asked else f"{task}, {cell}", more, kept)
        error.add_note(fault.trace)
        raise error


def _error(fault: Fault, asked: str, more: str, kept: str) -> NetassayError:
    """Make the error again that a worker met, of its class; the classes' own sentences are made already."""
    kind = getattr(errors, fault.kind)
    error: NetassayError = kind.__new__(kind)
    NetassayError.__init__(error, asked, fault.found + more, fault.next + kept)
    return error
