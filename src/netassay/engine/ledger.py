"""The ledger: which cells are open, run, done or failed, who runs them, and what they gave.

A cell is claimed alone, in one short transaction, and finished only by the owner that claimed it. Claims of owners
that are no more are open again. Only the process that called `grid` comes here; its workers never do.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from netassay.engine.cells import difference
from netassay.engine.owners import BEAT, LEASE, Owner, alive, myself
from netassay.engine.payloads import Packed, Payload, unpack
from netassay.engine.schema import AGAIN, DAMAGED, establish, existing, faults, short, transaction
from netassay.engine.worker import Done, Fault
from netassay.errors import BadInput

RENEW = "INSERT INTO owner VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET lease = excluded.lease"
CLAIM = (
    "UPDATE cell SET state = 'run', owner = ?, attempts = attempts + 1, fault = NULL WHERE key = ? AND state = 'open'"
)
FINISH = """UPDATE cell SET state = 'done', owner = NULL, seconds = ?, host = ?, finished_at = ?
WHERE key = ? AND owner = ? AND state = 'run' RETURNING id"""
FAIL = "UPDATE cell SET state = 'failed', owner = NULL, fault = ? WHERE key = ? AND owner = ? AND state = 'run'"
COUNT = "UPDATE cell SET attempts = attempts + 1 WHERE key = ? AND owner = ? AND state = 'run'"
RELEASE = "UPDATE cell SET state = 'open', owner = NULL WHERE owner = ? AND state = 'run'"
READ = """SELECT name, dtype, shape, data FROM payload JOIN cell ON cell.id = payload.cell
WHERE key = ? ORDER BY position"""

State = Literal["open", "run", "done", "failed"]


class Status(NamedTuple):
    """How far a grid is: cells done, running now, open and failed, and the seconds the done ones took together."""

    done: int
    running: int
    open: int
    failed: int
    seconds: float


def status(ledger: str | Path) -> Status:
    """Read how far a grid is, also while it runs; a cell whose process is gone counts as open.

    Raises BadInput for a file that is missing, damaged, no ledger, or of a newer netassay.
    """
    with existing(Path(ledger)) as connection:
        dead = set(_dead(connection))
        rows = connection.execute("SELECT state, owner, coalesce(seconds, 0) FROM cell").fetchall()
    states = Counter("open" if owner in dead else state for state, owner, _ in rows)
    seconds = sum(seconds for *_, seconds in rows)
    return Status(states["done"], states["run"], states["open"], states["failed"], seconds)


class Ledger:
    """A ledger in the hands of one owner, for the cells it was opened with."""

    def __init__(self, file: Path | None, identity: str, keys: Sequence[str]) -> None:
        self._asked, self._keys, self._me = f"the ledger {str(file)!r}", frozenset(keys), myself()
        self._connection = establish(file)
        # absolute, and never made anew: the work may change the folder it runs in
        self._address = None if file is None else f"{file.resolve().as_uri()}?mode=rw"
        try:
            with self._writing():
                self._identify(identity)
                self._connection.execute(RENEW, self._me)
                self._connection.executemany("INSERT OR IGNORE INTO cell (key) VALUES (?)", ((key,) for key in keys))
                self._reopen(keys)
        except BaseException:
            self._connection.close()
            raise

    def claim(self, key: str) -> bool:
        """Take an open cell; False when it is not open."""
        return self._changed(CLAIM, self._me.id, key)

    def again(self, key: str) -> bool:
        """Count another attempt at a cell; False when it is no longer this owner's."""
        return self._changed(COUNT, key, self._me.id)

    def finish(self, key: str, done: Done) -> bool:
        """Keep what a cell gave; False when the cell is no longer this owner's."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._writing():
            row = self._connection.execute(FINISH, (done.seconds, done.host, now, key, self._me.id)).fetchone()
            if row is not None:
                arrays = ((row[0], n, *packed) for n, packed in enumerate(done.arrays))
                self._connection.executemany("INSERT INTO payload VALUES (?, ?, ?, ?, ?, ?)", arrays)
        return row is not None

    def fail(self, key: str, fault: Fault) -> bool:
        """Keep how a cell failed; False when the cell is no longer this owner's."""
        return self._changed(FAIL, json.dumps(fault), key, self._me.id)

    def reap(self) -> None:
        """Open again what owners claimed that are no more."""
        with faults(self._asked):
            dead = [id for id in _dead(self._connection) if id != self._me.id]
        if dead:
            with self._writing():
                self._release(dead)

    def states(self) -> dict[str, State]:
        """Return the state of each of the cells this ledger was opened with."""
        with faults(self._asked):
            rows = self._connection.execute("SELECT key, state FROM cell").fetchall()
        return {key: state for key, state in rows if key in self._keys}

    def faults(self) -> dict[str, Fault]:
        """Return how cells failed."""
        with self._reading():
            rows = self._connection.execute("SELECT key, fault FROM cell WHERE state = 'failed'").fetchall()
            return {key: Fault(*json.loads(fault)) for key, fault in rows if key in self._keys}

    def payload(self, key: str) -> Payload:
        """Read what a cell gave."""
        with self._reading():
            return unpack(Packed(*row) for row in self._connection.execute(READ, (key,)))

    def close(self) -> None:
        """Let go of all claims; where that fails, the lease runs out."""
        with closing(self._connection), suppress(sqlite3.Error), transaction(self._connection):
            self._release([self._me.id])

    def renew(self) -> None:
        """Renew the lease, over a connection of its own: a connection belongs to one thread."""
        if self._address is not None:
            with closing(sqlite3.connect(self._address, timeout=BEAT, uri=True)) as connection, connection:
                connection.execute(RENEW, self._me._replace(lease=time.time() + LEASE))

    def _identify(self, identity: str) -> None:
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        if row is None:
            self._connection.execute("INSERT INTO meta VALUES ('identity', ?)", (identity,))
        elif row[0] != identity:
            found = f"it answers another question: {difference(row[0], identity)}"
            raise BadInput(self._asked, found, "give a new file, or ask as it was asked there")

    def _reopen(self, keys: Iterable[str]) -> None:
        self._release([id for id in _dead(self._connection) if id != self._me.id])
        again = "UPDATE cell SET state = 'open', fault = NULL WHERE key = ? AND state = 'failed'"
        self._connection.executemany(again, ((key,) for key in keys))

    def _release(self, owners: Sequence[str]) -> None:
        for id in owners:
            self._connection.execute(RELEASE, (id,))
            self._connection.execute("DELETE FROM owner WHERE id = ?", (id,))

    def _changed(self, statement: str, *values: str) -> bool:
        with self._writing():
            return self._connection.execute(statement, values).rowcount == 1

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with faults(self._asked), transaction(self._connection):
            yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with faults(self._asked):
            try:
                yield
            except (ValueError, TypeError, LookupError) as error:  # text or bytes nobody wrote
                raise BadInput(self._asked, f"{DAMAGED} ({short(error)})", AGAIN) from error


@contextmanager
def opened(file: Path | None, identity: str, keys: Sequence[str]) -> Iterator[Ledger]:
    """Open a ledger and keep its lease renewed; its claims are let go at the end, however it ends."""
    ledger, ended = Ledger(file, identity, keys), threading.Event()
    beating = threading.Thread(target=_beat, args=(ledger, ended), daemon=True)
    try:
        if file is not None:
            beating.start()
        yield ledger
    finally:
        ended.set()
        if beating.is_alive():
            beating.join()
        ledger.close()


def _beat(ledger: Ledger, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(sqlite3.OperationalError):  # the next beat comes before the lease runs out
            ledger.renew()


def _dead(connection: sqlite3.Connection) -> Iterator[str]:
    known = [Owner(*row) for row in connection.execute("SELECT id, host, pid, begun, lease FROM owner")]
    living = {owner.id for owner in known if alive(owner)}
    claimed = {id for (id,) in connection.execute("SELECT DISTINCT owner FROM cell WHERE owner IS NOT NULL")}
    yield from sorted((claimed | {owner.id for owner in known}) - living)
