"""Looks: the distributions of a network's parameters, and of its features over some samples, at one moment."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from netassay.capturing import visit
from netassay.data import Batch, Data
from netassay.errors import BadInput
from netassay.layers import Layer, has_weight
from netassay.quiet import quiet
from netassay.records import Record
from netassay.seeds import generator
from netassay.shape import Distribution
from netassay.shape.gathering import add, begin, end, measure
from netassay.streams.blocks import scratch
from netassay.streams.rows import Rows
from netassay.studies.channel_streams import telling
from netassay.studies.forward import device_of, forward
from netassay.studies.survey import Call, Key
from netassay.studies.sweep import sweep

BEFORE, AFTER, PENULTIMATE, LOGITS = "before", "after", "penultimate", "logits"
"""Places: a weight layer's output, a nonlinearity's, what goes into the last weight layer, and what leaves it."""


def parameters(model: nn.Module) -> dict[str, Distribution]:
    """Return the distribution of each parameter, all of it, by name."""
    return {name: measure(parameter) for name, parameter in model.named_parameters()}


def features(model: nn.Module, data: Data, task: str = "features") -> dict[str, Distribution]:
    """Return the distribution of what every weight layer and every nonlinearity puts out, by "layer place".

    All channels and positions of a layer over all of `data` are one population. Eval mode; nothing goes back.
    """
    layers = telling(model)
    look = Look(_last(model, data, [one for one in layers if has_weight(one.module)]))
    sweep(model, data, layers, objective=None, on_forward=look.forward, task=task)
    return {name: end(rows) for name, rows in look.rows.items()}


class Look:
    """Rows of every place, filled while a sweep goes by; `last` is the call that makes the logits."""

    def __init__(self, last: Key) -> None:
        self.last = last
        self.rows: dict[str, Rows] = {}
        self.memory: Tensor | None = None

    def forward(self, call: Call, record: Record, batch: Batch) -> None:
        """Fold the tensors of one call into their places."""
        for place, tensor in self._seen(call, record):
            if tensor is None or not tensor.is_floating_point():
                continue
            name = f"{call.label} {place}"
            if name not in self.rows:
                self.memory = scratch(tensor.device) if self.memory is None else self.memory
                self.rows[name] = begin(tensor, self.memory)
            add(self.rows[name], tensor)

    def _seen(self, call: Call, record: Record) -> list[tuple[str, Tensor | None]]:
        if not has_weight(call.layer.module):
            return [(AFTER, record.y)]
        if record.key == self.last:
            return [(PENULTIMATE, record.x), (LOGITS, record.y)]
        return [(BEFORE, record.y)]


def _last(model: nn.Module, data: Data, layers: list[Layer]) -> Key:
    """Return the weight layer's call that runs last."""
    batch = next(iter(data))
    with quiet(model), torch.no_grad(), visit(model, layers) as watch:
        forward(model, batch.x[:2].to(device_of(model), copy=True), batch)
    if not watch.forward:
        raise BadInput(f"features of {type(model).__name__}", "no layer with a weight runs", "give a network")
    return watch.forward[-1].key


def noise(shape: tuple[int, ...], samples: int, batch_size: int, seed: int) -> Data:
    """Draw inputs from N(0, 1), independent in every number; the same for the same seed and batch size."""

    def passes(each: int, order: object) -> Iterator[Batch]:
        for first in range(0, samples, each):
            n = min(each, samples - first)
            yield Batch(torch.randn(n, *shape, generator=generator(seed, first)))

    told = f"<noise N(0, 1), {samples} samples, seed {seed}>"
    return Data(told, passes, samples, input_shape=shape, batch_size=batch_size)
