"""The store: one folder per run, one SQLite file `run.db` in it, written once and readable at any moment.

    with create(fresh("runs", "watch"), model="resnet18", data="digits") as writer:
        writer.log(step, {"loss": loss})     # one commit, safe against `kill -9` from here on
        writer.add("summary", result)
    run = open_run("runs/watch-001")         # also while it is being written, or after it was killed
    run.status, run.findings, run.result("summary"), run.series("loss")

Rooms: `folder`, `database` (the file in it), `lock` (who is alive), `encoding` (a Result as rows), `series`,
`writer`, `run`, `export`.
"""

from netassay.store.clearing import clear
from netassay.store.export import series_json
from netassay.store.folder import fresh, vacant
from netassay.store.run import Run, open_run, runs
from netassay.store.writer import Writer, create

__all__ = ["Run", "Writer", "clear", "create", "fresh", "open_run", "runs", "series_json", "vacant"]
