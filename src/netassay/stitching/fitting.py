"""Fitting: an adapter trained by what comes out of the receiver; sender and receiver stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from netassay.errors import BadInput, NoMatch, UnknownName, listing
from netassay.seeds import generator, seeded
from netassay.stitching.adapters import Adapter
from netassay.stitching.losses import AT_ONCE, LOSSES, Later, Loss, Run, Samples
from netassay.stitching.metering import Meter

Weights: TypeAlias = dict[str, Tensor]
ORDER = 1
"""Keeps the stream that orders samples apart from others of the same seed."""
NOTHING = torch.iinfo(torch.int64).min
"""Stands for the answer of a network whose scores are not finite: wrong, and no other's answer."""


@dataclass(frozen=True)
class Fit:
    """What a training was: the mean loss of each epoch, the hits on the validation part before the first and after
    each (empty: no such part), how many epochs the weights that were kept have had, the steps made, and the
    multiply-adds of all that ran, forward and backward, validation included."""

    losses: tuple[float, ...]
    hits: tuple[int, ...]
    kept: int
    steps: int
    madds: int


def fit(
    adapter: Adapter,
    rest: Run,
    data: Samples,
    *,
    loss: str = "task",
    later: Later | None = None,
    epochs: int = 3,
    lr: float = 5e-3,
    batch: int = 32,
    seed: int = 0,
    validation: Samples | None = None,
    patience: int | None = None,
    enough: int | None = None,
) -> Fit:
    """Train an adapter by Adam, from the weights it has, on what the receiver's `rest` makes of its output.

    `loss`: "task" is the cross-entropy with the labels; "soft" the Kullback-Leibler divergence from the receiver's own
    softmax scores (Hinton et al. 2015, arXiv 1503.02531, at temperature 1); "latents" the squared error of the tensors
    that `later` makes of the output against the receiver's own, each over the mean variance of the latter over all of
    `data`, summed (Athanasiadis et al. 2025, arXiv 2505.20142); a tensor that is the same for all samples, but for
    rounding, is left out. The last two need `data.own`. Adam: Kingma & Ba 2015, arXiv 1412.6980,
    with a constant `lr`. Batches have `batch` samples or fewer, in sizes as equal as can be, in an order that `seed`
    draws for each epoch. With a `validation` part the weights with most hits there are kept, those before the first
    epoch among them, the earliest among equals; it ends after `patience` epochs without more hits,
    and makes no further epoch, not even a first, where they are `enough`.

    Gradients are those of the adapter only: no `.grad` is written, and no weight gradient of the receiver computed.
    `rest` must be in eval mode, as the half of a cut is: a module that is not gives `BadInput`. So does a loss that is
    not finite; the weights are then as they were best.
    """
    _checked(adapter, rest, data, loss, later, epochs, lr, batch)
    meter = Meter()
    begin = partial(LOSSES[loss], rest, data, later, meter)
    trainer = _Trainer(adapter, rest, begin, torch.optim.Adam(adapter.parameters(), lr=lr), meter)
    kept, best, losses, hits = 0, _weights(adapter), [], [trainer.hits(validation)]
    with seeded(seed):
        for epoch in range(epochs):
            if enough is not None and max(hits) >= enough:
                break
            order = torch.randperm(len(data), generator=generator(seed, ORDER, epoch))
            losses.append(trainer.epoch(data, order.tensor_split(-(-len(data) // batch))))
            if not math.isfinite(losses[-1]):
                break
            hits.append(trainer.hits(validation))
            if validation is None or hits[-1] > max(hits[:-1]):
                kept, best = epoch + 1, _weights(adapter)
            if patience is not None and epoch + 1 - kept >= patience:
                break
    finite = all(map(math.isfinite, losses))
    adapter.load_state_dict(best)
    adapter.eval()
    if not finite:
        raise NoMatch(f"fit with lr={lr}", f"the loss is {losses[-1]} in epoch {len(losses) - 1}", f"lr={lr / 10:.2g}")
    seen = () if validation is None else tuple(hits)
    return Fit(tuple(losses), seen, kept, trainer.steps, trainer.meter.madds)


class _Trainer:
    """Steps and counts of one training."""

    def __init__(
        self, adapter: Adapter, rest: Run, begin: Callable[[], Loss], algorithm: torch.optim.Adam, meter: Meter
    ) -> None:
        self.adapter, self.rest, self.begin, self.algorithm, self.meter = adapter, rest, begin, algorithm, meter
        self.parameters = list(adapter.parameters())
        self.steps = 0

    @cached_property
    def loss(self) -> Loss:
        """The loss, once there is a first step; its pass over the samples is no part of that step."""
        return self.begin()

    def epoch(self, data: Samples, batches: Sequence[Tensor]) -> float:
        """Make a step for each batch; return the mean loss of a sample."""
        loss = self.loss
        self.adapter.train()
        summed = 0.0
        for chosen in batches:
            samples = data.at(chosen.to(data.sent.device))
            summed += len(chosen) * self.meter.run(("step", len(chosen)), self._step, loss, samples)
            if not math.isfinite(summed):
                break
        return summed / len(data)

    def _step(self, loss: Loss, samples: Samples) -> float:
        with torch.enable_grad():
            value = loss(self.adapter(samples.sent), samples)
            grads = torch.autograd.grad(value, self.parameters)
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter.grad = grad
        self.algorithm.step()
        self.algorithm.zero_grad()
        self.steps += 1
        return float(value.detach())

    def hits(self, samples: Samples | None) -> int:
        """Count right answers, in eval mode."""
        if samples is None:
            return 0
        self.adapter.eval()
        found = 0
        for sent, y in zip(torch.split(samples.sent, AT_ONCE), torch.split(samples.y, AT_ONCE), strict=True):
            logits = self.meter.run(("hits", len(y)), stitched, self.adapter, self.rest, sent)
            found += int((answers(logits) == y.cpu()).sum())
        return found


def answers(logits: Tensor) -> Tensor:
    """Return the class with the highest score `(N,)`, on the CPU; `NOTHING`, no class, where that is not finite.

    >>> answers(torch.tensor([[1.0, 2.0], [0.0, torch.nan]])).tolist() == [1, NOTHING]
    True
    """
    best = logits.max(1)
    return best.indices.where(best.values.isfinite(), NOTHING).cpu()


@torch.no_grad()
def stitched(adapter: Adapter, rest: Run, sent: Tensor) -> Tensor:
    """Return what the receiver makes of the sender's activations."""
    return rest(adapter(sent))


def check_eval(rest: Run) -> None:
    """Refuse a receiver in train mode: its norm statistics would drift, and its dropout draw, while it is frozen."""
    named = rest.named_modules() if isinstance(rest, nn.Module) else ()
    training = [name for name, one in named if one.training and not list(one.children())]
    if training:
        asked = f"a stitch into {type(rest).__name__}"
        raise BadInput(asked, f"layers in train mode: {listing(training)}", "call .eval() on the receiver, or cut it")


def _checked(
    adapter: Adapter, rest: Run, data: Samples, loss: str, later: Later | None, epochs: int, lr: float, batch: int
) -> None:
    check_eval(rest)
    if loss not in LOSSES:
        raise UnknownName("loss", loss, LOSSES)
    if not adapter.recipe.trained:
        raise BadInput(f"fit of adapter {adapter.name!r}", "it has a closed form only", "adapter='affine'")
    if loss == "latents" and later is None:
        raise BadInput("fit with loss='latents'", "no layers to compare at", "give later=, from activations to tensors")
    if loss != "task" and data.own is None:
        raise BadInput(f"fit with loss={loss!r}", "no activations of the receiver", "give Samples(..., own=...)")
    if epochs < 1 or batch < 1 or not 0 < lr < math.inf or not len(data):
        found = f"epochs={epochs}, batch={batch}, lr={lr}, {len(data)} samples"
        raise BadInput("fit of an adapter", found, "give one of each at least, e.g. epochs=2, batch=32, lr=1e-3")


def _weights(adapter: Adapter) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in adapter.state_dict().items()}
