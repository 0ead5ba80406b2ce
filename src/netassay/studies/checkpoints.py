"""Checkpoints: a study along a training, one row for each file of weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from netassay.errors import BadInput
from netassay.result import Result, Table, Verdict
from netassay.verdicts import HEALTHY, STATES


def over_checkpoints(
    build: Callable[[Path], nn.Module], pattern: str, study: Callable[..., Result], data: Any, **options: Any
) -> Result:
    """Ask a study about the model that `build(file)` makes of each file that `pattern` matches; step2 before step10.

    `study` is `channel_profile` or `exchange_map`, `options` are its own. Table "checkpoints", one row a file: how many
    channels are in each state, and findings; or means over layers, and how many input channels are quiet.

    Raises `BadInput` where no file matches.
    """
    files = sorted(glob(pattern), key=natural)
    if not files:
        raise BadInput(f"checkpoints {pattern!r}", "no file of that name", "quote the pattern: 'run/*.safetensors'")
    rows: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    for file in files:
        result = study(build(Path(file)), data, **options)
        rows.append({"checkpoint": file, **ROWS[result.study](result)})
        verdicts += [replace(verdict, layer=f"{file}: {verdict.layer}") for verdict in result.verdicts]
    told = {key: value for key, value in result.provenance.items() if key != "model_hash"} | {"weights": files}
    return Result("checkpoints", {"checkpoints": Table.of(rows)}, verdicts=tuple(verdicts), provenance=told)


def _states(result: Result) -> dict[str, Any]:
    states = result.tables["channels"].columns["state"]
    counts = {name: int((states == name).sum()) for name in (HEALTHY, *(state.name for state in STATES))}
    return {"channels": len(states), **counts, "findings": len(result.findings)}


def _exchanged(result: Result) -> dict[str, Any]:
    layers = result.tables["layers"].columns
    means = {name: float(np.nanmean(layers[name])) if len(layers[name]) else np.nan for name in MEANS}
    return {"layers": len(layers["layer"]), **means, **{name: int(layers[name].sum()) for name in QUIET}}


MEANS = ("exchanged", "coherence", "emission_variation", "absorption_variation")
QUIET = ("starved", "cancelled")
ROWS: Mapping[str, Callable[[Result], dict[str, Any]]] = {"channel_profile": _states, "exchange_map": _exchanged}
"""What a row says of a study's result."""


def natural(name: str) -> list[tuple[int, str]]:
    """Sort step2 before step10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
