"""Stitching, examined: which layers of a network are compatible with what follows in a second seed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netassay.errors import NetassayError
from netassay.layers import exactly
from netassay.result import Result, Table
from netassay.stitching import CLOSED
from netassay.studies.change import END, Pair
from netassay.studies.channel_streams import nonlinearities
from netassay.studies.similarity_change import NAMES
from netassay.studies.stitch_grid import stitch_grid

LAYERS, FIT, SAMPLES = 4, 300, 360
"""Activations that are stitched, and samples: enough to tell most stitches from their control in a few seconds."""
CONTROLS = ("random_sender",)


def stitching(pair: Pair) -> Mapping[str, Result]:
    """Stitch the network into a second seed, where one was trained; where that cannot be done say why."""
    if pair.second is None:
        return {}
    try:
        made = _still(stitch_grid(
            {END: pair.end}, {NAMES["seed"]: pair.second()}, pair.source, layers=_few(pair), controls=CONTROLS,
            adapter="affine", matching=CLOSED, fit=FIT, samples=SAMPLES,
        ))  # fmt: skip
    except NetassayError as reason:
        made = Result("stitch_grid", notes=(f"no grid: {reason.found}",))
    few, many = len(_few(pair) or ()), len(nonlinearities(pair.end))
    if pair.layers is None and few < many:
        said = f"{few} of {many} activations, beside a random sender only; stitch_grid takes all, and other controls"
        made = replace(made, notes=(*made.notes, said))
    return {"stitching/seed": made}


def _still(made: Result) -> Result:
    """Leave out what it took: an examination is the same bits each time."""
    cells = {name: values for name, values in made.tables["cells"].columns.items() if name != "seconds"}
    return replace(made, tables={**made.tables, "cells": Table(cells)})


def _few(pair: Pair) -> list[str] | None:
    """Return patterns of a few activations from input to output, unless layers were asked for."""
    if pair.layers is not None:
        return [pair.layers] if isinstance(pair.layers, str) else list(pair.layers)
    names = nonlinearities(pair.end)
    few = min(LAYERS, len(names))
    chosen = [names[round((i + 1) * len(names) / few) - 1] for i in range(few)]
    return [exactly(name) for name in chosen] or None
