"""Training and scoring of classifiers: SGD or Adam, the same bits for the same seed, and a count of hits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from netassay.errors import BadInput, UnknownName
from netassay.objectives import check_labels
from netassay.quiet import modes, quiet
from netassay.seeds import apart, mixed, seeded

OnStep = Callable[[int, int, float, int, int], Any]
OnEpoch = Callable[[int], Any]
Watched = Callable[[torch.optim.Optimizer], AbstractContextManager[Any]]
Entry = TypeVar("Entry")
WARM = 0.05


class Diverged(BadInput):
    """A loss that is not finite; the weights are as before that `step`."""

    def __init__(self, lr: float, loss: float, step: int, epoch: int) -> None:
        found = f"the loss is {loss} at step {step} of epoch {epoch}"
        super().__init__(f"train with lr={lr}", found, f"lr={lr / 10:.2g}, and inputs without NaN")
        self.step = step


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
    optimizer: Literal["sgd", "adam"] = "sgd",
    schedule: Literal["cosine", "constant"] = "cosine",
    lr: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    watched: Watched | None = None,
) -> None:
    """Train by SGD with momentum, or by Adam, on the mean cross-entropy of a batch.

    `optimizer=sgd`: lr 0.05, momentum 0.9, weight decay 5e-4 unless given; `adam`: lr 1e-3, betas 0.9 and 0.999,
    epsilon 1e-8, no weight decay unless given (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1). Decay is added to the
    gradient. `schedule=cosine` warms the rate up, then lets it fall as a half cosine; `constant` leaves it.
    `batches` gives (x, y, ...) anew each epoch; where it has `shuffled(seed, epoch)`, as Data has, each epoch
    takes another order. `on_step(step, epoch, loss, correct, seen)` is called after each step with the mean
    loss, the hits and the number of samples of its batch, as they were before the step. `on_epoch(k)` is called with
    k epochs done, first with 0: it may run the model and draw at random, and the training goes on with the same
    bits as without it. `watched(optimizer)` gives a context that is open while the steps are made. A loss that is
    not finite stops the training before it reaches a weight, with `Diverged`. Module modes, `.grad` and the global
    random state are afterwards as before.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    _check(parameters, batches, epochs)
    algorithm = _algorithm(optimizer, parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    factor, look = _known(SCHEDULES, "schedule", schedule), _looking(model, on_epoch, seed)
    top = algorithm.param_groups[0]["lr"]
    watch = nullcontext() if watched is None else watched(algorithm)
    with seeded(seed), modes(model, True), _grads(parameters), torch.enable_grad(), watch:
        step, total = 0, epochs * length(batches)
        look(0)
        for epoch in range(epochs):
            for x, y in _pairs(_shuffled(batches, seed, epoch), model):
                loss, correct = _graded(model, algorithm, x, y)
                if not math.isfinite(loss):
                    raise Diverged(top, loss, step, epoch)
                algorithm.param_groups[0]["lr"] = top * factor(step, total)
                algorithm.step()
                if on_step is not None:
                    on_step(step, epoch, loss, correct, len(y))
                step += 1
            look(epoch + 1)


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


class Recipe(NamedTuple):
    """An optimizer, and the settings of ours that it has, with their defaults."""

    make: Callable[..., torch.optim.Optimizer]
    settings: dict[str, float]


OPTIMIZERS = {
    "sgd": Recipe(torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    "adam": Recipe(torch.optim.Adam, {"lr": 1e-3, "weight_decay": 0.0}),
}
SCHEDULES: dict[str, Callable[[int, int], float]] = {"cosine": rate, "constant": lambda step, total: 1.0}


def _known(table: Mapping[str, Entry], kind: str, name: str) -> Entry:
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]


def _algorithm(name: str, parameters: list[nn.Parameter], **settings: float | None) -> torch.optim.Optimizer:
    recipe = _known(OPTIMIZERS, "optimizer", name)
    given = {key: value for key, value in settings.items() if value is not None}
    for key, value in given.items():
        if key not in recipe.settings:
            raise BadInput(f"train by {name} with {key}={value}", f"{name} has no {key}", f"leave {key} out")
    chosen = {**recipe.settings, **given}
    if not 0 < chosen["lr"] < math.inf:
        found = "the rate must be positive and finite"
        raise BadInput(f"train with lr={chosen['lr']}", found, f"lr={recipe.settings['lr']}")
    if not 0 <= chosen["weight_decay"] < math.inf:
        found = "decay must be finite and not negative"
        raise BadInput(f"train with weight_decay={chosen['weight_decay']}", found, "weight_decay=0")
    return recipe.make(parameters, **chosen)


def _looking(model: nn.Module, on_epoch: OnEpoch | None, seed: int) -> OnEpoch:
    # Looks draw from a state of their own: neither the training nor the caller notices.
    inside = apart(seed=mixed(seed))

    def look(done: int) -> None:
        if on_epoch is not None:
            with quiet(model, training=None), inside(), torch.enable_grad():
                on_epoch(done)

    return look


def _check(parameters: list[nn.Parameter], batches: Iterable[Any], epochs: int) -> None:
    if not parameters:
        raise BadInput("train", "the model has no parameter that takes a gradient", "set requires_grad on some")
    if isinstance(batches, Iterator):
        raise BadInput("train", f"a {type(batches).__name__} passes only once", "give list(...) or load_data(...)")
    if epochs < 1:
        raise BadInput(f"train with epochs={epochs}", "nothing to do", "epochs=1")


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
