"""Objectives: functions from a model's output and its labels to one value per sample.

All gradients are of the sum over samples, so nothing scales with the batch; what a mean loss over N samples would
give is 1/N of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from netassay.errors import BadInput, NetassayError, UnknownName

IGNORED = -100

Objective = Callable[[Tensor, Tensor | None], Tensor]


def cross_entropy(output: Tensor, y: Tensor | None) -> Tensor:
    """Negative log-likelihood of the true class, `(N,)`; summed over positions where there are any.

    `output` is `(N, K)`, `(N, K, ...)` with labels `(N, ...)`, or `(N, T, K)` with labels `(N, T)`; label -100 is
    left out.
    """
    y = labels(y, "cross_entropy")
    if output.dim() == 3 and y.shape == output.shape[:2]:
        output = output.movedim(-1, 1)
    check_labels(y, output.shape[1], ignored=IGNORED)
    loss = F.cross_entropy(output, y, reduction="none")
    return loss.flatten(1).sum(1) if loss.dim() > 1 else loss


def mse(output: Tensor, y: Tensor | None) -> Tensor:
    """Squared error, mean over the entries of one sample, `(N,)`."""
    target = labels(y, "mse")
    if target.shape != output.shape:
        raise BadInput(
            "objective 'mse'",
            f"output {tuple(output.shape)} and target {tuple(target.shape)}",
            "give targets of the output's shape, or objective cross_entropy",
        )
    return (output - target).square().flatten(1).mean(1)


def true_logit(output: Tensor, y: Tensor | None) -> Tensor:
    """The logit of the true class, `(N,)`; `output` is `(N, K)`."""
    y = labels(y, "true_logit")
    check_labels(y, output.shape[1])
    return output.gather(1, y[:, None]).squeeze(1)


def true_score(output: Tensor, y: Tensor | None) -> Tensor:
    """The softmax score of the true class, `(N,)`; `output` is `(N, K)`."""
    y = labels(y, "true_score")
    check_labels(y, output.shape[1])
    return output.softmax(1).gather(1, y[:, None]).squeeze(1)


def predicted_logit(output: Tensor, y: Tensor | None) -> Tensor:
    """The largest logit, `(N,)`, whatever the label; `output` is `(N, K)`."""
    return output.amax(1)


def entropy(output: Tensor, y: Tensor | None) -> Tensor:
    """Entropy of the softmax scores in nats, `(N,)`, whatever the label; `output` is `(N, K)`."""
    log = output.log_softmax(1)
    return -(log.exp() * log).sum(1)


OBJECTIVES: Mapping[str, Objective] = {
    one.__name__: one for one in (cross_entropy, mse, true_logit, true_score, predicted_logit, entropy)
}


def find(objective: str | Objective) -> Objective:
    """Resolve a name from `OBJECTIVES`, `"package.module:function"`, or a callable."""
    if callable(objective):
        return objective
    if not isinstance(objective, str):
        raise BadInput("objective", f"{objective!r}", "give a name, module:function or a function")
    if objective in OBJECTIVES:
        return OBJECTIVES[objective]
    module, colon, function = objective.partition(":")
    if not (colon and module and function):
        raise UnknownName("objective", objective, [*OBJECTIVES, "module:function"])
    try:
        return getattr(import_module(module), function)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise BadInput(f"objective {objective!r}", str(error), "give module:function of an importable module") from None


def values(objective: Objective, output: Any, y: Tensor | None, n: int) -> Tensor:
    """Evaluate an objective on a batch of `n` samples and insist on one value per sample."""
    output = logits(output)
    try:
        value = objective(output, y)
    except NetassayError:
        raise
    except Exception as error:
        shapes = f"output {tuple(output.shape)}, labels {None if y is None else tuple(y.shape)}"
        raise BadInput(
            _name(objective), f"{shapes}: {type(error).__name__}: {error}", "give labels that fit the output"
        ) from error
    if not isinstance(value, Tensor) or value.shape != (n,):
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise BadInput(
            f"{_name(objective)} on {n} samples",
            f"{found}, where one value per sample, shape ({n},), is needed",
            'return per-sample values, e.g. with reduction="none"',
        )
    if not value.requires_grad:
        raise BadInput(
            "gradient of the objective with respect to the input",
            "an output that does not depend on the input through anything differentiable",
            "pass a model that is not wrapped in torch.no_grad",
        )
    return value


def _name(objective: Objective) -> str:
    return f"objective {getattr(objective, '__name__', objective)!r}"


def logits(output: Any) -> Tensor:
    """Find the tensor to judge in a model's output: itself, its `logits`, or the first floating tensor in it."""
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    parts = output.values() if isinstance(output, Mapping) else output
    for part in parts if isinstance(parts, tuple | list | type({}.values())) else ():
        if isinstance(part, Tensor) and part.is_floating_point():
            return part
    raise BadInput("the model's output", f"{type(output).__name__} without a floating tensor", "return logits")


def labels(y: Tensor | None, objective: str) -> Tensor:
    """Insist on labels."""
    if y is None:
        raise BadInput(
            f"objective {objective!r}",
            "data without labels",
            "give data as (x, y), or an objective that needs none: objective='module:function'",
        )
    return y


def check_labels(y: Tensor, classes: int, *, ignored: int | None = None) -> None:
    """Refuse labels that are not integers from 0 to `classes` - 1, or `ignored`.

    >>> import torch
    >>> check_labels(torch.tensor([0, 12]), classes=10)
    Traceback (most recent call last):
    netassay.errors.BadInput: asked: labels for 10 outputs
      found: label 12, outside 0 to 9
      next:  build the model with classes=13, or mend the labels
    """
    asked = f"labels for {classes} outputs"
    if y.is_floating_point() or y.is_complex():
        raise BadInput(
            asked,
            f"labels of type {str(y.dtype).removeprefix('torch.')}",
            "give one integer per sample, or objective mse",
        )
    wrong = y[((y < 0) | (y >= classes)) & (y != (0 if ignored is None else ignored))]
    if len(wrong):
        low, high = int(wrong.min()), int(wrong.max())
        mend = (
            "number the classes from 0" if low < 0 else f"build the model with classes={high + 1}, or mend the labels"
        )
        raise BadInput(asked, f"label {low if low < 0 else high}, outside 0 to {classes - 1}", mend)
