"""Sweep: one pass of a data set through a model, forward and back to the input, for a study to watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from netassay.capturing import visit
from netassay.data import Batch, Data
from netassay.errors import BadInput, InternalError, NetassayError
from netassay.hooks import Watch
from netassay.layers import Layer, shaped
from netassay.objectives import Objective, values
from netassay.progress import track
from netassay.quiet import quiet
from netassay.records import Record
from netassay.studies.forward import checked, device_of, failed, forward, inputs
from netassay.studies.survey import Call, Outcome, survey

Callback = Callable[[Call, Record, Batch], object]


def sweep(
    model: nn.Module,
    data: Data,
    layers: Sequence[Layer],
    *,
    objective: Objective | None,
    on_forward: Callback | None = None,
    on_backward: Callback | None = None,
    on_total: Callback | None = None,
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
        for given in track(data, task, _batches(data)):
            batch = checked(given, outcome.batches, device)
            if not outcome.batches:
                survey(model, batch, layers, outcome)
            look = [_watched(outcome, batch, one) for one in (on_forward, on_backward, on_total)]
            every = [*layers, *outcome.entries]
            with visit(model, every, on_forward=look[0], on_backward=look[1], on_total=look[2]) as watch:
                run(model, batch, objective, watch)
            outcome.seen.add(given)  # where it came from: hashing needs no transfer back
            outcome.batches += 1
    if not outcome.batches:
        raise BadInput(f"data {data.spec or 'that was passed'}", "no batch in it", "give data with samples")
    return outcome


def run(model: nn.Module, batch: Batch, objective: Objective | None, watch: Watch) -> None:
    """Run one batch forward, and back from the objective's sum to the input, under hooks that are on."""
    leaf, x = inputs(batch.x)
    output = forward(model, x, batch)
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
        raise failed(model, "backward", batch, error) from error


def _roots(watch: Watch) -> list[GradientEdge]:
    """Return where gradient can begin when the input is made of integers: the outputs nothing watched leads to."""
    return [record.root for record in watch.forward if record.root is not None]


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


def _batches(data: Data) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None
