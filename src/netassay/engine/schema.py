"""The file `grid.db`: its schema, how it is opened, and what is said of one that cannot be read.

A rollback journal, not a write-ahead log: several processes may write to it. On a network disk that
is as safe as the locks of that disk are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from netassay.errors import BadInput

VERSION = 1
MARK = int.from_bytes(b"nagr")  # SQLite's application_id: tells a ledger from any other SQLite file
MEMORY = ":memory:"

SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE owner (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    begun TEXT,
    lease REAL NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE cell (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'run', 'done', 'failed')),
    owner TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    seconds REAL,
    host TEXT,
    finished_at TEXT,
    fault TEXT,
    CHECK ((state = 'run') = (owner IS NOT NULL)),
    CHECK ((state = 'failed') = (fault IS NOT NULL)),
    CHECK ((state = 'done') = (finished_at IS NOT NULL))
) STRICT""",
    """CREATE TABLE payload (
    cell INTEGER NOT NULL REFERENCES cell (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    dtype TEXT NOT NULL,
    shape TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (cell, position)
) STRICT""",
)

DAMAGED = "the file is damaged or cut short"
AGAIN = "take an intact copy, or give the name of a new file and run again"
FAULTS = {
    "SQLITE_NOTADB": ("no SQLite file", "give the name of a ledger, or of a new file"),
    "SQLITE_CORRUPT": (DAMAGED, AGAIN),
    "SQLITE_ERROR": (DAMAGED, AGAIN),
    "SQLITE_CONSTRAINT": (DAMAGED, AGAIN),
    "SQLITE_FULL": ("the disk is full", "free some space, then start again: what is done is kept"),
    "SQLITE_BUSY": ("another process holds the file", "try again in a moment"),
    "SQLITE_READONLY": ("the file cannot be written to", "copy it to a place you can write to, and give the copy"),
    "SQLITE_CANTOPEN": ("no file can be opened there", "give the name of a file in a folder you can write to"),
    "SQLITE_IOERR": ("the disk reports an error", "check the disk, then start again with a copy elsewhere"),
}


def establish(file: Path | None) -> sqlite3.Connection:
    """Open a ledger to write, and make it where there is none; without a file it is kept in memory."""
    asked = f"the ledger {str(file)!r}"
    with faults(asked):
        connection = _connected(file)
        try:
            for setting in ("page_size=4096", "mmap_size=0", "journal_mode=TRUNCATE", "synchronous=FULL"):
                connection.execute(f"PRAGMA {setting}")
            with transaction(connection):
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                    _write_schema(connection)
                check(connection, asked)
        except BaseException:
            connection.close()
            raise
    return connection


def _connected(file: Path | None) -> sqlite3.Connection:
    if file is not None:
        with suppress(FileExistsError):
            file.parent.mkdir(parents=True, exist_ok=True)
    return sqlite3.connect(MEMORY if file is None else file, timeout=30, isolation_level=None)


def _write_schema(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA application_id").fetchone() == (0,):
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={MARK}")
        connection.execute(f"PRAGMA user_version={VERSION}")


@contextmanager
def existing(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger that must be there; what a killed process left half written is taken back."""
    asked = f"the ledger {str(file)!r}"
    if not file.is_file():
        raise BadInput(asked, "no such file", "give the file that a grid was given as its ledger")
    with faults(asked), closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", timeout=30, uri=True)) as opened:
        opened.execute("BEGIN")
        check(opened, asked)
        yield opened


def check(connection: sqlite3.Connection, asked: str) -> None:
    """Refuse what is no ledger, or a ledger of a newer netassay."""
    (mark,), (version,) = (connection.execute(f"PRAGMA {key}").fetchone() for key in ("application_id", "user_version"))
    if mark != MARK:
        raise BadInput(asked, "a SQLite file that is no ledger", "give the name of a ledger, or of a new file")
    if version > VERSION:
        newer = f"schema version {version}; this netassay reads up to {VERSION}"
        raise BadInput(asked, newer, "pip install --upgrade netassay")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the body writes as one unit, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.rollback()


@contextmanager
def faults(asked: str) -> Iterator[None]:
    """Turn SQLite's errors, and those of bytes nobody wrote, into sentences."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # Python's own complaint about text that is no UTF-8 has no name
        nameless = "SQLITE_ERROR" if isinstance(error, sqlite3.OperationalError) else ""
        name = getattr(error, "sqlite_errorname", nameless)
        for prefix, (found, next) in FAULTS.items():
            if name.startswith(prefix):
                raise BadInput(asked, f"{found} ({short(error)})", next) from error
        raise


def short(error: Exception) -> str:
    """Return an error's text on one short line."""
    return " ".join(str(error).split())[:80]
