"""Sweep: one pass of a data set through a model, forward and back to the input, for a study to watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from netassay.axes import Axes, grown
from netassay.capturing import visit
from netassay.data import Batch, Data
from netassay.errors import BadInput, InternalError, NetassayError
from netassay.hooks import Watch
from netassay.layers import Layer, Place, label, shaped
from netassay.objectives import Objective, values
from netassay.progress import track
from netassay.quiet import quiet
from netassay.records import Record
from netassay.studies.provenance import Seen

Key = tuple[str, int]
Shape = tuple[int, ...]


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


Callback = Callable[[Call, Record, Batch], object]


def sweep(
    model: nn.Module,
    data: Data,
    layers: Sequence[Layer],
    *,
    objective: Objective | None,
    on_forward: Callback | None = None,
    on_backward: Callback | None = None,
    training: bool = False,
    task: str = "sweep",
) -> Outcome:
    """Run every batch forward, and back from the objective's sum over samples to the input.

    The model runs in eval mode unless `training`, and is left as it was; gradients are those of `autograd.grad` with
    respect to the input, so no weight gradient is computed and `.grad` stays untouched. With `objective=None` nothing
    goes back. Callbacks get the call, its record and the batch.

    Raises `BadInput` for data without batches, inputs that are not finite or do not fit, and labels out of range.
    """
    shaped(model, "look at")
    outcome, device = Outcome(), device_of(model)
    with ExitStack() as stack:
        stack.enter_context(quiet(model, training=training))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(True))
        for batch in track(data, task, _batches(data)):
            batch = checked(batch, outcome.batches, device)
            if not outcome.batches:
                survey(model, batch, layers, outcome)
            look = _watched(outcome, batch, on_forward), _watched(outcome, batch, on_backward)
            with visit(model, [*layers, *outcome.entries], on_forward=look[0], on_backward=look[1]) as watch:
                run(model, batch, objective, watch)
            outcome.seen.add(batch)
            outcome.batches += 1
    if not outcome.batches:
        raise BadInput(f"data {data.spec or 'that was passed'}", "no batch in it", "give data with samples")
    return outcome


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
        leaf, x = _inputs(batch.x)
        output = _forward(model, x, batch)
        places = watch.places(output, [x])
        calls = {name: sum(r.layer.name == name for r in watch.forward) for name in chosen}
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


def _sample_axes(model: nn.Module, batch: Batch, layers: Sequence[Layer], shapes: dict[Key, Shape]) -> dict[Key, Any]:
    """Run the batch once more with its first sample twice, and see which axis of each output grows.

    Nothing is known of a model that takes no other batch size.
    """
    found: dict[Key, int | None] = {}

    def note(record: Record) -> None:
        if record.y is not None and record.key in shapes:
            found[record.key] = grown(shapes[record.key], tuple(record.y.shape), len(batch.x))

    with suppress(Exception), torch.no_grad(), visit(model, layers, on_forward=note):
        model(torch.cat([batch.x, batch.x[:1]]))
        return found
    return {}


def run(model: nn.Module, batch: Batch, objective: Objective | None, watch: Watch) -> None:
    """Run one batch forward, and back from the objective's sum to the input, under hooks that are on."""
    leaf, x = _inputs(batch.x)
    output = _forward(model, x, batch)
    if objective is None:
        return
    total = values(objective, output, batch.y, len(batch.x)).sum()
    roots = [get_gradient_edge(leaf)] if leaf is not None else _roots(watch)
    if not roots:
        raise BadInput(
            f"gradients of {type(model).__name__} on integers", "no layer takes a gradient", "unfreeze its embedding"
        )
    try:
        torch.autograd.grad(total, roots, allow_unused=True)
    except NetassayError:
        raise
    except Exception as error:
        raise _failed(model, "backward", batch, error) from error


def tried(model: nn.Module, data: Data) -> None:
    """Run the first batch forward, so that data which does not fit is refused before anything is made of it."""
    with quiet(model), torch.no_grad():
        batch = checked(next(iter(data)), 0, device_of(model))
        _forward(model, batch.x.clone(), batch)


def _inputs(x: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return a leaf to differentiate at (None: integers), and a copy of the input that the model may overwrite."""
    if not x.is_floating_point():
        return None, x.clone()
    leaf = x.detach().requires_grad_()
    return leaf, leaf.clone()


def _roots(watch: Watch) -> list[GradientEdge]:
    """Return where gradient can begin when the input is made of integers: the outputs nothing watched leads to."""
    return [record.root for record in watch.forward if record.root is not None]


def _forward(model: nn.Module, x: Tensor, batch: Batch) -> Any:
    try:
        return model(x)
    except NetassayError:
        raise
    except Exception as error:
        raise _failed(model, "forward", batch, error) from error


def _failed(model: nn.Module, way: str, batch: Batch, error: Exception) -> BadInput:
    shape = getattr(model, "input_shape", None)
    fits = f"inputs (N, {', '.join(map(str, shape))})" if shape else "inputs that fit the model"
    if isinstance(error, torch.OutOfMemoryError):
        fits = "a smaller batch_size"
    return BadInput(
        f"{way} pass of {type(model).__name__} on inputs {tuple(batch.x.shape)}",
        f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}",
        f"give {fits}",
    )


def _watched(outcome: Outcome, batch: Batch, callback: Callback | None) -> Callable[[Record], None] | None:
    if callback is None:
        return None

    def call(record: Record) -> None:
        try:
            if record.key in outcome.calls:
                callback(outcome.calls[record.key], record, batch)
        except NetassayError:
            raise
        except Exception as error:
            raise InternalError(
                f"look at layer {record.layer.name!r}", f"{type(error).__name__}: {error}", "report this with --debug"
            ) from error

    return call


def checked(batch: Batch, number: int, device: torch.device) -> Batch:
    """Bring a batch to the device; refuse one whose inputs are not finite."""
    if batch.x.is_floating_point() and not torch.isfinite(batch.x).all():
        bad = ~torch.isfinite(batch.x).flatten(1).all(1) if batch.x.dim() > 1 else ~torch.isfinite(batch.x)
        ids = [] if batch.ids is None else batch.ids[bad].tolist()
        raise BadInput(
            f"batch {number} of the data",
            f"{int(bad.sum())} of {len(batch.x)} samples hold NaN or Inf, the first with id {ids[0] if ids else '?'}",
            "leave them out or mend them",
        )
    return Batch._make(None if part is None else part.to(device) for part in batch)


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are; refuse devices that cannot add up in float64."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device.type in ("mps", "meta"):
        raise BadInput(f"look at a model on {device}", "a device without float64", 'move it: model.to("cpu")')
    return device


def _batches(data: Data) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None
