"""About: what a watch says of the training it saw, so that two of them can be told apart."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from netassay.watching.monitor import Monitor

NUMBERS = (int, float, tuple, list, Tensor)
SETTINGS = ("lr", "weight_decay", "betas", "eps", "momentum")


def settings(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    """Name each optimizer, the settings of its first group, and how many groups it has; numbered from the second on.

    The learning rate is the one that a schedule starts from.

    >>> told = settings([torch.optim.Adam(nn.Linear(1, 1).parameters()), torch.optim.SGD(nn.Linear(1, 1).parameters())])
    >>> told["optimizer"], told["betas"], told["optimizer 2"], told["momentum 2"]
    ('Adam', [0.9, 0.999], 'SGD', 0.0)
    """
    told: dict[str, Any] = {}
    for number, one in enumerate(optimizers, 1):
        first = one.param_groups[0]
        first = {**first, "lr": first.get("initial_lr", first.get("lr"))}
        known = {name: _plain(first[name]) for name in SETTINGS if isinstance(first.get(name), NUMBERS)}
        own = {"optimizer": type(one).__name__, **known, "groups": len(one.param_groups)}
        told |= {name if number == 1 else f"{name} {number}": value for name, value in own.items()}
    return told


def about(monitor: Monitor) -> dict[str, Any]:
    """Return, name by name, what was trained, how, how far and with what."""
    samples = [row.samples for row in monitor.series.rows]
    return {
        **model_told(monitor.reader.model),
        **monitor.settings,
        "steps": monitor.steps_done,
        "samples_per_step": float(np.median(samples)) if samples else None,
        "netassay": version("netassay"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def model_told(model: nn.Module) -> dict[str, Any]:
    """Return the spec of a model, or its class, how many parameters it has, and where and in what dtype they are."""
    parameter = next(model.parameters(), torch.zeros(()))
    return {
        "model": str(getattr(model, "spec", f"<{type(model).__name__}>")),
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": str(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
    }


def _plain(number: Any) -> Any:
    return torch.as_tensor(number, dtype=torch.float64).tolist()
