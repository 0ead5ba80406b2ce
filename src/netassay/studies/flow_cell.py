"""Flow cell: one network as its switches are, the law of its gradient at the start, and what training makes of it."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from netassay.data import Batch, Data, splits
from netassay.engine import Payload
from netassay.inits import initialize
from netassay.layers import has_weight, named_layers
from netassay.objectives import find
from netassay.quiet import quiet
from netassay.records import Record
from netassay.spec import parse
from netassay.studies.forward import checked, device_of, forward
from netassay.studies.survey import Call, Key
from netassay.studies.sweep import sweep
from netassay.training import Diverged, evaluate, length, train
from netassay.zoo import build, fitted, placed

HOW = ("optimizer", "lr", "seed")
ALONE = threading.Lock()


def cell(asked: Mapping[str, Any]) -> Payload:
    """Build, measure and train, as `asked` says; the same bits for the same words.

    One at a time in a process: networks may draw from torch's global generator, which threads share.
    """
    with ALONE:
        learn, test = splits(asked["data"], batch_size=asked["batch_size"])
        model = made(asked, learn)
        some = learn.shuffled(asked["seed"], 0).first(asked["batches"] * asked["batch_size"])
        start = law(model, some) | loss_of(model, some)
        return start | trained(model, asked, learn) | scored(model, test)


def made(asked: Mapping[str, Any], learn: Data) -> nn.Module:
    """Build the network that fits the data, and draw it by the cell's scheme where it has one."""
    model = build(str(fitted(parse(asked["model"]), learn.input_shape, learn.classes)), seed=asked["seed"])
    model = placed(model, asked["device"])
    if asked["scheme"] is not None:
        initialize(model, asked["scheme"], asked["seed"], data=next(iter(learn)).x)
    return model


def law(model: nn.Module, data: Data) -> Payload:
    """Measure chi and attenuation along the trunk, in train mode."""
    found: dict[Key, list[float]] = {}

    def note(call: Call, record: Record, batch: Batch) -> None:
        if record.gy is not None:
            norm = record.gy.double().flatten(1).square().sum(1).mean().sqrt()
            found.setdefault(record.key, []).append(float(norm))

    outcome = sweep(model, data, named_layers(model), objective=find("cross_entropy"), on_backward=note, training=True)
    calls = {key: call for key, call in outcome.calls.items() if key in found and call.place.depth > 0}
    trunk = {call.place.depth: key for key, call in calls.items() if call.place.path == "trunk"}
    weights = [key for key, call in calls.items() if has_weight(call.layer.module)]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log([found[key] for key in trunk.values()])
        slope = float(np.polyfit(list(trunk), logs.mean(1), 1)[0]) if np.isfinite(logs).all() else math.nan
        ratio = float(np.mean(np.log10(np.divide(found[weights[-1]], found[weights[0]]))))
    decades = slope * (max(trunk) - min(trunk)) / math.log(10)
    return {"chi": np.array(math.exp(-2 * slope)), "decades": np.array(decades), "ratio_decades": np.array(ratio)}


def loss_of(model: nn.Module, data: Data) -> Payload:
    """Return the mean cross-entropy over samples in train mode, and that of a network that knows nothing."""
    losses, classes, device, entropy = list[torch.Tensor](), 1, device_of(model), find("cross_entropy")
    with quiet(model, training=True), torch.no_grad():
        for number, given in enumerate(data):
            batch = checked(given, number, device)
            output = forward(model, batch.x.clone(), batch)
            losses.append(entropy(output, batch.y).double())
            classes = output.shape[1]
    return {"start_loss": np.array(float(torch.cat(losses).mean())), "chance": np.array(math.log(classes))}


def trained(model: nn.Module, asked: Mapping[str, Any], learn: Data) -> Payload:
    """Train; return the loss of each step, and the step at which it was no longer finite, -1 where it stayed so."""
    steps = asked["steps"] or asked["epochs"] * length(learn)
    losses: list[float] = []
    diverged = -1

    def note(step: int, epoch: int, loss: float, correct: int, seen: int) -> None:
        losses.append(loss)

    try:
        how = {name: asked[name] for name in HOW}
        train(model, Feed(learn, steps), epochs=1, schedule="constant", on_step=note, **how)
    except Diverged as error:
        diverged = error.step
    return {"loss": np.array(losses), "diverged": np.array(diverged)}


def scored(model: nn.Module, test: Data) -> Payload:
    """Score the network as it is, in eval mode."""
    score = evaluate(model, test)
    return {"accuracy": np.array(score.accuracy), "test_loss": np.array(score.loss)}


class Feed:
    """So many batches of a data set, which begins anew in another order whenever it ends."""

    def __init__(self, data: Data, steps: int) -> None:
        self.data, self.steps = data, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        return self.shuffled(0, 0)

    def shuffled(self, seed: int, epoch: int) -> Iterator[Batch]:
        """Return the batches of one training, the same for the same seed."""
        epochs = (self.data.shuffled(seed, each) for each in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(epochs), self.steps)
