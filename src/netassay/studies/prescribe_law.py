"""Prescribe's law: how gradient flows through a copy before its first step, over a few batches."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from netassay.objectives import Objective
from netassay.studies.flow_profile import flow_profile
from netassay.studies.prescribe_tables import UNKNOWN, Law
from netassay.studies.remedies import Case, Remedy

BATCHES = 4


def law(model: nn.Module, case: Case, remedy: Remedy, seed: int, objective: Objective) -> Law:
    """Measure a network with the inputs that a remedy gives it; of the paths that have a law, the trunk's."""
    given = [one._replace(x=case.inputs(one.x, remedy)) for one in case.batches(seed, BATCHES)]
    samples = sum(len(one.x) for one in given)
    found = flow_profile(model, given, objective=objective, batches=samples, batch_size=1)
    laws = [row for row in found.table("law") if row["when"] == "all"]
    trunk = next((row for row in laws if row["path"] == "trunk"), laws[0] if laws else None)
    layers = [(row["layer"], row["depth"], row["path"], row["gradient"]) for row in found.table("layers")]
    if trunk is None:
        return Law("unknown", UNKNOWN, UNKNOWN, layers)
    return Law(trunk["path"], _logs("chi", trunk), _logs("attenuation", trunk), layers)


def _logs(name: str, row: dict[str, Any]) -> tuple[float, float, float]:
    value, low, high = (row[one] for one in (name, f"{name}_low", f"{name}_high"))
    return _log(value), _log(low), _log(high)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan
