"""The file `run.db`: its schema, how it is opened to write and to read, and what is said of a damaged one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from netassay.errors import BadInput

FILE = "run.db"
VERSION = 1
MARK = int.from_bytes(b"nass")  # SQLite's application_id: tells a run from any other SQLite file

# `point.kind`: 0 finite, 1 NaN, 2 +Inf, 3 -Inf (series.py). STRICT refuses the BLOB that a numpy float32 or
# int64 scalar would silently become. `point` is ordered by step, so that a step is written to a page or two:
# 480 values cost 0.6 ms; ordered by series they touch 480 pages and cost 7 ms, in the user's training loop.
SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE result (
    id INTEGER PRIMARY KEY,
    label TEXT NOT NULL UNIQUE,
    study TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT""",
    """CREATE TABLE tensor (
    result INTEGER NOT NULL REFERENCES result (id),
    kind TEXT NOT NULL CHECK (kind IN ('table', 'array')),
    name TEXT NOT NULL,
    "column" TEXT NOT NULL,
    dtype TEXT NOT NULL,
    shape TEXT NOT NULL,
    data BLOB,
    words TEXT,
    PRIMARY KEY (result, kind, name, "column"),
    CHECK ((data IS NULL) <> (words IS NULL))
) STRICT""",
    """CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    layer TEXT NOT NULL,
    unit TEXT NOT NULL,
    UNIQUE (name, layer)
) STRICT""",
    """CREATE TABLE point (
    step INTEGER NOT NULL,
    series INTEGER NOT NULL REFERENCES series (id),
    value REAL,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 3),
    PRIMARY KEY (step, series),
    CHECK ((kind = 0) = (value IS NOT NULL))
) STRICT, WITHOUT ROWID""",
)

# WAL with NORMAL survives a killed process, and a power cut up to the last checkpoint (sqlite.org/wal.html).
SYNCHRONOUS = {"WAL": "synchronous=NORMAL", "TRUNCATE": "synchronous=FULL"}

DAMAGED = "the file is damaged or cut short"
AGAIN = "take an intact copy of the folder, or run again"
COPY = "copy the folder to a place you can write to, and open the copy"
FAULTS = {
    "SQLITE_NOTADB": ("no SQLite file", AGAIN),
    "SQLITE_CORRUPT": (DAMAGED, AGAIN),
    "SQLITE_ERROR": (DAMAGED, AGAIN),
    "SQLITE_FULL": ("the disk is full", "free some space, then run again"),
    "SQLITE_BUSY": ("another process holds the file", "try again in a moment"),
    "SQLITE_READONLY": ("changes a killed process left behind cannot be settled in a read-only folder", COPY),
    "SQLITE_CANTOPEN": ("the file, or what was not yet folded into it, cannot be opened here", COPY),
    "SQLITE_IOERR": ("the disk reports an error", "check the disk, then open a copy of the folder elsewhere"),
}


def establish(file: Path) -> sqlite3.Connection:
    """Create the file, which must not exist, and return its one writing connection.

    4 KiB pages and no memory map: both measured or advised better for runs that are read while written.
    """
    journal = "WAL" if carries_wal(file.parent) else "TRUNCATE"
    file.open("x").close()
    connection = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
    settings = ("page_size=4096", "mmap_size=0", f"journal_mode={journal}", SYNCHRONOUS[journal])
    try:
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def carries_wal(folder: Path) -> bool:
    """Say whether write-ahead logging works in `folder`, by trying it on a file that is thrown away.

    Network file systems cannot share its index, and some answer "wal" and then fail at the first write.
    """
    with TemporaryDirectory(prefix=".probe-", dir=folder) as trial:
        with closing(sqlite3.connect(Path(trial) / FILE, isolation_level=None)) as connection:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                connection.execute("CREATE TABLE trial (x INTEGER)")
            except sqlite3.OperationalError:
                return False
        return bool(mode == "wal")


def write_schema(connection: sqlite3.Connection) -> None:
    """Write the schema and its version, inside the caller's transaction."""
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={MARK}")
    connection.execute(f"PRAGMA user_version={VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection, asked: str) -> Iterator[sqlite3.Connection]:
    """Commit what the body writes as one unit, or nothing of it."""
    with faults(asked):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.rollback()


def seal(connection: sqlite3.Connection) -> None:
    """Fold the write-ahead log into the file and close, so that a finished run is one plain file.

    A reader at that very moment keeps the log in place; the file is whole either way.
    """
    with closing(connection):
        connection.execute("PRAGMA busy_timeout=200")
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError:
            return


@contextmanager
def reading(file: Path, asked: str) -> Iterator[sqlite3.Connection]:
    """Open one state of the file for reading; beside a writer, after a kill, or in a read-only folder."""
    with faults(asked):
        try:
            with closing(_readable(file)) as connection:
                connection.execute("BEGIN")
                yield connection
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # text or bytes nobody wrote
            raise BadInput(asked, f"{DAMAGED} ({_short(error)})", AGAIN) from error


def check(connection: sqlite3.Connection, asked: str) -> None:
    """Refuse what is no run, or a run of a newer netassay."""
    (mark,), (version,) = (connection.execute(f"PRAGMA {key}").fetchone() for key in ("application_id", "user_version"))
    if mark != MARK:
        other = "a SQLite file of another program" if version or mark else "nothing was committed to it yet"
        raise BadInput(asked, other, "give a folder that `netassay runs` lists")
    if version > VERSION:
        newer = f"schema version {version}; this netassay reads up to {VERSION}"
        raise BadInput(asked, newer, "pip install --upgrade netassay")


def _readable(file: Path) -> sqlite3.Connection:
    try:
        return _tried(file, "mode=ro")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_READONLY_ROLLBACK":
            # half a transaction of a killed writer, which only a writing connection may take back
            _tried(file, "mode=rw").close()
            return _tried(file, "mode=ro")
        # A file in WAL mode needs an index beside it; where none can be made, and no log waits to be read,
        # the file alone is the whole run.
        if error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) and not _pending(file):
            return _tried(file, "immutable=1")
        raise


def _tried(file: Path, options: str) -> sqlite3.Connection:
    address = f"{file.resolve().as_uri()}?{options}"
    connection = sqlite3.connect(address, uri=True, timeout=10, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _pending(file: Path) -> bool:
    log = file.with_name(file.name + "-wal")
    return log.exists() and log.stat().st_size > 0


@contextmanager
def faults(asked: str) -> Iterator[None]:
    """Turn SQLite's errors into sentences."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # Python's own complaint about text that is no UTF-8 has no name
        nameless = "SQLITE_ERROR" if isinstance(error, sqlite3.OperationalError) else ""
        name = getattr(error, "sqlite_errorname", nameless)
        for prefix, (found, next) in FAULTS.items():
            if name.startswith(prefix):
                raise BadInput(asked, f"{found} ({_short(error)})", next) from error
        raise


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:80]
