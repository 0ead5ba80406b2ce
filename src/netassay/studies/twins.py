"""Twins: a model as it was before it learned anything, to compare with."""

from __future__ import annotations

import copy
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from netassay.data import Data
from netassay.inits import reset
from netassay.quiet import modes
from netassay.seeds import as_found
from netassay.spec import parse
from netassay.studies.forward import device_of
from netassay.studies.provenance import state_hash
from netassay.zoo import build

LEARNED = ("weights", "pretrained")
"""Options of a spec that stand for something learned."""


def learned(spec: str) -> bool:
    """Tell whether a spec asks for something learned."""
    return not set(LEARNED).isdisjoint(parse(spec).options)


def untrained(model: nn.Module, seed: int = 1, known: Collection[str] = ()) -> tuple[nn.Module, str]:
    """Return an untrained twin of `model`, which is not touched, and a sentence on how it was made.

    What `netassay.build` made is built again from its spec, unless its modules or sizes were changed since, or its
    factory gives what `model` is, or a state hashed in `known`: then nothing was drawn. Any other model is copied and
    every module drawn anew by its own `reset_parameters`, which may not be the scheme that its author used.
    """
    spec = getattr(model, "spec", None)
    if isinstance(spec, str):
        bare = parse(spec).without(*LEARNED)
        first = next(model.parameters(), torch.zeros(()))
        again = build(str(bare), seed=seed).to(first.device, first.dtype)
        if makeup(again) == makeup(model) and state_hash(again) not in {state_hash(model), *known}:
            return again, f"built again from {bare}"
    twin = copy.deepcopy(model)
    kept = reset(twin, seed).untouched
    told = "copied and drawn anew by each module's own reset_parameters"
    return twin, told + (f"; these have none and kept their weights: {', '.join(kept)}" if kept else "")


def settle(twin: nn.Module, data: Data) -> None:
    """Give batch norms that have seen nothing the mean statistics of one pass; in eval mode they scale nothing else.

    Changes `twin`, which must be netassay's own. A trained network normalises: beside one that does not, every
    difference would be put down to learning.
    """
    norms = list(fresh_norms(twin).values())
    if not norms:
        return
    device = device_of(twin)
    momenta = [norm.momentum for norm in norms]
    with as_found(), modes(twin, False), torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the mean over batches, not a moving one
            norm.train()
        # Data that does not fit is refused by the sweep that follows, which has the sentence.
        with suppress(Exception):
            for batch in data:
                twin(batch.x.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def fresh_norms(model: nn.Module) -> dict[str, Any]:
    """Return, by name, the norms whose running statistics no batch has gone into."""
    seen = {name: (module, getattr(module, "num_batches_tracked", None)) for name, module in model.named_modules()}
    return {name: norm for name, (norm, batches) in seen.items() if batches is not None and not batches.any()}


def makeup(model: nn.Module) -> tuple[dict[str, type[nn.Module]], dict[str, torch.Size | None]]:
    """Return what a model is made of: kinds of modules and sizes of parameters (None: not known yet), by name."""
    kinds = {name: type(module) for name, module in model.named_modules()}
    return kinds, {name: None if is_lazy(p) else p.shape for name, p in model.named_parameters()}
