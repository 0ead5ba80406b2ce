"""The one writer of a run: makes the folder, and commits every logging step and every result at once."""

from __future__ import annotations

import operator
import os
import platform
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat, SupportsIndex

from netassay.errors import BadInput, listing
from netassay.result import Result
from netassay.store import database, encoding, lock
from netassay.store.folder import refusal
from netassay.store.series import stored

OWN = ("status", "ended", "error", "host", "locked")  # what the writer itself says about a run

Key = tuple[str, str]  # (name, layer) of a series


def create(path: str | Path, **meta: Any) -> Writer:
    """Begin a run in the folder `path`, made if missing, and return its writer; use it in a `with` block.

    `meta` is what is known beforehand (model, data, seed, command, ...): anything JSON can carry, and NaN.
    `started` (UTC) is added. Raises `BadInput` when the folder holds a run already or cannot be written to.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with create(f"{folder}/first", model="resnet18") as writer:
    ...         writer.log(0, {"loss": 0.5})
    ...     print((writer.path / "run.db").exists())
    True
    """
    folder, asked = Path(path), f"begin a run in {str(path)!r}"
    text = _encoded({"started": _now(), **_allowed(asked, meta)})
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = lock.hold(folder)
            stack.callback(lock.release, held)
            with database.faults(asked):
                connection = database.establish(folder / database.FILE)
        except OSError as error:
            raise refusal(folder, asked, error) from error
        stack.callback(database.seal, connection)
        text |= _encoded({"status": "running", "host": platform.node(), "locked": held is not None})
        with database.transaction(connection, asked):
            database.write_schema(connection)
            _note(connection, text)
        return Writer(folder, connection, stack.pop_all())


class Writer:
    """Writes one run; leaving the `with` block marks it finished, or failed with the exception's text."""

    def __init__(self, path: Path, connection: sqlite3.Connection, ending: ExitStack) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = connection
        self._ending = ending
        self._process = os.getpid()
        self._turn = threading.Lock()  # results may arrive on an executor's thread
        self._series: dict[Key, tuple[int, str]] = {}  # -> (id, unit)

    def log(
        self,
        step: SupportsIndex,
        values: Mapping[str, SupportsFloat] | Mapping[Key, SupportsFloat],
        *,
        layer: str = "",
        unit: str = "",
    ) -> None:
        """Commit the values of one step together; NaN and infinities are kept as such.

        A key is a name, or (name, layer) where one step has values of several layers. A name has one value
        per step and layer, and one unit; else `BadInput`, and nothing of the step is written.
        """
        asked = f"log step {step} in {str(self.path)!r}"
        place = _index(asked, step)
        numbers = {
            key if isinstance(key, tuple) else (key, layer): _number(asked, key, value) for key, value in values.items()
        }
        with self._turn:
            new = self._new_series(asked, numbers, unit)
            known = self._series | new if new else self._series
            points = [(place, known[key][0], *stored(number)) for key, number in numbers.items()]
            with self._commit(asked) as connection:
                rows = [(id, *key, unit) for key, (id, unit) in new.items()]
                connection.executemany("INSERT INTO series VALUES (?, ?, ?, ?)", rows)
                try:
                    connection.executemany("INSERT INTO point VALUES (?, ?, ?, ?)", points)
                except sqlite3.IntegrityError as error:
                    found = f"one of {listing(name for name, _ in numbers)} has a value there already"
                    raise BadInput(asked, found, "log a name once a step and layer") from error
            self._series = known

    def add(self, label: str, result: Result) -> None:
        """Commit a result under a label that is not taken; what it was read from (`source`) is not kept."""
        asked = f"add result {label!r} to {str(self.path)!r}"
        document = encoding.document(result)
        with self._turn, self._commit(asked) as connection:
            try:
                row = (label, result.study, document)
                id = connection.execute("INSERT INTO result VALUES (NULL, ?, ?, ?)", row).lastrowid
            except sqlite3.IntegrityError as error:
                raise BadInput(asked, "that label is taken", f"use another, e.g. {label + '-2'!r}") from error
            rows = ((id, *tensor) for tensor in encoding.tensors(result))
            connection.executemany("INSERT INTO tensor VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def note(self, **meta: Any) -> None:
        """Add to what is known about the run, or replace it."""
        asked = f"note in {str(self.path)!r}"
        text = _encoded(_allowed(asked, meta))
        with self._turn, self._commit(asked) as connection:
            _note(connection, text)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if os.getpid() != self._process:
            return  # a forked child must not even close the connection (sqlite.org/howtocorrupt.html, 2.6)
        ended = {"status": "finished", "ended": _now()}
        if error is not None:
            line = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            ended |= {"status": "failed", "error": line}
        try:
            with self._turn, self._commit(f"end run {str(self.path)!r}") as connection:
                _note(connection, _encoded(ended))
        finally:
            self._connection = None
            self._ending.close()

    def _commit(self, asked: str) -> AbstractContextManager[sqlite3.Connection]:
        if self._connection is None:
            raise BadInput(asked, "the run has ended", "write inside its `with` block, or begin another run")
        if os.getpid() != self._process:
            raise BadInput(asked, "this is not the process that began the run", "write from that one")
        return database.transaction(self._connection, asked)

    def _new_series(self, asked: str, keys: Iterable[Key], unit: str) -> dict[Key, tuple[int, str]]:
        new: dict[Key, tuple[int, str]] = {}
        for key in keys:
            _, known = self._series.get(key, (0, unit))
            if known != unit:
                found = f"{key[0]!r} is in {known!r} so far, now in {unit!r}"
                raise BadInput(asked, found, "keep one unit a name")
            if key not in self._series:
                new[key] = (len(self._series) + len(new) + 1, unit)
        return new


def _index(asked: str, step: SupportsIndex) -> int:
    try:
        return operator.index(step)
    except TypeError:
        raise BadInput(asked, f"{step!r}, which is no whole number", "give the step's number") from None


def _number(asked: str, name: str | Key, value: SupportsFloat) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        found = f"{name!r} is a {type(value).__name__} where one number is needed"
        raise BadInput(asked, found, "give float(value)") from None


def _allowed(asked: str, meta: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in OWN:
        if key in meta:
            found = f"{key!r} is what the run says about itself"
            raise BadInput(asked, found, f"name it otherwise, e.g. my_{key}")
    return meta


def _encoded(meta: Mapping[str, Any]) -> dict[str, str]:
    return {key: encoding.dumps(value, f"meta.{key}") for key, value in meta.items()}


def _note(connection: sqlite3.Connection, text: Mapping[str, str]) -> None:
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", text.items())


def _now() -> str:
    return datetime.now(UTC).isoformat()
