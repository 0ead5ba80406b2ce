"""Terminal: findings first, then tables; or one JSON document, or CSV. Standard output, and a word beside it."""

from __future__ import annotations

import csv as csv_format
import io
import json as json_format
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from netassay.report.notebook import cell
from netassay.result import Result, Table, Verdict, plain
from netassay.store import Run
from netassay.verdicts import HEALTHY, STATES

# fmt: off
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "channel_profile": ("layer", "channels", *(state.name for state in STATES), "y_rms", "gy_norm", "y_zero_share"),
    "summary": ("layer", "kind", "output", "parameters", "multiply_adds"),
    "exchange_map": (
        "layer", "outputs", "inputs", "exchanged", "coherence", "emission_variation", "absorption_variation",
        "starved", "cancelled",
    ),
    "init_study": (
        "scheme", "training_loss", "training_loss_low", "training_loss_high", "accuracy", "accuracy_low",
        "accuracy_high", "diverged", "n",
    ),
    "compare": (
        "table", "where", "quantity", "a", "b", "difference", "difference_low", "difference_high", "ratio", "n",
        "evidence",
    ),
    "flow": (
        "when", "path", "chi", "chi_low", "chi_high", "attenuation", "chi_predicted", "depth_from", "depth_to",
        "layers", "batches",
    ),
    "flow_study": (
        "cell", "chi", "decades", "decades_low", "decades_high", "learned", "learned_low", "learned_high",
        "accuracy", "diverged", "n",
    ),
    "prescribe": (
        "rank", "remedy", "chi", "attenuation", "loss_fall", "loss_fall_low", "loss_fall_high", "together",
        "diverged", "what",
    ),
    "similarity_map": (
        "of", "layer_a", "layer_b", "measure", "score", "calibrated", "p", "second", "second_score", "shift",
    ),
    "similarity_trend": ("family", "spec", "size", "accuracy", "told", "diagonal", "triangle", "block", "flat"),
    "stitch_trend": (
        "family", "spec", "size", "accuracy", "stitched", "random_receiver", "told", "diagonal", "triangle", "block",
        "flat",
    ),
    "stitch_grid": ("sender_layer", "receiver_layer", "accuracy", "penalty", "agreement", "mse", "ood", "claim"),
    "checkpoints": ("checkpoint", "channels", HEALTHY, *(state.name for state in STATES), "findings"),
}
# fmt: on
"""Columns that a terminal shows of a study's main table; the others are in --json and --csv."""
CLAIMING = (
    "exchange_map",
    "init_study",
    "flow_study",
    "prescribe",
    "similarity_map",
    "similarity_trend",
    "stitch_grid",
    "stitch_trend",
)
"""Studies whose claims a terminal shows."""
ALSO: Mapping[str, tuple[str, ...]] = {
    "compare": ("setup", "overview", "verdicts", "claims"),
    "similarity_map": ("patterns",),
    "similarity_trend": ("trends",),
    "stitch_grid": ("nets",),
    "stitch_trend": ("trends",),
}
"""Tables that a terminal shows of a study beside its main one."""
ONLY: Mapping[str, tuple[str, str]] = {"stitch_grid": ("control", "none")}
"""Rows of the main table that a terminal shows where others are beside them: a column, and what it holds."""
PAIR: Mapping[str, tuple[str, str]] = {
    "similarity_map": ("model_a", "model_b"),
    "stitch_grid": ("sender", "receiver"),
}
"""Columns that a terminal shows first where a table is of several pairs of networks."""
EMPTY: Mapping[str, str] = dict.fromkeys(("sender_layer", "receiver_layer"), "input")
"""What a cell without a word stands for."""
LONG = ("largest", "best", "cells")
"""Tables of which a terminal shows the beginning."""
FINDING = ("channel_profile", "checkpoints", "compare", "flow", "similarity_map")
"""Studies whose findings a terminal shows."""
LAST, LEAST = "claim", len("not compatible")
"""The column that is cut first where a table is too wide, and what stays of it."""
MOST = 30
"""Rows that a terminal shows of a table that may be long."""
WIDE = 200
"""Columns of text where standard output is no terminal."""
NOTHING_FOUND = "No finding."
NOTHING_NEW = "No finding in b that a has not."
"""What is said of a comparison, whose findings are those of b alone."""


def show_result(result: Result, table: str, *, json: bool, csv: bool) -> None:
    """Show a study's outcome."""
    if json:
        print(json_format.dumps(result.to_dict(), allow_nan=False))
    elif csv:
        print(to_csv(result.tables[table]), end="")
    else:
        _show(result, table)


def _show(result: Result, table: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    for line in findings(result.verdicts) if result.study in FINDING else []:
        console.print(Text(NOTHING_NEW if (line, result.study) == (NOTHING_FOUND, "compare") else line))
    for claim in result.claims if result.study in CLAIMING else ():
        console.print(Text(str(claim)))
    for name, content in result.tables.items():
        if name in (table, "totals", "backward", *ALSO.get(result.study, ())):
            columns = _columns(result, content) if name == table else ()
            short = _short(result.study, content) if name in LONG else content
            console.print(grid(name, short, columns))
            if len(short) < len(content):
                console.print(Text(f"and {len(content) - len(short)} more rows; --csv prints all of them"))
    for note in result.notes:
        console.print(Text(f"note: {note}"))


def _short(study: str, table: Table) -> Table:
    """Return the beginning of a long table."""
    return Table({key: values[_rows(study, table)[:MOST]] for key, values in table.columns.items()})


def _rows(study: str, table: Table) -> np.ndarray:
    column, wanted = ONLY.get(study, ("", ""))
    return np.flatnonzero(table.columns[column] == wanted) if column in table.columns else np.arange(len(table))


def _columns(result: Result, table: Table) -> Sequence[str]:
    """Return the columns of the main table that are shown; all of one that has others."""
    chosen, pair = COLUMNS.get(result.study, ()), PAIR.get(result.study, ())
    rows = _rows(result.study, table)
    if any(len(np.unique(table.columns[name][rows])) > 1 for name in pair if name in table.columns):
        chosen = (*pair, *chosen)
    return chosen if set(chosen) <= set(table.columns) else ()


def show_run(run: Run, *, json: bool, csv: bool) -> None:
    """Show what an examination found, and where its page is."""
    results = run.results
    if json:
        document = {"run": str(run.path), "page": str(run.page), "findings": [plain(vars(v)) for v in run.findings]}
        results_document = {label: result.to_dict() for label, result in results.items()}
        print(json_format.dumps({**document, "results": results_document}, allow_nan=False))
    elif csv:
        profile = [result for result in results.values() if result.study == "channel_profile"][-1]
        print(to_csv(profile.tables["layers"]), end="")
    else:
        _show_run(run)


def _show_run(run: Run) -> None:
    for line in findings(run.verdicts):
        say(line)
    for claim in run.claims:
        say(str(claim))
    say(f"page: {run.page}")


def findings(verdicts: Sequence[Verdict]) -> list[str]:
    """Say what was found in lines, the worst first."""
    grave = [f"{verdict.severity}: {verdict}" for verdict in verdicts if verdict.severity != "note"]
    notes = sum(verdict.severity == "note" for verdict in verdicts)
    more = [f"{notes} notes, none of them a finding; see --json or the page."] if notes else []
    found = any(verdict.severity == "finding" for verdict in verdicts)
    return [*([] if found else [NOTHING_FOUND]), *grave, *more]


def show_runs(runs: Sequence[Run], *, json: bool) -> None:
    """List runs."""
    if json:
        rows = [{"path": str(run.path), "status": run.status, **({} if run.fault else plain(run.meta))} for run in runs]
        print(json_format.dumps(rows, allow_nan=False))
        return
    for run in runs:
        say(str(run))
    if not runs:
        say("no runs here; netassay examine makes one")


def grid(name: str, table: Table, columns: Sequence[str]) -> Grid:
    """Lay a table out for a terminal."""
    empty = {state.name for state in STATES if state.name in table.columns and not table.columns[state.name].any()}
    chosen = [column for column in columns or table.columns if column in table.columns and column not in empty]
    drawn = Grid(title=name, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in chosen:
        side: Literal["left", "right"] = "left" if table.columns[column].dtype.kind in "US" else "right"
        least = LEAST if column == LAST else None
        drawn.add_column(column.replace("_", " "), justify=side, no_wrap=column != LAST, min_width=least)
    for row in table.rows():
        cells = (_cell(row[column]) or EMPTY.get(column, "") for column in chosen)
        drawn.add_row(*(Text(one, no_wrap=True, overflow="ellipsis") for one in cells))
    return drawn


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else cell(value)


def to_csv(table: Table) -> str:
    """Write a table as CSV; NaN and infinities as such."""
    out = io.StringIO()
    writer = csv_format.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(row.values() for row in table.rows())
    return out.getvalue()


def say(line: str, *, beside: bool = False) -> None:
    """Print one line as it is; `beside` what other programs read, on standard error."""
    (sys.stderr if beside else sys.stdout).write(line + "\n")
