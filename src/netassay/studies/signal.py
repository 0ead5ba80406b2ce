"""Signal: size, correlation and gradient of every layer, measured and as mean-field theory predicts them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from netassay.capturing import visit, watchable
from netassay.data import Batch, load_data
from netassay.errors import BadInput, listing
from netassay.layers import Layer, has_weight, named_layers
from netassay.objectives import Objective, find
from netassay.quiet import quiet
from netassay.records import Record, tensors
from netassay.result import Result
from netassay.studies.forward import checked, device_of, forward
from netassay.studies.provenance import describe_pass
from netassay.studies.signal_tables import Sizes, layer_table, notes
from netassay.studies.survey import Key
from netassay.studies.sweep import sweep
from netassay.studies.tape import Tape
from netassay.zoo import build


def signal(
    model: nn.Module | str,
    data: Any,
    *,
    batch_size: int = 128,
    objective: str | Objective = "cross_entropy",
    samples: int = 256,
    training: bool = False,
) -> Result:
    """Put beside each other what every weight layer does to signal and gradient, and what theory says it should.

    Table "layers", a row for each call of a layer with a weight matrix, in order of execution: `q`, the second moment
    of an entry of the output; `c`, the mean over pairs of samples of the cosine of their whole outputs; `g`, the
    second moment of an entry of the gradient there, each `_measured` over the first `samples` of `data` and
    `_predicted`; `entries`, how many of them a sample has; `forward` and `backward`, the factors by which q goes from
    the call before to this one and g from this one to the call before; `chi`, the factor that `backward` has between
    layers of one width; `anchored` and `g_anchored`, where the prediction starts anew from what was measured. Gradients
    are of the objective's sum over samples, per sample. The model runs in eval mode unless `training`. `model` may be a
    spec.

    The prediction takes weights for independent, of mean 0 and the variance that they have, and what goes into an
    activation for Gaussian: Poole et al. 2016 (arXiv 1606.05340), equations 3 and 5, forward; Schoenholz et al. 2017
    (arXiv 1611.01232) backward. It follows one pass of the first batch through every function of torch; where that has
    no rule for one, it goes on from what is measured there, and the notes name it.

    >>> import torch, netassay as na
    >>> r = signal(na.build("mlp[512,512]"), (torch.randn(40, 64), torch.arange(40) % 10))
    >>> [(row["layer"], round(row["chi"], 1), row["anchored"]) for row in r.table("layers")]
    [('fc1', 2.0, False), ('fc2', 1.0, False), ('head', 1.0, False)]
    """
    model = build(model) if isinstance(model, str) else model
    if samples < 2:
        raise BadInput(f"signal of samples={samples}", "correlation needs two samples", "samples=256")
    loaded = load_data(data, batch_size=batch_size).first(samples)
    layers, sizes = _weighted(watchable(model)), Sizes()
    outcome = sweep(
        model,
        loaded,
        layers,
        objective=find(objective),
        on_forward=sizes.forward,
        on_backward=sizes.backward,
        training=training,
        task="signal",
    )
    if not outcome.calls:
        asked = f"signal of {listing([layer.name for layer in layers])}"
        raise BadInput(asked, "the forward pass calls none of them", "pass the module that runs them")
    tape, at, ends = taped(model, next(iter(loaded)), layers, training=training)
    back = tape.backward(ends, {place: sizes.gradient(key) for key, place in at.items()})
    table = layer_table(outcome, sizes, tape, at, back)
    told = describe_pass(model, loaded, outcome.seen, objective=objective, training=training)
    return Result(
        "signal", {"layers": table}, notes=notes(model, outcome, sizes, tape, at, training=training), provenance=told
    )


def taped(
    model: nn.Module, batch: Batch, layers: list[Layer], *, training: bool = False
) -> tuple[Tape, dict[Key, int], list[int]]:
    """Run one batch forward under a tape; return it, the node of each call's output, and those of the model's."""
    at: dict[Key, int] = {}
    batch = checked(batch, 0, device_of(model))
    tape = Tape(model, len(batch.x))

    def note(record: Record) -> None:
        place = -1 if record.y is None else tape.at(record.y)
        if place >= 0:
            at[record.key] = place

    with (
        quiet(model, training=training),
        torch.inference_mode(False),
        torch.no_grad(),
        visit(model, layers, on_forward=note),
    ):
        x = batch.x.clone()
        tape.begin(x)
        with tape:
            output = forward(model, x, batch)
        ends = [place for place in map(tape.at, tensors(output)) if place >= 0]
    return tape, at, ends


def _weighted(model: nn.Module) -> list[Layer]:
    """Return the layers with a weight matrix; attention stands for the projections that it does not call."""
    every = named_layers(model)
    inside = tuple(f"{one.name}." for one in every if isinstance(one.module, nn.MultiheadAttention))
    found = [one for one in every if has_weight(one.module) and not one.name.startswith(inside)]
    if not found:
        raise BadInput(f"signal of {type(model).__name__}", "no layer with a weight", "give a model with layers")
    return found
