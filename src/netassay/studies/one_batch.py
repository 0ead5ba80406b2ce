"""One batch: shapes and norms of every layer's input, output and their gradients, in the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netassay.axes import Axes, by_channel
from netassay.capturing import watchable
from netassay.data import load_data
from netassay.errors import BadInput
from netassay.hooks import Watch
from netassay.layers import select, shaped
from netassay.objectives import Objective, find
from netassay.quiet import quiet
from netassay.records import Record
from netassay.result import Result, Table
from netassay.rules.levels import norms
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
    without the batch, norms are root mean squares over samples of a sample's Euclidean norm. Table "channels": such
    norms channel by channel, at each layer's input ("in") and output ("out"), forward and backward. `gx` flows back
    through the layer alone; gradients are of the objective's sum over samples. The model runs in eval mode.

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
            channels = _channels(watch, len(batch.x))
        finally:
            watch.close()
    seen = Seen()
    seen.add(batch)
    told = describe_pass(model, loaded, seen, objective=objective, training=False)
    notes = tuple(f"never ran: {name}" for name in watch.never_ran)
    tables = {"forward": Table.of(forward), "backward": Table.of(backward), "channels": channels}
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


def _channels(watch: Watch, samples: int) -> Table:
    """Take norms channel by channel; what has no axis for samples and channels is left out."""
    axes, parts = Axes(samples), []
    for record in watch.forward:
        out = axes.note(record)
        into = out if record.x is not None and record.x.dim() == (0 if record.y is None else record.y.dim()) else 1
        label = watch.label(record)
        for side, axis, forward, backward in (("in", into, record.x, record.gx), ("out", out, record.y, record.gy)):
            sizes = _norms(forward, axis, samples, label)
            back = _norms(backward, axis, samples, label)
            if sizes is not None:
                named = {"layer": np.full(len(sizes), label), "side": np.full(len(sizes), side)}
                gradient = np.full(len(sizes), np.nan) if back is None else back
                parts.append(
                    {**named, "channel": np.arange(len(sizes)), "forward_norm": sizes, "backward_norm": gradient}
                )
    return Table.stacked(parts)


def _norms(tensor: Tensor | None, axis: int, samples: int, label: str) -> np.ndarray | None:
    if tensor is None or tensor.dim() < 2:
        return None
    try:
        view = by_channel(tensor.detach().double(), axis, samples, label)
    except BadInput:
        return None
    return norms(view).square().mean(0).sqrt().cpu().numpy()


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
