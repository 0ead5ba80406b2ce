"""Training and scoring of classifiers: plain SGD, the same bits for the same seed, and a count of hits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.objectives import check_labels
from netassay.quiet import modes, quiet
from netassay.seeds import seeded

OnStep = Callable[[int, int, float, int, int], Any]
WARM = 0.05


class Score(NamedTuple):
    """Hits among `n` samples, and the cross-entropy as a mean over them."""

    correct: int
    n: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of hits."""
        return self.correct / self.n


def train(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    epochs: int,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> None:
    """Train by SGD with momentum on the mean cross-entropy; the rate warms up, then falls as a half cosine.

    `batches` gives (x, y, ...) anew each epoch; where it has `shuffled(seed, epoch)`, as Data has, each epoch
    takes another order. `on_step(step, epoch, loss, correct, seen)` is called after each step with the mean
    loss, the hits and the number of samples of its batch, as they were before the step. A loss that is not
    finite stops the training before it reaches a weight. Module modes, `.grad` and the global random state
    are afterwards as before.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    _check(parameters, batches, epochs, lr)
    optimizer = torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay)
    with seeded(seed), modes(model, True), _grads(parameters), torch.enable_grad():
        step, total = 0, epochs * length(batches)
        for epoch in range(epochs):
            for x, y in _pairs(_shuffled(batches, seed, epoch), model):
                loss, correct = _graded(model, optimizer, x, y)
                if not math.isfinite(loss):
                    found = f"the loss is {loss} at step {step} of epoch {epoch}"
                    raise BadInput(f"train with lr={lr}", found, f"lr={lr / 10:.2g}, and inputs without NaN")
                optimizer.param_groups[0]["lr"] = lr * rate(step, total)
                optimizer.step()
                if on_step is not None:
                    on_step(step, epoch, loss, correct, len(y))
                step += 1


def evaluate(model: nn.Module, batches: Iterable[Any]) -> Score:
    """Score a classifier on batches (x, y, ...) in eval mode; the model's modes and random state stay."""
    correct, n, loss = 0, 0, 0.0
    with quiet(model), torch.no_grad():
        for x, y in _pairs(batches, model):
            logits = _logits(model, x, y)
            each = nn.functional.cross_entropy(logits, y, reduction="none")
            # Summed on the CPU: not every device has float64.
            loss += float(each.cpu().double().sum())
            correct += _hits(logits, y)
            n += len(y)
    if not n:
        raise BadInput("evaluate", "no sample came out of the batches", "give data that is not empty")
    return Score(correct, n, loss / n)


def rate(step: int, total: int) -> float:
    """Return the factor on the learning rate: linear over the first 5 % of steps, then a half cosine to 0.

    >>> [round(rate(step, 40), 2) for step in (0, 1, 2, 21, 40)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warm = max(1, round(WARM * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))


def _check(parameters: list[nn.Parameter], batches: Iterable[Any], epochs: int, lr: float) -> None:
    if not parameters:
        raise BadInput("train", "the model has no parameter that takes a gradient", "set requires_grad on some")
    if isinstance(batches, Iterator):
        raise BadInput("train", f"a {type(batches).__name__} passes only once", "give list(...) or load_data(...)")
    if epochs < 1:
        raise BadInput(f"train with epochs={epochs}", "nothing to do", "epochs=1")
    if not 0 < lr < math.inf:
        raise BadInput(f"train with lr={lr}", "the rate must be positive and finite", "lr=0.05")


def _graded(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> tuple[float, int]:
    logits = _logits(model, x, y)
    loss = nn.functional.cross_entropy(logits, y)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), _hits(logits, y)


def _logits(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits = model(x)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(y):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        found = f"{type(model).__name__} gives {shape} for {len(y)} labels"
        raise BadInput("cross-entropy", found, "use a model whose output is (N, classes)")
    if y.ndim != 1:
        asked = f"labels for {logits.shape[1]} outputs"
        raise BadInput(asked, f"labels of shape {tuple(y.shape)}", "give one integer per sample, shape (N,)")
    check_labels(y, logits.shape[1])
    return logits


def _hits(logits: Tensor, y: Tensor) -> int:
    return int((logits.argmax(1) == y).sum())


def _pairs(batches: Iterable[Any], model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) < 2 or batch[1] is None:
            found = "a batch without labels" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
            raise BadInput("cross-entropy", found, "give batches (x, y), as load_data((x, y)) makes them")
        y = batch[1].to(device)
        # Copied, so a model that works in place cannot change the caller's tensors.
        yield batch[0].to(device, copy=True), y if y.is_floating_point() else y.long()


def _shuffled(batches: Any, seed: int, epoch: int) -> Iterable[Any]:
    shuffled = getattr(batches, "shuffled", None)
    return batches if shuffled is None else shuffled(seed, epoch)  # type: ignore[no-any-return]


def length(batches: Iterable[Any]) -> int:
    """Return the number of batches in a pass; counted by passing once where `batches` does not know it."""
    try:
        number = len(batches)  # type: ignore[arg-type]
    except TypeError:
        number = sum(1 for _ in batches)
    if not number:
        raise BadInput("train", "no batch came out", "give data that is not empty")
    return number


@contextmanager
def _grads(parameters: list[nn.Parameter]) -> Iterator[None]:
    before = [parameter.grad for parameter in parameters]
    try:
        yield
    finally:
        for parameter, grad in zip(parameters, before, strict=True):
            parameter.grad = grad
