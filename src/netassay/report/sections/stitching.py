"""Stitching: which layers of one network are compatible with what follows in another, beside what controls reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from netassay.figures import Figure, figures
from netassay.figures.stitching import SIDES, nets
from netassay.report.sections.section import Section, chosen, notes, of_study, when
from netassay.result import Result, Table
from netassay.store import Run


def stitching(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell which stitches are compatible, at what penalty, and which of them only by accuracy."""
    named = of_study(results, "stitch_grid")
    if not named:
        return None
    return Section(
        key="stitching",
        title="Which layers are compatible",
        lead=" ".join(filter(None, (_lead(name, one) for name, one in named.items()))),
        verdicts=tuple(verdict for one in named.values() for verdict in one.verdicts),
        claims=tuple(claim for one in named.values() for claim in one.claims),
        notes=notes(named),
        figures=tuple(made for name, one in named.items() for made in _drawn(name, one)),
        tables={title: table for name, one in named.items() for title, table in _tables(name, one).items()},
        definitions=WORDS,
    )


SHOWN = ("patterns", "nets", "cuts", "capacity")
"""Tables under the figures, beside that of the cells."""


def _lead(name: str, result: Result) -> str:
    """Say what was stitched into what."""
    if not len(result.tables.get("cells", ())):
        return ""
    told = result.provenance
    shape = result.arrays["accuracy"].shape
    sides = [f"{count} layers of {', '.join(nets(result, side))}" for count, side in zip(shape, SIDES, strict=True)]
    seen = f", on {told['data']}" if "data" in told else ""
    return f"{f'{name}: ' if name else ''}{sides[0]} into {sides[1]}{seen}."


def _drawn(name: str, result: Result) -> list[Figure]:
    made = figures({name: result})
    return [replace(one, name=f"{one.name}-{name}") for one in made] if name else made


def _tables(name: str, result: Result) -> dict[str, Table]:
    """Return the first cells, and the smaller tables."""
    cells = result.tables.get("cells")
    rows = {} if cells is None else chosen(when("cells", name), cells, np.arange(len(cells)))
    return rows | {when(one, name): result.tables[one] for one in SHOWN if len(result.tables.get(one, ()))}


WORDS = {
    "stitch": "The front of one network (the sender) up to a layer, an adapter, and what follows a layer of another "
    "(the receiver). Both halves are frozen and in eval mode; only the adapter is fitted, on other samples than it is "
    "judged by.",
    "compatible": "A stitch answers right more often than every control that was run at its place. It speaks of what "
    "the receiver can use with this adapter, not of whether the layers carry the same: networks of other tasks, and "
    "clustered noise, stitch into a trained receiver, too (Smith, Mannering & Marcu 2025).",
    "penalty": "Accuracy of the receiver as it is, less that of the stitch; penalty self is less that of the "
    "receiver's own layer through the same adapter.",
    "random sender, random receiver": "The same stitch with every parameter and buffer of one network drawn anew. "
    "What it reaches, the sender (or the receiver) need not have learned.",
    "noise sender, shuffled labels": "Features that know the class and nothing else; and an adapter matched to other "
    "samples than it is judged by.",
    "agreement": "Share of samples to which the stitch gives the receiver's own answer.",
    "representation distance": "Squared error between what the receiver gets and what it would have had there, over "
    "that of a constant: 0 is what it expects, 1 no nearer than the mean. Compatible at a far distance is a stitch "
    "that has found another way to the answer (Hernandez et al. 2022, arXiv 2303.11277).",
    "ood": "How often a stitched activation lies farther from the receiver's mean there than one of its own: 0.5 as "
    "its own, 1 always farther.",
}
