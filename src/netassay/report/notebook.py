"""The HTML fragment that a notebook shows for a Result: self-scoped, no script, no ids."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from netassay.result import Result, Table

MOST_ROWS, MOST_CLAIMS = 30, 6


def fragment(result: Result) -> str:
    """Render verdicts, claims and the first rows of each table."""
    parts = [f"<h4>netassay {escape(result.study)}</h4>"]
    parts += [f"<p><b>{escape(str(verdict))}</b></p>" for verdict in result.findings]
    told = [f"<p>{escape(str(claim))}</p>" for claim in result.claims]
    rest = "".join(told[MOST_CLAIMS:])
    parts += told[:MOST_CLAIMS]
    parts += [f"<details><summary>{len(told) - MOST_CLAIMS} more claims</summary>{rest}</details>"] if rest else []
    parts += [_table(name, table) for name, table in result.tables.items()]
    return "<div>" + "".join(parts) + "</div>"


def _table(name: str, table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    first = Table({column: values[:MOST_ROWS] for column, values in table.columns.items()})
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row.values()) + "</tr>" for row in first.rows()
    )
    more = f"<p>{len(table) - MOST_ROWS} more rows</p>" if len(table) > MOST_ROWS else ""
    return (
        f"<details><summary>{escape(name)} ({len(table)} rows)</summary>"
        f"<table><tr>{head}</tr>{body}</table>{more}</details>"
    )


def cell(value: Any) -> str:
    """Print one value of a table: four significant digits, NaN as a dash.

    >>> cell(0.000123456), cell(float("nan")), cell(12)
    ('0.0001235', '–', '12')
    """
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return str(value)
