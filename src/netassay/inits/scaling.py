"""Scaling: weights divided, layer by layer, until each layer's output has variance one (LSUV)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from netassay.capturing import visit
from netassay.errors import BadInput
from netassay.inits.assigning import put
from netassay.layers import Layer
from netassay.quiet import quiet
from netassay.records import Record
from netassay.seeds import generator

NOISE = 64
"""Samples of noise where there is no data."""
TOLERANCE, SWEEPS = 1e-3, 10
UNSEEN = "its output was not seen, so it was not scaled"


def batch(model: nn.Module, data: Any, seed: int) -> Tensor:
    """Return the inputs to scale by, once they are known to run."""
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    x = _noise(model, seed) if data is None else getattr(data, "x", data)
    if not isinstance(x, Tensor) or not len(x):
        raise BadInput("lsuv", f"{type(x).__name__} as data", "give a batch of inputs: data=x, or an object with x")
    x = x.detach().to(first) if x.is_floating_point() else x.detach().to(first.device)
    try:
        with quiet(model), torch.no_grad():
            model(x.clone())
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise BadInput(f"lsuv with inputs {tuple(x.shape)}", found, "give a batch that the model runs on") from error
    return x


def _noise(model: nn.Module, seed: int) -> Tensor:
    shape = tuple(getattr(model, "input_shape", ()))
    if not shape:
        raise BadInput(
            f"lsuv of {type(model).__name__}",
            "no data, and a model that does not tell its input_shape",
            "give a batch of inputs: initialize(model, 'lsuv', data=x)",
        )
    return torch.randn(NOISE, *shape, generator=generator(seed, crc32(b"lsuv")))


def scale(model: nn.Module, x: Tensor, layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Divide each layer's weight by the standard deviation of its output; say which layers could not be scaled.

    One sweep does it: a layer's output is divided in place with its weight, so that all behind it sees what the
    scaled layer would have put out. Further sweeps look, and mend what rounding or several calls have left.
    """
    notes: dict[str, str] = {}
    for number in range(SWEEPS if layers else 0):
        # The first sweep divides by whatever it finds, so that no layer is left at its start by luck.
        sweep = _Sweep(TOLERANCE if number else 0.0)
        seen = [Layer(name, module) for name, module in layers.items()]
        with quiet(model), torch.no_grad(), visit(model, seen, on_forward=sweep) as watch:
            model(x.clone())
        notes = sweep.notes | dict.fromkeys(watch.never_ran, UNSEEN)
        if sweep.settled:
            break
    return notes


class _Sweep:
    """One pass over the batch, and what was found on it."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.notes: dict[str, str] = {}
        self.settled = True

    def __call__(self, record: Record) -> None:
        if record.call or record.y is None:
            return
        std = float(record.y.double().std(correction=0))
        if not 0 < std < math.inf:
            self.notes[record.layer.name] = f"its output has standard deviation {std:g}, so it was not scaled"
        elif abs(std * std - 1) > self.tolerance:
            self.settled = False
            self._divide(record, std)

    def _divide(self, record: Record, std: float) -> None:
        module = record.layer.module
        weight: Tensor = module.weight  # type: ignore[assignment]
        if not put(module, "weight", weight / std):
            self.notes[record.layer.name] = "a parametrization fixes the scale of its weight"
        elif record.y is not None:
            record.y.div_(std)
