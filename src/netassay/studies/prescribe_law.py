"""Prescribe's law: gradient at every layer of a copy before its first step, and the slope along its trunk."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from netassay.data import Batch, load_data
from netassay.layers import named_layers
from netassay.objectives import Objective
from netassay.records import Record
from netassay.studies.prescribe_tables import Law
from netassay.studies.remedies import Case, Remedy
from netassay.studies.survey import Call, Key
from netassay.studies.sweep import sweep

BATCHES = 4


class Gradients:
    """Root mean square over samples of each sample's gradient norm, call by call and batch by batch."""

    def __init__(self) -> None:
        self.found: dict[Key, tuple[Call, list[float]]] = {}

    def __call__(self, call: Call, record: Record, batch: Batch) -> None:
        """Add a batch."""
        if record.gy is not None:
            size = float(record.gy.detach().double().norm()) / math.sqrt(len(batch.x))
            self.found.setdefault(record.key, (call, []))[1].append(size)


def law(model: nn.Module, case: Case, remedy: Remedy, seed: int, objective: Objective) -> Law:
    """Measure a network over a few batches."""
    given = [one._replace(x=case.inputs(one.x, remedy)) for one in case.batches(seed, BATCHES)]
    read = Gradients()
    layers = named_layers(model)
    sweep(model, load_data(given), layers, objective=objective, on_backward=read, training=True)
    trunk = [(call.place.depth, sizes) for call, sizes in read.found.values() if call.place.path == "trunk"]
    depths = np.array([depth for depth, _ in trunk])
    rows = [(c.label, c.place.depth, c.place.path, _middle(sizes)) for c, sizes in read.found.values()]
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([sizes for _, sizes in trunk]))
    known = np.isfinite(logs).all(1) & (depths >= 0) if len(trunk) else np.zeros(0, dtype=bool)
    if len(set(depths[known].tolist())) < 2:
        return Law(math.nan, math.nan, rows)
    x = depths[known] - depths[known].mean()
    slopes = x @ logs[known] / (x @ x)
    return Law(-2 * float(slopes.mean()), float(np.ptp(depths[known]) * slopes.mean()), rows)


def _middle(sizes: list[float]) -> float:
    return float(np.median(sizes))
