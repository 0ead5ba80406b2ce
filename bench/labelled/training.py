"""A training of the bench: what is trained on what and how, and the loop that trains it under watch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import netassay as na


@dataclass(frozen=True)
class Truth:
    """The rules that name the cause of a fault, and the layers that name its place; None: it has no one place."""

    rules: frozenset[str]
    layers: frozenset[str] | None


@dataclass
class Training:
    """One training; `before(step)` is called before each step, `truth` is None where it is healthy."""

    model: nn.Module
    data: Callable[[int], tuple[Tensor, Tensor]]
    optimizers: list[torch.optim.Optimizer]
    steps: int = 60
    every: int = 1
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    accumulate: int = 1
    autocast: bool = False
    scaler: Any = None
    clip: float | None = None
    schedules: list[Any] = field(default_factory=list)
    before: Callable[[int], None] | None = None
    truth: Truth | None = None
    about: str = ""


@dataclass(frozen=True)
class Course:
    """How a training went: the loss of each step, and the share of hits over the last ten (NaN without labels)."""

    losses: list[float]
    accuracy: float

    @property
    def fell(self) -> float:
        """The loss of the last ten steps over that of the first three."""
        return sum(self.losses[-10:]) / 10 / (sum(self.losses[:3]) / 3)


def train(training: Training, told: Callable[[Tensor], None] = lambda loss: None) -> Course:
    """Run the loop as a user would write it; `told(loss)` is called after each step."""
    losses, hits = [], []
    for step in range(training.steps):
        if training.before is not None:
            training.before(step)
        loss, hit = one(training, *training.data(step))
        losses.append(float(loss))
        hits.append(hit)
        told(loss)
    return Course(losses, sum(hits[-10:]) / 10)


def one(training: Training, x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Do one step, in micro-batches where it accumulates; return its mean loss and its share of hits."""
    whole, hits = torch.zeros(()), 0.0
    for part, label in zip(x.chunk(training.accumulate), y.chunk(training.accumulate), strict=True):
        with torch.autocast("cpu", torch.bfloat16) if training.autocast else nullcontext():
            out = training.model(part)
        loss = training.loss(out.float(), label) / training.accumulate
        (training.scaler.scale(loss) if training.scaler else loss).backward()
        whole += loss.detach()
        hits += float((out.argmax(-1) == label).float().mean()) if label.dim() == 1 else float("nan")
    update(training)
    return whole, hits / training.accumulate


def update(training: Training) -> None:
    """Unscale, clip, step, follow the schedule, and clear the gradients."""
    for optimizer in training.optimizers:
        if training.scaler and training.clip:
            training.scaler.unscale_(optimizer)
    if training.clip:
        nn.utils.clip_grad_norm_(training.model.parameters(), training.clip)
    for optimizer in training.optimizers:
        training.scaler.step(optimizer) if training.scaler else optimizer.step()
    if training.scaler:
        training.scaler.update()
    for schedule in training.schedules:
        schedule.step()
    for optimizer in training.optimizers:
        optimizer.zero_grad()


def silent(training: Training) -> float:
    """Return the largest share of a ReLU layer's channels that are 0 in 20 batches, read without the watch."""
    fired: dict[nn.Module, Tensor] = {}

    def look(module: nn.Module, x: Any, y: Tensor) -> None:
        channels = (y > 0).movedim(1 if y.dim() == 4 else -1, 0).flatten(1).any(1)
        fired[module] = fired.get(module, torch.zeros_like(channels)) | channels

    hooks = [one.register_forward_hook(look) for one in training.model.modules() if isinstance(one, nn.ReLU)]
    with torch.no_grad():
        training.model.eval()
        for step in range(20):
            training.model(training.data(step)[0])
    for hook in hooks:
        hook.remove()
    return max((1 - float(one.float().mean()) for one in fired.values()), default=0.0)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return the training images and labels of the digits inside the package."""
    batches = list(na.load_data("digits:split=train"))
    return torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches])


def images(draw, batch, n=None, change=lambda x: x):
    """Draw batches of digits, from the first `n` of an order of their own; `change` is done to the images."""
    x, y = digits()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(draw.getrandbits(32)))[:n]
    return batches(draw, change(x[order]), y[order], min(batch, len(order)))


def sentences(draw, batch, words, tokens, classes):
    """Draw sentences whose class is told by favourite words; the upper half of the words is never used."""
    rng = torch.Generator().manual_seed(draw.getrandbits(32))
    y = torch.randint(classes, (512,), generator=rng)
    favourites = torch.randint(words // 2, (classes, 4), generator=rng)[y]
    chosen = favourites.gather(1, torch.randint(4, (512, tokens), generator=rng))
    other = torch.randint(words // 2, (512, tokens), generator=rng)
    return batches(draw, torch.where(torch.rand(512, tokens, generator=rng) < 0.5, chosen, other), y, batch)


def batches(draw, x, y, batch):
    """Return a function of the step; each pass takes another order."""
    seed, passes = draw.getrandbits(31), len(x) // batch

    def at(step):
        rng = torch.Generator().manual_seed(seed + step // passes)
        rows = torch.randperm(len(x), generator=rng)[step % passes * batch :][:batch]
        return x[rows].clone(), y[rows]

    return at
