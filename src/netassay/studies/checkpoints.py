"""Checkpoints: the channel profile along a training, one row for each file of weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

from torch import nn

from netassay.errors import BadInput
from netassay.result import Result, Table, Verdict
from netassay.studies.channel_profile import channel_profile
from netassay.verdicts import HEALTHY, STATES


def over_checkpoints(build: Callable[[Path], nn.Module], pattern: str, data: Any, **options: Any) -> Result:
    """Profile the model that `build(file)` makes of each file that `pattern` matches; step2 comes before step10.

    `options` are those of `channel_profile`. Table "checkpoints": how many channels are in each state, and findings.

    Raises `BadInput` where no file matches.
    """
    files = sorted(glob(pattern), key=_natural)
    if not files:
        raise BadInput(f"checkpoints {pattern!r}", "no file of that name", "quote the pattern: 'run/*.safetensors'")
    rows: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    for file in files:
        result = channel_profile(build(Path(file)), data, **options)
        states = result.tables["channels"].columns["state"]
        counts = {name: int((states == name).sum()) for name in (HEALTHY, *(state.name for state in STATES))}
        rows.append({"checkpoint": file, "channels": len(states), **counts, "findings": len(result.findings)})
        verdicts += [replace(verdict, layer=f"{file}: {verdict.layer}") for verdict in result.verdicts]
    told = {key: value for key, value in result.provenance.items() if key != "model_hash"} | {"weights": files}
    return Result("checkpoints", {"checkpoints": Table.of(rows)}, verdicts=tuple(verdicts), provenance=told)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort step2 before step10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
