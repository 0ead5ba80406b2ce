"""Survey: the first batch of a sweep, run to learn order, places and axes of every layer that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from netassay.axes import Axes, grown
from netassay.capturing import visit
from netassay.data import Batch
from netassay.layers import Layer, Place, label
from netassay.records import Record
from netassay.studies.forward import forward, inputs
from netassay.studies.provenance import Seen

Key = tuple[str, int]
Shape = tuple[int, ...]
Grown = dict[Key, int | None]


@dataclass(frozen=True)
class Call:
    """One call of a layer, as the first batch found it; `axis` is its output's channel axis.

    `sample_axis` is None where it could not be found out, and `axes.NOWHERE` where there is none.
    """

    layer: Layer
    label: str
    place: Place
    axis: int
    sample_axis: int | None = None


@dataclass
class Outcome:
    """What a sweep saw: calls in order of execution, layers that never ran, and how much data went by.

    `entries` are the layers at which gradient ends where the input is made of integers.
    """

    calls: dict[Key, Call] = field(default_factory=dict)
    never_ran: list[str] = field(default_factory=list)
    entries: list[Layer] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    batches: int = 0


def survey(model: nn.Module, batch: Batch, layers: Sequence[Layer], outcome: Outcome) -> None:
    """Run the first batch once with every layer watched, to learn order, places and channel axes."""
    every = [Layer(name, module) for name, module in model.named_modules() if name] or list(layers)
    leaves = [layer for layer in every if not any(True for _ in layer.module.children())]
    chosen = {layer.name: layer for layer in (*leaves, *layers)}
    axes = Axes(len(batch.x))
    found: dict[Key, int] = {}
    shapes: dict[Key, Shape] = {}

    def note(record: Record) -> None:
        found[record.key] = axes.note(record)
        shapes[record.key] = () if record.y is None else tuple(record.y.shape)

    with visit(model, list(chosen.values()), on_forward=note) as watch:
        leaf, x = inputs(batch.x)
        output = forward(model, x, batch)
        places = watch.places(output, [x])
        calls = Counter(record.layer.name for record in watch.forward)
        wanted = {layer.name for layer in layers}
        for record in watch.forward:
            if record.layer.name in wanted:
                name = label(record.layer.name, record.call, calls[record.layer.name])
                place = places.get(record.key, Place())
                outcome.calls[record.key] = Call(record.layer, name, place, found[record.key])
        if leaf is None:
            outcome.entries = [record.layer for record in watch.forward if record.root is not None]
        outcome.never_ran = [layer.name for layer in layers if not calls[layer.name]]
    axes_of = _sample_axes(model, batch, layers, shapes)
    outcome.calls = {key: replace(call, sample_axis=axes_of.get(key)) for key, call in outcome.calls.items()}


def _sample_axes(model: nn.Module, batch: Batch, layers: Sequence[Layer], shapes: dict[Key, Shape]) -> Grown:
    """Run the batch once more with its first sample twice, and see which axis of each output grows.

    Nothing is known of a model that takes no other batch size.
    """
    found: Grown = {}

    def note(record: Record) -> None:
        if record.y is not None and record.key in shapes:
            found[record.key] = grown(shapes[record.key], tuple(record.y.shape), len(batch.x))

    with suppress(Exception), torch.no_grad(), visit(model, layers, on_forward=note):
        model(torch.cat([batch.x, batch.x[:1]]))
        return found
    return {}
