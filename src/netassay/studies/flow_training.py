"""Flow training: a network trained under a watch, and what the watch has to say of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from netassay import training
from netassay.data import Data, splits
from netassay.progress import steps
from netassay.result import Result
from netassay.seeds import check
from netassay.studies.flow_theory import expected
from netassay.studies.forward import tried
from netassay.watching import Monitor
from netassay.zoo import built, placed


def flow_training(
    model: nn.Module | str,
    data: str = "digits:size=16",
    *,
    epochs: int = 3,
    layers: str | Sequence[str] | None = None,
    batch_size: int = 32,
    optimizer: str = "adam",
    lr: float | None = None,
    schedule: str = "constant",
    every: int = 1,
    seed: int = 0,
    device: str | None = None,
) -> Result:
    """Train a network on the mean cross-entropy and watch the gradient of every layer while it learns.

    `model` is a spec, fitted to the data, or a module, of which a copy is trained. The result is what `netassay.watch`
    gives of that training: tables "layers", "parameters", "law" (at the start, at the end and over all steps, beside
    mean-field theory for the start), "steps" and "dismissed", series as arrays (step, layer), and verdicts.

    Raises `BadInput` for a spec, data or setting that does not fit. A training that diverges ends there; the verdicts
    say so.

    >>> found = flow_training("mlp[32,32,32]", "digits", epochs=1)
    >>> found.array("gradient").axes["layer"][-1], len(found.findings)
    ('head', 0)
    """
    check(seed)
    learn, _ = splits(data, batch_size=batch_size)
    net = made(model, learn, seed, device)
    theory = expected(net, [next(iter(learn))])
    watch = Watched(net, layers=layers, every=every, predicted=theory)
    how: dict[str, Any] = {"epochs": epochs, "optimizer": optimizer, "lr": lr, "schedule": schedule, "seed": seed}
    with steps("train", epochs * training.length(learn)) as advance:

        def note(step: int, epoch: int, loss: float, correct: int, seen: int) -> None:
            watch.monitor.step(loss, epoch)
            advance(f"epoch {epoch + 1}, loss {loss:.3f}")

        notes = _trained(net, learn, how, on_step=note, watched=watch)
    seen = watch.monitor.result()
    said = {"data": learn.spec, "epochs": epochs, "schedule": schedule, "seed": seed}
    return replace(seen, notes=(*notes, *seen.notes), provenance={**seen.provenance, **said})


def _trained(net: nn.Module, learn: Data, how: Mapping[str, Any], **looks: Any) -> tuple[str, ...]:
    """Train; return what is to be told of a training that diverged."""
    try:
        training.train(net, learn, **how, **looks)
    except training.Diverged as error:
        return (f"the training ended early: {error.found}",)
    return ()


class Watched:
    """A watch that begins when a training has its optimizer: what `training.train` takes as `watched`."""

    def __init__(self, model: nn.Module, **options: Any) -> None:
        self.model, self.options = model, options
        self.monitor: Monitor

    def __call__(self, optimizer: torch.optim.Optimizer) -> Monitor:
        """Make the watch that is open while the training steps."""
        self.monitor = Monitor(self.model, optimizer, **self.options)
        return self.monitor


def made(model: nn.Module | str, learn: Data, seed: int, device: str | None) -> nn.Module:
    """Build the network of a spec, fitted to the data, or copy a module; refuse what the data does not fit."""
    if isinstance(model, str):
        net = built(model, learn.input_shape, learn.classes, seed=seed, device=device)
    else:
        net = placed(copy.deepcopy(model), device)
    tried(net, learn)
    return net
