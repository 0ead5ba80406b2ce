"""Twins: a model as it was before it learned anything, to compare with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from netassay.inits import reset
from netassay.spec import parse
from netassay.zoo import build


def untrained(model: nn.Module, seed: int = 1) -> tuple[nn.Module, str]:
    """Return an untrained twin of `model`, which is not touched, and a sentence on how it was made.

    What `netassay.build` made is built again from its spec; any other model is copied and every module drawn anew by
    its own `reset_parameters`, which may not be the scheme that its author used.
    """
    spec = getattr(model, "spec", None)
    if isinstance(spec, str):
        bare = parse(spec).without("weights")
        first = next(model.parameters(), torch.zeros(()))
        return build(str(bare), seed=seed).to(first.device, first.dtype), f"built again from {bare} with seed {seed}"
    twin = copy.deepcopy(model)
    kept = reset(twin, seed).untouched
    told = f"a copy, drawn anew by each module's own reset_parameters with seed {seed}"
    return twin, told + (f"; these have none and kept their weights: {', '.join(kept)}" if kept else "")
