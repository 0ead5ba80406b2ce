"""Twins: a model as it was before it learned anything, to compare with."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from netassay.inits import reset
from netassay.spec import parse
from netassay.zoo import build


def untrained(model: nn.Module, seed: int = 1) -> tuple[nn.Module, str]:
    """Return an untrained twin of `model`, which is not touched, and a sentence on how it was made.

    What `netassay.build` made is built again from its spec, unless its modules or sizes were changed since; any other
    model is copied and every module drawn anew by its own `reset_parameters`, which may not be the scheme that its
    author used.
    """
    spec = getattr(model, "spec", None)
    if isinstance(spec, str):
        bare = parse(spec).without("weights")
        first = next(model.parameters(), torch.zeros(()))
        again = build(str(bare), seed=seed).to(first.device, first.dtype)
        if _makeup(again) == _makeup(model):
            return again, f"built again from {bare}"
    twin = copy.deepcopy(model)
    kept = reset(twin, seed).untouched
    told = "copied and drawn anew by each module's own reset_parameters"
    return twin, told + (f"; these have none and kept their weights: {', '.join(kept)}" if kept else "")


def _makeup(model: nn.Module) -> tuple[dict[str, type[nn.Module]], dict[str, torch.Size | None]]:
    """Return what a model is made of: kinds of modules and sizes of parameters (None: not known yet), by name."""
    kinds = {name: type(module) for name, module in model.named_modules()}
    return kinds, {name: None if is_lazy(p) else p.shape for name, p in model.named_parameters()}
