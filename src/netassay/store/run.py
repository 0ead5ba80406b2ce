"""A stored run, read piece by piece when asked for; and the list of runs in a folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

from netassay.errors import BadInput, UnknownName, closest
from netassay.result import Claim, Result, Table, Verdict
from netassay.store import database, encoding, export, lock
from netassay.store.series import Point, Series, table, unknown

T = TypeVar("T")
NOT_ENDED = {True: "running", False: "interrupted", None: "unfinished"}  # by whether its writer lives

RESULT = "SELECT id, study, document FROM result WHERE label = ?"
NAMES = "SELECT name, layer, unit FROM series ORDER BY id"
TENSORS = """SELECT kind, name, "column", dtype, shape, data, words FROM tensor WHERE result = ?"""
POINTS = "SELECT step, value, kind FROM point WHERE series = ? ORDER BY step"


@dataclass(frozen=True)
class Run:
    """One run folder; every property reads the file anew, so a run that is being written can be watched.

    `fault` says, for a run in a list, why it cannot be read; "" otherwise.

    >>> import tempfile
    >>> from netassay.store import create
    >>> folder = Path(tempfile.mkdtemp()) / "first"
    >>> with create(folder, study="demo") as writer:
    ...     writer.log(0, {"loss": 2.3})
    >>> run = Run(folder)
    >>> run.id, run.status, run.series("loss").columns["value"].tolist()
    ('first', 'finished', [2.3])
    """

    path: Path
    fault: str = ""

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def page(self) -> Path:
        """Where the page of this run is, or goes."""
        return self.path / "index.html"

    @property
    def meta(self) -> dict[str, Any]:
        """What was said about the run when it began and since."""
        with self._reading("meta") as connection:
            rows = connection.execute("SELECT key, value FROM meta")
            return {key: encoding.loads(value) for key, value in rows}

    @property
    def status(self) -> str:
        """One of finished, failed, running, interrupted, unfinished, unreadable.

        A run that did not end is running while its writer holds the folder's lock, interrupted when the
        writer is gone, and unfinished where that cannot be told (another host, Windows, a network disk).
        """
        if self.fault:
            return "unreadable"
        # The lock first: a writer that ends between the two looks is then seen as finished, never as dead.
        held, meta = lock.held(self.path), self.meta
        told = meta.get("locked") and meta.get("host") == platform.node()
        status = str(meta.get("status"))
        return NOT_ENDED[held if told else None] if status == "running" else status

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the results, in the order they were added."""
        with self._reading("results") as connection:
            return tuple(label for (label,) in connection.execute("SELECT label FROM result ORDER BY id"))

    @property
    def results(self) -> dict[str, Result]:
        """All results by label, in the order they were added."""
        return {label: self.result(label) for label in self.labels}

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of the last result of each study: what came before it is there to compare with."""
        return self._last(encoding.claims)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts of the last result of each study."""
        return self._last(encoding.verdicts)

    @property
    def findings(self) -> tuple[Verdict, ...]:
        """The verdicts that call for action."""
        return tuple(verdict for verdict in self.verdicts if verdict.severity == "finding")

    @property
    def series_names(self) -> tuple[Series, ...]:
        """Name, layer and unit of every series, in the order they were first logged."""
        with self._reading("series") as connection:
            return tuple(map(Series._make, connection.execute(NAMES)))

    @property
    def all_series(self) -> dict[Series, Table]:
        """Every series, in one pass; each as `series` returns it."""
        with self._reading("series") as connection:
            rows = connection.execute("SELECT id, name, layer, unit FROM series ORDER BY id")
            names = {id: Series(*row) for id, *row in rows}
            points: dict[int, list[Point]] = {id: [] for id in names}
            for id, *point in connection.execute("SELECT series, step, value, kind FROM point ORDER BY step"):
                points[id].append(tuple(point))
            return {series: table(points[id]) for id, series in names.items()}

    def result(self, label: str) -> Result:
        """Read one result; all of it but `source` is as it was added.

        Raises `UnknownName` with the nearest labels.
        """
        with self._reading(f"result {label!r}") as connection:
            for id, study, document in connection.execute(RESULT, (label,)):
                rows = map(encoding.Tensor._make, connection.execute(TENSORS, (id,)))
                return encoding.result(study, encoding.loads(document), rows)
        raise UnknownName(f"result of run {self.id!r}", label, self.labels)

    def series(self, name: str, layer: str = "") -> Table:
        """Read one series as columns `step` (int64) and `value` (float64; NaN and infinities as logged).

        Raises `UnknownName` with the nearest series.
        """
        with self._reading(f"series {name!r}") as connection:
            for id in connection.execute("SELECT id FROM series WHERE name = ? AND layer = ?", (name, layer)):
                return table(connection.execute(POINTS, id).fetchall())
        raise unknown(self.id, name, layer, self.series_names)

    def to_pandas(self, label: str, name: str) -> Any:
        """Return a table of a result as a pandas DataFrame."""
        tables = self.result(label).tables
        if name not in tables:
            raise UnknownName(f"table of {label!r}", name, tables)
        return export.frame(tables[name])

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write every table, array, series, claim and verdict as CSV under `folder`; return the files.

        Arrays are long: one row an entry, one column an axis, and `value`. Not-a-number is `NaN`, infinity
        `inf`.
        """
        return export.to_csv(Path(folder), self.results, self.all_series)

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """Write the same as `to_csv`, as Parquet; not-a-number stays a number, it is no null."""
        return export.to_parquet(Path(folder), self.results, self.all_series)

    def __str__(self) -> str:
        if self.fault:
            return f"{self.id}: unreadable, {self.fault}"
        meta, n = self.meta, len(self.findings)
        about = " on ".join(str(meta[key]) for key in ("model", "data") if key in meta)
        counted = f"{n} finding{'s' * (n != 1)}"
        return f"{self.id}: {', '.join(filter(None, (about, self.status, counted)))}"

    def _reading(self, what: str) -> AbstractContextManager[Connection]:
        return database.reading(self.path / database.FILE, f"read {what} of run {str(self.path)!r}")

    def _last(self, read: Callable[[Any], tuple[T, ...]]) -> tuple[T, ...]:
        with self._reading("results") as connection:
            last = dict(connection.execute("SELECT study, document FROM result ORDER BY id"))
            return tuple(one for text in last.values() for one in read(encoding.loads(text)))


def open_run(path: str | Path) -> Run:
    """Open a run to read: its folder, or the `run.db` in it.

    Works while the run is written, after its process was killed, and in a read-only folder. Raises
    `BadInput` when there is none, or it is damaged, or of a newer netassay.

    >>> open_run("runs/none")
    Traceback (most recent call last):
    netassay.errors.BadInput: asked: open run 'runs/none'...
    """
    given, asked = Path(path), f"open run {str(path)!r}"
    run = Run(given.parent if given.name == database.FILE else given)
    if not _holds_run(run.path):
        raise _missing(run.path, asked)
    with database.reading(run.path / database.FILE, asked) as connection:
        database.check(connection, asked)
    return run


def runs(folder: str | Path) -> list[Run]:
    """List the runs in `folder`, newest first; one that cannot be read is listed last, with its `fault`.

    Folders without a `run.db` are passed over. Raises `BadInput` when there is no such folder.
    """
    asked = f"list the runs in {str(folder)!r}"
    try:
        dated = [_dated(path) for path in Path(folder).iterdir() if _holds_run(path)]
    except OSError as error:
        raise BadInput(asked, f"{error.strerror}".lower(), "give a folder that holds runs") from error
    return [run for _, run in sorted(dated, key=lambda each: (each[0], each[1].id), reverse=True)]


def _dated(path: Path) -> tuple[str, Run]:
    try:
        run = open_run(path)
        return str(run.meta.get("started", "")), run
    except BadInput as error:
        return "", Run(path, fault=error.found)


def _holds_run(folder: Path) -> bool:
    return os.path.isfile(folder / database.FILE)  # unlike Path.is_file, False where one may not look


def _missing(folder: Path, asked: str) -> BadInput:
    if folder.is_file():
        next = "give the run's folder, or the run.db in it"
        return BadInput(asked, "a file that is not named run.db", next)
    if folder.is_dir():
        inside = sorted(str(path) for path in folder.iterdir() if _holds_run(path))
        next = f"open one of the runs in it, e.g. {inside[-1]!r}" if inside else "give a run's folder"
        return BadInput(asked, "a folder without a run.db", next)
    beside = [str(path.parent) for path in folder.parent.glob(f"*/{database.FILE}")]
    near = closest(str(folder), beside)
    return BadInput(asked, "no such folder", f"open {near[0]!r}" if near else "see what there is: netassay runs")
