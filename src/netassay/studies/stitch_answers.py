"""Stitch answers: what follows a cut, on the CPU: scores of classes, and what later layers make on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netassay.cutting import Cut
from netassay.cutting.frozen import Half, frozen, still
from netassay.errors import BadInput
from netassay.records import tensors
from netassay.studies.forward import device_of


class Rest:
    """Runs what follows a cut, once over the samples judged on: what goes around it is their own, in their order."""

    def __init__(self, at: Cut, batches: Sequence[Tensor], dtype: torch.dtype) -> None:
        self.at, self.batches, self.dtype = at, iter(batches), dtype

    def __call__(self, z: Tensor) -> Tensor:
        """Return the scores, at least float32."""
        device = self.at.example.device
        z = z.to(device, self.dtype)
        given = (z, next(self.batches).to(device)) if self.at.skips else (z,)
        return plain(logits(self.at.rest(*given), f"into {self.at.layer!r}"))


class Later:
    """Runs what follows a cut, and gives what later layers make, then the scores."""

    def __init__(self, at: Cut, passing: Half, dtype: torch.dtype) -> None:
        self.at, self.passing, self.dtype = at, passing, dtype

    def __call__(self, z: Tensor) -> list[Tensor]:
        """Return what later layers make, in order, and the scores."""
        *made, output = self.passing(z.to(self.at.example.device, self.dtype))
        return [plain(one) for one in (*made, logits(output, f"into {self.at.layer!r}"))]


def plain(made: Tensor) -> Tensor:
    """Return a tensor on the CPU, at least float32: numpy has no narrower ones of every kind."""
    return made.to("cpu", torch.promote_types(made.dtype, torch.float32))


@torch.no_grad()
def scored(model: nn.Module, x: Tensor, size: int) -> Tensor:
    """Return the scores `(N, classes)` that a network by itself gives."""
    twin, found = frozen(model), []
    with still(twin):
        for batch in torch.split(x, size):
            found.append(logits(twin(batch.to(device_of(model)).clone()), type(model).__name__).cpu())
    return torch.cat(found)


def logits(output: Any, who: str) -> Tensor:
    """Return what an output calls "logits", or its one tensor of two axes; refuse any other."""
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    each = [named] if isinstance(named, Tensor) else list({id(one): one for one in tensors(output)}.values())
    found = [one for one in each if one.dim() == 2]
    if len(found) != 1:
        shapes = ", ".join(str(tuple(one.shape)) for one in each) or "nothing"
        raise BadInput(f"stitch {who}", f"it answers {shapes}, not (N, classes)", "wrap it so that it gives logits")
    return found[0]
