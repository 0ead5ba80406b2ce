"""Where cells run: processes of our own, an executor that was given, or this process; three ways, the same verbs.

`submit(key)` begins a cell, `room` says how many more may be begun, `taken(future)` reads what came of one,
`close(now)` ends. Each process of our own is a pool of one, so that a death is the death of one known cell.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

from netassay.engine.cells import name
from netassay.engine.worker import Done, Fault, begin, fault, run, run_named
from netassay.errors import BadInput

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
STILLBORN = 3
"""Workers that may die one after another before they begin."""
_STARTING = threading.Lock()


class Died(NamedTuple):
    """The worker died; `begun` says whether it had come so far that the cell may be the cause."""

    begun: bool


Outcome = Done | Fault | Died


class Here:
    """This process: a cell is done when `submit` returns."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work, self.room = work, 1

    def submit(self, key: str) -> Future[Any]:
        """Run a cell."""
        self.room, future = 0, Future[Any]()
        future.set_result(run(self._work, key))
        return future

    def taken(self, future: Future[Any]) -> Outcome:
        """Return what came of a cell."""
        self.room = 1
        return _outcome(future)

    def close(self, now: bool) -> None:
        """Nothing is left to end."""


class Given:
    """An executor of the caller's, a few cells ahead of its workers; it is not shut down."""

    def __init__(self, work: Callable[[Any], Any], executor: Executor, workers: int) -> None:
        self._work, self._executor, self.room = work, executor, 2 * max(workers, 1)
        self._sent: set[Future[Any]] = set()

    def submit(self, key: str) -> Future[Any]:
        """Hand a cell to the executor."""
        try:
            future = self._executor.submit(run, self._work, key)
        except RuntimeError as error:  # broken, or shut down
            raise _ended(error) from error
        self._sent.add(future)
        self.room -= 1
        return future

    def taken(self, future: Future[Any]) -> Outcome:
        """Return what came of a cell; an executor that no longer works cannot be replaced here."""
        self._sent.discard(future)
        self.room += 1
        if future.cancelled() or isinstance(future.exception(), BrokenExecutor | CancelledError):
            raise _ended(CancelledError("cancelled") if future.cancelled() else future.exception())
        return _outcome(future)

    def close(self, now: bool) -> None:
        """Cancel what has not begun."""
        for future in self._sent:
            future.cancel()


class Worker:
    """One process, and the line between us: it says there that it has begun, and ends when the line does."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, self._far = context.Pipe()
        self.pool = ProcessPoolExecutor(1, context, begin, (self._far, os.getpid()))

    def begun(self) -> bool:
        """Say whether the process has come to work."""
        return self.line.poll()

    def close(self, now: bool) -> None:
        """End the process: at once, or when it is idle."""
        if now:
            self.hang_up()
        self.pool.shutdown(wait=not now, cancel_futures=True)
        self.hang_up()

    def hang_up(self) -> None:
        """Let the process know that it is to end, whatever it does."""
        self.line.close()
        self._far.close()


class Processes:
    """Processes of our own: fresh interpreters with one thread each, replaced when they die."""

    def __init__(self, work: Callable[[Any], Any], workers: int) -> None:
        self._work, self.room = name(work), workers
        self._idle: list[Worker] = []
        self._busy: dict[Future[Any], Worker] = {}
        self._stillborn = 0

    def submit(self, key: str) -> Future[Any]:
        """Begin a cell in an idle process, or in a new one."""
        while True:
            worker = self._idle.pop() if self._idle else Worker()
            try:
                with _starting():
                    future = worker.pool.submit(run_named, *self._work, key)
            except BrokenExecutor:  # it died idle
                worker.close(now=True)
                continue
            except BaseException:  # an interrupt, before anybody else knows of the process
                worker.close(now=True)
                raise
            self._busy[future] = worker
            self.room -= 1
            return future

    def taken(self, future: Future[Any]) -> Outcome:
        """Return what came of a cell, or that its process died."""
        worker = self._busy.pop(future)
        self.room += 1
        if not isinstance(future.exception(), BrokenExecutor):
            self._idle.append(worker)
            return _outcome(future)
        begun = worker.begun()
        worker.close(now=True)
        self._stillborn = 0 if begun else self._stillborn + 1
        if self._stillborn == STILLBORN:
            found = f"{STILLBORN} died one after another before they began; what they printed says why"
            raise BadInput("start a worker process", found, 'call it below `if __name__ == "__main__":`')
        return Died(begun)

    def close(self, now: bool) -> None:
        """End all processes."""
        workers = (*self._idle, *self._busy.values())
        for worker in workers if now else ():
            worker.hang_up()
        for worker in workers:
            worker.close(now)


Pool = Here | Given | Processes


@contextmanager
def pool(work: Callable[[Any], Any], executor: Executor | None, workers: int) -> Iterator[Pool]:
    """Open the place where cells run; the caller's torch threads are as they were found afterwards."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else 0
    opened: Pool
    if executor is not None:
        opened = Given(work, executor, workers)
    else:
        opened = Processes(work, workers) if workers else Here(work)
    now = True
    try:
        yield opened
        now = False
    finally:
        opened.close(now)
        if torch is not None:
            torch.set_num_threads(threads)


def _outcome(future: Future[Any]) -> Done | Fault:
    error = future.exception()
    outcome: Done | Fault = future.result() if error is None else fault(error)
    return outcome


def _ended(error: BaseException | None) -> BadInput:
    found = f"it takes no more cells ({type(error).__name__}: {error})"
    return BadInput("the executor that was given", found, "start a new one, and give the same ledger again")


@contextmanager
def _starting() -> Iterator[None]:
    """Let a process that starts here inherit one thread, and no Ctrl-C until it can ignore it; undone right after."""
    with _STARTING:
        before = {key: os.environ.get(key) for key in THREADS}
        os.environ.update(THREADS)
        try:
            with _blocked():
                yield
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value


@contextmanager
def _blocked() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    with suppress(OSError):
        resource_tracker.ensure_running()  # else it would be started inside, and unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
