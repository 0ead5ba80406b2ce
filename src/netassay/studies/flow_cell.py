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
from netassay.objectives import find
from netassay.quiet import quiet
from netassay.studies.flow_profile import flow_profile
from netassay.studies.forward import checked, device_of, forward
from netassay.training import Diverged, evaluate, length, train
from netassay.zoo import built

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
        start = law(model, some, asked["batches"]) | loss_of(model, some)
        return start | trained(model, asked, learn) | scored(model, test)


def made(asked: Mapping[str, Any], learn: Data) -> nn.Module:
    """Build the network that fits the data, and draw it by the cell's scheme where it has one."""
    model = built(asked["model"], learn.input_shape, learn.classes, seed=asked["seed"], device=asked["device"])
    if asked["scheme"] is not None:
        initialize(model, asked["scheme"], asked["seed"], data=next(iter(learn)).x)
    return model


def law(model: nn.Module, data: Data, batches: int) -> Payload:
    """Measure chi and attenuation along the trunk in train mode; NaN where no law can be fitted."""
    found = flow_profile(model, data, batches=batches, batch_size=data.batch_size)
    trunk = [row for row in found.table("law") if (row["path"], row["when"]) == ("trunk", "all")]
    chi, attenuation = next(((row["chi"], row["attenuation"]) for row in trunk), (math.nan, math.nan))
    ends = [row["gradient"] for row in found.table("layers") if row["role"] == "weight" and row["gradient"] >= 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        decades, ratio = np.log10([attenuation, np.divide(ends[-1], ends[0]) if ends else math.nan])
    return {"chi": np.array(chi), "decades": np.array(decades), "ratio_decades": np.array(ratio)}


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
