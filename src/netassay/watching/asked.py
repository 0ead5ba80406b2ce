"""Asked: what a watch refuses, in sentences, before anything is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from netassay.errors import BadInput
from netassay.layers import shaped

REDUCTIONS = ("mean", "sum")


def optimizers_of(model: nn.Module, given: Any) -> list[torch.optim.Optimizer]:
    """List the optimizers, one or several; refuse what is none, and one that moves nothing of this model."""
    several = list(given) if isinstance(given, Iterable) and not isinstance(given, str | nn.Module) else [given]
    own = {id(parameter) for parameter in model.parameters()}
    for one in several:
        if not isinstance(one, torch.optim.Optimizer):
            raise BadInput("watch an optimizer", f"{type(one).__name__}, which is none of torch.optim", EXAMPLE)
        moved = [p for group in one.param_groups for p in group["params"]]
        if not any(id(p) in own for p in moved):
            found = f"{type(one).__name__} with {len(moved)} parameters, none of them this model's"
            raise BadInput(f"watch {type(model).__name__}", found, "give the optimizer that was made for this model")
    if not several:
        raise BadInput("watch a training", "no optimizer", EXAMPLE)
    return several


EXAMPLE = "na.watch(model, torch.optim.SGD(model.parameters(), lr=0.1))"


def check(model: Any, reduction: Any, scaler: Any, on_verdict: Any) -> None:
    """Refuse what is no model, and options that say nothing; whether hooks see the model, the reader asks."""
    if not isinstance(model, nn.Module):
        raise BadInput("watch a model", f"{type(model).__name__}, which is no torch.nn.Module", EXAMPLE)
    shaped(model, "watch")
    if reduction not in REDUCTIONS:
        raise BadInput(
            f"reduction={reduction!r}", 'neither "mean" nor "sum"', 'reduction="mean" for a mean over samples'
        )
    if scaler is not None and not callable(getattr(scaler, "get_scale", None)):
        found = f"{type(scaler).__name__}, which has no get_scale()"
        raise BadInput("scaler", found, "give the torch.amp.GradScaler of the training, or leave it out")
    if on_verdict is not None and not isinstance(on_verdict, Callable):  # type: ignore[arg-type]
        raise BadInput("on_verdict", f"{type(on_verdict).__name__}, which cannot be called", "give a function")


def once(ended: bool) -> None:
    """Refuse to open a watch again whose run has ended."""
    if ended:
        again = "make a new watch, and give it this one's state: again.load_state_dict(seen.state_dict())"
        raise BadInput("open a watch again", "the run that it keeps has ended", again)
