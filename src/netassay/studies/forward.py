"""Forward: one batch through a model, and what is said where it does not go through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netassay.data import Batch, Data
from netassay.errors import BadInput, NetassayError
from netassay.quiet import quiet


def tried(model: nn.Module, data: Data) -> None:
    """Run the first batch forward, so that data which does not fit is refused before anything is made of it."""
    with quiet(model), torch.no_grad():
        batch = checked(next(iter(data)), 0, device_of(model))
        forward(model, batch.x.clone(), batch)


def inputs(x: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return a leaf to differentiate at (None: integers), and a copy of the input that the model may overwrite."""
    if not x.is_floating_point():
        return None, x.clone()
    leaf = x.detach().requires_grad_()
    return leaf, leaf.clone()


def forward(model: nn.Module, x: Tensor, batch: Batch) -> Any:
    """Call the model; whatever its code raises is bad input, with its name."""
    try:
        return model(x)
    except NetassayError:
        raise
    except Exception as error:
        raise failed(model, "forward", batch, error) from error


def failed(model: nn.Module, way: str, batch: Batch, error: Exception) -> BadInput:
    """Say what went wrong, on which input, and what would fit."""
    shape = getattr(model, "input_shape", None)
    fits = f"inputs (N, {', '.join(map(str, shape))})" if shape else "inputs that fit the model"
    if isinstance(error, torch.OutOfMemoryError):
        fits = "a smaller batch_size"
    return BadInput(
        f"{way} pass of {type(model).__name__} on inputs {tuple(batch.x.shape)}",
        f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}",
        f"give {fits}",
    )


def checked(batch: Batch, number: int, device: torch.device) -> Batch:
    """Bring a batch to the device; refuse one whose inputs are not finite."""
    # A finite sum tells that all are, in one pass; one that is not may have overflowed.
    if batch.x.is_floating_point() and not batch.x.sum().isfinite() and not torch.isfinite(batch.x).all():
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
