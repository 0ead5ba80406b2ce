"""Stitching: which layers of one network are compatible with what follows in another, beside what controls reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from netassay.figures import Figure, figures
from netassay.figures.stitching import SIDES, nets
from netassay.figures.stitching_cells import SAYS_NO
from netassay.report.sections.section import Section, chosen, notes, of_study, when
from netassay.report.sections.similarity import WORDS as ALIKE
from netassay.report.sections.similarity import by_size
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
        definitions=WORDS | {name.replace("_", " "): said for name, said in CONTROLS.items() if _ran(name, named)},
    )


def stitch_sizes(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell at which size of a family of networks the pattern of what is compatible changes."""
    lead = (
        "In each network, every layer of one seed stitched into every layer of another; no stitch is judged by itself"
    )
    said = {"stitch": WORDS["stitch"], "relative depth": ALIKE["relative depth"], **TREND}
    title = "At which size the pattern of stitches changes"
    return by_size("stitch-sizes", title, lead, of_study(results, "stitch_trend"), said)


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
    rows = result.table("cells")
    sizes = f"matched on {rows[0]['n_fit']} samples and judged on {rows[0]['n_test']}"
    beside = ", ".join(control.replace("_", " ") for control in CONTROLS if f"accuracy/{control}" in result.arrays)
    known = ", ".join(f"{row['net']} {row['accuracy']:.3g}" for row in result.table("nets"))
    chance = f"; by chance {1 / told['classes']:.3g}" if "classes" in told else ""
    lead = f"{f'{name}: ' if name else ''}{sides[0]} into {sides[1]}{seen}, {sizes}. {answered(result)} "
    return f"{lead}Controls: {beside or 'none'}. Accuracy of the networks: {known}{chance}."


def answered(result: Result) -> str:
    """Say how many stitches are compatible, at what penalty, and at how many of them the representation says no.

    >>> answered(Result("stitch_grid"))
    'No stitch was made.'
    """
    every = [row for row in result.table("cells") if row["control"] == "none"] if "cells" in result.tables else []
    made = [row for row in every if row["sender"] != row["receiver"]] or every
    rows = [row for row in made if not row["claim"].startswith("not judged")]
    hits = [row for row in rows if row["claim"].startswith("compatible")]
    if not hits:
        none = "No stitch was judged: no control counts." if made else "No stitch was made."
        return f"None of {len(rows)} stitches is told to be compatible." if rows else none
    low, high = (end(row["penalty"] for row in hits) for end in (min, max))
    no = sum(SAYS_NO in row["note"] for row in hits) or "none"
    said = f"{len(hits)} of {len(rows)} stitches are compatible; penalty {low:.3g} to {high:.3g}"
    return f"{said}; at {no} of them {SAYS_NO}."


def _ran(control: str, named: Mapping[str, Result]) -> bool:
    return any(f"accuracy/{control}" in one.arrays for one in named.values())


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
    "compatible": "A stitch answers right more often than every random and shuffled control that was run at its place, "
    "and its penalty is known to be at most 0.1; noise, which is told the label, does not count. It speaks of what the "
    "receiver can use with this adapter, not of whether the layers carry the same: networks of other tasks, and "
    "clustered noise, stitch into a trained receiver, too (Smith, Mannering & Marcu 2025).",
    "beyond chance": "Above those controls, at a penalty that is larger, or not known to be small.",
    "penalty": "Accuracy of the receiver as it is, less that of the stitch, with its interval (Bonett & Price 2012, "
    "wider than need be); penalty self is less that of the receiver's own layer through the same adapter.",
    "agreement": "Share of samples to which the stitch gives the receiver's own answer.",
    "representation distance": "Squared error between what the receiver gets and what it would have had there, over "
    "that of a constant: 0 is what it expects, 1 no nearer than the mean. Compatible at a far distance is a stitch "
    "that has found another way to the answer (Hernandez et al. 2022, arXiv 2303.11277).",
    SAYS_NO: "That error is above 0.5, CKA below 0.5, or ood above 0.95. It is not "
    "asked where the sender has fewer positions than the receiver, which no adapter of channels can make up for.",
    "ood": "How often a stitched activation lies farther from the receiver's mean there than one of its own: 0.5 as "
    "its own, 1 always farther, 0 always nearer: least squares draws what it cannot tell towards the mean.",
}
TREND = {
    "random receiver": "Mean accuracy of the same stitches into receivers drawn anew: what adapters reach alone.",
    "diagonal, triangle, block, flat": "Patterns of a map of accuracies, beyond what each layer reaches on average: "
    "stitches between layers of equal relative depth are more accurate; a layer goes into all that are relatively "
    "earlier (or later) with a higher accuracy; stitches within a stretch are more accurate; or most is none of these.",
}
"""What is said of a trend beside it."""
CONTROLS = {
    "random_sender": "The same stitch with every parameter and buffer of the sender drawn anew. What it reaches, the "
    "sender need not have learned.",
    "random_receiver": "The same stitch into a receiver drawn anew. What it reaches, the receiver need not know.",
    "noise": "Features that are told the class and know nothing else.",
    "shuffled": "An adapter matched to other samples' activations. Weak where the sender has few channels.",
}
"""What is said of the controls that were run."""
