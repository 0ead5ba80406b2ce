"""Resetting: every module drawn anew by its own `reset_parameters`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netassay.seeds import seeded


class Reset(NamedTuple):
    """Modules, by name ("" is the model itself), that were drawn anew, and those that hold what they held."""

    touched: list[str]
    untouched: list[str]


def reset(model: nn.Module, seed: int) -> Reset:
    """Draw every module anew by its own `reset_parameters`, running statistics included.

    That is torch's default scheme, whatever scheme the model's constructor used. A module with parameters
    that has no `reset_parameters`, or one that fails or leaves some undrawn, keeps all it had and is named in
    `untouched`. Same seed, same bits; the global random state is left as it was.

    >>> model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), nn.ReLU())
    >>> reset(model, seed=0)
    Reset(touched=['0', '1'], untouched=[])
    """
    outcome = Reset([], [])
    with seeded(seed), torch.no_grad():
        for name, module in model.named_modules():
            if drawn := _drawn(module):
                outcome.touched.append(name)
            elif drawn is False:
                outcome.untouched.append(name)
    return outcome


def _drawn(module: nn.Module) -> bool | None:
    parameters = list(module.parameters(recurse=False))
    redraw = getattr(module, "reset_parameters", None)
    if not parameters and not (callable(redraw) and list(module.buffers(recurse=False))):
        return None
    if not callable(redraw) or any(is_lazy(parameter) for parameter in parameters):
        return False
    return redrawn(redraw, parameters, list(module.buffers(recurse=False)))


def redrawn(redraw: Callable[[], object], parameters: list[nn.Parameter], buffers: list[Tensor]) -> bool:
    """Run a module's reset; False, and all as it was, where it fails or leaves some of `parameters` undrawn."""
    before = [(tensor, tensor.clone()) for tensor in (*parameters, *buffers)]
    for parameter in parameters:
        # What is NaN afterwards was not drawn: weight norm, say, keeps its own parameters from the reset.
        parameter.fill_(torch.nan)
    try:
        redraw()
        done = not any(parameter.isnan().any() for parameter in parameters)
    except Exception:  # The reset may be anyone's code; one that fails has drawn nothing.
        done = False
    if not done:
        for tensor, old in before:
            tensor.copy_(old)
    return done
