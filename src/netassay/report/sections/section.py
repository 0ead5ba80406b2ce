"""Section: one question that the page answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from netassay.figures import Figure
from netassay.result import Claim, Result, Table, Verdict

Tables = Mapping[str, Table]
LISTED = 200
"""Channels listed on the page; all of them are in the run."""


@dataclass(frozen=True)
class Section:
    """One question: what was found and claimed, on what conditions, figures with their tables, and the words used.

    What is `folded` are lists of notes, each under a word on what they are.
    """

    key: str
    title: str
    lead: str
    verdicts: tuple[Verdict, ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    folded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    tables: Tables = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)


def of_study(results: Mapping[str, Result], study: str) -> dict[str, Result]:
    """Return a study's results under "start" and "end", or under "" where there is one.

    >>> list(of_study({"channels/end": Result("channel_profile"), "summary": Result("summary")}, "channel_profile"))
    ['end']
    """
    return {label.partition("/")[2]: result for label, result in results.items() if result.study == study}


def when(name: str, told: str) -> str:
    """Say of which result something is told.

    >>> when("layers", "end"), when("layers", "")
    ('layers, end', 'layers')
    """
    return f"{name}, {told}" if told else name


def notes(named: Mapping[str, Result]) -> tuple[str, ...]:
    """Return what every result notes, the result's name in front."""
    return tuple(f"{told}: {note}" if told else note for told, one in named.items() for note in one.notes)


def chosen(name: str, table: Table, rows: np.ndarray) -> dict[str, Table]:
    """Return the first of these rows of a table, under a name that says so; nothing where there are none."""
    if not len(rows):
        return {}
    more = f" (the first {LISTED} of {len(rows)})" if len(rows) > LISTED else ""
    return {f"{name}{more}": Table({column: values[rows[:LISTED]] for column, values in table.columns.items()})}
