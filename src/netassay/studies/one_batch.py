"""One batch: shapes and norms of every layer's input, output and their gradients, in the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netassay.capturing import watchable
from netassay.data import load_data
from netassay.hooks import Watch
from netassay.layers import select, shaped
from netassay.objectives import Objective, find
from netassay.quiet import quiet
from netassay.records import Record
from netassay.result import Result, Table
from netassay.studies.forward import checked, device_of
from netassay.studies.provenance import Seen, describe_pass
from netassay.studies.sweep import run


def one_batch(
    model: nn.Module,
    data: Any,
    layers: str | Sequence[str] = "*",
    *,
    objective: str | Objective = "cross_entropy",
    batch_size: int = 1,
) -> Result:
    """Look at the first batch of `data`: what goes into each layer and comes out, forward and backward.

    Tables "forward" (in the order in which outputs were made) and "backward" (in which gradients arrived); shapes are
    without the batch, norms are root mean squares over samples of a sample's Euclidean norm. `gx` flows back through
    the layer alone; gradients are of the objective's sum over samples. The model runs in eval mode.

    >>> result = one_batch(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), (torch.ones(1, 2), torch.tensor([0])))
    >>> [(row["layer"], row["in"], row["out"]) for row in result.table("backward")]
    [('1', '[3]', '[3]'), ('0', '[2]', '[3]')]
    """
    shaped(model, "look at")
    loaded = load_data(data, batch_size=batch_size)
    batch = checked(next(iter(loaded)), 0, device_of(model))
    watch = Watch(select(watchable(model), layers), keep=True)
    with quiet(model), torch.inference_mode(False), torch.enable_grad():
        try:
            watch.open(model)
            run(model, batch, find(objective), watch)
            forward = [_row(watch.label(r), r, r.x, r.y) for r in watch.forward]
            backward = [_row(watch.label(r), r, r.gx, r.gy) for r in watch.backward]
        finally:
            watch.close()
    seen = Seen()
    seen.add(batch)
    told = describe_pass(model, loaded, seen, objective=objective, training=False)
    notes = tuple(f"never ran: {name}" for name in watch.never_ran)
    tables = {"forward": Table.of(forward), "backward": Table.of(backward)}
    return Result("one_batch", tables, notes=notes, provenance=told)


def _row(label: str, record: Record, into: Tensor | None, out: Tensor | None) -> dict[str, Any]:
    shape = record.x_shape if into is None else into.shape
    return {
        "layer": label,
        "kind": record.layer.kind,
        "in": "" if shape is None else str(list(shape[1:])),
        "out": "" if out is None else str(list(out.shape[1:])),
        "in_norm": _norm(into),
        "out_norm": _norm(out),
    }


def _norm(tensor: Tensor | None) -> float:
    """Return the RMS over samples of a sample's norm, in float64; NaN where the tensor is not there."""
    if tensor is None or not tensor.dim():
        return float("nan")
    flat = tensor.detach().double().reshape(len(tensor), -1)
    # Scaled, so that squares of what is as small as 1e-200 do not vanish, nor those of 1e200 overflow.
    top = flat.abs().amax() if flat.numel() else flat.new_zeros(())
    if not 0 < top < torch.inf:
        return float(top)
    return float((flat / top).square().sum(1).mean().sqrt() * top)
