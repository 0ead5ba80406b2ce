"""Channel streams: what a sweep leaves of each call of a layer, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netassay.axes import by_channel
from netassay.data import Batch
from netassay.errors import BadInput
from netassay.layers import Layer, has_weight, named_layers
from netassay.records import Record
from netassay.streams.blocks import scratch
from netassay.streams.rows import Rows, make, observe, read
from netassay.studies.survey import Call, Outcome

ACTIVATIONS: tuple[type[nn.Module], ...] = tuple(
    kind
    for name, kind in vars(nn.modules.activation).items()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and name not in ("Module", "MultiheadAttention")
)
"""Layers whose output is a nonlinearity: a channel fires there when its output is not zero."""


def nonlinearities(model: nn.Module) -> list[str]:
    """Return the names of a model's nonlinearities."""
    return [layer.name for layer in named_layers(model) if isinstance(layer.module, ACTIVATIONS)]


def telling(model: nn.Module) -> list[Layer]:
    """Return the layers that a study looks at unless others are named: those with a weight, and nonlinearities."""
    return [one for one in named_layers(model) if isinstance(one.module, ACTIVATIONS) or has_weight(one.module)]


BOUNDED = (nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign)
"""Activations that flatten out away from zero output, so that a small slope means saturation, not silence."""
FORWARD = ("moments", "extremes", "counts", "norms", "spread", "sample_norms")
BACKWARD = ("moments", "extremes", "counts", "norms", "sample_norms")
FLAT = 0.05
WIDEST = 1 << 14
"""Channels beyond which quartiles of per-sample norms are not kept: each channel's window takes 8 kB."""


@dataclass(frozen=True)
class Channels:
    """One call of a layer: its streams forward (`y`) and backward (`gy`), and how flat its activation was.

    `flat` `(2, C)`: entries whose slope is below 0.05, and entries with a gradient at all; None where not judged.
    """

    label: str
    kind: str
    depth: int
    path: str
    activation: bool
    y: Mapping[str, Any]
    gy: Mapping[str, Any]
    flat: np.ndarray | None = None

    def merge(self, other: Channels) -> Channels:
        """Join with the same call's streams over further samples."""
        flat = self.flat if other.flat is None else other.flat if self.flat is None else self.flat + other.flat
        return replace(self, y=_merge(self.y, other.y), gy=_merge(self.gy, other.gy), flat=flat)


def _merge(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: stream.merge(b[name]) for name, stream in a.items() if name in b}
    return {**b, **a, **both}


class Look:
    """Rows of every call, filled while a sweep goes by."""

    def __init__(self, quantiles: bool, strict: bool = True) -> None:
        more = ("quantiles",) if quantiles else ()
        self.streams = {"y": FORWARD + more, "gy": BACKWARD + more}
        self.rows: dict[tuple[str, str], Rows] = {}
        self.flat: dict[str, Tensor] = {}
        self.memory: Tensor | None = None
        self.strict = strict
        self.left_out: dict[str, str] = {}

    def forward(self, call: Call, record: Record, batch: Batch) -> None:
        """Fold an output into its rows."""
        if record.y is None:
            raise BadInput(
                f"channels of layer {call.label!r}",
                f"it returns {record.returned}, without a tensor that has a sample axis",
                "leave it out, or pad sequences instead of packing them",
            )
        extra = ("magnitude",) if isinstance(call.layer.module, ACTIVATIONS) else ()
        self._fold(call, "y", record.y, batch, extra)

    def backward(self, call: Call, record: Record, batch: Batch) -> None:
        """Fold the gradient at an output into its rows, and for a bounded activation count where it is flat."""
        if record.gy is None:
            return
        self._fold(call, "gy", record.gy, batch, ())
        if isinstance(call.layer.module, BOUNDED) and record.gx is not None:
            there = _view(record.gy != 0, call, batch)
            slope = _view(record.gx.abs() < FLAT * record.gy.abs(), call, batch)
            keep = _keep(batch, there)
            there = there if keep is None else there & keep[:, None]
            counts = torch.stack([(slope & there).sum((0, 2)), there.sum((0, 2))])
            self.flat[call.label] = self.flat[call.label] + counts if call.label in self.flat else counts

    def _fold(self, call: Call, side: str, tensor: Tensor, batch: Batch, extra: Sequence[str]) -> None:
        try:
            view = _view(tensor, call, batch)
        except BadInput as error:
            if self.strict:
                raise
            self.left_out[call.label] = f"{call.label} is left out: {error.found}"
            return
        key = (call.label, side)
        if key not in self.rows:
            self.memory = scratch(view.device) if self.memory is None else self.memory
            wide = view.shape[1] > WIDEST
            streams = [name for name in (*self.streams[side], *extra) if not (wide and name == "sample_norms")]
            self.rows[key] = make(streams, view, memory=self.memory)
        observe(self.rows[key], view, _keep(batch, view))

    def read(self, outcome: Outcome) -> tuple[Channels, ...]:
        """Bring every row to its value form."""
        return tuple(self._channels(call) for call in outcome.calls.values() if (call.label, "y") in self.rows)

    def _channels(self, call: Call) -> Channels:
        y, gy = (self.rows.get((call.label, side)) for side in ("y", "gy"))
        flat = self.flat.get(call.label)
        return Channels(
            call.label,
            call.layer.kind,
            call.place.depth,
            call.place.path,
            isinstance(call.layer.module, ACTIVATIONS),
            {} if y is None else read(y),
            {} if gy is None else read(gy),
            None if flat is None else flat.cpu().numpy(),
        )


def _view(tensor: Tensor, call: Call, batch: Batch) -> Tensor:
    return by_channel(tensor, call.axis, len(batch.x), call.label, call.sample_axis)


def _keep(batch: Batch, view: Tensor) -> Tensor | None:
    """Return the batch's mask where it speaks of this tensor's positions."""
    mask = batch.mask
    fits = mask is not None and mask.dim() == 2 and mask.shape == (view.shape[0], view.shape[2])
    return mask.bool() if mask is not None and fits else None
